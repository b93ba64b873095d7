# SPDX-License-Identifier: Apache-2.0
"""Sources: order, decoding ahead, and everything a file can be that is not a picture."""

from __future__ import annotations

import functools
import gc
import http.server
import os
import random
import struct
import threading
import time
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from support import encoded, picture, write_picture, write_video
from trtpose.errors import InputError
from trtpose.sources import Frame, Sources, decode_picture, opencv_log, pictures, read_picture, reader
from trtpose.sources.channel import Channel

FORMATS = (".jpg", ".png", ".webp", ".bmp", ".tiff", ".ppm", ".jp2", ".avif", ".gif")


def threads() -> int:
    return sum(thread.name == "trtpose-sources" for thread in threading.enumerate())


@pytest.fixture(autouse=True)
def _no_thread_is_left():
    yield
    gc.collect()
    deadline = time.monotonic() + 5
    while threads() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threads() == 0


def read_all(items: Any, **options: Any) -> list[Frame]:
    with Sources(items, **options) as frames:
        return list(frames)


def can_encode(suffix: str) -> bool:
    try:
        encoded(suffix)
    except (cv2.error, AssertionError, AttributeError):
        return False
    return True


# --- One picture ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", FORMATS)
def test_formats(suffix: str, tmp_path: Path):
    if not can_encode(suffix):
        pytest.skip(f"this OpenCV does not write {suffix}")
    path = write_picture(tmp_path / f"a{suffix}")
    image = read_picture(path)
    np.testing.assert_array_equal(image, cv2.imread(str(path), cv2.IMREAD_COLOR))
    assert image.shape == (48, 64, 3)
    assert image.dtype == np.uint8


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_picture_cut_off_anywhere_is_an_error(suffix: str, seed: int):
    if not can_encode(suffix):
        pytest.skip(f"this OpenCV does not write {suffix}")
    data = encoded(suffix)
    rng = random.Random(seed)
    lengths = {*range(40), *(len(data) - n for n in range(1, 20)), *(rng.randrange(len(data)) for _ in range(60))}
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


def test_bytes_after_the_end_of_a_jpeg_are_allowed():
    data = encoded(".jpg")
    for tail in (b"\0" * 100, b"\xff\xd8\xff\xe1 a second picture, as phones append", b"\n"):
        np.testing.assert_array_equal(decode_picture(data + tail), decode_picture(data))


def test_a_thumbnail_does_not_hide_a_missing_end():
    data = encoded(".jpg", picture(200, 300))
    thumbnail = encoded(".jpg", picture(16, 16))
    segment = b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail
    whole = data[:2] + segment + data[2:]
    assert decode_picture(whole).shape == (200, 300, 3)
    with pytest.raises(InputError, match="cut off"):
        decode_picture(whole[: len(segment) + 200])


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


