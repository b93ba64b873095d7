# SPDX-License-Identifier: Apache-2.0
"""JPEG files that are not quite as they should be, and those that lack a part."""

from __future__ import annotations

import random
import struct
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from source_support import exif_turned, read_all
from support import encoded, picture
from trtpose.errors import InputError
from trtpose.sources import decode_picture
from trtpose.sources.jpeg import read_jpeg
from trtpose.sources.picture_head import BadPictureError

KINDS = {
    "plain": (),
    "progressive": (cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    "restarts": (cv2.IMWRITE_JPEG_RST_INTERVAL, 2),
    "progressive with restarts": (cv2.IMWRITE_JPEG_RST_INTERVAL, 3, cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    "optimised": (cv2.IMWRITE_JPEG_OPTIMIZE, 1, cv2.IMWRITE_JPEG_QUALITY, 40),
    "4:4:4": (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444),
    "grey": None,
}


def jpeg(kind: str) -> bytes:
    options = KINDS[kind]
    if options is None:
        return encoded(".jpg", picture(70, 90)[:, :, 0])
    return encoded(".jpg", picture(70, 90), *options)


def segments(data: bytes) -> list[int]:
    """Where the segments begin, up to the first scan."""
    found, at = [], 2
    while True:
        found.append(at)
        if data[at + 1] == 0xDA:
            return found
        at += 2 + struct.unpack_from(">H", data, at + 2)[0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("missing", [1, 2])
def test_a_picture_without_its_end_marker_is_read(kind: str, missing: int, capfd: pytest.CaptureFixture[str]):
    data = jpeg(kind)
    assert data.endswith(b"\xff\xd9")
    np.testing.assert_array_equal(decode_picture(data[:-missing]), decode_picture(data))
    # What it takes to find out that nothing else is missing is nobody's concern.
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_else_may_be_missing(kind: str, seed: int):
    """A cut gives the whole picture (where what is gone held none of it) or an error, never a part."""
    data = jpeg(kind)
    whole = decode_picture(data)
    rng = random.Random(f"{seed}{kind}")
    errors = 0
    cuts = {*range(3, 60), *(rng.randrange(3, len(data)) for _ in range(100))}
    for cut in cuts:
        try:
            image = decode_picture(data[:-cut])
        except InputError:
            errors += 1
        else:
            np.testing.assert_array_equal(image, whole)
    assert errors > len(cuts) - 8


def test_a_cut_between_restarts():
    data = jpeg("restarts")
    marks = [at for at in range(len(data) - 1) if data[at] == 0xFF and 0xD0 <= data[at + 1] <= 0xD7]
    assert len(marks) > 10
    for at in marks:
        for end in (at, at + 1, at + 2):
            with pytest.raises(InputError, match="cut off"):
                decode_picture(data[:end])


def test_a_scan_that_is_missing():
    """Each scan that is there is whole; the last would have made the picture sharp."""
    data = encoded(".jpg", picture(70, 90), cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    last = data.rindex(b"\xff\xda")
    with pytest.raises(InputError, match="cut off"):
        decode_picture(data[:last])


@pytest.mark.parametrize("stray", [b"\0\0\0", b"\x12", b"\0" * 500, b"\xff\0\xff\0", b"\xff\xff\xff"])
@pytest.mark.parametrize("place", range(5))
def test_stray_bytes_between_segments_are_passed_over(stray: bytes, place: int, capfd: pytest.CaptureFixture[str]):
    data = encoded(".jpg")
    at = segments(data)[1:][place]  # the signature holds the first marker
    np.testing.assert_array_equal(decode_picture(data[:at] + stray + data[at:]), decode_picture(data))
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("kind", KINDS)
def test_bytes_in_place_of_the_end_marker(kind: str):
    data = jpeg(kind)
    for end in (b"\n", b"\0\0", b"\0" * 64, b"\xff\xfe\0\4ab"):
        np.testing.assert_array_equal(decode_picture(data[:-2] + end), decode_picture(data))


def test_stray_bytes_and_no_end_marker_together():
    data = encoded(".jpg")
    for at in segments(data)[1:]:
        np.testing.assert_array_equal(decode_picture(data[:at] + b"abc" + data[at:-2]), decode_picture(data))
        with pytest.raises(InputError, match="cut off"):
            decode_picture(data[:at] + b"abc" + data[at:-40])


def test_a_turn_in_exif_is_kept():
    data = exif_turned(encoded(".jpg"), 6)
    at = segments(data)[2]
    turned = np.rot90(decode_picture(encoded(".jpg")), -1)
    np.testing.assert_array_equal(decode_picture(data[:at] + b"abc" + data[at:-2]), turned)


def test_the_first_of_several_pictures(tmp_path: Path):
    first, second = encoded(".jpg", picture(seed=1)), encoded(".jpg", picture(20, 30, seed=2))
    (tmp_path / "a.mpo").write_bytes(first + second)
    (frame,) = read_all(tmp_path / "a.mpo")
    np.testing.assert_array_equal(frame.image, decode_picture(first))


@pytest.mark.parametrize("before", [b"", b"\xff\xda\0\x08\x01\x01\0\0\x3f\0"], ids=["between segments", "in a scan"])
def test_a_long_run_before_a_marker_takes_no_time(before: bytes):
    data = jpeg("plain")
    run = b"\xff" * 500_000
    start = time.process_time()
    with pytest.raises(BadPictureError, match="cut off"):
        read_jpeg(data[:2] + before + run + b"\0")
    if not before:
        assert read_jpeg(data[:2] + run + data[3:]).width == 90
    assert time.process_time() - start < 60


@pytest.mark.parametrize(
    ("segment", "message"),
    [(b"\xff\xda\0\x03\xff", "a scan of 255 components at byte 6"), (b"\xff\xda\0\x06\x01", "too many segments")],
)
def test_scans_that_no_picture_has(segment: bytes, message: str):
    start = time.process_time()
    with pytest.raises(BadPictureError, match=message):
        read_jpeg(b"\xff\xd8" + segment.ljust(8, b"\0") * 200_000)
    assert time.process_time() - start < 60
