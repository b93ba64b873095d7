# SPDX-License-Identifier: Apache-2.0
"""Going on with a file of ``infer --jsonl`` where an earlier run left off."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from .. import _run
from .._files import atomic_path, cannot_write, describe
from ..errors import DeviceError, InputError

if TYPE_CHECKING:
    from ..sources import Sources

__all__ = ["Done", "leave_out", "read_done"]

_LINE = 64 << 20
"""Bytes of a line at most; 30,000 people of a hundred keypoints fit."""


@dataclass
class Done:
    """What a file of lines holds already.

    Attributes:
        bytes: where to go on writing; 0 begins anew.
        over: positions of the sources that are done.
        frames: of the video that is begun, by its position, how many frames are done. It must be gone on with before
            anything else, as a video is over where another source's line follows.
        changed: the videos whose file has another size than when they were done, by their position, with where their
            lines begin and end; they are done anew.
    """

    bytes: int = 0
    changed: dict[int, tuple[int, int]] = field(default_factory=lambda: cast("dict[int, tuple[int, int]]", {}))
    over: set[int] = field(default_factory=lambda: cast("set[int]", set()))
    frames: dict[int, int] = field(default_factory=lambda: cast("dict[int, int]", {}))


def read_done(path: str, head: dict[str, Any], sources: Sources, *, whole_videos: bool) -> Done:
    """What of ``sources`` the file ``path`` holds. A last line that was cut off does not count.

    Args:
        path: of the file; where there is none nothing is done.
        head: the first line that this run would write; another one's file is refused.
        sources: of this run. The file may hold any of them: what could not be read at first, or was added between two
            runs, stands behind what was done before.
        whole_videos: count a video that is not known to be whole as not begun, for those who need its frames in a row.

    Raises:
        InputError: the file cannot be read, or another model or other sources made it.
    """
    file = Path(path)
    if not file.exists():
        return Done()
    if not file.is_file():
        raise InputError(f"--resume: {path} is no regular file; give the file of an earlier run with --jsonl")
    live = next((name for i, name in enumerate(sources.names) if sources.is_live(i)), None)
    if live is not None:
        raise InputError(f"--resume: {live} has no place to go on from; leave out --resume for cameras and streams")
    _run.refuse(file)
    try:
        with file.open("rb") as stream:
            return _Reading(path, stream, sources, whole_videos).all(head)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({describe(error)}); give --jsonl a new file") from None


def leave_out(path: str, done: Done) -> None:
    """Take the lines of the changed videos out of the file, whole or not at all.

    Raises:
        InputError: it cannot be written.
    """
    gone = sorted(done.changed.values())
    edges = zip([0, *(end for _, end in gone)], [*(begin for begin, _ in gone), done.bytes], strict=True)
    kept = [(begin, end) for begin, end in edges if begin < end]
    done.bytes = sum(end - begin for begin, end in kept)
    if len(kept) < 2:  # what is last is cut off when the file is gone on with
        return
    try:
        with atomic_path(path) as temporary, Path(path).open("rb") as old, temporary.open("wb") as new:
            for begin, end in kept:
                old.seek(begin)
                _copy(old, new, end - begin)
    except OSError as error:
        raise cannot_write(path, error) from error


def _copy(old: Any, new: Any, count: int) -> None:
    while count > 0 and (piece := old.read(min(count, 1 << 20))):
        new.write(piece)
        count -= len(piece)


def _is_another(file: Path | None, size: Any) -> bool:
    """Whether a video's file has not the size any more that it had, and is a video: one that was lost or emptied is not
    made anew of nothing."""
    from ..sources.capture import OpenError
    from ..sources.video import Video

    try:
        if file is None or not isinstance(size, int) or file.stat().st_size == size:
            return False
        Video(str(file)).close()
    except (OSError, OpenError, DeviceError):
        return False
    return True


class _Reading:
    def __init__(self, path: str, stream: Any, sources: Sources, whole_videos: bool) -> None:
        self._path = path
        self._stream = stream
        self._whole_videos = whole_videos
        self._sources = sources
        # Sources may be given twice; the first of a name is done first.
        self._places: dict[str, list[int]] = {}
        # Of the videos: how large the file was, where their lines begin and end.
        self._sizes: dict[int, Any] = {}
        self._ranges: dict[int, tuple[int, int]] = {}
        for position, name in enumerate(sources.names):
            if not sources.is_passed_over(position):
                self._places.setdefault(name, []).append(position)

    def _wrong(self, number: int, why: str) -> InputError:
        return InputError(
            f"{self._path}: line {number} {why}; give --resume the same model, options and sources as the run that "
            "made it, or --jsonl another file"
        )

    def _lines(self) -> Any:
        """Number, where it ends, and what it holds, of each whole line."""
        end, number = 0, 0
        while True:
            line = self._stream.readline(_LINE)
            if not line.endswith(b"\n"):
                return
            end, number = end + len(line), number + 1
            try:
                value: Any = json.loads(line)
            except (ValueError, RecursionError):
                raise self._wrong(number, "is not a line of --jsonl") from None
            if not isinstance(value, dict):
                raise self._wrong(number, "is not a line of --jsonl")
            yield number, end, cast("dict[str, Any]", value)

    def all(self, head: dict[str, Any]) -> Done:
        done = Done()
        used: Counter[str] = Counter()
        last = -1
        begin = 0  # where the lines of the last video begin
        for number, end, value in self._lines():
            if number == 1:
                self._check_head(head, value)
                done.bytes = begin = end
                continue
            position = self._position(number, value, used, last)
            if position != last:
                begin = done.bytes
            if "frame" in value:
                self._sizes.setdefault(position, value.get("bytes"))
                self._ranges[position] = (begin, end)
                done.frames[position] = self._next_frame(number, value, done.frames.get(position, 0))
            else:
                done.over.add(position)
            done.bytes, last = end, position
        if self._whole_videos and last in done.frames:
            del done.frames[last]
            done.bytes = begin
        self._finish(done, last)
        self._look_for_changes(done)
        return done

    def _check_head(self, head: dict[str, Any], value: dict[str, Any]) -> None:
        mine = json.loads(json.dumps(head))
        for key in {**mine, **value}:
            if value.get(key) != mine.get(key):
                raise self._wrong(1, f"names another {key} than this run has")

    def _position(self, number: int, value: dict[str, Any], used: Counter[str], last: int) -> int:
        """The source that a line is about."""
        name = value.get("source")
        places = self._places.get(name, []) if isinstance(name, str) else []
        if last in places and "frame" in value and value["frame"] != 0:
            return last
        if not isinstance(name, str) or used[name] >= len(places):
            raise self._wrong(number, "is about a source that this run has not")
        position = places[used[name]]
        used[name] += 1
        return position

    def _next_frame(self, number: int, value: dict[str, Any], done: int) -> int:
        frame = value["frame"]
        if not isinstance(frame, int) or isinstance(frame, bool) or frame < done:
            raise self._wrong(number, "holds frames in another order")
        return frame + 1

    def _finish(self, done: Done, last: int) -> None:
        """Videos are over but for the last line's: another source's line follows theirs."""
        for position in list(done.frames):
            if position != last:
                done.over.add(position)
                del done.frames[position]

    def _look_for_changes(self, done: Done) -> None:
        """Videos that have grown or were repaired are not done."""
        for position in [one for one in self._ranges if one in done.over or one in done.frames]:
            if _is_another(self._sources.video_file(position), self._sizes[position]):
                done.changed[position] = self._ranges[position]
                done.over.discard(position)
                done.frames.pop(position, None)
