# SPDX-License-Identifier: Apache-2.0
"""Poses: construction, selection, conversions."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import FrozenInstanceError
from typing import Any

import numpy as np
import pytest

from support import PERSON, make_poses, spec_with
from trtpose.errors import InputError
from trtpose.results import Poses, poses_of

K = PERSON.keypoints


def fields(count: int = 2, **changes: Any) -> dict[str, Any]:
    return {
        "boxes": np.tile(np.float32([1, 2, 11, 22]), (count, 1)),
        "scores": np.linspace(0.9, 0.5, count, dtype=np.float32),
        "class_ids": np.zeros(count, np.int32),
        "keypoints": np.full((count, K, 3), 0.5, np.float32),
        "shape": (30, 40),
        "spec": PERSON,
        **changes,
    }


def test_types_are_as_documented_whatever_was_given():
    poses = Poses(
        **fields(
            1,
            boxes=[[1, 2, 3, 4]],
            scores=[0.5],
            class_ids=np.zeros(1, np.int64),
            keypoints=np.zeros((1, K, 3)),
            shape=(np.int64(30), np.int64(40)),
        )
    )
    assert [a.dtype for a in (poses.boxes, poses.scores, poses.class_ids, poses.keypoints)] == [
        np.float32,
        np.float32,
        np.int32,
        np.float32,
    ]
    assert poses.shape == (30, 40)
    assert type(poses.shape[0]) is int


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"boxes": np.zeros((2, 5), np.float32)}, r"boxes has shape \(2, 5\), expected \(n, 4\)"),
        ({"boxes": np.zeros(8, np.float32)}, r"boxes has shape \(8,\), expected \(n, 4\)"),
        ({"scores": np.zeros(3, np.float32)}, r"scores has shape \(3,\), expected \(2,\)"),
        ({"scores": np.zeros((2, 1), np.float32)}, r"scores has shape \(2, 1\), expected \(2,\)"),
        ({"class_ids": np.zeros(1, np.int32)}, r"class_ids has shape \(1,\), expected \(2,\)"),
        ({"class_ids": np.zeros(2, np.float32)}, "class_ids has dtype float32, expected int32"),
        ({"class_ids": np.array([0, 1], np.int32)}, "class_ids runs from 0 to 1, expected 0 to 0"),
        ({"class_ids": np.array([0, -1], np.int32)}, "class_ids runs from -1"),
        ({"keypoints": np.zeros((2, K + 1, 3), np.float32)}, rf"expected \(2, {K}, 3\)"),
        ({"keypoints": np.zeros((2, K, 2), np.float32)}, rf"keypoints has shape \(2, {K}, 2\)"),
        ({"keypoints": np.zeros((2, K, 3), complex)}, "keypoints has dtype complex128, expected float32"),
        ({"boxes": np.array([["a"] * 4] * 2)}, "boxes has dtype"),
        ({"scores": np.array([np.nan, 1], np.float32)}, "scores holds a value that is not finite"),
        ({"boxes": np.full((2, 4), np.inf, np.float32)}, "boxes holds a value that is not finite"),
        ({"keypoints": np.full((2, K, 3), np.nan, np.float32)}, "keypoints holds a value"),
        ({"shape": (0, 40)}, r"shape is \(0, 40\), expected"),
        ({"shape": (30, 40, 3)}, "shape is"),
        ({"shape": None}, "shape is None"),
        ({"shape": (1.5, 2)}, "shape is"),
    ],
)
def test_a_wrong_field_is_named_with_expected_and_actual(change: dict[str, Any], message: str):
    with pytest.raises(InputError, match=message):
        Poses(**fields(**change))


def test_nobody():
    for poses in (
        Poses.empty((30, 40), PERSON),
        Poses([], [], [], [], (30, 40), PERSON),
    ):
        assert len(poses) == 0
        assert not poses
        assert list(poses) == []
        assert poses.boxes.shape == (0, 4)
        assert poses.keypoints.shape == (0, K, 3)
        assert poses.to_dict() == {"width": 40, "height": 30, "poses": []}
        assert poses.to_coco(1) == []
        assert poses.visible().shape == (0, K)


def test_it_cannot_be_reassigned():
    with pytest.raises(FrozenInstanceError):
        make_poses(1).scores = np.zeros(1, np.float32)  # type: ignore[misc]


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        (0, [0]),
        (-1, [3]),
        (np.int64(2), [2]),
        (slice(1, 3), [1, 2]),
        (slice(None, None, -1), [3, 2, 1, 0]),
        ([2, 0], [2, 0]),
        (np.array([1, 1]), [1, 1]),
        (np.array([True, False, False, True]), [0, 3]),
        ([False] * 4, []),
        ([], []),
    ],
)
def test_selection(index: Any, expected: list[int]):
    poses = make_poses(4)
    chosen = poses[index]
    assert isinstance(chosen, Poses)
    np.testing.assert_array_equal(chosen.boxes, poses.boxes[expected])
    np.testing.assert_array_equal(chosen.keypoints, poses.keypoints[expected])
    np.testing.assert_array_equal(chosen.scores, poses.scores[expected])
    assert chosen.shape == poses.shape


@pytest.mark.parametrize("index", [4, -5, np.array([4]), np.array([True]), [0.5], np.zeros((2, 2), int), "a"])
def test_a_wrong_selection_is_an_index_error(index: Any):
    with pytest.raises(IndexError):
        make_poses(4)[index]


def test_iteration_gives_one_person_each_and_ends():
    poses = make_poses(3)
    people = list(poses)
    assert [len(person) for person in people] == [1, 1, 1]
    np.testing.assert_array_equal(np.concatenate([person.boxes for person in people]), poses.boxes)


def test_low_confidence_keypoints_keep_their_place():
    poses = make_poses(3)
    mask = poses.visible()
    assert mask.dtype == bool
    assert 0 < mask.sum() < mask.size
    np.testing.assert_array_equal(mask, poses.keypoints[..., 2] >= 0.5)
    assert (poses.xy[~mask] != 0).all()
    assert poses.visible(0.0).all()
    assert not poses.visible(1.1).any()


def test_json_is_the_documented_dictionary_in_rounded_finite_numbers():
    poses = make_poses(2)
    data = json.loads(poses.to_json())
    assert data == poses.to_dict()
    assert set(data) == {"width", "height", "poses"}
    assert (data["height"], data["width"]) == poses.shape
    for entry, box, score, points in zip(data["poses"], poses.boxes, poses.scores, poses.keypoints, strict=True):
        assert set(entry) == {"score", "class_id", "box", "keypoints"}
        # Half of the last decimal kept.
        np.testing.assert_allclose(entry["box"], box, atol=0.0051, rtol=0)
        assert entry["score"] == pytest.approx(score, abs=0.000051)
        np.testing.assert_allclose(np.array(entry["keypoints"])[:, :2], points[:, :2], atol=0.0051, rtol=0)
        np.testing.assert_allclose(np.array(entry["keypoints"])[:, 2], points[:, 2], atol=0.000051, rtol=0)
        assert len(repr(entry["box"][0]).split(".")[1]) <= 2


def test_coco_results():
    poses = make_poses(2)
    results = poses.to_coco(42)
    assert [set(r) for r in results] == [{"image_id", "category_id", "bbox", "keypoints", "score"}] * 2
    for result, box, points in zip(results, poses.boxes, poses.keypoints, strict=True):
        assert result["image_id"] == 42
        assert result["category_id"] == 1
        left, top, right, bottom = box.astype(float)
        assert result["bbox"] == [left, top, right - left, bottom - top]
        assert result["keypoints"] == points.reshape(-1).astype(float).tolist()
    json.dumps(results)
    assert poses.to_coco(1, {0: 18})[0]["category_id"] == 18
    assert poses.to_coco(1, [7])[0]["category_id"] == 7
    for lacking in ({1: 2}, []):
        with pytest.raises(InputError, match="class 0"):
            poses.to_coco(1, lacking)


def test_names_follow_the_spec():
    spec = spec_with(K, names=["cat", "dog"])
    poses = Poses(**fields(2, spec=spec, class_ids=np.array([1, 0], np.int32)))
    assert poses.names == ["dog", "cat"]


def test_supervision_gets_our_boxes_and_warns_of_nothing():
    sv = pytest.importorskip("supervision", reason="supervision is not installed")
    poses = make_poses(3)
    points, detections = poses.to_supervision()
    assert isinstance(points, sv.KeyPoints)
    assert isinstance(detections, sv.Detections)
    np.testing.assert_array_equal(detections.xyxy, poses.boxes)
    np.testing.assert_array_equal(detections.confidence, poses.scores)
    np.testing.assert_array_equal(points.xy, poses.xy)
    # Renamed in supervision 0.29.
    confidence = points.keypoint_confidence if hasattr(points, "keypoint_confidence") else points.confidence
    np.testing.assert_array_equal(confidence, poses.confidence)
    assert list(points.data["class_name"]) == ["person"] * 3
    points, detections = poses[[]].to_supervision()
    assert len(points) == len(detections) == 0


def test_draw_is_the_module_function():
    from trtpose.draw import draw

    poses, frame = make_poses(2), np.zeros((240, 320, 3), np.uint8)
    np.testing.assert_array_equal(poses.draw(frame, boxes=False), draw(frame, poses, boxes=False))
    assert not frame.any()


def test_results_do_not_load_an_engine_or_opencv():
    code = "import sys, trtpose.results; sys.exit('cv2' in sys.modules or 'supervision' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_dictionaries_there_and_back():
    for count in (0, 1, 4):
        poses = make_poses(count)
        again = Poses.from_dict(json.loads(poses.to_json()), PERSON)
        assert again.to_dict() == poses.to_dict()
        assert again.shape == poses.shape
        np.testing.assert_allclose(again.boxes, poses.boxes, atol=0.006)
        np.testing.assert_allclose(again.keypoints, poses.keypoints, atol=0.006)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("poses"), "Poses: poses is missing"),
        (lambda d: d.pop("height"), "Poses: height is missing"),
        (lambda d: d["poses"][1].pop("box"), "Poses: box is missing; give what Poses.to_dict makes"),
        (lambda d: d["poses"][0]["keypoints"].pop(), "Poses: not what Poses.to_dict makes"),
        (lambda d: d.update(poses=3), "Poses: not what Poses.to_dict makes"),
        (lambda d: d["poses"][0].update(score="high"), "Poses: scores has dtype"),
        (lambda d: d.update(width=0), "Poses: shape is"),
        (lambda d: [p.update(class_id=7) for p in d["poses"]], "class_ids runs from 7 to 7"),
    ],
)
def test_dictionaries_that_are_not_poses(change: Any, message: str):
    values = make_poses(2).to_dict()
    change(values)
    with pytest.raises(InputError, match=message):
        Poses.from_dict(values, PERSON)


@pytest.mark.parametrize("sound", [True, False])
def test_poses_of_the_native_side_are_as_constructed(sound: bool) -> None:
    expected = make_poses(3)
    arrays = (expected.boxes, expected.scores, expected.class_ids, expected.keypoints, expected.shape, sound)
    made = poses_of(arrays, expected.spec)
    assert vars(made).keys() == vars(expected).keys()
    for name, value in vars(expected).items():
        assert (
            np.array_equal(getattr(made, name), value)
            if isinstance(value, np.ndarray)
            else getattr(made, name) == value
        )
    assert made[0].scores.tolist() == expected[0].scores.tolist()


def test_what_the_native_side_calls_unsound_is_looked_at() -> None:
    good = make_poses(3)
    keypoints = good.keypoints.copy()
    keypoints[0, 0, 0] = np.nan
    with pytest.raises(InputError, match="keypoints holds a value that is not finite"):
        poses_of((good.boxes, good.scores, good.class_ids, keypoints, good.shape, False), good.spec)
