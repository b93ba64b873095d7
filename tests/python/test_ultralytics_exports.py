# SPDX-License-Identifier: Apache-2.0
"""Ends of Ultralytics' pose exports of every kind, beside that program's own predictions with the same files.

``tools/compare_ultralytics`` made them (``small.py``) and compares whole networks.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from trtpose import Engine, InputError, Poses
from trtpose.formats.metadata import find_spec

DATA = Path(__file__).resolve().parents[1] / "data" / "ultralytics"
FOUND: dict[str, Any] = json.loads((DATA / "found.json").read_text(encoding="utf-8"))["files"]
PICTURES = {name: np.asarray(Image.open(DATA / f"{name}.png").convert("RGB"))[..., ::-1] for name in ("tall", "wide")}


def engine(name: str, **options: Any) -> Engine:
    limits = {key: FOUND[name][key] for key in ("conf", "iou", "max_det")}
    return Engine(DATA / f"{name}.onnx", threads=1, **limits, **options)


def agree(poses: Poses, expected: dict[str, Any], picture: NDArray[np.uint8]) -> None:
    """Each of the program's poses is found once; it clips keypoints to the picture."""
    assert len(poses) == len(expected["scores"])
    height, width = picture.shape[:2]
    points = poses.keypoints.copy()
    points[..., :2] = points[..., :2].clip(0, (width, height))
    free = list(range(len(poses)))
    for box, score, label, others in zip(
        *(expected[k] for k in ("boxes", "scores", "classes", "keypoints")), strict=True
    ):
        mine = min(free, key=lambda i: np.abs(poses.boxes[i] - box).max() + abs(poses.scores[i] - score))
        free.remove(mine)
        theirs = np.array(others)
        assert poses.class_ids[mine] == label
        assert poses.scores[mine] == pytest.approx(score, abs=1e-4)
        np.testing.assert_allclose(poses.boxes[mine], box, atol=0.05)
        np.testing.assert_allclose(points[mine, :, :2], theirs[:, :2], atol=0.25)
        if theirs.shape[1] == 3:
            np.testing.assert_allclose(points[mine, :, 2], theirs[:, 2], atol=1e-3)


def test_the_data_is_of_every_kind() -> None:
    options = {part for file in FOUND.values() for part in file["option"].split("+")}
    assert options == {"plain", "dynamic", "half", "nms", "end2end", "batch", "rectangular", "opset"}
    assert all(sum(len(found["scores"]) for found in file["found"].values()) > 3 for file in FOUND.values())
    assert {path.stem for path in DATA.glob("*.onnx")} == set(FOUND)


@pytest.mark.parametrize("name", FOUND)
def test_the_same_poses_as_the_program_that_wrote_it(name: str) -> None:
    found = FOUND[name]["found"]
    together = engine(name).infer([PICTURES[each] for each in found])
    for each, poses in zip(found, together, strict=True):
        agree(poses, found[each], PICTURES[each])


@pytest.mark.parametrize("name", [name for name, file in FOUND.items() if "rect" in file])
def test_the_same_poses_with_as_little_padding(name: str) -> None:
    small = engine(name, rect=True)
    for each, expected in FOUND[name]["rect"].items():
        (poses,) = small.infer(PICTURES[each])
        agree(poses, expected, PICTURES[each])


@pytest.mark.parametrize("name", ["v8-dynamic", "26-dynamic", "26-dynamic-end2end", "v8-dynamic-nms-batch"])
def test_a_batch_is_as_each_alone(name: str) -> None:
    pictures = [*PICTURES.values()]
    for mine, picture in zip(engine(name, batch=2).infer(pictures), pictures, strict=True):
        (alone,) = engine(name, batch=1).infer(picture)
        np.testing.assert_array_equal(mine.class_ids, alone.class_ids)
        np.testing.assert_allclose(mine.boxes, alone.boxes, atol=1e-3)
        assert len(alone)


@pytest.mark.parametrize(("name", "most"), [("v8-dynamic-nms", 1), ("v8-dynamic-nms-batch", 4)])
def test_an_nms_inside_looks_at_as_many_pictures_as_it_was_exported_for(name: str, most: int) -> None:
    """Its input's shape says any number; what lies behind them comes out empty."""
    assert engine(name).batch == 1
    assert engine(name, batch=most).batch == most
    words = rf"batch {most + 1}: .* as many as its own NMS was exported for; export it with batch={most + 1}"
    with pytest.raises(InputError, match=words):
        engine(name, batch=most + 1)
    with pytest.raises(InputError, match=words):
        engine(name, batch=most + 1, spec=find_spec(DATA / f"{name}.onnx").spec)
