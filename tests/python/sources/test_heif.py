# SPDX-License-Identifier: Apache-2.0
"""AVIF turned as its container says, and HEIC, which is refused by name."""

from __future__ import annotations

import struct
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from source_support import can_encode, read_all
from support import encoded, picture
from trtpose.errors import InputError
from trtpose.sources import decode_picture, read_picture
from trtpose.sources.heif import read_avif
from trtpose.sources.picture_head import BadPictureError, Turn

FILES = Path(__file__).parents[2] / "data" / "avif"

# What EXIF's orientations are in irot and imir, and what they do to a stored picture.
TURNS = {
    1: Turn(),
    2: Turn(mirror=1),
    3: Turn(2),
    4: Turn(mirror=0),
    5: Turn(1, 0),
    6: Turn(3),
    7: Turn(3, 0),
    8: Turn(1),
}


@pytest.mark.parametrize("orientation", TURNS)
def test_every_turn(orientation: int):
    if not can_encode(".avif"):
        pytest.skip("this OpenCV has no AVIF")
    data = (FILES / f"turned-{orientation}.avif").read_bytes()
    assert read_avif(data).turn == TURNS[orientation]
    image = decode_picture(data)
    assert image.shape == (48, 80, 3)
    assert image.flags.c_contiguous
    # BGR in the corners: red, green, blue, light grey.
    for (row, column), colour in {
        (4, 4): (30, 30, 220),
        (4, -5): (30, 200, 30),
        (-5, 4): (220, 30, 30),
        (-5, -5): (250, 250, 250),
    }.items():
        np.testing.assert_allclose(image[row, column], colour, atol=6)


def test_opencv_itself_does_not_turn():
    """Where it does one day, ours must go: a picture would be turned twice."""
    if not can_encode(".avif"):
        pytest.skip("this OpenCV has no AVIF")
    assert cv2.imread(str(FILES / "turned-6.avif")).shape == (80, 48, 3)


def test_pillow_reads_the_same():
    image_module = pytest.importorskip("PIL.Image")
    if ".avif" not in image_module.registered_extensions():
        pytest.skip("this Pillow has no AVIF")
    for orientation, turn in TURNS.items():
        with image_module.open(FILES / f"turned-{orientation}.avif") as image:
            assert image.getexif().get(0x112, 1) == orientation
            head = read_avif((FILES / f"turned-{orientation}.avif").read_bytes())
            assert (head.width, head.height, head.turn) == (*image.size, turn)


def test_an_avif_that_is_not_turned():
    if not can_encode(".avif"):
        pytest.skip("this OpenCV has no AVIF")
    data = encoded(".avif", picture(40, 60))
    np.testing.assert_array_equal(decode_picture(data), cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR))


def box(kind: bytes, *content: bytes) -> bytes:
    body = b"".join(content)
    return struct.pack(">I4s", len(body) + 8, kind) + body


def container(*, wide: bool = False, item: int = 1, order: tuple[int, ...] = (1, 2, 3), large: bool = False) -> bytes:
    """A file of boxes alone, with irot 3 and imir 1 of its primary picture."""
    properties = [
        box(b"ispe", struct.pack(">III", 0, 48, 80)),
        box(b"irot", b"\x03"),
        box(b"imir", b"\x01"),
        box(b"irot", b"\x02"),
    ]
    other = item + 1
    entries = b""
    for number, indices in ((other, (4,)), (item, order)):
        entries += struct.pack(">I" if wide else ">H", number) + bytes([len(indices)])
        entries += b"".join(
            struct.pack(">H" if wide else ">B", index | (0x8000 if wide else 0x80)) for index in indices
        )
    ipma = box(b"ipma", struct.pack(">II", 0x01000001 if wide else 0, 2), entries)
    pitm = box(b"pitm", struct.pack(">II", 1 << 24, item) if wide else struct.pack(">IH", 0, item))
    content = b"\0\0\0\0" + pitm + box(b"iprp", box(b"ipco", *properties), ipma)
    meta = struct.pack(">I4sQ", 1, b"meta", len(content) + 16) + content if large else box(b"meta", content)
    return box(b"ftyp", b"avif\0\0\0\0mif1") + meta + struct.pack(">I4s", 0, b"mdat") + b"pixels"


@pytest.mark.parametrize(
    ("data", "turn"),
    [
        (container(), Turn(3, 1)),
        (container(wide=True, item=70000), Turn(3, 1)),
        (container(large=True), Turn(3, 1)),
        (container(order=(1, 2)), Turn(3)),
        (container(order=(1, 3)), Turn(0, 1)),
        (container(order=(1, 9)), Turn()),
        (container(order=()), Turn()),
    ],
    ids=["narrow", "wide", "large", "irot", "imir", "no such property", "none"],
)
def test_boxes(data: bytes, turn: Turn):
    head = read_avif(data)
    assert (head.width, head.height, head.turn) == (48, 80, turn)


def test_boxes_that_are_damaged():
    data = container()
    for length in range(60, data.index(b"mdat") - 4):
        with pytest.raises(BadPictureError, match=r"cut off|does not state its size"):
            read_avif(data[:length])
    with pytest.raises(BadPictureError, match="cut off"):
        read_avif(data.replace(struct.pack(">I4s", len(box(b"irot", b"0")), b"irot"), b"\xff\0\0\0irot", 1))


def test_entries_lie_in_their_box():
    properties = box(b"ipco", box(b"ispe", struct.pack(">III", 0, 48, 80)))
    ipma = box(b"ipma", struct.pack(">II", 0, 60_000))  # says that there are many and holds none
    meta = box(b"meta", b"\0\0\0\0", box(b"pitm", struct.pack(">IH", 0, 1)), box(b"iprp", properties, ipma * 500))
    data = box(b"ftyp", b"avif\0\0\0\0mif1") + meta + box(b"mdat", bytes(500_000))
    start = time.process_time()
    with pytest.raises(BadPictureError, match="cut off"):
        read_avif(data)
    assert time.process_time() - start < 60


@pytest.mark.parametrize("brand", [b"heic", b"heix", b"mif1\0\0\0\0heic", b"msf1\0\0\0\0hevc"])
def test_heic_is_refused_by_name(tmp_path: Path, brand: bytes):
    data = box(b"ftyp", brand[:4], b"\0\0\0\0", b"mif1", brand[8:]) + box(b"mdat", b"hevc")
    for name in ("a.heic", "b.jpg"):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError, match="a HEIC picture, which OpenCV does not read; convert it to JPEG or PNG"):
            read_picture(tmp_path / name)
    # In a folder too it is told, not passed over.
    frames = read_all(tmp_path)
    assert ["HEIC" in str(frame.error) for frame in frames] == [True, True]
