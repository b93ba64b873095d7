# SPDX-License-Identifier: Apache-2.0
"""What OpenVINO gets wrong without a word does not reach it, and what it says of a file is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import helper, version_converter

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
