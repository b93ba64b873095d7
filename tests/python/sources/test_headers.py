# SPDX-License-Identifier: Apache-2.0
"""The head of a picture file: what is cut off, too large or no picture is seen before it is decoded."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest

from source_support import FORMATS, can_encode, with_size
from support import encoded, picture
from trtpose.errors import InputError
from trtpose.sources import decode_picture, pictures, read_picture
from trtpose.sources.headers import read_head
from trtpose.sources.picture_head import BadPictureError


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_picture_cut_off_anywhere_is_an_error(suffix: str, seed: int):
    if not can_encode(suffix):
        pytest.skip(f"this OpenCV does not write {suffix}")
    data = encoded(suffix)
    rng = random.Random(seed)
    lengths = {*range(40), *(len(data) - n for n in range(1, 20)), *(rng.randrange(len(data)) for _ in range(60))}
    if suffix == ".jpg":
        lengths -= {len(data) - 1, len(data) - 2}  # its end marker alone: the picture is whole
    for length in sorted(lengths):
        if length < 0:
            continue
        with pytest.raises(InputError, match=r"^cut: "):
            decode_picture(data[:length], name="cut")


def test_a_progressive_jpeg_cut_off_between_its_scans_is_an_error():
    data = encoded(".jpg", picture(200, 300), cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    assert decode_picture(data).shape == (200, 300, 3)
    scan = 0
    found = 0
    while (scan := data.find(b"\xff\xda", scan + 1)) >= 0:
        found += 1
        with pytest.raises(InputError, match="cut off"):
            decode_picture(data[:scan])
    assert found > 3


def test_a_thumbnail_does_not_hide_a_missing_end():
    data = encoded(".jpg", picture(200, 300))
    thumbnail = encoded(".jpg", picture(16, 16))
    segment = b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail
    whole = data[:2] + segment + data[2:]
    assert decode_picture(whole).shape == (200, 300, 3)
    with pytest.raises(InputError, match="cut off"):
        decode_picture(whole[: len(segment) + 200])


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".gif", ".ppm", ".jp2", ".avif", ".tiff"])
def test_a_header_that_claims_a_huge_picture_is_refused_before_decoding(suffix: str, monkeypatch: pytest.MonkeyPatch):
    if not can_encode(suffix):
        pytest.skip(f"this OpenCV does not write {suffix}")

    def never(*_: object) -> None:
        raise AssertionError("was decoded")

    monkeypatch.setattr(pictures.cv2, "imdecode", never)
    with pytest.raises(InputError, match=r"^bomb: 60000x50000 pixels are more than the \d+ that are decoded; scale"):
        decode_picture(with_size(suffix, 60000, 50000), name="bomb")
    with pytest.raises(InputError):
        decode_picture(with_size(suffix, 0, 50), name="bomb")


def test_webp_sizes_are_read():
    lossless = encoded(".webp", picture(33, 77), cv2.IMWRITE_WEBP_QUALITY, 101)
    lossy = encoded(".webp", picture(33, 77), cv2.IMWRITE_WEBP_QUALITY, 50)
    alpha = np.dstack([picture(33, 77), np.full((33, 77), 100, np.uint8)])
    for data in (lossless, lossy, encoded(".webp", alpha, cv2.IMWRITE_WEBP_QUALITY, 50)):
        with pytest.raises(InputError, match="77x33 pixels are more than the 2540"):
            decode_picture(data, max_pixels=33 * 77 - 1)
        assert decode_picture(data, max_pixels=33 * 77).shape == (33, 77, 3)


def test_the_limit_is_inclusive():
    assert decode_picture(encoded(".png"), max_pixels=48 * 64).shape == (48, 64, 3)
    with pytest.raises(InputError, match="64x48 pixels are more than the 3071"):
        decode_picture(encoded(".png"), max_pixels=48 * 64 - 1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"\0", "not a picture of a known format"),
        (b"hello, world", "not a picture of a known format"),
        (b"\0" * 4096, "not a picture of a known format"),
        (b'{"a": 1}', "not a picture of a known format"),
        (b"\xff\xd8\xff", "cut off"),
        (b"\xff\xd8\xff\xd9", "no frame header"),
        (b"\xff\xd8\xff\xe0\x00\x00", "segment of length 0"),
        (b"\x89PNG\r\n\x1a\n", "cut off"),
        (b"II*\0\xff\xff\xff\xff", "cut off"),
        (b"P6\n", "does not state its size"),
        (b"BM", "cut off"),
        (b"BMW, a make of cars, in a text", "not a valid BMP file, a header of"),
        (b"GIF89a", "cut off"),
    ],
)
def test_what_is_no_picture(content: bytes, message: str, tmp_path: Path):
    path = tmp_path / "x.jpg"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read_picture(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_the_end_of_a_png_has_nothing_that_a_checksum_could_be_of():
    data = encoded(".png")
    changed = data[:-1] + bytes([data[-1] ^ 1])
    if cv2.imdecode(np.frombuffer(changed, np.uint8), cv2.IMREAD_COLOR) is None:
        pytest.skip("this OpenCV looks at it all the same")
    np.testing.assert_array_equal(decode_picture(changed), decode_picture(data))


def test_png_checksums_are_looked_at():
    data = bytearray(encoded(".png"))
    at = data.index(b"IDAT") + 30
    data[at] ^= 0xFF
    with pytest.raises(InputError, match="wrong checksum in chunk 'IDAT'"):
        decode_picture(bytes(data))


@pytest.mark.parametrize("place", [1 << 40, (1 << 63) - 1, 1 << 63, (1 << 64) - 1])
def test_a_big_tiff_whose_directory_is_nowhere_is_cut_off(place: int):
    with pytest.raises(BadPictureError, match="cut off"):
        read_head(b"II+\0\x08\0\0\0" + struct.pack("<Q", place))