def png_of(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def with_size(suffix: str, width: int, height: int) -> bytes:
    """A picture whose header claims another size than its data have."""
    data = bytearray(encoded(suffix))
    if suffix == ".png":
        return png_of(width, height)
    if suffix == ".jpg":
        at = data.index(b"\xff\xc0") + 5
        data[at : at + 4] = struct.pack(">HH", height, width)
    elif suffix == ".bmp":
        data[18:26] = struct.pack("<ii", width, height)
    elif suffix == ".gif":
        data[6:10] = struct.pack("<HH", width, height)
    elif suffix == ".ppm":
        return f"P6\n# a comment\n{width}\n{height} 255\n".encode() + b"\0" * 100
    elif suffix == ".jp2":
        at = data.index(b"ihdr") + 4
        data[at : at + 8] = struct.pack(">II", height, width)
    elif suffix == ".avif":
        at = data.index(b"ispe") + 8
        data[at : at + 8] = struct.pack(">II", width, height)
    elif suffix == ".tiff":
        (at,) = struct.unpack_from("<I", data, 4)
        (entries,) = struct.unpack_from("<H", data, at)
        for index in range(entries):
            start = at + 2 + 12 * index
            tag = struct.unpack_from("<H", data, start)[0]
            if tag in (256, 257):
                data[start : start + 12] = struct.pack("<HHII", tag, 4, 1, width if tag == 256 else height)
    return bytes(data)


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
        (b"GIF89a", "cut off"),
    ],
)
def test_what_is_no_picture(content: bytes, message: str, tmp_path: Path):
    path = tmp_path / "x.jpg"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read_picture(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_png_checksums_are_looked_at():
    data = bytearray(encoded(".png"))
    at = data.index(b"IDAT") + 30
    data[at] ^= 0xFF
    with pytest.raises(InputError, match="wrong checksum in chunk 'IDAT'"):
        decode_picture(bytes(data))


def test_the_format_is_told_from_the_content(tmp_path: Path):
    (tmp_path / "a.png").write_bytes(encoded(".jpg"))
    assert read_picture(tmp_path / "a.png").shape == (48, 64, 3)


def exif_turned(data: bytes, orientation: int) -> bytes:
    tiff = b"MM\0*\0\0\0\x08" + struct.pack(">HHHIHH", 1, 0x112, 3, 1, orientation, 0) + b"\0\0\0\0"
    body = b"Exif\0\0" + tiff
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + data[2:]


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
    with pytest.raises(InputError, match="not an ordinary file"):
        read_picture(tmp_path / "pipe.jpg")
    with pytest.raises(InputError, match="not an ordinary file"):
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


def test_opencv_keeps_its_log_level():
    log = opencv_log._logging()
    if log is None:
        pytest.skip("this OpenCV has no log level")
    before = log.getLogLevel()
    with pytest.raises(InputError):
        decode_picture(with_size(".bmp", 30, 30000))
    assert log.getLogLevel() == before


# --- Lists of sources -------------------------------------------------------------------------------------------------


def test_a_folder_in_the_order_of_names(tmp_path: Path):
    for name in ("b.png", "a.jpg", "C.JPG", "10.png", "9.png"):
        write_picture(tmp_path / name.lower()).rename(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / ".hidden.jpg").write_bytes(encoded(".jpg"))
    (tmp_path / "sub.jpg").mkdir()
    write_picture(tmp_path / "sub.jpg" / "z.jpg")
    frames = read_all(tmp_path)
    assert [Path(f.source).name for f in frames] == ["10.png", "9.png", "C.JPG", "a.jpg", "b.png"]
    assert [f.position for f in frames] == list(range(5))
    assert all(f.error is None and not f.is_video and f.index == 0 for f in frames)


def test_patterns(tmp_path: Path):
    (tmp_path / "deep" / "er").mkdir(parents=True)
    for name in ("b1.jpg", "a1.jpg", "a2.png", "deep/a3.jpg", "deep/er/a4.jpg"):
        write_picture(tmp_path / name)
    (tmp_path / "a9.txt").write_text("")

    def names(pattern: str) -> list[str]:
        return [Path(name).name for name in Sources(str(tmp_path / pattern)).names]

    assert names("a*") == ["a1.jpg", "a2.png"]
    assert names("[ab]1.jpg") == ["a1.jpg", "b1.jpg"]
    assert names("**/a*.jpg") == ["a1.jpg", "a3.jpg", "a4.jpg"]
    with pytest.raises(InputError, match="matches no picture and no video"):
        Sources(str(tmp_path / "*.webp"))
    with pytest.raises(InputError, match="matches no picture"):
        Sources(str(tmp_path / "*.txt"))


def test_a_file_whose_name_looks_like_a_pattern_or_a_camera(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_picture(tmp_path / "a[1].jpg")
    assert read_all(str(tmp_path / "a[1].jpg"))[0].error is None
    monkeypatch.chdir(tmp_path)
    Path("7").write_bytes(encoded(".jpg"))
    assert read_all("7")[0].image is not None


def test_a_mixed_list_comes_in_order(tmp_path: Path):
    write_picture(tmp_path / "x.jpg")
    (tmp_path / "folder").mkdir()
    write_picture(tmp_path / "folder" / "p.png")
    video = write_video(tmp_path / "v.avi", frames=3)
    array = picture(20, 30)
    frames = read_all([tmp_path / "x.jpg", array, str(video), tmp_path / "folder", str(tmp_path / "*.jpg")])
    assert [(f.position, f.index, f.is_video) for f in frames] == [
        (0, 0, False),
        (1, 0, False),
        (2, 0, True),
        (2, 1, True),
        (2, 2, True),
        (3, 0, False),
        (4, 0, False),
    ]
    assert frames[1].image is array
    assert all(f.read_ms >= 0 for f in frames)


@pytest.mark.parametrize("depth", [1, 2, 7])
def test_bad_files_in_the_middle_do_not_stop_the_run(tmp_path: Path, depth: int):
    for index in range(8):
        write_picture(tmp_path / f"{index}.jpg")
    (tmp_path / "2.jpg").write_bytes(b"")
    (tmp_path / "5.jpg").write_bytes(encoded(".jpg")[:-200])
    (tmp_path / "6.jpg").unlink()
    (tmp_path / "6.jpg").symlink_to(tmp_path / "gone.jpg")
    frames = read_all(tmp_path, depth=depth)
    assert [f.error is not None for f in frames] == [False, False, True, False, False, True, True, False]
    for frame in frames:
        assert (frame.image is None) == (frame.error is not None)
        if frame.error is not None:
            assert isinstance(frame.error, InputError)
            assert str(frame.error).startswith(f"{frame.source}: ")


def test_a_missing_file_is_an_item(tmp_path: Path):
    write_picture(tmp_path / "a.jpg")
    frames = read_all([tmp_path / "a.jpg", tmp_path / "b.jpg", tmp_path / "c.mp4", tmp_path / "a.jpg"])
    assert ["no such file" in str(f.error) for f in frames] == [False, True, True, False]


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([], "no source was given"),
        ("", "is not a file name"),
        ("a\0b", "is not a file name"),
        (None, "a NoneType; give a path"),
        ([None], "a NoneType; give a path"),
        ([1.5], "a float; give a path"),
        ([True], "a bool; give a path"),
        (-1, "camera numbers start at 0"),
        (np.zeros((0, 4, 4, 3), np.uint8), "holds no frame"),
    ],
)
def test_what_is_no_source(items: Any, message: str):
    with pytest.raises(InputError, match=message):
        Sources(items)


