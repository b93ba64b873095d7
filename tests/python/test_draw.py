# SPDX-License-Identifier: Apache-2.0
"""Drawing: what is touched, what is not, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from support import PERSON, make_poses, spec_with
from trtpose.draw import draw
from trtpose.errors import InputError
from trtpose.results import Poses
from trtpose.skeletons import COCO

GREY = 90


def canvas(height: int = 240, width: int = 320) -> np.ndarray:
    return np.full((height, width, 3), GREY, np.uint8)


def one_person(points: dict[int, tuple[float, float, float]], box=(100, 60, 200, 220), shape=(240, 320)) -> Poses:
    keypoints = np.zeros((1, PERSON.keypoints, 3), np.float32)
    for index, values in points.items():
        keypoints[0, index] = values
    return Poses([box], [0.9], [0], keypoints, shape, PERSON)


def touched(image: np.ndarray) -> np.ndarray:
    return (image != GREY).any(axis=2)


def test_a_copy_unless_asked():
    frame, poses = canvas(), make_poses(3)
    drawn = draw(frame, poses)
    assert drawn is not frame
    assert (frame == GREY).all()
    assert touched(drawn).any()
    assert drawn.dtype == np.uint8
    assert drawn.shape == frame.shape
    same = draw(frame, poses, in_place=True)
    assert same is frame
    np.testing.assert_array_equal(frame, drawn)


def test_in_place_on_a_view_with_padded_rows():
    wide = canvas(240, 352)
    view = wide[:, :320]
    drawn = draw(view, make_poses(2), in_place=True)
    assert drawn is view
    np.testing.assert_array_equal(view, draw(canvas(), make_poses(2)))
    assert (wide[:, 320:] == GREY).all()


def test_read_only_frames():
    frame = canvas()
    frame.flags.writeable = False
    assert touched(draw(frame, make_poses(1))).any()
    with pytest.raises(InputError, match="read-only"):
        draw(frame, make_poses(1), in_place=True)


def test_a_limb_lies_on_its_keypoints():
    poses = one_person({5: (120.5, 80.5, 0.9), 7: (160.5, 120.5, 0.9)})
    drawn = draw(canvas(), poses, boxes=False, labels=False)
    ys, xs = np.nonzero(touched(drawn))
    assert drawn[100, 140].tolist() == [40, 140, 255]  # middle of the left upper arm: orange
    # Nothing farther from the segment than half the line with its outline and the dots.
    along = ((xs - 120) + (ys - 80)) / 2
    across = np.abs((xs - 120) - (ys - 80)) / np.sqrt(2)
    assert across.max() < 8
    assert along.min() > -8
    assert along.max() < 48


def test_drawing_is_centred_on_the_pixel():
    # 150.5 is the centre of pixel 150, so the dot is symmetric about that pixel.
    mask = touched(draw(canvas(), one_person({0: (150.5, 100.5, 1.0)}), boxes=False, labels=False))
    np.testing.assert_array_equal(mask[:, 100:201], mask[:, 100:201][:, ::-1])
    np.testing.assert_array_equal(mask[50:151], mask[50:151][::-1])


def test_the_sides_have_their_colours():
    for index, side in ((5, [40, 140, 255]), (6, [255, 190, 60]), (0, [120, 230, 120])):
        drawn = draw(canvas(), one_person({index: (150.5, 100.5, 1.0)}), boxes=False, labels=False)
        assert drawn[100, 150].tolist() == side


@pytest.mark.parametrize(("confidence", "shown"), [(0.49, False), (0.5, True), (0.9, True)])
def test_the_threshold(confidence: float, shown: bool):
    poses = one_person({0: (150, 100, confidence), 1: (170, 100, confidence)})
    assert touched(draw(canvas(), poses, boxes=False, labels=False)).any() == shown
    assert touched(draw(canvas(), poses, boxes=False, labels=False, threshold=0.4)).any()


def test_a_line_needs_both_ends():
    both = one_person({5: (110, 80, 0.9), 7: (190, 80, 0.9)})
    one = one_person({5: (110, 80, 0.9), 7: (190, 80, 0.1)})
    assert touched(draw(canvas(), both, boxes=False, labels=False))[80, 150]
    assert not touched(draw(canvas(), one, boxes=False, labels=False))[80, 150]


def test_boxes_and_labels_are_optional():
    poses = one_person({})
    assert not touched(draw(canvas(), poses, boxes=False, labels=False)).any()
    box = touched(draw(canvas(), poses, labels=False))
    assert box[60, 150]
    assert box[140, 100]
    assert not box[140, 150]
    label = touched(draw(canvas(), poses, boxes=False))
    assert label[:60].any()
    assert not label[60:].any()


def widest_run(drawn: np.ndarray, row: int) -> int:
    return int(touched(drawn)[row].sum())


def test_lines_grow_with_the_person_and_with_the_picture():
    def width(box: tuple[float, ...], shape: tuple[int, int]) -> int:
        x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        half = (box[3] - box[1]) / 2
        poses = one_person({5: (x, y - half, 1), 7: (x, y + half, 1)}, box, shape)
        return widest_run(draw(canvas(*shape), poses, boxes=False, labels=False), int(y))

    shape = (1080, 1920)
    small, middle, large = (width((100, 100, 100 + s, 100 + 2 * s), shape) for s in (20, 100, 400))
    assert small < middle < large
    assert small <= 3
    assert large <= 30
    # The same person filling a larger picture has proportionally wider lines.
    assert width((400, 200, 1400, 1000), shape) > 2 * width((80, 40, 280, 200), (216, 384))


@pytest.mark.parametrize(
    "point", [(-50.0, -50.0), (1e5, 100.0), (3e38, 0.0), (-3e38, 3e38), (0.0, 0.0), (320.0, 240.0)]
)
def test_points_outside_the_frame_do_no_harm(point: tuple[float, float]):
    poses = one_person({5: (*point, 1.0), 7: (150.0, 100.0, 1.0)}, box=(-1e30, -5, 1e30, 500))
    assert touched(draw(canvas(), poses)).any()


@pytest.mark.parametrize("box", [(10, 10, 10, 10), (50, 50, 20, 20), (400, 400, 500, 500), (-90, -90, -10, -10)])
def test_odd_boxes_do_no_harm(box: tuple[float, ...]):
    draw(canvas(), one_person({0: (5, 5, 1)}, box))


@pytest.mark.parametrize("shape", [(1, 1), (2, 500), (500, 3), (16, 16)])
def test_tiny_frames(shape: tuple[int, int]):
    assert draw(np.zeros((*shape, 3), np.uint8), make_poses(3, shape)).shape == (*shape, 3)


@pytest.mark.parametrize("keypoints", [1, 5, 9, 133])
def test_any_number_of_keypoints(keypoints: int):
    assert touched(draw(canvas(), make_poses(2, spec=spec_with(keypoints)))).any()


def test_class_names_that_the_font_lacks():
    spec = spec_with(len(COCO), names=["человек", "b" * 500])
    poses = make_poses(3)
    draw(canvas(), Poses(poses.boxes, poses.scores, np.array([0, 1, 0]), poses.keypoints, poses.shape, spec))


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (np.zeros((240, 320), np.uint8), r"shape \(240, 320\), expected \(height, width, 3\)"),
        (np.zeros((240, 320, 4), np.uint8), r"shape \(240, 320, 4\)"),
        (np.zeros((0, 0, 3), np.uint8), "expected"),
        (np.zeros((240, 320, 3), np.float32), "dtype float32, expected uint8"),
        (np.zeros((240, 321, 3), np.uint8), r"\(240, 321\), the poses were found in \(240, 320\)"),
        ([[1]], "is a list"),
    ],
)
def test_wrong_frames_are_refused(frame: Any, message: str):
    with pytest.raises(InputError, match=message):
        draw(frame, make_poses(1))


def test_nobody_leaves_the_frame_alone():
    assert not touched(draw(canvas(), Poses.empty((240, 320), PERSON))).any()


def test_the_order_of_people_keeps_their_colours():
    """A person's colour belongs to the row, so that drawing fewer people does not recolour the first ones."""
    poses = make_poses(2)
    poses = replace(poses, boxes=np.float32([[10, 10, 60, 60], [100, 100, 300, 200]]))
    first = draw(canvas(), poses[0], labels=False)[10, 30].tolist()
    both = draw(canvas(), poses, labels=False)
    assert both[10, 30].tolist() == first
    assert both[100, 200].tolist() != first
