# SPDX-License-Identifier: Apache-2.0
"""The command ``trtpose infer``."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .._files import make_folder, remove_empty
from ..errors import Error, InputError
from . import options
from .console import INTERRUPTED, Progress, check_json, complain, counted, warn
from .options import SUPPRESSION, add_model, add_thresholds
from .values import count_or_none, frames

if TYPE_CHECKING:
    from ..engine import Engine
    from ..results import Poses
    from ..sinks.json_lines import JsonLines
    from ..sinks.json_stream import JsonStream
    from ..sinks.pictures import Pictures
    from ..sources import Frame, Sources

__all__ = ["SUMMARY", "add_arguments", "add_outputs", "run"]

_NAMED = 5
"""Of what is left out of a folder so many are named, all are counted."""

SUMMARY = "find people in pictures, videos and streams"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_model(parser)
    parser.add_argument(
        "source",
        metavar="SOURCE",
        nargs="+",
        help="picture, folder (subfolders are not searched), quoted pattern, video, camera number, or address",
    )
    add_thresholds(parser, also=SUPPRESSION)
    add_outputs(parser)


def add_outputs(parser: argparse.ArgumentParser) -> None:
    """Options of what is read and written, the same for ``demo``."""
    parser.add_argument("--out", metavar="DIR", help="write annotated pictures and videos to this folder")
    parser.add_argument("--no-draw", action="store_true", help="write no pictures and videos, whatever --out says")
    parser.add_argument("--json", metavar="FILE", help="write the poses to this file; - is the standard output")
    parser.add_argument(
        "--jsonl",
        metavar="FILE",
        help="write a line per picture or frame to this file as it comes, which stays however the run ends; - is the "
        "standard output",
    )
    parser.add_argument(
        "--stream",
        choices=("latest", "every"),
        default="latest",
        help="from a camera or stream take the latest frame or every one, however late (default: latest)",
    )
    parser.add_argument(
        "--reconnect",
        type=count_or_none,
        default=3,
        metavar="N",
        help="times to open a broken stream again (default: 3)",
    )
    parser.add_argument(
        "--transport",
        choices=("tcp", "udp"),
        default="tcp",
        help="how a server of rtsp:// is asked to send: udp loses pictures rather than wait (default: tcp)",
    )
    parser.add_argument("--max-frames", type=frames, metavar="N", help="stop after this many frames")
    parser.add_argument("--quiet", "-q", action="store_true", help="no line per picture and no progress bar")


def run(args: argparse.Namespace, seen: Callable[[Poses], None] | None = None) -> int:
    """Do it; returns the exit status. Errors are raised as :class:`trtpose.Error`. ``seen`` gets what is found."""
    from ..sinks.pictures import Pictures
    from ..sources import Sources

    sources = Sources(args.source, policy=args.stream, reconnect=args.reconnect, transport=args.transport)
    made: list[Path] = []
    try:
        pictures: Pictures | None = None
        if args.out is not None and not args.no_draw:
            folder = Path(args.out)
            pictures = Pictures(folder, sources)
            made = make_folder(folder)
        _check_outputs(args)
        engine = options.open_engine(args)
        return _infer_all(args, engine, sources, pictures, seen)
    finally:
        sources.close()
        remove_empty(made)


def _check_outputs(args: argparse.Namespace) -> None:
    if args.json == args.jsonl == "-":
        raise InputError("--json and --jsonl: both write to the standard output; give one of them a file")
    check_json(args.json)
    check_json(args.jsonl)


def _infer_all(
    args: argparse.Namespace,
    engine: Engine,
    sources: Sources,
    pictures: Pictures | None,
    seen: Callable[[Poses], None] | None,
) -> int:
    from ..sinks.json_lines import JsonLines
    from ..sinks.json_stream import JsonStream

    try:
        with contextlib.ExitStack() as stack:
            # Entered outside the progress bar, so that the bar is gone before an error is printed.
            streams: list[JsonStream | JsonLines] = []
            if args.json is not None:
                streams.append(stack.enter_context(JsonStream(args.json, engine)))
            if args.jsonl is not None:
                streams.append(stack.enter_context(JsonLines(args.jsonl, engine)))
            total = len(sources) if sources.pictures_only else None
            if args.max_frames is not None:
                total = args.max_frames if total is None else min(total, args.max_frames)
            progress = stack.enter_context(Progress(total, "frame", quiet=args.quiet))
            return _Run(args, engine, sources, pictures, streams, progress, seen).all()
    finally:
        if pictures is not None:
            pictures.drop_video()


@dataclass
class _Video:
    """What was found so far in the video that is being read."""

    position: int
    source: str
    frames: int = 0
    poses: int = 0


class _Run:
    """Frames in, results to the files that are wanted, a line for each picture and video."""

    def __init__(
        self,
        args: argparse.Namespace,
        engine: Engine,
        sources: Sources,
        pictures: Pictures | None,
        streams: list[JsonStream | JsonLines],
        progress: Progress,
        seen: Callable[[Poses], None] | None,
    ) -> None:
        self._seen = seen
        self._engine = engine
        self._sources = sources
        self._pictures = pictures
        self._streams = streams
        self._progress = progress
        self._quiet = args.quiet
        self._max_frames = args.max_frames
        self._report = sys.stderr if "-" in (args.json, args.jsonl) else sys.stdout
        self._video: _Video | None = None
        self._live = False
        self._failures = 0

    def all(self) -> int:
        """Run to the end; returns the exit status."""
        self._say_left_out()
        try:
            for batch in self._batches():
                for frame, found in _infer_batch(self._engine, batch):
                    self._take(frame, found)
            self._end_video()
        except (KeyboardInterrupt, SystemExit) as stop:
            if not self._live:
                raise
            # A camera has no end of its own: a signal is how a recording is stopped, and what was recorded is kept.
            self._end_video()
            return stop.code if isinstance(stop, SystemExit) and isinstance(stop.code, int) else INTERRUPTED
        return 1 if self._failures else 0

    def _say_left_out(self) -> None:
        """What is no picture and no video in the folders that were named."""
        names = self._sources.left_out
        if names:
            shown = ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
            self._say(f"left out {len(names)} that are no picture and no video: {shown}")

    def _batches(self) -> Iterator[list[Frame]]:
        """Frames that are run together, in order; what cannot be read is reported when its turn comes."""
        batch: list[Frame] = []
        size = max(self._engine.batch, 1)
        done = 0
        for frame in self._sources:
            if frame.error is not None:
                yield batch
                batch = []
                self._fail(str(frame.error))
                self._progress.step()
                continue
            self._live = frame.live
            if len(self._sources) == 1:
                self._progress.expect(self._expected(frame))
            batch.append(frame)
            done += 1
            last = self._max_frames is not None and done >= self._max_frames
            # Waiting for a batch to fill would delay a live picture.
            if len(batch) >= size or frame.live or last:
                yield batch
                batch = []
            if last:
                return
        yield batch

    def _expected(self, frame: Frame) -> int | None:
        """Frames to come in all; where the source has no count, as many as its length leaves room for at the rate so
        far, which is right at its end."""
        total = frame.total
        if total is None and frame.length and frame.time:
            total = max(frame.index + 1, round((frame.index + 1) * frame.length / (frame.time + (frame.duration or 0))))
        if self._max_frames is None:
            return total
        return self._max_frames if total is None else min(total, self._max_frames)

    def _take(self, frame: Frame, found: Poses | Error) -> None:
        if self._video is not None and self._video.position != frame.position:
            self._end_video()
        if isinstance(found, Error):
            self._fail(f"{frame.source}: {found}")
            return
        if self._seen is not None:
            self._seen(found)
        for stream in self._streams:
            stream.add(frame, found)
        self._draw(frame, found)
        if frame.is_video:
            if self._video is None:
                self._video = _Video(frame.position, frame.source)
            self._video.frames += 1
            self._video.poses += len(found)
        else:
            self._say(f"{frame.source}: {counted(len(found), 'pose')}")
        self._progress.step()

    def _draw(self, frame: Frame, poses: Poses) -> None:
        from ..draw import draw
        from ..sinks.pictures import FormatError

        if self._pictures is None or frame.image is None:
            return
        try:
            self._pictures.add(frame, draw(frame.image, poses, in_place=frame.image.flags.writeable))
        except FormatError as error:
            self._fail(str(error))

    def _end_video(self) -> None:
        """Say what was found in the video that has come to its end."""
        video, self._video = self._video, None
        if video is None:
            return
        if self._pictures is not None:
            for note in self._pictures.end_video():
                warn(note, self._progress)
        self._say(f"{video.source}: {counted(video.poses, 'pose')} in {counted(video.frames, 'frame')}")

    def _say(self, text: str) -> None:
        if not self._quiet:
            self._progress.line(text, self._report)

    def _fail(self, text: str) -> None:
        complain(text, self._progress)
        self._failures += 1


def _infer_batch(engine: Engine, batch: list[Frame]) -> list[tuple[Frame, Poses | Error]]:
    """Results of a batch; a frame the engine refuses does not take its neighbours with it."""
    if not batch:
        return []
    images = [frame.image for frame in batch]
    try:
        return list(zip(batch, engine.infer(images), strict=True))
    except InputError as error:
        if len(batch) == 1:
            return [(batch[0], error)]
    return [pair for frame in batch for pair in _infer_batch(engine, [frame])]