def test_an_empty_folder(tmp_path: Path):
    with pytest.raises(InputError, match="holds no picture and no video"):
        Sources(tmp_path)
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(InputError, match="holds no picture and no video"):
        Sources([str(tmp_path)])


@pytest.mark.parametrize("options", [{"depth": 0}, {"policy": "newest"}])
def test_wrong_options(options: dict[str, Any]):
    with pytest.raises(InputError, match="expected"):
        Sources("a.jpg", **options)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((4, 4, 3), np.float32), "dtype float32, expected uint8"),
        (np.zeros((4, 4), np.uint8), r"shape \(4, 4\), expected \(height, width, 3\)"),
        (np.zeros((4, 4, 4), np.uint8), r"shape \(4, 4, 4\)"),
        (np.zeros((0, 4, 3), np.uint8), "holds no pixel"),
    ],
)
def test_wrong_arrays_are_items(array: np.ndarray, message: str):
    frames = read_all([picture(), array, picture()])
    assert [f.error is None for f in frames] == [True, False, True]
    with pytest.raises(InputError, match=message):
        raise frames[1].error or AssertionError


def test_a_stack_of_frames():
    frames = read_all(np.zeros((3, 4, 5, 3), np.uint8))
    assert [(f.source, f.position) for f in frames] == [("array 0[0]", 0), ("array 0[1]", 1), ("array 0[2]", 2)]


