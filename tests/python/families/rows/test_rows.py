# SPDX-License-Identifier: Apache-2.0
"""RTMO's files as they are deployed: recognised, run, adopted with and without their own suppression."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime as ort
import pytest

import rtmo_models
import rtx
import trtpose
from trtpose.build.graft import graft
from trtpose.check import check
from trtpose.export import export
from trtpose.formats.metadata import find_spec
from trtpose.quantize.fp16 import simulate
from trtpose.spec import ModelSpec

GOLDEN = Path(__file__).parents[3] / "data" / "rtmo.json"
SIDE = rtmo_models.SIDE


@pytest.fixture
def deployed(tmp_path: Path) -> Path:
    path = tmp_path / "rtmo.onnx"
    onnx.save(rtmo_models.rtmo(), path)
    return path


def network_input(frame: Any) -> Any:
    """As rtmlib prepares a picture."""
    r = min(SIDE / frame.shape[0], SIDE / frame.shape[1])
    height, width = int(frame.shape[0] * r), int(frame.shape[1] * r)
    padded = np.full((SIDE, SIDE, 3), 114, np.uint8)
    padded[:height, :width] = cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR)
    return padded.transpose(2, 0, 1)[None].astype(np.float32)


def rows_of(path: Path, frame: Any) -> tuple[Any, Any]:
    session = ort.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    boxes, points = session.run(None, {session.get_inputs()[0].name: network_input(frame)})
    return boxes[0], points[0]


def test_a_deployed_file_is_recognised(deployed: Path) -> None:
    found = find_spec(deployed)
    spec = found.spec
    assert (spec.family, found.origin) == ("rows", "names and shapes")
    assert (spec.color, spec.std, spec.pad) == ("bgr", (1.0, 1.0, 1.0), 114)
    assert (spec.placement, spec.rounding, spec.sizing) == ("top_left", "down", "fit")
    assert (spec.imgsz, spec.kpt_shape) == ((SIDE, SIDE), (17, 3))
    assert spec.extra["form"] == "dets_keypoints"
    info = trtpose.model_info(deployed)
    assert info["spec"]["family"] == "rows"
    assert "spec_problem" not in info


def test_poses_are_those_of_rtmlib(tmp_path: Path) -> None:
    golden = json.loads(GOLDEN.read_text())
    path = tmp_path / "rtmo.onnx"
    onnx.save(rtmo_models.rtmo(3), path)
    engine = trtpose.Engine(path)
    suppressed = 0
    for case in golden["cases"]:
        frame = rtmo_models.picture(*case["frame"], case["seed"])
        (found,) = engine.infer(frame, conf=case["conf"], iou=case["iou"])
        expected = np.array(case["keypoints"], np.float32).reshape(-1, 3, 2)
        r = min(SIDE / side for side in case["frame"])
        # rtmlib goes back by one unrounded factor, trtpose by each side's own.
        ours = [int(side * r) / side for side in reversed(case["frame"])]
        assert len(found) == len(expected) > 0, case["frame"]
        np.testing.assert_allclose(found.keypoints[..., :2] * ours, expected * r, atol=2e-3)
        np.testing.assert_allclose(found.keypoints[..., 2], case["scores"], atol=2e-6)
        boxes, _ = rows_of(path, frame)
        suppressed += int((boxes[:, 4] > case["conf"]).sum()) - len(found)
    assert suppressed > 10


def test_nobody_is_no_pose(deployed: Path) -> None:
    engine = trtpose.Engine(deployed)
    assert len(engine.infer(rtmo_models.picture(80, 60, 1), conf=1)[0]) == 0
    model = rtmo_models.rtmo()
    suppression = next(node for node in model.graph.node if node.op_type == "NonMaxSuppression")
    threshold = next(constant for constant in model.graph.initializer if constant.name == suppression.input[4])
    threshold.CopyFrom(onnx.numpy_helper.from_array(np.array([1.0], np.float32), threshold.name))
    onnx.save(model, deployed)
    # The one row that is left is the padding's: the last anchor, whatever its score.
    boxes, _ = rows_of(deployed, rtmo_models.picture(80, 60, 1))
    assert len(boxes) == 1
    assert len(trtpose.Engine(deployed).infer(rtmo_models.picture(80, 60, 1), conf=float(boxes[0, 4]) + 1e-4)[0]) == 0


def test_outputs_that_the_import_made_one_number_are_refused(tmp_path: Path) -> None:
    """A graph whose rows are a constant of no rows: what lies behind that number in memory is nobody."""
    helper = onnx.helper
    rows = {"dets": np.zeros((1, 0, 5), np.float32), "keypoints": np.zeros((1, 0, 17, 3), np.float32)}
    nodes = [helper.make_node("ReduceMax", ["images"], ["most"], keepdims=0)]
    nodes += [helper.make_node("Add", ["most", f"no {name}"], [name]) for name in rows]
    outputs = [helper.make_tensor_value_info(name, 1, (1, "rows", *value.shape[2:])) for name, value in rows.items()]
    picture = helper.make_tensor_value_info("images", 1, (1, 3, SIDE, SIDE))
    constants = [onnx.numpy_helper.from_array(value, f"no {name}") for name, value in rows.items()]
    graph = helper.make_graph(nodes, "nobody", [picture], outputs, constants)
    path = tmp_path / "nobody.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    with pytest.raises(trtpose.ModelError, match="'dets' is one number to OpenVINO"):
        trtpose.Engine(path)


@pytest.mark.parametrize("inside", [False, True])
def test_scores_that_are_no_probabilities_are_refused(tmp_path: Path, inside: bool) -> None:
    """Logits pass every confidence: everybody would be found everywhere."""
    path = tmp_path / "logits.onnx"
    model = rtmo_models.rtmo(5, inside=inside, open_sizes=inside)
    sigmoid = next(node for node in model.graph.node if node.op_type == "Sigmoid")
    sigmoid.op_type = "Identity"
    onnx.save(model, path)
    words = "in one run the scores in 'dets' lie between .*export the network with the sigmoid of its scores inside"
    for use in (trtpose.Engine, export):
        with pytest.raises(trtpose.ModelError, match=words):
            use(path)
    assert not path.with_name("logits.trtpose.onnx").exists()


def test_a_batch_has_everybodys_own_rows(deployed: Path) -> None:
    frames = [rtmo_models.picture(40 + 9 * i, 90 - 7 * i, i) for i in range(5)]
    alone = trtpose.Engine(deployed)
    for got, frame in zip(trtpose.Engine(deployed, batch=3).infer(frames), frames, strict=True):
        np.testing.assert_array_equal(got.keypoints, alone.infer(frame)[0].keypoints)


def test_more_rows_than_there_is_room_for_are_refused(deployed: Path) -> None:
    spec = find_spec(deployed).spec
    few = ModelSpec.from_dict({**spec.to_dict(), "rows": 4})
    with pytest.raises(trtpose.ModelError, match="rows, and there is room for 4; say in the spec for more"):
        trtpose.Engine(deployed, spec=few).infer(rtmo_models.picture(64, 64, 0))
    nothing_said = {key: value for key, value in spec.to_dict().items() if key != "rows"}
    with pytest.raises(trtpose.ModelError, match=r"depends on the picture; .* say in the spec of its family"):
        trtpose.Engine(deployed, spec=nothing_said)


@pytest.mark.parametrize("before", [0, 40])
def test_export_takes_the_suppression_out(tmp_path: Path, before: int) -> None:
    source, made = tmp_path / "rtmo.onnx", tmp_path / "adopted.onnx"
    onnx.save(rtmo_models.rtmo(before=before), source)
    result = export(source, made)
    rows = before or rtmo_models.CELLS
    assert result.action.startswith(f"took the suppression out of rtmo.onnx, which gives its best {rows} rows now, ")
    assert len(result.report) == 1
    graph = onnx.load(made).graph
    assert not {"NonMaxSuppression", "NonZero"} & {node.op_type for node in graph.node}
    assert [[d.dim_value for d in o.type.tensor_type.shape.dim][1:] for o in graph.output] == [[rows, 5], [rows, 17, 3]]
    onnx.checker.check_model(onnx.load(made), full_check=True)
    spec = find_spec(made).spec
    assert spec.family == "rows"
    assert "rows" not in spec.extra
    assert spec.kpt_names[0] == "nose"
    assert len(spec.sigmas) == 17

    deployed, adopted = trtpose.Engine(source), trtpose.Engine(made)
    for seed in range(4):
        frame = rtmo_models.picture(70 + seed, 90 - seed, seed)
        boxes, points = rows_of(made, frame)
        assert len(boxes) == rows
        # The graph's own thresholds, applied behind it.
        (theirs,) = deployed.infer(frame, conf=0.3, iou=0.65)
        (ours,) = adopted.infer(frame, conf=0.3, iou=0.65)
        both = min(len(ours), len(theirs), 49)  # the deployed graph keeps 50 rows, the padding's among them
        assert both > 5
        np.testing.assert_allclose(ours.scores[:both], theirs.scores[:both], atol=1e-6)
        np.testing.assert_allclose(ours.keypoints[:both], theirs.keypoints[:both], atol=1e-3)
        kept = rtmo_models.suppressed(boxes, 0.3, 0.65)
        np.testing.assert_allclose(ours.scores, boxes[kept, 4], atol=1e-6)
        assert np.isfinite(points).all()


def test_a_graph_without_suppression_is_described(tmp_path: Path) -> None:
    source, made = tmp_path / "rows.onnx", tmp_path / "adopted.onnx"
    onnx.save(rtmo_models.rtmo(5, inside=False, open_sizes=False), source)
    result = export(source, made)
    assert result.action == "left the graph of rows.onnx as it is and added the spec"
    frame = rtmo_models.picture(64, 48, 2)
    ours, theirs = (trtpose.Engine(path).infer(frame)[0] for path in (made, source))
    assert len(ours) > 0
    np.testing.assert_array_equal(ours.keypoints, theirs.keypoints)


def test_a_suppression_behind_which_other_anchors_are_read_stays(tmp_path: Path) -> None:
    """Where the anchor of the best score is not among those that are kept, the graph is left alone."""
    model = rtmo_models.rtmo()
    taken = next(node for node in model.graph.node if node.op_type == "GatherElements")
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([0], np.int64), "none"))
    place = list(model.graph.node).index(taken)
    nothing = onnx.helper.make_node("Mul", ["kept_inner", "none"], [taken.output[0]])
    taken.output[0] = "kept_inner"
    model.graph.node.insert(place + 1, nothing)
    onnx.save(model, tmp_path / "rtmo.onnx")
    result = export(tmp_path / "rtmo.onnx", tmp_path / "adopted.onnx")
    assert result.action == "left the graph of rtmo.onnx as it is and added the spec"


def test_the_plugin_takes_both_tensors(tmp_path: Path) -> None:
    onnx.save(rtmo_models.rtmo(5, inside=False, open_sizes=False), tmp_path / "rows.onnx")
    export(tmp_path / "rows.onnx", tmp_path / "adopted.onnx")
    model = onnx.load(tmp_path / "adopted.onnx")
    made = graft(model)
    assert list(made.model.graph.node[-1].input) == ["dets", "network_keypoints"]
    model.graph.output[1].type.tensor_type.shape.dim[2].dim_value = 4
    with pytest.raises(trtpose.ModelError, match=r"keypoints is \?x64x4x3, family rows of 1 class.* has \?x\?x5x3"):
        graft(model)


def test_half_precision_is_built_and_finds_the_same_people(tmp_path: Path) -> None:
    """TensorRT for RTX builds it; what rounding to half precision does to poses is seen on the CPU."""
    rtx.load()
    onnx.save(rtmo_models.rtmo(stem=3), tmp_path / "rtmo.onnx")
    adopted = export(tmp_path / "rtmo.onnx", tmp_path / "adopted.onnx").path
    made = trtpose.build(adopted, tmp_path / "half.engine", precision="fp16", runtime="rtx")
    assert made.precision == "fp16"
    assert made.network.convolutions["fp16"] == 3
    onnx.save(simulate(onnx.load(adopted)), tmp_path / "rounded.onnx")
    for seed in range(4):
        cv2.imwrite(str(tmp_path / f"{seed}.png"), rtmo_models.picture(70 + seed, 90 - seed, seed))
    limits: dict[str, Any] = {"score": 0.3, "tolerance_px": 0.05}
    result = check(adopted, tmp_path / "rounded.onnx", tmp_path, device="cpu", **limits)
    assert result.poses > 100
    assert result.passed, result.verdict


def test_a_file_of_another_family_is_left_to_it(deployed: Path, tmp_path: Path) -> None:
    fields = find_spec(deployed).spec.to_dict()
    shared = {key: value for key, value in fields.items() if key not in ("form", "rows")}
    grid = {"family": "anchor_grid", "layout": "heads5d", "strides": [8], "anchors": [[[1, 1]]]}
    with pytest.raises(trtpose.ModelError, match="'form' is a key of the family kapao, movenet, openpose, rows, and"):
        ModelSpec.from_dict({**fields, **grid})
    other = ModelSpec.from_dict({**shared, **grid})
    with pytest.raises(trtpose.ModelError, match="layout heads5d"):
        export(deployed, tmp_path / "a.onnx", spec=other)
    del fields["form"]
    with pytest.raises(trtpose.ModelError, match="lacks form"):
        ModelSpec.from_dict(fields)
    assert not (tmp_path / "a.onnx").exists()
