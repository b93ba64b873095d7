# SPDX-License-Identifier: Apache-2.0
"""Following one person by a crop: the square of the published rule, there and back, and the command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import trtpose
from support import PERSON, make_poses, spec_with
from trtpose.results import Poses
from trtpose.skeletons import COCO
from trtpose.sources import Frame
from trtpose.tracking.crop import Crops, Square, square_around

SHAPE = (480, 640)


def person(**places: tuple[float, float]) -> Any:
    """K x 3 with the named keypoints seen; all others lie at (0, 0) unseen."""
    out = np.zeros((len(COCO), 3), np.float32)
    for name, place in places.items():
        out[COCO.names.index(name)] = (*place, 0.9)
    return out


TRUNK = {
    "left_shoulder": (340.0, 200.0),
    "right_shoulder": (300.0, 200.0),
    "left_hip": (330.0, 260.0),
    "right_hip": (310.0, 260.0),
}


def test_the_square_is_as_wide_as_the_trunk_wants_it():
    # About (320, 260), the farthest point of the trunk 60 pixels up: 1.9 times that to each side.
    assert square_around(person(**TRUNK), COCO.names, SHAPE) == Square(206, 146, 228)


def test_what_else_is_seen_counts_with_less_room():
    # A wrist 110 pixels to the side: 1.2 * 110 = 132 is more than 1.9 * 60 = 114.
    assert square_around(person(**TRUNK, left_wrist=(430.0, 260.0)), COCO.names, SHAPE) == Square(188, 128, 264)
    unseen = person(**TRUNK, left_wrist=(430.0, 260.0))
    unseen[COCO.names.index("left_wrist"), 2] = 0.2
    assert square_around(unseen, COCO.names, SHAPE) == Square(206, 146, 228)


@pytest.mark.parametrize("missing", ["shoulder", "hip"])
def test_without_shoulder_or_hip_the_whole_frame_is_taken(missing: str):
    one = {name: place for name, place in TRUNK.items() if name != f"left_{missing}"}
    neither = {name: place for name, place in TRUNK.items() if missing not in name}
    # Points of one side are enough to follow; where they are, unseen ones count as the rule has it.
    keypoints = person(**TRUNK)
    keypoints[COCO.names.index(f"left_{missing}"), 2] = 0.1
    assert square_around(keypoints, COCO.names, SHAPE) == Square(206, 146, 228)
    assert square_around(person(**neither), COCO.names, SHAPE) is None
    assert len(one) == 3


def test_a_person_as_large_as_the_frame_is_looked_for_in_all_of_it():
    # 1.9 * 200 = 380 pixels to each side; no edge is farther than 320, which is half the longer side and still taken.
    far = {**TRUNK, "left_shoulder": (340.0, 60.0), "right_shoulder": (300.0, 60.0)}
    assert square_around(person(**far), COCO.names, SHAPE) == Square(0, -60, 640)
    # From a corner an edge is farther than that.
    corner = {name: (x - 200, y) for name, (x, y) in far.items()}
    assert square_around(person(**corner), COCO.names, SHAPE) is None


def test_a_square_beyond_the_frame_is_black_there_and_comes_back():
    image = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3) + 1
    cut = Square(-1, 2, 4).cut(image)
    assert np.array_equal(cut[:2, 1:], image[2:, :3])
    assert not cut[2:].any()
    assert not cut[:, 0].any()
    assert not Square(90, 90, 3).cut(image).any()

    poses = make_poses(2, (50, 50))
    poses.keypoints[1, 3] = 0
    moved = Square(20, -10, 50).back(poses, SHAPE)
    assert moved.shape == SHAPE
    assert np.allclose(moved.keypoints[0, :, :2], poses.keypoints[0, :, :2] + [20, -10])
    assert np.array_equal(moved.keypoints[..., 2], poses.keypoints[..., 2])
    assert not moved.keypoints[1, 3].any()
    assert np.allclose(moved.boxes[:, 2], poses.boxes[:, 2] + 20)
    assert (moved.boxes[:, 1] >= 0).all()


class Finder:
    """Finds the brightest pixel: the middle of the hips of a person of fixed size."""

    def __init__(self) -> None:
        self.spec = PERSON
        self.sizes: list[tuple[int, int]] = []

    def infer(self, images: list[Any]) -> list[Poses]:
        (image,) = images
        self.sizes.append(image.shape[:2])
        row, column = np.unravel_index(int(image[..., 0].argmax()), image.shape[:2])
        if image[row, column, 0] < 200:
            return [make_poses(0, image.shape[:2])]
        keypoints = person(**TRUNK)[None]
        keypoints[..., :2] += np.array([column - 320, row - 260], np.float32)
        one = np.ones(1, np.float32)
        return [
            Poses(np.array([[0, 0, 9, 9]], np.float32), one, np.zeros(1, np.int32), keypoints, image.shape[:2], PERSON)
        ]


def frame(x: int, y: int, index: int, video: bool = True) -> Frame:
    image = np.zeros((*SHAPE, 3), np.uint8)
    image[y, x] = 255
    return Frame(image=image, source="walk", index=index, position=0, is_video=video)


def test_the_person_is_looked_for_where_it_was():
    finder = Finder()
    crops = Crops(finder)
    for index, (x, y) in enumerate([(300, 240), (310, 250), (330, 240)]):
        found = crops.infer(frame(x, y, index))
        hips = found.keypoints[0, [COCO.names.index("left_hip"), COCO.names.index("right_hip")], :2].mean(axis=0)
        assert hips.tolist() == [x, y]
        assert found.shape == SHAPE
    assert finder.sizes == [SHAPE, (228, 228), (228, 228)]
    # Out of the square nobody is found; then all of the frame is looked at again.
    assert len(crops.infer(frame(20, 20, 3))) == 0
    assert len(crops.infer(frame(300, 240, 4))) == 1
    crops.end(0)
    crops.infer(frame(300, 240, 5))
    assert finder.sizes[3:] == [(228, 228), SHAPE, SHAPE]


def test_pictures_have_no_frame_before_them():
    finder = Finder()
    crops = Crops(finder)
    for index in range(2):
        crops.infer(frame(300, 240, index, video=False))
    assert finder.sizes == [SHAPE, SHAPE]


def test_keypoints_without_shoulders_are_refused():
    finder = Finder()
    finder.spec = spec_with(5, names=["face"], kpt_names=[])
    with pytest.raises(trtpose.InputError, match=r"goes by shoulders and hips, .* leave --crop out"):
        Crops(finder)


def test_the_command(opened: Any, run: Any, photos: Path):
    del opened
    status, _, err = run("infer", "model.onnx", photos, "--crop")
    assert (status, err) == (0, "")