def test_names_that_are_not_text(tmp_path: Path):
    folder = os.fsencode(tmp_path)
    for name in (b"\xff\xfe.jpg", b"\xff.avi"):
        with open(os.path.join(folder, name), "wb") as file:  # noqa: PTH118, PTH123
            file.write(encoded(".jpg"))
    frames = read_all(tmp_path)
    assert [f.error is None for f in frames] == [False, True]


# --- Videos -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".mp4", ".avi"])
def test_a_video_gives_every_frame_in_order(tmp_path: Path, suffix: str):
    frames = read_all(write_video(tmp_path / f"v{suffix}", frames=12))
    assert [f.index for f in frames] == list(range(12))
    assert all(f.is_video and not f.live and f.total == 12 for f in frames)
    assert all(f.fps == pytest.approx(10) for f in frames)
    # Coded with loss: the grey of frame i is 20 i within a few levels.
    assert [round(float(f.image.mean()) / 20) for f in frames if f.image is not None] == list(range(12))


def test_slow_readers_lose_no_frame_of_a_file(tmp_path: Path):
    with Sources(write_video(tmp_path / "v.avi", frames=8), depth=1, policy="latest") as frames:
        seen = []
        for frame in frames:
            time.sleep(0.01)
            seen.append(frame.index)
    assert seen == list(range(8))


