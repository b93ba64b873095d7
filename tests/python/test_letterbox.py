# SPDX-License-Identifier: Apache-2.0
"""The letterbox equals OpenCV's resize and border in every byte."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

import trtpose
from trtpose.errors import InputError
from trtpose.spec import PLACEMENTS, ROUNDINGS, SIZINGS, ModelSpec

Frame = NDArray[np.uint8]
ROUNDS = 2500


def by_opencv(
    frame: Frame, size: tuple[int, int], pad: int = 114, form: tuple[str, str, str] = ("center", "nearest", "fit")
) -> Frame:
    """height×width×3 bytes in the frame's channel order, for ``form`` (placement, rounding, sizing)."""
    placement, rounding, sizing = form
    whole = int if rounding == "down" else round
    height, width = size
    h, w = frame.shape[:2]
    r = height / h
    if sizing == "fit" or max(whole(w * r), 1) > width:
        r = min(r, width / w)
    new_w = width if sizing == "stretch" else min(max(whole(w * r), 1), width)
    new_h = height if sizing == "stretch" else min(max(whole(h * r), 1), height)
    if sizing == "height" and r == height / h and w * r > 0.5:  # it makes no picture without a column
        scaled = cv2.resize(frame, None, fx=r, fy=r, interpolation=cv2.INTER_LINEAR)[:new_h, :new_w]
    else:
        scaled = cv2.resize(frame, (new_w, new_h), interpolation=cv2.INTER_LINEAR)
    dw, dh = (width - new_w) / 2, (height - new_h) / 2
    top, bottom, left, right = round(dh - 0.1), round(dh + 0.1), round(dw - 0.1), round(dw + 0.1)
    if placement == "top_left":
        top, bottom, left, right = 0, height - new_h, 0, width - new_w
    return cv2.copyMakeBorder(scaled, top, bottom, left, right, cv2.BORDER_CONSTANT, value=(pad, pad, pad))


def expect_equal(frame: Frame, size: tuple[int, int], color: str, note: str) -> None:
    got = trtpose.letterbox(frame, size, color=color)
    planes = by_opencv(np.ascontiguousarray(frame), size)
    if color == "bgr":
        planes = planes[..., ::-1]
    # The division is the same float32 operation on the same byte, so the numbers are equal, not merely close.
    expected = planes.transpose(2, 0, 1).astype(np.float32) / np.float32(255)
    assert got.dtype == np.float32
    assert got.shape == (3, *size)
    if not np.array_equal(got, expected):
        off = np.abs(got - expected)
        raise AssertionError(f"{note}: {int((off > 0).sum())} numbers differ, worst by {off.max() * 255:.3f} bytes")


def lay_out(pixels: Frame, kind: int, rng: np.random.Generator) -> Frame:
    """The same picture in memory of another form: as it is, in wider rows, inside a larger picture, upside down."""
    h, w = pixels.shape[:2]
    if kind == 1:
        room = np.empty((h, 3 * w + int(rng.integers(1, 50))), np.uint8)
        view = np.lib.stride_tricks.as_strided(room, (h, w, 3), (room.strides[0], 3, 1))
        view[...] = pixels
        return view
    if kind == 2:
        room = np.empty((h + 3, w + 5, 3), np.uint8)
        room[2 : 2 + h, 4 : 4 + w] = pixels
        return room[2 : 2 + h, 4 : 4 + w]
    if kind == 3:
        return np.ascontiguousarray(pixels[::-1])[::-1]
    return pixels


def random_side(rng: np.random.Generator) -> int:
    """Mostly ordinary sides, some of 1 to 4 pixels, a few long ones."""
    kind = rng.integers(0, 10)
    if kind == 0:
        return int(rng.integers(1, 5))
    return int(rng.integers(1, 900 if kind == 1 else 160))


