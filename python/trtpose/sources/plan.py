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

from .._files import describe
from ..errors import InputError
from .pictures import PICTURES

__all__ = ["STILL", "VIDEOS", "Item", "expand"]


VIDEOS = frozenset(
    {".3gp", ".asf", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4"}
    | {".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".webm", ".wmv"}
)
"""Suffixes of the files that are taken for videos."""

_SCHEMES = frozenset({"http", "https", "rtsp", "rtsps", "rtmp", "rtmps", "udp", "tcp", "srt", "rtp", "mms"})

STILL = frozenset({"picture", "address", "array"})
"""Kinds of items that give one frame."""


@dataclass(frozen=True)
class Item:
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


def _file_item(path: str) -> Item:
    return Item("video" if Path(path).suffix.lower() in VIDEOS else "picture", path, path)


def _known(path: Path) -> bool:
    return path.suffix.lower() in PICTURES | VIDEOS and not path.name.startswith(".")


def _from_folder(folder: Path, name: str) -> list[Item]:
    try:
        found = sorted(str(path) for path in folder.iterdir() if _known(path) and not path.is_dir())
    except OSError as error:
        raise InputError(f"{name}: the folder cannot be read ({describe(error)}); check its permissions") from None
    if not found:
        raise InputError(
            f"{name}: the folder holds no picture and no video; give another folder (subfolders are not searched)"
        )
    return [_file_item(path) for path in found]


def expand(item: Any, number: int) -> list[Item]:
    """What one item of the user's list stands for, in order."""
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
        if item < 0:
            raise InputError(f"source {number}: camera {int(item)}; camera numbers start at 0")
        return [Item("camera", int(item), f"camera {int(item)}")]
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
        return [Item("address" if still else "stream", text, _public_address(text))]
    path = Path(text)
    try:
        if path.is_dir():
            return _from_folder(path, text)
        exists = path.exists()
    except OSError as error:
        raise InputError(f"{text}: cannot be read ({describe(error)})") from None
    if not exists and text.isascii() and text.isdigit():
        return [Item("camera", int(text), f"camera {int(text)}")]
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