def test_videos_that_cannot_be_read(tmp_path: Path):
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "text.avi").write_text("not a video")
    whole = write_video(tmp_path / "whole.mp4").read_bytes()
    (tmp_path / "whole.mp4").unlink()
    (tmp_path / "zcut.mp4").write_bytes(whole[: len(whole) // 2])
    os.mkfifo(tmp_path / "pipe.mkv")
    write_video(tmp_path / "zz.avi", frames=2)
    frames = read_all(tmp_path)
    assert [Path(f.source).name for f in frames if f.error] == ["empty.mp4", "pipe.mkv", "text.avi", "zcut.mp4"]
    assert [Path(f.source).name for f in frames if not f.error] == ["zz.avi", "zz.avi"]


def test_a_video_that_ends_early_says_so(tmp_path: Path):
    path = write_video(tmp_path / "v.avi", frames=40)
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"movi") + (len(data) - data.index(b"movi")) // 3])
    frames = read_all(path)
    assert frames[-1].error is not None
    assert "of 40 frames" in str(frames[-1].error)
    assert 0 < len([f for f in frames if f.image is not None]) < 30


def test_a_video_of_too_many_pixels(tmp_path: Path):
    (frame,) = read_all(write_video(tmp_path / "v.avi"), max_pixels=48 * 64 - 1)
    assert "64x48 pixels are more than the 3071" in str(frame.error)


def test_a_camera_that_is_not_there():
    (frame,) = read_all("987")
    assert frame.source == "camera 987"
    assert frame.is_video
    assert frame.live
    assert "no such camera" in str(frame.error)


# --- Streams ----------------------------------------------------------------------------------------------------------


class FakeCapture:
    """A stream of numbered frames; each entry of ``script`` is one connection, given as its number of frames."""

    script: list[int]
    opened = 0
    delay = 0.0
    number = 0

    def __init__(self, *_: Any) -> None:
        cls = type(self)
        self._left = cls.script[cls.opened] if cls.opened < len(cls.script) else -1
        cls.opened += 1

    def isOpened(self) -> bool:
        return self._left >= 0

    def get(self, prop: int) -> float:
        return {cv2.CAP_PROP_FPS: 25.0, cv2.CAP_PROP_FRAME_WIDTH: 8, cv2.CAP_PROP_FRAME_HEIGHT: 8}.get(prop, -1.0)

    def read(self) -> tuple[bool, Any]:
        time.sleep(type(self).delay)
        if self._left <= 0:
            return False, None
        self._left -= 1
        value = type(self).number
        type(self).number += 1
        return True, np.full((8, 8, 3), value % 256, np.uint8)

    def release(self) -> None:
        pass


@pytest.fixture
def stream(monkeypatch: pytest.MonkeyPatch):
    def make(script: list[int], delay: float = 0.0) -> type[FakeCapture]:
        capture = type("Capture", (FakeCapture,), {"script": script, "delay": delay, "opened": 0, "number": 0})
        monkeypatch.setattr(reader.cv2, "VideoCapture", capture)
        monkeypatch.setattr(reader, "_PAUSE", 0.001)
        return capture

    return make


def values(frames: list[Frame]) -> list[int]:
    return [int(f.image[0, 0, 0]) for f in frames if f.image is not None]


def test_every_frame_of_a_stream_and_a_new_connection(stream: Any):
    capture = stream([5, -1, 4, 3])
    frames = read_all("rtsp://example.org/a", policy="every", reconnect=2)
    assert values(frames) == list(range(12))
    assert [f.index for f in frames[:-1]] == list(range(12))
    assert all(f.live and f.is_video and f.total is None for f in frames)
    assert "the stream broke off" in str(frames[-1].error)
    assert capture.opened == 4 + 2


def test_a_stream_that_never_opens(stream: Any):
    capture = stream([])
    (frame,) = read_all("rtsp://example.org/a", reconnect=2)
    assert "cannot be opened" in str(frame.error)
    assert capture.opened == 3
    capture = stream([])
    (frame,) = read_all("rtsp://example.org/a", reconnect=0)
    assert capture.opened == 1


def test_the_latest_frame_of_a_stream(stream: Any):
    stream([60], delay=0.002)
    with Sources("rtsp://example.org/a", policy="latest", reconnect=0) as frames:
        seen: list[int] = []
        for frame in frames:
            if frame.image is None:
                break
            seen.append(frame.index)
            time.sleep(0.02)
    assert seen == sorted(set(seen))
    assert len(seen) < 60
    # The last frame is never dropped for an older one.
    assert seen[-1] == 59


def test_leaving_an_endless_stream(stream: Any):
    stream([10**9])
    for policy in ("every", "latest"):
        with Sources("rtsp://example.org/a", policy=policy) as frames:
            for count, _ in enumerate(frames):
                if count == 5:
                    break


def test_passwords_are_not_shown(stream: Any):
    stream([])
    (frame,) = read_all("rtsp://me:secret@example.org:554/live", reconnect=0)
    assert frame.source == "rtsp://me:***@example.org:554/live"
    assert "secret" not in str(frame.error)


def test_pictures_and_videos_behind_an_address(tmp_path: Path):
    write_picture(tmp_path / "a.jpg")
    (tmp_path / "bad.jpg").write_bytes(b"<html>")
    write_video(tmp_path / "v.avi", frames=3)

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Handler, directory=str(tmp_path))
    ) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        base = f"http://127.0.0.1:{server.server_port}"
        names = ("a.jpg?size=1", "bad.jpg", "missing.jpg", "v.avi")
        frames = read_all([f"{base}/{name}" for name in names], reconnect=0)
        server.shutdown()
    assert [f.error is None for f in frames[:3]] == [True, False, False]
    assert "not a picture" in str(frames[1].error)
    assert "404" in str(frames[2].error)
    assert [(f.index, f.is_video, f.live) for f in frames[3:]] == [(0, True, False), (1, True, False), (2, True, False)]
    assert Sources(tmp_path.as_uri() + "/a.jpg").files == [tmp_path / "a.jpg"]


# --- The thread -------------------------------------------------------------------------------------------------------


def test_decoding_runs_ahead_but_not_without_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    reads: list[str] = []
    real = read_picture

    def counted(path: Any, **options: Any) -> Any:
        reads.append(path)
        return real(path, **options)

    monkeypatch.setattr(reader, "read_picture", counted)
    for index in range(20):
        write_picture(tmp_path / f"{index:02}.jpg")
    with Sources(tmp_path, depth=3) as frames:
        iterator = iter(frames)
        next(iterator)
        deadline = time.monotonic() + 5
        while len(reads) < 5 and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.05)
        # One given out, three waiting, one in the thread's hands.
        assert len(reads) == 5
        assert len(list(iterator)) == 19


