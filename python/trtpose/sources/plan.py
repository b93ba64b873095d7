# SPDX-License-Identifier: Apache-2.0
"""What the user's items stand for."""

from __future__ import annotations

import glob
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

import numpy as np

from .._checks import shown
from .._files import describe
from ..errors import InputError
from .lists import is_list, read_list
from .pictures import PICTURES, is_picture
from .web import is_web

__all__ = ["STILL", "VIDEOS", "Item", "expand", "in_order"]


VIDEOS = frozenset(
    {".3gp", ".asf", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4"}
    | {".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".webm", ".wmv"}
)
"""Suffixes of the files that are taken for videos."""

_SCHEMES = frozenset({"http", "https", "rtsp", "rtsps", "rtmp", "rtmps", "udp", "tcp", "srt", "rtp", "mms"})

_LAST_CAMERA = 2**31 - 1

STILL = frozenset({"picture", "array"})
"""Kinds of items that give one frame."""


@dataclass(frozen=True)
class Item:
    kind: str  # picture, video, web (a picture or a stream, as it answers), stream, camera, array
    value: Any
    name: str
    position: int = 0


def in_order(item: Item) -> bool:
    """Whether a source waits for those before it: files, arrays, and addresses that look like a picture's."""
    if item.kind == "web":
        try:
            return Path(urlsplit(item.value).path).suffix.lower() in PICTURES
        except ValueError:
            return True  # no address, which is said in its turn
    return item.kind not in ("stream", "camera")


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


def _file_item(path: str) -> Item:
    return Item("video" if Path(path).suffix.lower() in VIDEOS else "picture", path, path)


def _sort_out(paths: list[str], left_out: list[str]) -> list[Item]:
    """Items of the pictures and videos among some files, told by suffix or content; the others are left out."""
    items: list[Item] = []
    for text in sorted(paths):
        if Path(text).suffix.lower() in VIDEOS or is_picture(Path(text)):
            items.append(_file_item(text))
        else:
            left_out.append(text)
    return items


def _from_folder(folder: Path, name: str, left_out: list[str]) -> list[Item]:
    try:
        paths = [path for path in folder.iterdir() if not path.name.startswith(".")]
    except OSError as error:
        raise InputError(f"{name}: the folder cannot be read ({describe(error)}); check its permissions") from None
    left_out += [f"{path}/" for path in sorted(paths) if path.is_dir()]
    items = _sort_out([str(path) for path in paths if not path.is_dir()], left_out)
    if not items:
        raise InputError(
            f"{name}: the folder holds no picture and no video; give another folder (subfolders are not searched)"
        )
    return items


def _from_pattern(pattern: str, left_out: list[str]) -> list[Item]:
    found = glob.glob(pattern, recursive=True)  # noqa: PTH207 (absolute patterns)
    items = _sort_out(
        [path for path in found if not Path(path).name.startswith(".") and Path(path).is_file()], left_out
    )
    if not items:
        raise InputError(f"{pattern}: matches no picture and no video; check the pattern")
    return items


def _camera(index: int, number: int | str) -> Item:
    if not 0 <= index <= _LAST_CAMERA:
        place = number if isinstance(number, str) else f"source {number}"
        raise InputError(f"{place}: camera {shown(index)}; camera numbers go from 0 to {_LAST_CAMERA}")
    return Item("camera", index, f"camera {index}")


def _from_list(path: str, left_out: list[str]) -> list[Item]:
    items: list[Item] = []
    for line, name in read_list(path):
        place = f"{path}, line {line}"
        if "://" not in name and is_list(name):
            raise InputError(f"{place}: a list within a list; name the sources themselves")
        items += expand(name, place, left_out)
    return items


def expand(item: Any, number: int | str, left_out: list[str]) -> list[Item]:
    """What one item of the user's list stands for, in order.

    Args:
        item: as :class:`trtpose.sources.Sources` takes it.
        number: its place in the list, or that in a file, for errors.
        left_out: gets what a folder or pattern holds besides pictures and videos; folders end in ``/``.
    """
    if isinstance(item, np.ndarray):
        frames = list(item) if item.ndim == 4 else [item]
        if not frames:
            raise InputError(f"array {number}: shape {item.shape} holds no frame")
        many = item.ndim == 4
        return [
            Item("array", frame, f"array {number}[{i}]" if many else f"array {number}")
            for i, frame in enumerate(frames)
        ]
    if isinstance(item, bool) or not isinstance(item, (str, os.PathLike, int, np.integer)):
        raise InputError(
            f"source {number}: a {type(item).__name__}; give a path, an address, a camera number or an array"
        )
    if isinstance(item, (int, np.integer)):
        return [_camera(int(item), number)]
    place = number if isinstance(number, str) else f"source {number}"
    text = os.fspath(item)
    if not isinstance(text, str):
        text = os.fsdecode(text)
    if not text or "\0" in text:
        raise InputError(f"{place}: {text!r} is not a file name; give a path, an address or a camera number")
    scheme, separator, _ = text.partition("://")
    if separator and scheme.lower() == "file":
        text = unquote(urlsplit(text).path)
    elif separator and scheme.lower() in _SCHEMES:
        return [Item("web" if is_web(text) else "stream", text, _public_address(text))]
    path = Path(text)
    try:
        if path.is_dir():
            return _from_folder(path, text, left_out)
        exists = path.exists()
    except OSError as error:
        raise InputError(f"{text}: cannot be read ({describe(error)})") from None
    if not exists and text.isascii() and text.isdigit() and len(text) <= len(str(_LAST_CAMERA)):
        return [_camera(int(text), number)]
    if not exists and glob.has_magic(text):
        return _from_pattern(text, left_out)
    if is_list(text):
        return _from_list(text, left_out)
    return [_file_item(text)]
