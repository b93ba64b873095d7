# SPDX-License-Identifier: Apache-2.0
"""Trained networks of others on photographs."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest

from trtpose import Engine


@pytest.mark.shared
def test_people_in_photographs(shared: Path) -> None:
    engine = Engine(shared / "models" / "yolo26n-pose-256.onnx")
    assert (engine.spec.layout, engine.spec_origin) == ("channels_first", "metadata of Ultralytics")
    counts = {
        name: len(engine.infer(cv2.imread(str(shared / "images" / f"{name}.jpg")))[0]) for name in ("bus", "zidane")
    }
    assert counts["zidane"] == 2
    assert 3 <= counts["bus"] <= 4


@pytest.mark.shared
def test_quantised_network_runs_as_it_is(shared: Path) -> None:
    frame = cv2.imread(str(shared / "images" / "zidane.jpg"))
    float_poses = Engine(shared / "models" / "yolo26n-pose-256.onnx").infer(frame)[0]
    int8_poses = Engine(shared / "models" / "yolo26n-pose-256-qdq.onnx").infer(frame)[0]
    assert len(float_poses) == len(int8_poses) == 2


@pytest.mark.shared
def test_faces_in_a_group(shared: Path) -> None:
    spec = Path(__file__).parents[1] / "data" / "yolov7-lite-t-face5.json"
    engine = Engine(shared / "models" / "yolov7-lite-t-face5.onnx", spec=spec, imgsz=640)
    (faces,) = engine.infer(cv2.imread(str(shared / "images" / "group.jpg")))
    assert len(faces) > 20
    # Every face's eyes and mouth lie in its box, the eyes above the mouth.
    inside = (faces.keypoints[:, :, 0] >= faces.boxes[:, None, 0]) & (
        faces.keypoints[:, :, 0] <= faces.boxes[:, None, 2]
    )
    assert inside.mean() > 0.95
    assert (faces.keypoints[:, :2, 1].mean(1) < faces.keypoints[:, 3:, 1].mean(1)).all()


@pytest.mark.shared
def test_decoded_file_without_metadata_runs_as_it_is(shared: Path, tmp_path: Path) -> None:
    """What the reference exporter leaves behind: one tensor `output`, 57 numbers a row, no metadata."""
    export = pytest.importorskip("trtpose.export", reason="trtpose[export] is not installed")
    pytest.importorskip("torch")
    golden = np.load(shared / "golden" / "yolov7-w6-pose-eighth.npz")
    path = tmp_path / "network.onnx"
    size = golden["images"].shape[2:]
    export.export(shared / "golden" / "yolov7-w6-pose-eighth.pt", path, imgsz=size, layout="decoded")
    model = onnx.load(str(path))
    del model.metadata_props[:]
    onnx.save(model, str(path))
    assert [output.name for output in model.graph.output] == ["output"]

    engine = Engine(path, conf=0.0, iou=1.0, max_det=30000)
    assert (engine.spec.layout, engine.spec_origin) == ("decoded", "names and shapes")
    (poses,) = engine.infer(golden["images"][:1])
    rows = golden["decoded"][0]
    scores = rows[:, 4] * rows[:, 5]
    order = np.argsort(-scores, kind="stable")
    assert len(poses) == len(rows)
    # Float32 convolutions in another order than the reference's: relative 1e-5 of a score.
    np.testing.assert_allclose(poses.scores, scores[order], rtol=1e-4)
    # Equal scores to that precision may swap places; the set of keypoints is compared row by row where they do not.
    gaps = np.abs(np.diff(scores[order])) > 1e-4 * scores[order][1:]
    alone = np.concatenate([[True], gaps]) & np.concatenate([gaps, [True]])
    assert alone.sum() > 100
    points = rows[order, 6:].reshape(len(rows), -1, 3)
    np.testing.assert_allclose(poses.keypoints[alone], points[alone], rtol=1e-4, atol=2e-2)