def test_the_bound_in_bytes():
    channel = Channel(depth=10, max_bytes=100)
    small = Frame(np.zeros((2, 5, 3), np.uint8), "a")
    large = Frame(np.zeros((20, 20, 3), np.uint8), "b")
    channel.put(large)  # alone it passes
    assert channel._full(30)
    assert channel.get() is large
    for _ in range(3):
        channel.put(small)
    assert channel._full(30)
    channel.get()
    assert not channel._full(30)


def fail_within(sources: Sources) -> None:
    with sources as frames:
        for _ in frames:
            raise RuntimeError("mine")


def test_leaving_early_and_exceptions_stop_the_thread(tmp_path: Path):
    for index in range(30):
        write_picture(tmp_path / f"{index:02}.jpg")
    for _ in range(20):
        with Sources(tmp_path, depth=2) as frames:
            for frame in frames:
                if frame.position == 3:
                    break
        frames = Sources(tmp_path, depth=1)
        with pytest.raises(RuntimeError, match="mine"):
            fail_within(frames)
    assert threads() == 0


def test_a_forgotten_iterator_stops_the_thread(tmp_path: Path):
    for index in range(10):
        write_picture(tmp_path / f"{index}.jpg")
    iterator = iter(Sources(tmp_path, depth=1))
    next(iterator)
    assert threads() == 1
    del iterator  # the fixture sees that the thread ends


def test_closing_twice_and_before_reading(tmp_path: Path):
    write_picture(tmp_path / "a.jpg")
    frames = Sources(tmp_path)
    frames.close()
    frames.close()
    assert list(frames) == []
    frames = Sources(tmp_path)
    assert len(list(frames)) == 1
    assert list(frames) == []


def test_a_fault_in_the_thread_reaches_the_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_picture(tmp_path / "a.jpg")
    write_picture(tmp_path / "b.jpg")
    real = read_picture

    def broken(path: Any, **options: Any) -> Any:
        if str(path).endswith("b.jpg"):
            raise ZeroDivisionError("a bug")
        return real(path, **options)

    monkeypatch.setattr(reader, "read_picture", broken)
    seen: list[Frame] = []
    with pytest.raises(ZeroDivisionError, match="a bug"), Sources(tmp_path) as frames:
        seen.extend(frames)
    assert next(iter(Sources(tmp_path / "a.jpg"))).error is None


def test_files_by_name_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    for name in ("*.jpg", "0"):
        Path(name).write_bytes(encoded(".jpg"))
    with Sources.of_files(["*.jpg", "0", "1", "."]) as frames:
        assert [f.error is None for f in frames] == [True, True, False, False]


def test_a_folder_of_damaged_pictures(tmp_path: Path, seed: int):
    """200 damaged files among 50 whole ones: one item each, in order, and the whole ones are what they were."""
    print(f"seed {seed}")
    rng = random.Random(seed)
    whole = encoded(".jpg"), encoded(".png")
    for number in range(250):
        data = bytearray(whole[number % 2])
        if number % 5:
            for _ in range(rng.choice((1, 3, 20))):
                data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            if number % 3 == 0:
                data = data[: rng.randrange(len(data))]
        (tmp_path / f"{number:03}{('.jpg', '.png')[number % 2]}").write_bytes(data)
    frames = read_all(tmp_path, max_pixels=1 << 22)
    assert [frame.position for frame in frames] == list(range(250))
    expected = [decode_picture(data) for data in whole]
    for number, frame in enumerate(frames):
        assert (frame.image is None) == isinstance(frame.error, InputError)
        if number % 5 == 0:
            np.testing.assert_array_equal(frame.image, expected[number % 2])
    assert sum(frame.error is not None for frame in frames) > 60


def test_photographs(shared: Path):
    frames = read_all(shared / "images")
    assert len(frames) == len(list((shared / "images").glob("*.jpg"))) > 5
    for frame in frames:
        np.testing.assert_array_equal(frame.image, cv2.imread(frame.source, cv2.IMREAD_COLOR))
