# SPDX-License-Identifier: Apache-2.0
"""``trtpose eval``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from command_support import Run, error_lines, real_run
from support import FakeEngine, make_poses
from trtpose.thresholds import Thresholds


def annotations(folder: Path, names: list[str]) -> Path:
    poses = make_poses(1, (48, 64))
    points = poses.keypoints[0].copy()
    points[:, 2] = 2
    left, top, right, bottom = poses.boxes[0].tolist()
    path = folder / "people.json"
    document = {
        "images": [{"id": 10 + i, "file_name": name} for i, name in enumerate(names)],
        "annotations": [
            {
                "id": i + 1,
                "image_id": 10 + i,
                "category_id": 1,
                "bbox": [left, top, right - left, bottom - top],
                "area": 5000,
                "iscrowd": 0,
                "keypoints": points.reshape(-1).tolist(),
            }
            for i in range(len(names))
        ],
        "categories": [{"id": 1, "name": "person"}],
    }
    path.write_text(json.dumps(document))
    return path


def test_eval(run: Run, photos: Path, tmp_path: Path, opened: list[FakeEngine]):
    pytest.importorskip("faster_coco_eval")
    truth = annotations(tmp_path, ["a.jpg", "c.webp"])
    report = tmp_path / "figures.json"
    status, out, err = run("eval", "m.onnx", "--images", photos, "--annotations", truth, "--json", report)
    assert (status, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines()] == [
        *("AP", "AP50", "AP75", "APm", "APl"),
        *("AR", "AR50", "AR75", "ARm", "ARl"),
    ]
    data = json.loads(report.read_text())
    # The stand-in finds the annotated person exactly; 5000 square pixels are a medium person.
    assert data["metrics"]["AP"] == pytest.approx(1.0)
    assert data["metrics"]["APm"] == pytest.approx(1.0)
    assert data["metrics"]["APl"] == -1
    assert data["conf"] == 0.001
    assert sum(opened[0].calls) == 2
    assert opened[0].given[0]["thresholds"].conf == 0.001
    run("eval", "m.onnx", "--images", photos, "--annotations", truth, "--conf", "0.3", "--iou", "0.5", "--max-det", "9")
    assert opened[1].given[0]["thresholds"] == Thresholds(conf=0.3, iou=0.5, max_det=9)


def test_eval_reports_missing_pictures_and_goes_on(run: Run, photos: Path, tmp_path: Path):
    pytest.importorskip("faster_coco_eval")
    truth = annotations(tmp_path, ["a.jpg", "missing.jpg", "c.webp"])
    status, out, err = run("eval", "m.onnx", "--images", photos, "--annotations", truth)
    assert status == 1
    assert len(out.splitlines()) == 10
    assert error_lines(err) == [f"error: {photos / 'missing.jpg'}: no such file; check the name"]


def test_eval_on_stdout(run: Run, photos: Path, tmp_path: Path):
    pytest.importorskip("faster_coco_eval")
    truth = annotations(tmp_path, ["a.jpg"])
    status, out, _ = run("eval", "m.onnx", "--images", photos, "--annotations", truth, "--json", "-")
    assert status == 0
    assert len(json.loads(out)["metrics"]) == 10


def test_eval_as_documented(shared: Path, capsys: pytest.CaptureFixture[str]):
    pytest.importorskip("faster_coco_eval")
    images = shared / "images"
    arguments = ["--images", images, "--annotations", images / "person_keypoints.json"]
    status, out, err = real_run(capsys, "eval", shared / "models" / "yolo26n-pose-256.onnx", *arguments)
    assert (status, err) == (0, "")
    figures = {line.split()[0]: float(line.split()[1]) for line in out.splitlines()}
    assert figures["AP50"] >= 0.80
    assert figures["AP"] >= 0.30


def test_eval_says_who_has_no_area_and_goes_on(run: Run, photos: Path, tmp_path: Path):
    pytest.importorskip("faster_coco_eval")
    truth = annotations(tmp_path, ["a.jpg", "c.webp"])
    document = json.loads(truth.read_text())
    del document["annotations"][1]["area"]
    truth.write_text(json.dumps(document))
    report = tmp_path / "figures.json"
    status, out, err = run("eval", "m.onnx", "--images", photos, "--annotations", truth, "--json", report)
    assert (status, len(out.splitlines()), error_lines(err)) == (0, 10, [])
    (line,) = err.splitlines()
    assert line.startswith(f"warning: {truth}: 1 of 2 annotated persons, the first annotations[1], without `area`;")
    assert json.loads(report.read_text())["warnings"] == [line.removeprefix("warning: ")]


def test_eval_refuses_areas_that_are_all_0(run: Run, photos: Path, tmp_path: Path):
    pytest.importorskip("faster_coco_eval")
    truth = annotations(tmp_path, ["a.jpg"])
    truth.write_text(truth.read_text().replace('"area": 5000', '"area": 0'))
    status, out, err = run("eval", "m.onnx", "--images", photos, "--annotations", truth)
    assert (status, out) == (1, "")
    (line,) = error_lines(err)
    assert "nothing can match" in line