def test_equals_opencv_on_random_pictures_and_sizes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    up = down = 0
    for index in range(ROUNDS):
        h, w = random_side(rng), random_side(rng)
        size = (random_side(rng), random_side(rng)) if index % 3 else (32 * int(rng.integers(1, 8)),) * 2
        if index % 10 == 0:
            size = (h, w)  # nothing to scale
        elif index % 10 == 5:
            size = (max(h // 2, 1), max(w // 2, 1))  # exactly one half, where OpenCV has a path of its own
        pixels = rng.integers(0, 256, (h, w, 3), dtype=np.uint8)
        if index % 4 == 1:
            pixels = cv2.GaussianBlur(pixels, (0, 0), 3)
        color = "rgb" if index % 5 == 2 else "bgr"
        note = f"seed {seed} round {index}: {h}×{w} to {size[0]}×{size[1]}, layout {index % 4}, {color}"
        expect_equal(lay_out(pixels, index % 4, rng), size, color, note)
        scale = min(size[0] / h, size[1] / w)
        up += scale > 1
        down += scale < 1
    assert up > ROUNDS // 5
    assert down > ROUNDS // 5


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((1080, 1920), (960, 960)),
        ((1080, 1920), (544, 960)),
        ((2160, 3840), (640, 640)),
        ((480, 640), (960, 960)),
        ((427, 640), (448, 640)),
        ((1, 1), (640, 640)),
        ((1, 4000), (64, 64)),
        ((4000, 1), (64, 64)),
        ((3, 30000), (96, 96)),
        ((30000, 3), (96, 96)),
        ((2, 2), (1, 1)),
        ((639, 640), (640, 640)),
        ((1280, 1280), (640, 640)),
        ((1920, 1920), (640, 640)),
        ((960, 1280), (240, 320)),
    ],
)
def test_equals_opencv_at_notable_sizes(shape: tuple[int, int], size: tuple[int, int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    expect_equal(rng.integers(0, 256, (*shape, 3), dtype=np.uint8), size, "bgr", f"seed {seed}")


@pytest.mark.parametrize("value", [0, 1, 127, 254, 255])
def test_flat_pictures_stay_flat(value: int) -> None:
    frame = np.full((77, 51, 3), value, np.uint8)
    expect_equal(frame, (128, 96), "bgr", str(value))


def test_mean_std_pad_and_order_come_from_the_spec(seed: int) -> None:
    rng = np.random.default_rng(seed)
    frame = rng.integers(0, 256, (50, 70, 3), dtype=np.uint8)
    spec = ModelSpec(
        layout="channels_first",
        imgsz=(64, 64),
        strides=(8, 16, 32),
        names=("person",),
        kpt_shape=(17, 3),
        color="bgr",
        mean=(103.53, 116.28, 123.675),
        std=(57.375, 57.12, 58.395),
        pad=7,
    )
    got = trtpose.letterbox(frame, 64, spec=spec)
    planes = by_opencv(frame, (64, 64), 7).transpose(2, 0, 1).astype(np.float32)
    mean = np.asarray(spec.mean, np.float32)[:, None, None]
    std = np.asarray(spec.std, np.float32)[:, None, None]
    assert np.array_equal(got, (planes - mean) / std)


@pytest.mark.parametrize("sizing", SIZINGS)
@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("placement", PLACEMENTS)
def test_every_form_equals_opencv(placement: str, rounding: str, sizing: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    spec = ModelSpec(
        layout="channels_first",
        imgsz=(64, 64),
        strides=(8,),
        names=("person",),
        kpt_shape=(17, 3),
        color="bgr",
        std=(1.0, 1.0, 1.0),
        pad=7,
        placement=placement,
        rounding=rounding,
        sizing=sizing,
    )
    for index in range(120):
        size = (random_side(rng), random_side(rng)) if index % 3 else (32 * int(rng.integers(1, 8)),) * 2
        pixels = rng.integers(0, 256, (random_side(rng), random_side(rng), 3), dtype=np.uint8)
        got = trtpose.letterbox(lay_out(pixels, index % 4, rng), size, spec=spec)
        expected = by_opencv(pixels, size, 7, (placement, rounding, sizing)).transpose(2, 0, 1)
        assert np.array_equal(got, expected), f"seed {seed} round {index}: {pixels.shape} to {size}"


@pytest.mark.parametrize(
    "frame",
    [
        np.zeros((0, 5, 3), np.uint8),
        np.zeros((5, 0, 3), np.uint8),
        np.zeros((5, 5), np.uint8),
        np.zeros((5, 5, 1), np.uint8),
        np.zeros((5, 5, 4), np.uint8),
        np.zeros((5, 5, 3), np.float64),
        np.zeros((5, 5, 3), np.int8),
        np.zeros((1, 5, 5, 3), np.uint8),
        None,
        "picture.jpg",
    ],
    ids=lambda value: str(getattr(value, "shape", value)),
)
def test_what_is_no_picture_is_refused(frame: object) -> None:
    with pytest.raises(InputError):
        trtpose.letterbox(frame, 64)


@pytest.mark.parametrize("size", [0, -32, (64, 0), (1 << 20, 64)])
def test_sizes_that_cannot_be_are_refused(size: int | tuple[int, int]) -> None:
    with pytest.raises(InputError):
        trtpose.letterbox(np.zeros((5, 5, 3), np.uint8), size)
