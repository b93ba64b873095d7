# SPDX-License-Identifier: Apache-2.0
"""RF-DETR's outputs become rows as rfdetr itself reads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import trtpose
from trtpose.export import export

GOLDEN = json.loads((Path(__file__).parents[3] / "data" / "rfdetr.json").read_text())
HEIGHT, WIDTH = GOLDEN["size"]


def network(given: dict[str, Any] | None = None) -> onnx.ModelProto:
    """A network that gives the same for every picture."""
    arrays = {name: np.array(values, np.float32)[None] for name, values in (given or GOLDEN["given"]).items()}
    nodes = [helper.make_node("ReduceMean", ["input"], ["mean"], keepdims=0)]
    nodes += [helper.make_node("Mul", ["mean", "none"], ["nothing"])]
    nodes += [helper.make_node("Add", [f"{name}_kept", "nothing"], [name]) for name in arrays]
    constants = [numpy_helper.from_array(array, f"{name}_kept") for name, array in arrays.items()]
    constants.append(numpy_helper.from_array(np.float32(0), "none"))
    graph = helper.make_graph(
        nodes,
        "rfdetr",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, HEIGHT, WIDTH])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, array.shape) for name, array in arrays.items()],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.fixture
def adopted(tmp_path: Path) -> Path:
    onnx.save(network(), tmp_path / "rfdetr.onnx")
    made = export(tmp_path / "rfdetr.onnx", tmp_path / "adopted.onnx")
    assert made.action == "put RF-DETR's decoding into the graph of rfdetr.onnx and added the spec"
    return made.path


def test_poses_are_those_of_rfdetr(adopted: Path) -> None:
    engine = trtpose.Engine(adopted)
    spec = engine.spec
    assert (spec.family, spec.sizing, spec.color) == ("rows", "stretch", "rgb")
    assert spec.extra["suppress"] is False
    assert spec.kpt_names[0] == "nose"
    (found,) = engine.infer(np.zeros((HEIGHT, WIDTH, 3), np.uint8), conf=0)
    expected = {name: np.array(values, np.float32) for name, values in GOLDEN["found"].items()}
    order = np.argsort(-expected["scores"])
    np.testing.assert_allclose(found.scores, expected["scores"][order], atol=2e-5)
    np.testing.assert_allclose(found.boxes, expected["boxes"][order], atol=2e-3)
    np.testing.assert_allclose(found.keypoints, expected["keypoints"][order], atol=2e-3)
    # A picture of another shape is stretched, and so is the way back.
    (wide,) = engine.infer(np.zeros((HEIGHT // 2, 3 * WIDTH, 3), np.uint8), conf=0)
    np.testing.assert_allclose(wide.keypoints[..., :2], found.keypoints[..., :2] * (3, 0.5), rtol=1e-5, atol=1e-4)


def test_its_raw_outputs_are_sent_to_export(tmp_path: Path) -> None:
    onnx.save(network(), tmp_path / "rfdetr.onnx")
    with pytest.raises(trtpose.ModelError, match="keypoint network of RF-DETR, whose decoding trtpose export puts"):
        trtpose.Engine(tmp_path / "rfdetr.onnx")


def test_keypoints_of_several_classes_are_refused(tmp_path: Path) -> None:
    given = {**GOLDEN["given"], "keypoints": np.zeros((len(GOLDEN["given"]["dets"]), 34, 8)).tolist()}
    onnx.save(network(given), tmp_path / "rfdetr.onnx")
    with pytest.raises(trtpose.ModelError, match="with 34 places for keypoints, and nothing says whose they are"):
        export(tmp_path / "rfdetr.onnx", tmp_path / "adopted.onnx")
    assert not (tmp_path / "adopted.onnx").exists()


def test_an_opset_that_is_too_old_is_refused(tmp_path: Path) -> None:
    model = network()
    model.opset_import[0].version = 11
    onnx.save(model, tmp_path / "rfdetr.onnx")
    with pytest.raises(trtpose.ModelError, match="is of opset 11; export it with 13 or a later one"):
        export(tmp_path / "rfdetr.onnx", tmp_path / "adopted.onnx")
