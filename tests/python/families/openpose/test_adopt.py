# SPDX-License-Identifier: Apache-2.0
"""Adopting OpenPose's maps as others write them: small graphs of the same form, made here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import trtpose
from trtpose import export
from trtpose.spec import METADATA_KEY

SCRIPT = {
    "stage_0_output_1_heatmaps": 19,
    "stage_0_output_0_pafs": 38,
    "stage_1_output_1_heatmaps": 19,
    "stage_1_output_0_pafs": 38,
}
MODEL_ZOO = {"Mconv7_stage2_L1": 38, "Mconv7_stage2_L2": 19}


def network(
    path: Path,
    outputs: dict[str, int],
    *,
    normalised: tuple[float, float] | None = None,
    whole: bool = False,
    biased: bool = False,
    size: tuple[int | str, int | str] = (64, 96),
) -> Path:
    """A convolution of stride 8 for each output, behind v * factor + offset.

    Weights are int8 where ``whole``; what is added to a channel is a sum of its own where ``biased``.
    """
    rng = np.random.default_rng(5)
    nodes: list[onnx.NodeProto] = []
    constants: list[onnx.TensorProto] = []
    name = "data"
    for kind, number in zip(("Mul", "Add"), normalised or (), strict=False):
        constants.append(numpy_helper.from_array(np.full((1, 3, 1, 1), number, np.float32), f"{kind}_by"))
        nodes.append(helper.make_node(kind, [name, f"{kind}_by"], [f"after_{kind}"]))
        name = f"after_{kind}"
    for output, channels in outputs.items():
        weight = f"{output}/w"
        if whole:
            constants.append(
                numpy_helper.from_array(rng.integers(-99, 99, (channels, 3, 8, 8), dtype=np.int8), f"{output}/q")
            )
            constants.append(numpy_helper.from_array(rng.random(channels, np.float32) * 1e-3 + 1e-4, f"{output}/s"))
            nodes.append(helper.make_node("DequantizeLinear", [f"{output}/q", f"{output}/s"], [weight], axis=0))
        else:
            numbers = rng.normal(0, 0.02, (channels, 3, 8, 8)).astype(np.float32)
            constants.append(numpy_helper.from_array(numbers, weight))
        behind = f"{output}/sum" if biased else output
        nodes.append(helper.make_node("Conv", [name, weight], [behind], kernel_shape=[8, 8], strides=[8, 8]))
        if biased:
            numbers = rng.normal(0, 0.1, (1, channels, 1, 1)).astype(np.float32)
            constants.append(numpy_helper.from_array(numbers, f"{output}/b"))
            nodes.append(helper.make_node("Add", [behind, f"{output}/b"], [output]))
    cells = [side // 8 if isinstance(side, int) else f"{side}8" for side in size]
    graph = helper.make_graph(
        nodes,
        "maps",
        [helper.make_tensor_value_info("data", TensorProto.FLOAT, [1, 3, *size])],
        [helper.make_tensor_value_info(o, TensorProto.FLOAT, [1, c, *cells]) for o, c in outputs.items()],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("outputs", [SCRIPT, MODEL_ZOO], ids=["script", "zoo"])
def test_maps_in_half_precision_are_adopted(outputs: dict[str, int], tmp_path: Path):
    source = network(tmp_path / "net.onnx", outputs, normalised=(1 / 256, -0.5) if outputs is MODEL_ZOO else None)
    model = onnx.load(source)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = TensorProto.FLOAT16
    for value in model.graph.initializer:
        value.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(value).astype(np.float16), value.name))
    onnx.save(model, source)
    made, _ = adopted(source)
    assert made.spec.family == "openpose"
    assert made.report == ("maps against the original: 0.0e+00",)
    frame = np.random.default_rng(1).integers(0, 256, (64, 96, 3), np.uint8)
    poses, expected = (trtpose.Engine(path, conf=0.0).infer(frame)[0] for path in (made.path, source))
    assert np.array_equal(poses.keypoints, expected.keypoints)


def adopted(source: Path, **options: Any) -> tuple[export.Exported, onnx.ModelProto]:
    made = export.export(source, source.with_name("made.onnx"), **options)
    return made, onnx.load(made.path)


def test_the_scripts_file_is_cut_to_its_last_stage(tmp_path: Path) -> None:
    made, model = adopted(network(tmp_path / "net.onnx", SCRIPT))
    assert [value.name for value in model.graph.output] == ["stage_1_output_1_heatmaps", "stage_1_output_0_pafs"]
    assert len(model.graph.node) == 2
    assert METADATA_KEY in {entry.key for entry in model.metadata_props}
    spec = made.spec
    assert (spec.family, spec.color, spec.mean, spec.std, spec.pad) == (
        "openpose",
        "bgr",
        (128.0,) * 3,
        (256.0,) * 3,
        128,
    )
    assert (spec.sizing, spec.imgsz, spec.kpt_shape) == ("height", (64, 96), (17, 3))
    assert spec.kpt_names[:2] == ("nose", "left_eye")
    assert "back to its last stage" in made.action


def test_model_zoos_file_is_fed_bytes_and_gets_plain_weights(tmp_path: Path) -> None:
    normalised = (0.0039215, -0.50195)
    source = network(
        tmp_path / "net.onnx", MODEL_ZOO, normalised=normalised, whole=True, biased=True, size=("height", "width")
    )
    made, model = adopted(source)
    assert [node.op_type for node in model.graph.node] == ["Mul", "Add", "Conv", "Conv"]
    assert all(len(node.input) == 3 for node in model.graph.node if node.op_type == "Conv")
    assert [value.name for value in model.graph.output] == ["Mconv7_stage2_L2", "Mconv7_stage2_L1"]
    assert (made.spec.mean, made.spec.std, made.spec.imgsz) == ((0.0,) * 3, (1.0,) * 3, (256, 256))
    # What it is fed and what comes out is the same with and without the copy.
    frame = np.random.default_rng(3).integers(0, 256, (120, 200, 3), np.uint8)
    engines = [trtpose.Engine(path, device="cpu", conf=0.01) for path in (source, made.path)]
    assert engines[1].spec.family == "openpose"
    first, second = (engine.infer([frame])[0] for engine in engines)
    assert len(first) == len(second)


@pytest.mark.parametrize("normalised", [(0.0039215, 0.0), (0.0078, -0.5), (1.0, -128.0)])
def test_another_normalisation_is_refused(tmp_path: Path, normalised: tuple[float, float]) -> None:
    source = network(tmp_path / "net.onnx", MODEL_ZOO, normalised=normalised)
    with pytest.raises(trtpose.ModelError, match=r"of pictures from 0 to 255 it would see .*--spec FILE"):
        adopted(source)
    assert not (tmp_path / "made.onnx").exists()


def test_maps_nobody_named_need_a_word(tmp_path: Path) -> None:
    source = network(tmp_path / "net.onnx", {"a": 38, "b": 19})
    with pytest.raises(trtpose.ModelError, match="how pictures are fed"):
        adopted(source)
    made, model = adopted(source, arch="openpose")
    assert [value.name for value in model.graph.output] == ["b", "a"]
    assert made.spec.mean == (128.0,) * 3
    inside = network(tmp_path / "inside.onnx", {"a": 38, "b": 19}, normalised=(1 / 255, -0.5))
    assert adopted(inside, arch="openpose")[0].spec.std == (1.0,) * 3
    with pytest.raises(trtpose.ModelError, match="has maps of 19 and 38 channels"):
        adopted(network(tmp_path / "other.onnx", {"a": 42, "b": 18}), arch="openpose")


def test_what_looks_alike_stays_refused_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(trtpose.ModelError, match="trt_pose"):
        adopted(network(tmp_path / "net.onnx", {"cmap": 18, "paf": 42}))
    with pytest.raises(trtpose.ModelError, match="associative embedding"):
        adopted(network(tmp_path / "net.onnx", {"heatmaps": 17, "embeddings": 17}))


def test_a_given_spec_is_kept(tmp_path: Path) -> None:
    source = network(tmp_path / "net.onnx", SCRIPT)
    spec = adopted(source)[0].spec
    ours = trtpose.ModelSpec.from_dict({**spec.to_dict(), "rule": "reference", "name": "mine"})
    made, _ = adopted(source, spec=ours)
    assert made.spec.extra["rule"] == "reference"
    assert made.spec.name == "mine"
