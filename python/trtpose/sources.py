# SPDX-License-Identifier: Apache-2.0
"""Where frames come from: files, folders, globs, videos, cameras, streams, arrays."""

from __future__ import annotations

import contextlib
import glob
import math
import os
import re
import stat
import struct
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

import cv2
import numpy as np
from numpy.typing import NDArray

from ._files import describe
from .errors import InputError

__all__ = ["MAX_PIXELS", "PICTURES", "VIDEOS", "Frame", "Sources", "decode_picture", "read_picture"]

PICTURES = frozenset(
    {".avif", ".bmp", ".dib", ".gif", ".jp2", ".jpe", ".jpeg", ".jpg"}
    | {".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"}
)
"""Suffixes of the files a folder or glob is searched for, pictures."""

VIDEOS = frozenset(
    {".3gp", ".asf", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4"}
    | {".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".webm", ".wmv"}
)
"""Suffixes of the files that are taken for videos."""

MAX_PIXELS = 1 << 28
"""Pictures and videos of more pixels (268 million, 768 MiB decoded) are refused before they are decoded."""

_MAX_FILE = 1 << 30
_SCHEMES = frozenset({"http", "https", "rtsp", "rtsps", "rtmp", "rtmps", "udp", "tcp", "srt", "rtp", "mms"})
_OPEN_TIMEOUT_MS = 10_000
_READ_TIMEOUT_MS = 10_000
_PAUSE = 0.5
"""Seconds before a broken stream is opened again, doubled at each attempt."""


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame of a run, or the reason why there is none.

    Attributes:
        image: (height, width, 3) uint8, BGR, turned as EXIF says; None where ``error`` is set.
        source: path, address (without password) or name of what it came from.
        index: number of the frame within its source, from 0.
        is_video: whether the source is a video, camera or stream.
        live: whether the source is a camera or a stream, which does not end by itself.
        fps: frames per second of a video, where known.
        total: frames of the source as the file says, where known; 1 for a picture.
        error: what is wrong with this item; the run goes on with the next.
        read_ms: milliseconds it took to read and decode.
        position: number of the source within the run, from 0; two sources may have the same name.
    """

    image: NDArray[np.uint8] | None
    source: str
    index: int = 0
    is_video: bool = False
    live: bool = False
    fps: float | None = None
    total: int | None = 1
    error: InputError | None = None
    read_ms: float = 0.0
    position: int = 0


# --- Reading the head of a picture ------------------------------------------------------------------------------------
# OpenCV turns a truncated JPEG into a half grey picture (imread, and imdecode before version 5) and allocates whatever
# size a header claims, so both are looked at first. Each function takes the bytes of one format and returns width and
# height, or raises _BadPicture.


class _BadPictureError(Exception):
    pass


_TRUNCATED = "the file is cut off"


def _unpack(layout: str, data: bytes, at: int) -> tuple[Any, ...]:
    try:
        return struct.unpack_from(layout, data, at)
    except struct.error:
        raise _BadPictureError(_TRUNCATED) from None


# Inside entropy-coded data 0xFF is followed by 0 (a stuffed byte), 0xD0..0xD7 (restart) or 0xFF (fill).
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_JPEG_SIZES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def _jpeg_size(data: bytes) -> tuple[int, int]:
    size: tuple[int, int] | None = None
    at, end = 2, len(data)
    while True:
        if at + 2 > end:
            raise _BadPictureError(_TRUNCATED)
        if data[at] != 0xFF:
            raise _BadPictureError(f"not a valid JPEG, no marker at byte {at}")
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        at += 2
        if marker == 0xD9:
            break
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:
            continue
        (length,) = _unpack(">H", data, at)
        if length < 2:
            raise _BadPictureError(f"not a valid JPEG, a segment of length {length} at byte {at}")
        if marker in _JPEG_SIZES and size is None:
            height, width = _unpack(">xHH", data, at + 2)
            size = width, height
        at += length
        if marker == 0xDA:
            found = _JPEG_MARKER.search(data, at)
            if found is None:
                raise _BadPictureError(_TRUNCATED)
            at = found.start()
    if size is None:
        raise _BadPictureError("not a valid JPEG, it has no frame header")
    return size


def _png_size(data: bytes) -> tuple[int, int]:
    size: tuple[int, int] | None = None
    at = 8
    while True:
        length, kind = _unpack(">I4s", data, at)
        if at + 12 + length > len(data):
            raise _BadPictureError(_TRUNCATED)
        critical = not kind[0] & 0x20
        if critical:
            (crc,) = _unpack(">I", data, at + 8 + length)
            if zlib.crc32(memoryview(data)[at + 4 : at + 8 + length]) != crc:
                raise _BadPictureError(f"the file is damaged, wrong checksum in chunk {kind.decode('latin-1')!r}")
        if kind == b"IHDR":
            width, height = _unpack(">II", data, at + 8)
            size = width, height
        elif kind == b"IEND":
            break
        at += 12 + length
    if size is None:
        raise _BadPictureError("not a valid PNG, it has no header")
    return size


def _gif_size(data: bytes) -> tuple[int, int]:
    width, height = _unpack("<HH", data, 6)
    return width, height


def _bmp_size(data: bytes) -> tuple[int, int]:
    (header,) = _unpack("<I", data, 14)
    width, height = _unpack("<HH", data, 18) if header == 12 else _unpack("<ii", data, 18)
    return abs(width), abs(height)


def _webp_size(data: bytes) -> tuple[int, int]:
    (length,) = _unpack("<I", data, 4)
    if length + 8 > len(data):
        raise _BadPictureError(_TRUNCATED)
    kind = data[12:16]
    if kind == b"VP8X":
        low_w, high_w, low_h, high_h = _unpack("<HBHB", data, 24)
        return 1 + (low_w | high_w << 16), 1 + (low_h | high_h << 16)
    if kind == b"VP8L":
        (bits,) = _unpack("<I", data, 21)
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        width, height = _unpack("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    raise _BadPictureError("not a valid WebP file")


def _tiff_size(data: bytes) -> tuple[int, int]:
    order = "<" if data[:2] == b"II" else ">"
    (version,) = _unpack(order + "H", data, 2)
    big = version == 43
    (at,) = _unpack(order + ("Q" if big else "I"), data, 8 if big else 4)
    (entries,) = _unpack(order + ("Q" if big else "H"), data, at)
    at += 8 if big else 2
    values: dict[int, int] = {}
    for index in range(min(entries, 4096)):
        start = at + index * (20 if big else 12)
        tag, kind = _unpack(order + "HH", data, start)
        if tag in (256, 257):
            layout = {3: "H", 4: "I", 16: "Q"}.get(kind)
            if layout is None:
                break
            (values[tag],) = _unpack(order + layout, data, start + (12 if big else 8))
    if len(values) != 2:
        raise _BadPictureError("not a valid TIFF file, it does not state its size")
    return values[256], values[257]


def _pnm_size(data: bytes) -> tuple[int, int]:
    numbers = re.match(rb"P[1-6](?:\s|#[^\n\r]*[\n\r])+(\d{1,9})(?:\s|#[^\n\r]*[\n\r])+(\d{1,9})(?!\d)", data[:4096])
    if numbers is None:
        raise _BadPictureError("not a valid PNM file, it does not state its size")
    return int(numbers[1]), int(numbers[2])


def _jp2_size(data: bytes) -> tuple[int, int]:
    if data[:4] == b"\xff\x4f\xff\x51":
        right, bottom, left, top = _unpack(">IIII", data, 8)
        return right - left, bottom - top
    at = data.find(b"ihdr")
    if at < 0:
        raise _BadPictureError("not a valid JPEG 2000 file, it does not state its size")
    height, width = _unpack(">II", data, at + 4)
    if height == 0 or width == 0:
        return width, height
    stream = data.find(b"\xff\x4f\xff\x51", at)
    if stream >= 0:
        # The decoder allocates by the size in the codestream, which may differ from that in the box.
        right, bottom, left, top = _unpack(">IIII", data, stream + 8)
        width, height = max(width, right - left), max(height, bottom - top)
    return width, height


def _avif_size(data: bytes) -> tuple[int, int]:
    sizes: list[tuple[int, int]] = []
    at = data.find(b"ispe")
    while at >= 0 and len(sizes) < 256:
        width, height = _unpack(">II", data, at + 8)
        sizes.append((width, height))
        at = data.find(b"ispe", at + 4)
    if not sizes:
        raise _BadPictureError("not a valid AVIF file, it does not state its size")
    return max(sizes, key=math.prod)


_FORMATS: tuple[tuple[str, Callable[[bytes], bool], Callable[[bytes], tuple[int, int]]], ...] = (
    ("JPEG", lambda d: d[:3] == b"\xff\xd8\xff", _jpeg_size),
    ("PNG", lambda d: d[:8] == b"\x89PNG\r\n\x1a\n", _png_size),
    ("GIF", lambda d: d[:6] in (b"GIF87a", b"GIF89a"), _gif_size),
    ("WebP", lambda d: d[:4] == b"RIFF" and d[8:12] == b"WEBP", _webp_size),
    ("BMP", lambda d: d[:2] == b"BM", _bmp_size),
    ("TIFF", lambda d: d[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), _tiff_size),
    ("JPEG 2000", lambda d: d[:12] == b"\0\0\0\x0cjP  \r\n\x87\n" or d[:4] == b"\xff\x4f\xff\x51", _jp2_size),
    ("AVIF", lambda d: d[4:8] == b"ftyp" and b"avi" in d[8:64], _avif_size),
    ("PNM", lambda d: len(d) > 2 and d[:1] == b"P" and d[1:2] in b"123456" and d[2:3] in b" \t\r\n#", _pnm_size),
)


# --- OpenCV's own messages --------------------------------------------------------------------------------------------
# A bad picture is reported by us in one sentence; OpenCV's log lines on top of it say nothing more. The level is global
# to OpenCV, so it is lowered while any thread decodes and put back by the last.

_quiet_lock = threading.Lock()
_quiet_users = 0
_quiet_level = 0


def _logging() -> Any:
    # Moved between OpenCV 4 and 5.
    utils: Any = getattr(cv2.utils, "logging", None)
    return utils if utils is not None else (cv2 if hasattr(cv2, "setLogLevel") else None)


@contextlib.contextmanager
def _quiet() -> Generator[None]:
    global _quiet_users, _quiet_level
    log = _logging()
    if log is None:
        yield
        return
    with _quiet_lock:
        if _quiet_users == 0:
            _quiet_level = log.getLogLevel()
            log.setLogLevel(0)
        _quiet_users += 1
    try:
        yield
    finally:
        with _quiet_lock:
            _quiet_users -= 1
            if _quiet_users == 0:
                log.setLogLevel(_quiet_level)


# --- Pictures ---------------------------------------------------------------------------------------------------------


def decode_picture(data: bytes, *, name: str = "picture", max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Decode the bytes of a picture file.

    Args:
        data: a whole JPEG, PNG, WebP, BMP, TIFF, GIF (first frame), PNM, JPEG 2000 or AVIF file.
        name: what to call it in an error.
        max_pixels: width times height that is still decoded.

    Returns:
        (height, width, 3) uint8, BGR, turned as EXIF says; alpha is dropped, grey becomes three equal channels, deeper
        pixels are scaled to 8 bits.

    Raises:
        InputError: empty, cut off, damaged, too large, or of no known format.
    """
    if not data:
        raise InputError(f"{name}: the file is empty; replace it with a picture")
    found = next(((kind, size) for kind, matches, size in _FORMATS if matches(data)), None)
    if found is None:
        raise InputError(f"{name}: not a picture of a known format; use JPEG, PNG, WebP, BMP or TIFF")
    kind, size_of = found
    try:
        width, height = size_of(data)
    except _BadPictureError as error:
        raise InputError(f"{name}: {error}; replace it with a whole {kind} file") from None
    if width <= 0 or height <= 0:
        raise InputError(f"{name}: the {kind} header says {width}x{height} pixels; replace it with a whole {kind} file")
    if width * height > max_pixels:
        raise InputError(
            f"{name}: {width}x{height} pixels are more than the {max_pixels} that are decoded; scale the picture down"
        )
    try:
        with _quiet():
            image: Any = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        image = None
    except MemoryError:
        raise InputError(f"{name}: {width}x{height} pixels do not fit the memory; scale the picture down") from None
    if image is None or image.size == 0:
        raise InputError(f"{name}: the {kind} data cannot be decoded, it is damaged or of a kind OpenCV does not read")
    return image


def read_picture(path: str | Path, *, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Read a picture file; result and errors as :func:`decode_picture`, and InputError where it cannot be read."""
    try:
        with os.fdopen(_open_regular(str(path), os.O_RDONLY), "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > _MAX_FILE:
                raise InputError(f"{path}: {size} bytes are too many for a picture; at most {_MAX_FILE} are read")
            data = file.read(_MAX_FILE + 1)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; check the name") from None
    except IsADirectoryError:
        raise InputError(f"{path}: is a folder, expected a picture") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({describe(error)}); check the file and its permissions") from None
    except ValueError:
        raise InputError(f"{str(path)!r}: not a valid file name") from None
    return decode_picture(data, name=str(path), max_pixels=max_pixels)


def _download(address: str, name: str) -> bytes:
    """The bytes behind an http or https address."""
    import http.client
    import urllib.error
    import urllib.request

    try:
        with urllib.request.urlopen(address, timeout=_OPEN_TIMEOUT_MS / 1e3) as reply:
            data = reply.read(_MAX_FILE + 1)
    except (OSError, ValueError, http.client.HTTPException) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        raise InputError(f"{name}: cannot be fetched ({error}); check the address and the network") from None
    if len(data) > _MAX_FILE:
        raise InputError(f"{name}: more than the {_MAX_FILE} bytes that are read of a picture")
    return data


def _is_text(name: str) -> bool:
    """Whether a name can be encoded as UTF-8; file names on Linux need not be."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _open_regular(path: str, flags: int) -> int:
    """Opener that does not wait for the other end of a named pipe."""
    descriptor = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        if stat.S_ISDIR(mode):
            raise IsADirectoryError
        raise OSError(0, "not an ordinary file")
    return descriptor


def _check_array(array: Any, name: str) -> NDArray[np.uint8]:
    if not isinstance(array, np.ndarray):
        raise InputError(
            f"{name}: a {type(array).__name__}, expected a numpy array of shape (height, width, 3), uint8, BGR"
        )
    if array.dtype != np.uint8:
        raise InputError(f"{name}: dtype {array.dtype}, expected uint8; scale and convert it first")
    if array.ndim != 3 or array.shape[2] != 3:
        raise InputError(f"{name}: shape {array.shape}, expected (height, width, 3)")
    if array.size == 0:
        raise InputError(f"{name}: shape {array.shape} holds no pixel")
    return array


# --- The plan: what the user's items stand for ------------------------------------------------------------------------


_STILL = frozenset({"picture", "address", "array"})
"""Kinds of items that give one frame."""


@dataclass(frozen=True)
class _Item:
    kind: str  # picture, address (of a picture), video, stream, camera, array
    value: Any
    name: str
    position: int = 0


def _public_address(address: str) -> str:
    """An address without its password."""
    try:
        parts = urlsplit(address)
        password = parts.password
    except ValueError:
        return address
    if password is None:
        return address
    user, _, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user.partition(':')[0]}:***@{host}"))


def _file_item(path: str) -> _Item:
    return _Item("video" if Path(path).suffix.lower() in VIDEOS else "picture", path, path)


def _known(path: Path) -> bool:
    return path.suffix.lower() in PICTURES | VIDEOS and not path.name.startswith(".")


def _from_folder(folder: Path, name: str) -> list[_Item]:
    try:
        found = sorted(str(path) for path in folder.iterdir() if _known(path) and not path.is_dir())
    except OSError as error:
        raise InputError(f"{name}: the folder cannot be read ({describe(error)}); check its permissions") from None
    if not found:
        raise InputError(
            f"{name}: the folder holds no picture and no video; give another folder (subfolders are not searched)"
        )
    return [_file_item(path) for path in found]


def _expand(item: Any, number: int) -> list[_Item]:
    """What one item of the user's list stands for, in order."""
    if isinstance(item, np.ndarray):
        frames = list(item) if item.ndim == 4 else [item]
        if not frames:
            raise InputError(f"array {number}: shape {item.shape} holds no frame")
        many = item.ndim == 4
        return [
            _Item("array", frame, f"array {number}[{i}]" if many else f"array {number}")
            for i, frame in enumerate(frames)
        ]
    if isinstance(item, bool) or not isinstance(item, (str, os.PathLike, int, np.integer)):
        raise InputError(
            f"source {number}: a {type(item).__name__}; give a path, an address, a camera number or an array"
        )
    if isinstance(item, (int, np.integer)):
        if item < 0:
            raise InputError(f"source {number}: camera {int(item)}; camera numbers start at 0")
        return [_Item("camera", int(item), f"camera {int(item)}")]
    text = os.fspath(item)
    if not isinstance(text, str):
        text = os.fsdecode(text)
    if not text or "\0" in text:
        raise InputError(f"source {number}: {text!r} is not a file name; give a path, an address or a camera number")
    scheme, separator, _ = text.partition("://")
    if separator and scheme.lower() == "file":
        text = unquote(urlsplit(text).path)
    elif separator and scheme.lower() in _SCHEMES:
        # A picture on the web is one frame, not a stream.
        still = scheme.lower() in ("http", "https") and Path(urlsplit(text).path).suffix.lower() in PICTURES
        return [_Item("address" if still else "stream", text, _public_address(text))]
    path = Path(text)
    try:
        if path.is_dir():
            return _from_folder(path, text)
        exists = path.exists()
    except OSError as error:
        raise InputError(f"{text}: cannot be read ({describe(error)})") from None
    if not exists and text.isascii() and text.isdigit():
        return [_Item("camera", int(text), f"camera {int(text)}")]
    if not exists and glob.has_magic(text):
        matches = sorted(
            match
            for match in glob.glob(text, recursive=True)  # noqa: PTH207 (absolute patterns)
            if _known(Path(match)) and Path(match).is_file()
        )
        if not matches:
            raise InputError(f"{text}: matches no picture and no video; check the pattern")
        return [_file_item(match) for match in matches]
    return [_file_item(text)]


# --- The channel between the decoder thread and the run ---------------------------------------------------------------


class _ClosedError(Exception):
    pass


class _Channel:
    """A queue bounded in frames and in bytes, that either side can close."""

    def __init__(self, depth: int, max_bytes: int) -> None:
        self._frames: deque[Frame] = deque()
        self._depth = depth
        self._max_bytes = max_bytes
        self._bytes = 0
        self._finished = False
        self._failure: BaseException | None = None
        self._changed = threading.Condition()

    def _full(self, size: int) -> bool:
        # A frame above the byte bound still passes when it is alone.
        return len(self._frames) >= self._depth or (bool(self._frames) and self._bytes + size > self._max_bytes)

    def put(self, frame: Frame, *, replace: bool = False) -> None:
        """Append a frame, waiting for room; with ``replace`` unread frames of the same source give way to it."""
        size = 0 if frame.image is None else frame.image.nbytes
        with self._changed:
            while not self._finished:
                if replace:
                    kept = [old for old in self._frames if old.position != frame.position or old.error is not None]
                    self._frames = deque(kept)
                    self._bytes = sum(0 if old.image is None else old.image.nbytes for old in kept)
                if not self._full(size):
                    self._frames.append(frame)
                    self._bytes += size
                    self._changed.notify_all()
                    return
                self._changed.wait()
        raise _ClosedError

    def get(self) -> Frame | None:
        """The next frame, waiting for it; None at the end."""
        with self._changed:
            while not self._frames and not self._finished:
                self._changed.wait()
            if self._frames:
                frame = self._frames.popleft()
                self._bytes -= 0 if frame.image is None else frame.image.nbytes
                self._changed.notify_all()
                return frame
            if self._failure is not None:
                failure, self._failure = self._failure, None
                raise failure
            return None

    def finish(self, failure: BaseException | None = None) -> None:
        """No more frames will come; those waiting are still given out."""
        with self._changed:
            self._finished = True
            self._failure = failure
            self._changed.notify_all()

    def close(self) -> None:
        """Nobody will read any more."""
        with self._changed:
            self._finished = True
            self._frames.clear()
            self._bytes = 0
            self._changed.notify_all()

    def closed(self) -> bool:
        with self._changed:
            return self._finished

    def wait_closed(self, seconds: float) -> bool:
        """Sleep, but not longer than until the channel is closed; whether it is."""
        with self._changed:
            self._changed.wait_for(lambda: self._finished, seconds)
            return self._finished


# --- The iterator -----------------------------------------------------------------------------------------------------


class Sources:
    """Frames of a list of sources, in order, decoded ahead by one thread.

    A source is a path to a picture or video; a folder, whose pictures and videos are taken in the order of their names
    (subfolders and hidden files are not looked at); a pattern with ``*``, ``?`` or ``[``, where ``**`` spans folders; a
    camera number, as int or digits; an address (``rtsp://``, ``http://``...); or an array, (height, width, 3) or
    (n, height, width, 3), uint8, BGR.

    Something that cannot be read gives a :class:`Frame` with ``error`` set, and the run goes on. Use it as a context
    manager, or call :meth:`close`; leaving early stops the thread.

    Args:
        items: one source or several.
        depth: frames decoded ahead, at least 1. At most 512 MiB are held, or one frame if it alone is larger.
        policy: for cameras and streams, ``latest`` gives the newest frame and drops those that came in meanwhile,
            ``every`` gives all of them and may lag behind. Files always give every frame.
        reconnect: how often a stream that breaks off is opened again, with growing pauses.
        max_pixels: larger pictures and videos are refused, see :data:`MAX_PIXELS`.

    Raises:
        InputError: no source at all, a folder without pictures or videos, a pattern without matches, or an item of
            another type.
    """

    def __init__(
        self,
        items: Any,
        *,
        depth: int = 4,
        policy: str = "latest",
        reconnect: int = 3,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        if depth < 1:
            raise InputError(f"depth is {depth}, expected at least 1 frame")
        if policy not in ("latest", "every"):
            raise InputError(f"policy is {policy!r}, expected latest or every")
        if isinstance(items, (str, bytes, os.PathLike, int, np.integer, np.ndarray)) or not isinstance(items, Iterable):
            items = [items]
        plan: list[_Item] = []
        for number, item in enumerate(items):
            plan.extend(_expand(item, number))
        if not plan:
            raise InputError("no source was given; name a picture, a folder, a video, a camera or an address")
        numbered = [_Item(item.kind, item.value, item.name, position) for position, item in enumerate(plan)]
        self._set_up(numbered, depth, policy, reconnect, max_pixels)

    @classmethod
    def of_files(cls, paths: Iterable[str | Path], *, depth: int = 4, max_pixels: int = MAX_PIXELS) -> Sources:
        """Exactly these files, as pictures: names are not read as patterns, addresses or camera numbers."""
        sources = cls.__new__(cls)
        items = [_Item("picture", str(path), str(path), position) for position, path in enumerate(paths)]
        sources._set_up(items, depth, "every", 0, max_pixels)
        return sources

    def _set_up(self, plan: list[_Item], depth: int, policy: str, reconnect: int, max_pixels: int) -> None:
        self._plan = plan
        self._policy = policy
        self._reconnect = reconnect
        self._max_pixels = max_pixels
        self._channel = _Channel(depth, 512 << 20)
        self._thread: threading.Thread | None = None

    def __len__(self) -> int:
        """Number of sources after folders and patterns were expanded; a video counts as one."""
        return len(self._plan)

    @property
    def names(self) -> list[str]:
        """Name of each source, in order."""
        return [item.name for item in self._plan]

    @property
    def files(self) -> list[Path]:
        """The sources that are files, in order."""
        return [Path(item.value) for item in self._plan if item.kind in ("picture", "video")]

    def is_video(self, position: int) -> bool:
        """Whether the source of that number gives many frames: a video, camera or stream."""
        return self._plan[position].kind not in _STILL

    @property
    def pictures_only(self) -> bool:
        """Whether every source gives exactly one frame."""
        return all(item.kind in _STILL for item in self._plan)

    def __enter__(self) -> Sources:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_channel"):
            self._channel.close()

    def close(self) -> None:
        """Stop decoding. Safe to call twice; frames not yet given out are dropped."""
        self._channel.close()
        if self._thread is not None and self._thread is not threading.current_thread():
            # A read of a camera or stream cannot be interrupted; the thread is a daemon and ends when it returns.
            self._thread.join(timeout=2.0)

    def __iter__(self) -> Iterator[Frame]:
        if self._thread is None:
            # The thread must not keep this object alive, or dropping it half read would leave it running.
            reader = _Reader(self._plan, self._channel, self._policy, self._reconnect, self._max_pixels)
            self._thread = threading.Thread(target=reader.run, name="trtpose-sources", daemon=True)
            self._thread.start()
        while (frame := self._channel.get()) is not None:
            yield frame


class _Reader:
    """What the decoder thread does."""

    def __init__(self, plan: list[_Item], channel: _Channel, policy: str, reconnect: int, max_pixels: int) -> None:
        self._plan = plan
        self._channel = channel
        self._policy = policy
        self._reconnect = reconnect
        self._max_pixels = max_pixels

    def run(self) -> None:
        try:
            for item in self._plan:
                if item.kind in _STILL:
                    self._still(item)
                else:
                    self._video(item)
        except _ClosedError:
            pass
        except BaseException as error:
            self._channel.finish(error)
        else:
            self._channel.finish()

    def _still(self, item: _Item) -> None:
        start = time.perf_counter()
        image: NDArray[np.uint8] | None = None
        problem: InputError | None = None
        try:
            if item.kind == "array":
                image = _check_array(item.value, item.name)
            elif item.kind == "address":
                data = _download(item.value, item.name)
                image = decode_picture(data, name=item.name, max_pixels=self._max_pixels)
            else:
                image = read_picture(item.value, max_pixels=self._max_pixels)
        except InputError as error:
            problem = error
        elapsed = (time.perf_counter() - start) * 1e3
        self._channel.put(Frame(image, item.name, error=problem, read_ms=elapsed, position=item.position))

    def _open(self, item: _Item) -> Any:
        timeouts = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, _OPEN_TIMEOUT_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, _READ_TIMEOUT_MS]
        with _quiet():
            if item.kind == "camera":
                return cv2.VideoCapture(item.value)
            try:
                # Named, since OpenCV would otherwise also try a name with digits as the first of a row of pictures.
                return cv2.VideoCapture(item.value, cv2.CAP_FFMPEG, timeouts)
            except cv2.error:
                return cv2.VideoCapture(item.value, cv2.CAP_ANY)

    def _fail(self, item: _Item, text: str, index: int, live: bool) -> None:
        error = InputError(f"{item.name}: {text}")
        self._channel.put(
            Frame(
                None, item.name, index=index, is_video=True, live=live, error=error, total=None, position=item.position
            )
        )

    def _video(self, item: _Item) -> None:
        live = item.kind == "camera"
        if item.kind != "camera" and not _is_text(item.value):
            # OpenCV 5 crashes on such a string.
            self._fail(item, "the name is not valid UTF-8, which OpenCV needs; rename the file", 0, live)
            return
        if item.kind == "video":
            try:
                os.close(_open_regular(item.value, os.O_RDONLY))
            except FileNotFoundError:
                self._fail(item, "no such file; check the name", 0, live)
                return
            except OSError as error:
                self._fail(item, f"cannot be read ({describe(error)}); check the file and its permissions", 0, live)
                return
        retries, index = 0, 0
        while True:
            capture = self._open(item)
            try:
                before = index
                if capture.isOpened():
                    index, live, done = self._read(item, capture, index)
                    if done:
                        return
                elif item.kind != "stream":
                    what = {"camera": "no such camera, or it is in use; check the number"}
                    self._fail(item, what.get(item.kind, "not a video that can be read; check the file"), index, live)
                    return
            finally:
                with _quiet():
                    capture.release()
            # Only streams come here: never opened, or broken off.
            if index > before:
                retries = 0
            if retries >= self._reconnect:
                what = "the stream broke off" if index else "the stream cannot be opened"
                again = f" ({retries} more tries)" if retries else ""
                self._fail(item, f"{what}{again}; check the address and the network", index, live)
                return
            retries += 1
            if self._channel.wait_closed(min(_PAUSE * 2.0 ** (retries - 1), 8.0)):
                raise _ClosedError

    def _read(self, item: _Item, capture: Any, index: int) -> tuple[int, bool, bool]:
        """Give out the frames of an open capture; the next index, whether it is live, whether the source is done."""
        count = capture.get(cv2.CAP_PROP_FRAME_COUNT)
        total = round(count) if math.isfinite(count) and 0 < count < 1e9 else None
        rate = capture.get(cv2.CAP_PROP_FPS)
        fps = float(rate) if math.isfinite(rate) and 0 < rate <= 1000 else None
        live = item.kind == "camera" or (item.kind == "stream" and total is None)
        if live:
            total = None
        width, height = capture.get(cv2.CAP_PROP_FRAME_WIDTH), capture.get(cv2.CAP_PROP_FRAME_HEIGHT)
        if width * height > self._max_pixels:
            self._fail(
                item,
                f"{width:.0f}x{height:.0f} pixels are more than the {self._max_pixels} that are decoded",
                index,
                live,
            )
            return index, live, True
        first = index
        while True:
            start = time.perf_counter()
            try:
                good, image = capture.read()
            except cv2.error:
                good, image = False, None
            if not good or image is None or image.size == 0:
                break
            if image.ndim == 2:
                image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
            elapsed = (time.perf_counter() - start) * 1e3
            frame = Frame(image, item.name, index, True, live, fps, total, None, elapsed, item.position)
            self._channel.put(frame, replace=live and self._policy == "latest")
            index += 1
        if item.kind == "stream" and live:
            return index, live, False
        read = index - first
        if item.kind == "camera":
            self._fail(item, "the camera gives no more frames; check its connection", index, live)
        elif read == 0:
            self._fail(item, "holds no frame that can be decoded; check the file", index, live)
        # The count is exact in some containers and an estimate in others.
        elif total is not None and total - read > max(5, 0.05 * total):
            self._fail(item, f"ends after {read} of {total} frames; the file is cut off or damaged", index, live)
        return index, live, True
