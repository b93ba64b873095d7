# SPDX-License-Identifier: Apache-2.0
"""One picture."""

from __future__ import annotations

import os
import random
from pathlib import Path

import cv2
import numpy as np
import pytest

from source_support import FORMATS, can_encode, exif_turned
from support import encoded, picture, write_picture
from trtpose.errors import InputError
from trtpose.sources import decode_picture, pictures, read_picture


@pytest.mark.parametrize("suffix", FORMATS)
def test_formats(suffix: str, tmp_path: Path):
    if not can_encode(suffix):
        pytest.skip(f"this OpenCV does not write {suffix}")
    path = write_picture(tmp_path / f"a{suffix}")
    image = read_picture(path)
    np.testing.assert_array_equal(image, cv2.imread(str(path), cv2.IMREAD_COLOR))
    assert image.shape == (48, 64, 3)
    assert image.dtype == np.uint8


def test_bytes_after_the_end_of_a_jpeg_are_allowed():
    data = encoded(".jpg")
    for tail in (b"\0" * 100, b"\xff\xd8\xff\xe1 a second picture, as phones append", b"\n"):
        np.testing.assert_array_equal(decode_picture(data + tail), decode_picture(data))


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tiff", ".gif"])
def test_damaged_pictures_give_an_error_or_a_frame(suffix: str, seed: int):
    """1,500 seeded damages in all: bits flipped, bytes removed, blocks overwritten, the file cut off."""
    if not can_encode(suffix):
        pytest.skip(f"this OpenCV does not write {suffix}")
    print(f"seed {seed}")
    rng = random.Random(f"{seed}{suffix}")
    whole = encoded(suffix, picture(40, 56))
    good = bad = 0
    for number in range(300):
        data = bytearray(whole)
        kind = number % 4
        if kind == 0:
            for _ in range(rng.choice((1, 1, 2, 8, 64))):
                data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        elif kind == 1:
            at = rng.randrange(len(data))
            del data[at : at + rng.randrange(1, 30)]
        elif kind == 2:
            at = rng.randrange(len(data))
            length = rng.randrange(1, 30)
            data[at : at + length] = rng.randbytes(length)
        else:
            data = data[: rng.randrange(len(data))]
        try:
            # A low limit keeps a flipped size from costing a second.
            image = decode_picture(bytes(data), name="damaged", max_pixels=1 << 22)
        except InputError as error:
            message = str(error)
            bad += 1
        else:
            assert image.dtype == np.uint8
            assert image.ndim == 3
            assert image.shape[2] == 3
            assert image.size > 0
            good += 1
            continue
        assert message.startswith("damaged: ")
    assert bad >= 75  # at least those cut off
    assert good + bad == 300


def test_the_format_is_told_from_the_content(tmp_path: Path):
    (tmp_path / "a.png").write_bytes(encoded(".jpg"))
    assert read_picture(tmp_path / "a.png").shape == (48, 64, 3)


def test_exif_orientation_is_followed():
    data = encoded(".jpg")
    upright = decode_picture(data)
    np.testing.assert_array_equal(decode_picture(exif_turned(data, 6)), np.rot90(upright, -1))
    np.testing.assert_array_equal(decode_picture(exif_turned(data, 3)), upright[::-1, ::-1])


@pytest.mark.parametrize(
    "image",
    [
        picture()[:, :, 0],
        np.dstack([picture(), np.full((48, 64), 9, np.uint8)]),
        picture().astype(np.uint16) * 257,
    ],
    ids=["grey", "alpha", "16 bit"],
)
def test_other_pixels_become_three_bytes(image: np.ndarray):
    result = decode_picture(encoded(".png", image))
    assert result.shape == (48, 64, 3)
    assert result.dtype == np.uint8


def test_unreadable_files(tmp_path: Path):
    with pytest.raises(InputError, match="no such file; check the name"):
        read_picture(tmp_path / "missing.jpg")
    with pytest.raises(InputError, match="is a folder"):
        read_picture(tmp_path)
    with pytest.raises(InputError, match="not a valid file name"):
        read_picture("a\0b.jpg")
    with pytest.raises(InputError, match="cannot be read"):
        read_picture(tmp_path / ("n" * 300 + ".jpg"))
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(
        InputError, match=r"not an ordinary file but a pipe\); write its content into a file and give that"
    ):
        read_picture(tmp_path / "pipe.jpg")
    with pytest.raises(InputError, match=r"not an ordinary file but a device\); a camera is given by its number"):
        read_picture("/dev/zero")


def test_a_forbidden_file(tmp_path: Path):
    path = write_picture(tmp_path / "a.jpg")
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything")
    with pytest.raises(InputError, match="Permission denied"):
        read_picture(path)


def test_a_file_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = write_picture(tmp_path / "a.jpg")
    monkeypatch.setattr(pictures, "_MAX_FILE", 100)
    with pytest.raises(InputError, match="are too many for a picture"):
        read_picture(path)
