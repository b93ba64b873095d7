# SPDX-License-Identifier: Apache-2.0
"""What a header promises is held against the data before anything is allocated, and what reading takes is measured."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import textwrap
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from source_support import can_encode
from support import encoded, picture
from trtpose.errors import InputError
from trtpose.sources import MAX_PIXELS, decode_picture, pictures, read_picture

SIDE = 16000  # 256 million pixels, which are fewer than MAX_PIXELS


def _jpeg(*options: int) -> bytes:
    data = bytearray(encoded(".jpg", None, *options))
    at = next(at for at in range(len(data)) if data[at : at + 2] in (b"\xff\xc0", b"\xff\xc2"))
    data[at + 5 : at + 9] = struct.pack(">HH", SIDE, SIDE)
    return bytes(data)


def _png() -> bytes:
    data = bytearray(encoded(".png"))
    data[16:24] = struct.pack(">II", SIDE, SIDE)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    return bytes(data)


def _bmp() -> bytes:
    data = bytearray(encoded(".bmp"))
    data[18:26] = struct.pack("<ii", SIDE, SIDE)
    return bytes(data)


def _tiff(compression: str | None) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture()).save(stream, "tiff", compression=compression)
    data = bytearray(stream.getvalue())
    (at,) = struct.unpack_from("<I", data, 4)
    for index in range(struct.unpack_from("<H", data, at)[0]):
        entry = at + 2 + 12 * index
        if struct.unpack_from("<H", data, entry)[0] in (256, 257):
            data[entry + 2 : entry + 12] = struct.pack("<HII", 4, 1, SIDE)
    return bytes(data)


def _gif() -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture()).save(stream, "gif")
    data = bytearray(stream.getvalue())
    data[6:10] = struct.pack("<HH", SIDE, SIDE)
    return bytes(data)


PROMISES = {
    "JPEG": _jpeg(),
    "JPEG, progressive": _jpeg(cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    "JPEG with a long comment": _jpeg()[:2] + (b"\xff\xfe\xff\xff" + b" " * 0xFFFD) * 8 + _jpeg()[2:],
    "PNG": _png(),
    "BMP": _bmp(),
    "TIFF": _tiff(None),
    "TIFF, LZW": _tiff("tiff_lzw"),
    "TIFF, deflate": _tiff("tiff_adobe_deflate"),
    "TIFF, PackBits": _tiff("packbits"),
    "GIF": _gif(),
    "PNM": b"P6 %d %d 255\n" % (SIDE, SIDE) + b"data",
}


@pytest.mark.parametrize("name", PROMISES)
def test_a_promise_that_the_data_cannot_keep(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    def decode(*_: Any, **__: Any) -> None:
        pytest.fail("the decoder was asked")

    monkeypatch.setattr(pictures, "decode", decode)
    monkeypatch.setattr(pictures, "decode_file", decode)
    with pytest.raises(InputError, match=rf"says {SIDE}x{SIDE} pixels, which its \d+ bytes cannot hold"):
        decode_picture(PROMISES[name])
    (tmp_path / "a").write_bytes(PROMISES[name])
    with pytest.raises(InputError, match="cannot hold"):
        read_picture(tmp_path / "a")
    assert MAX_PIXELS > SIDE * SIDE


def _flat(form: str, mode: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.new(mode, (4000, 3000)).save(stream, form, **options)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("form", "mode", "options"),
    [
        ("jpeg", "RGB", {"optimize": True, "quality": 1}),
        ("jpeg", "L", {"optimize": True, "quality": 1}),
        ("jpeg", "RGB", {"progressive": True, "quality": 1, "subsampling": 2}),
        ("png", "1", {"optimize": True, "compress_level": 9}),
        ("png", "RGB", {"optimize": True, "compress_level": 9}),
        ("png", "P", {"optimize": True, "compress_level": 9, "bits": 1}),
        ("bmp", "1", {}),
        ("bmp", "RGB", {}),
        ("tiff", "1", {}),
        ("tiff", "1", {"compression": "tiff_adobe_deflate"}),
        ("tiff", "1", {"compression": "tiff_lzw"}),
        ("tiff", "1", {"compression": "packbits"}),
        ("tiff", "1", {"compression": "group4"}),
        ("gif", "P", {}),
        ("ppm", "1", {}),
        ("webp", "RGB", {"lossless": True}),
    ],
)
def test_the_densest_pictures_are_read(form: str, mode: str, options: dict[str, Any]):
    """Twelve million equal pixels, as small as each format can have them."""
    if form == "gif" and not can_encode(".gif"):
        pytest.skip("this OpenCV reads no GIF")
    image = decode_picture(_flat(form, mode, **options))
    assert image.shape == (3000, 4000, 3)
    assert image.max() <= 2


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tiff", ".bmp"])
def test_files_are_read_as_their_bytes(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Also where the decoder opens the file, and where it cannot."""
    noise = np.random.default_rng(0).integers(0, 256, (700, 1000, 3), np.uint8)
    path = tmp_path / f"a{suffix}"
    path.write_bytes(encoded(suffix, noise))
    monkeypatch.setattr(pictures, "_SMALL_FILE", 1000)
    calls: list[int] = []
    real = pictures.decode_file
    monkeypatch.setattr(pictures, "decode_file", lambda fd, **more: calls.append(fd) or real(fd, **more))
    expected = decode_picture(path.read_bytes())
    np.testing.assert_array_equal(read_picture(path), expected)
    assert calls
    monkeypatch.setattr(pictures, "decode_file", lambda _, **__: None)
    np.testing.assert_array_equal(read_picture(path), expected)


