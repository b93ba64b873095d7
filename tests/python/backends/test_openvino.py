# SPDX-License-Identifier: Apache-2.0
"""What OpenVINO gets wrong without a word does not reach it, and what it says of a file is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper, version_converter

import onnx_models
from support import picture
from trtpose import Engine, ModelError

LOST = ("ReduceL1", "ReduceLogSum", "ReduceLogSumExp")


def with_reduction(path: Path, kind: str, opset: int, *, within: bool = False) -> Path:
    """A network that also reduces its picture over one axis, the axis named as this opset has it."""
    metadata = {"trtpose": json.dumps(onnx_models.spec_fields("heads"))}
    model = onnx.load(onnx_models.write_model(path, metadata=metadata))
    del model.opset_import[:]
    model.opset_import.append(helper.make_opsetid("", opset))
    graph = model.graph
    node = helper.make_node(kind, [graph.input[0].name], ["reduced"], axes=[1], keepdims=1)
    if within:
        inner = helper.make_graph([node], "inner", [], [helper.make_tensor_value_info("reduced", 1, None)])
        other = helper.make_graph([helper.make_node(kind, [graph.input[0].name], ["r"], axes=[1])], "other", [], [
            helper.make_tensor_value_info("r", 1, None)])  # fmt: skip
        truth = helper.make_tensor("v", onnx.TensorProto.BOOL, [], [True])
        yes = helper.make_node("Constant", [], ["yes"], value=truth)
        graph.node.extend([yes, helper.make_node("If", ["yes"], ["chosen"], then_branch=inner, else_branch=other)])
    else:
        graph.node.append(node)
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("kind", LOST)
@pytest.mark.parametrize("opset", [13, 17])
def test_reductions_whose_axes_get_lost_are_refused(tmp_path: Path, kind: str, opset: int) -> None:
    path = with_reduction(tmp_path / "m.onnx", kind, opset)
    with pytest.raises(ModelError, match=f"its {kind} of opset {opset} would be computed over all axes"):
        Engine(path)
    # What the message says helps.
    onnx.save(version_converter.convert_version(onnx.load(path), 18), path)
    assert len(Engine(path).infer(picture(40, 50))) == 1


def test_also_within_a_branch(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="over all axes"):
        Engine(with_reduction(tmp_path / "m.onnx", "ReduceL1", 17, within=True))


@pytest.mark.parametrize(("kind", "opset"), [("ReduceL2", 17), ("ReduceMean", 13), ("ReduceMax", 17)])
def test_other_reductions_are_run(tmp_path: Path, kind: str, opset: int) -> None:
    assert len(Engine(with_reduction(tmp_path / "m.onnx", kind, opset)).infer(picture(40, 50))) == 1


def with_node(path: Path, kind: str, inputs: dict[str, NDArray[Any]], **attributes: Any) -> Path:
    """A network of opset 18 that does something else with its picture as well."""
    metadata = {"trtpose": json.dumps(onnx_models.spec_fields("heads"))}
    model = onnx.load(onnx_models.write_model(path, metadata=metadata))
    del model.opset_import[:]
    model.opset_import.append(helper.make_opsetid("", 18))
    graph = model.graph
    graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in inputs.items())
    graph.node.append(helper.make_node(kind, [graph.input[0].name, *inputs], ["more"], **attributes))
    onnx.save(model, path)
    return path


def deconvolution(path: Path, groups: int, **attributes: Any) -> Path:
    side = attributes.pop("side", 3)
    weights = np.ones((3, 1 if groups == 3 else 3, side, side), np.float32)
    sizes = {"kernel_shape": [side, side], "strides": [2, 2]}
    return with_node(path, "ConvTranspose", {"w": weights}, group=groups, **sizes, **attributes)


@pytest.mark.parametrize(("groups", "padding"), [(3, "NOTSET"), (3, "SAME_LOWER"), (1, "SAME_UPPER")])
def test_a_deconvolution_that_would_be_moved_is_refused(tmp_path: Path, groups: int, padding: str) -> None:
    shape = {"output_shape": [128, 128], "auto_pad": padding}
    with pytest.raises(ModelError, match=r"reads ConvTranspose.output_shape wrongly.*pads in its place"):
        Engine(deconvolution(tmp_path / "m.onnx", groups, **shape))
    pads = {"pads": [0, 0, 1, 1]} if padding == "SAME_UPPER" else {"pads": [1, 1, 0, 0]}
    assert Engine(deconvolution(tmp_path / "m.onnx", groups, **pads)).infer(picture(40, 50))


@pytest.mark.parametrize(
    ("groups", "padding", "side"), [(1, "SAME_LOWER", 3), (1, "SAME_UPPER", 4), (3, "SAME_UPPER", 3), (3, "NOTSET", 2)]
)
def test_deconvolutions_that_are_read_right_are_run(tmp_path: Path, groups: int, padding: str, side: int) -> None:
    path = deconvolution(tmp_path / "m.onnx", groups, side=side, output_shape=[128, 128], auto_pad=padding)
    assert Engine(path).infer(picture(40, 50))


@pytest.mark.parametrize(
    ("attributes", "named"),
    [
        ({"antialias": 1}, "antialias"),
        ({"exclude_outside": 1}, "exclude_outside"),
        ({"keep_aspect_ratio_policy": "not_larger"}, "keep_aspect_ratio_policy"),
        ({"antialias": 0, "keep_aspect_ratio_policy": "stretch"}, None),
    ],
)
def test_what_a_resize_overlooks_is_refused(tmp_path: Path, attributes: dict[str, Any], named: str | None) -> None:
    sizes = {"roi": np.zeros(0, np.float32), "scales": np.zeros(0, np.float32), "sizes": np.array([1, 3, 32, 16])}
    path = with_node(tmp_path / "m.onnx", "Resize", sizes, mode="linear", **attributes)
    if named is None:
        assert Engine(path).infer(picture(40, 50))
        return
    with pytest.raises(ModelError, match=f"reads Resize.{named} wrongly.*export the model with"):
        Engine(path)


@pytest.mark.parametrize(
    ("kind", "attributes", "why"),
    [
        ("Frobnicate", {"domain": "own.operations"}, r"operations: own\.operations\.Frobnicate"),
        ("ReduceMax", {"axes": [12345]}, "rank"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, kind: str, attributes: dict[str, Any], why: str) -> None:
    metadata = {"trtpose": json.dumps(onnx_models.spec_fields("heads"))}
    model = onnx.load(onnx_models.write_model(tmp_path / "m.onnx", metadata=metadata))
    del model.opset_import[:]
    model.opset_import.extend([helper.make_opsetid("", 17), helper.make_opsetid("own.operations", 1)])
    first = model.graph.node[0]
    model.graph.node.insert(0, helper.make_node(kind, [first.input[0]], ["more"], **attributes))
    model.graph.node[1].input[0] = "more"
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(ModelError, match=rf"m\.onnx: OpenVINO cannot read it \(.*{why}.*\); the file is damaged"):
        Engine(tmp_path / "m.onnx")