def test_a_file_that_changes_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "a.bmp"
    path.write_bytes(encoded(".bmp", picture(600, 800)))
    monkeypatch.setattr(pictures, "decode_file", lambda _, **__: picture(10, 20))
    with pytest.raises(InputError, match="has changed while it was read"):
        read_picture(path)


MEASURE = """
    import sys
    if sys.argv[1] == "Pillow":
        sys.modules["cv2"] = None
    del sys.argv[1]
    from trtpose.sources import read_picture

    def memory(field):
        with open("/proc/self/status") as lines:
            return 1024 * int(next(line for line in lines if line.startswith(field)).split()[1])

    for path in sys.argv[1:]:
        read_picture(path)
    for path in sys.argv[1:]:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
        before = memory("VmRSS")
        image = read_picture(path)
        print((memory("VmHWM") - before) / image.nbytes)
        del image
"""


def test_reading_takes_twice_the_decoded_size(tmp_path: Path):
    """OpenCV's binding copies what was decoded, which are the two; the bytes of the file are not held meanwhile."""
    rng = np.random.default_rng(0)
    smooth = cv2.resize(rng.integers(0, 256, (20, 30, 3), np.uint8), (3000, 2000), interpolation=cv2.INTER_CUBIC)
    noise = rng.integers(0, 256, (2000, 3000, 3), np.uint8)
    paths: list[str] = []
    for suffix, image in [(s, i) for s in (".jpg", ".png", ".tiff", ".bmp", ".webp") for i in (smooth, noise)]:
        if suffix == ".webp" and image is noise:
            continue
        options = {".webp": [cv2.IMWRITE_WEBP_QUALITY, 80], ".tiff": [cv2.IMWRITE_TIFF_COMPRESSION, 1]}.get(suffix, [])
        path = tmp_path / f"{len(paths)}{suffix}"
        path.write_bytes(encoded(suffix, image, *options))
        paths.append(str(path))
    shares = _shares("OpenCV", paths)
    assert max(shares.values()) < 2.15, shares


def _shares(by: str, paths: list[str]) -> dict[str, float]:
    """Peak memory of reading each picture, as a multiple of its decoded size."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(MEASURE), by, *paths], capture_output=True, text=True, check=False
    )
    if "clear_refs" in done.stderr:
        pytest.skip("this system does not measure the peak memory of a part of a process")
    assert done.returncode == 0, done.stderr
    return dict(zip(paths, map(float, done.stdout.split()), strict=True))


def test_what_a_jpeg_without_its_end_takes_and_what_pillow_does(tmp_path: Path):
    """Both ways it may end are decoded, one after the other and by Pillow, whose pixels of a JPEG take four bytes."""
    rng = np.random.default_rng(0)
    smooth = cv2.resize(rng.integers(0, 256, (20, 30, 3), np.uint8), (3000, 2000), interpolation=cv2.INTER_CUBIC)
    noise = rng.integers(0, 256, (2000, 3000, 3), np.uint8)
    paths: list[str] = []
    for image in (smooth, noise):
        data = encoded(".jpg", image)
        assert data.endswith(b"\xff\xd9")
        for content in (data, data[:-2]):
            path = tmp_path / f"{len(paths)}.jpg"
            path.write_bytes(content)
            paths.append(str(path))
    with_opencv, alone = _shares("OpenCV", paths), _shares("Pillow", paths)
    assert with_opencv[paths[1]] < 2.2, with_opencv
    # The file is held, in both ways it may end, and is more than a third as large as its pixels.
    assert with_opencv[paths[3]] < 3.5, with_opencv
    assert max(alone[path] for path in paths[:2]) < 2.6, alone
    assert max(alone.values()) < 3.8, alone
