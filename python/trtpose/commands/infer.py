# SPDX-License-Identifier: Apache-2.0
"""The command ``trtpose infer``."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from .._files import make_folder, remove_empty
from .._in_flight import overlapped, when_live
from .._pyav import DECODERS
from ..errors import Error, InputError
from . import live, options, outputs
from .console import INTERRUPTED, Progress, complain, counted, note, warn
from .drawing import Drawing
from .options import SUPPRESSION, add_model, add_thresholds
from .values import count_or_none, frames

if TYPE_CHECKING:
    from ..engine import Engine
    from ..results import Poses
    from ..sinks.pictures import Pictures
    from ..sinks.resume import Done
    from ..sources import Batch, Frame, Sources
    from ..tracking.crop import Crops
    from ..tracking.sources import Trackers

__all__ = ["SUMMARY", "add_arguments", "add_outputs", "run"]

_Batch: TypeAlias = "tuple[tuple[list[Frame], Batch], list[tuple[Frame, Poses | Error]]]"
"""Frames of a batch that were not done before; of those without an error what was found."""

_MAX_BYTES = 256 << 20
"""Of the pictures that are being drawn; above it the first is waited for."""

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
        help="picture, folder (subfolders are not searched), quoted pattern, video, camera number, address, or a .txt "
        "or .streams file with one of these on a line; cameras and streams are read at the same time",
    )
    add_thresholds(parser, also=SUPPRESSION)
    options.add_runs(parser)
    add_outputs(parser)
    live.add_view(parser)
    outputs.add_shares(parser)
    options.add_tracking(parser, "give each person in a video or stream an id that stays from frame to frame")
    parser.add_argument(
        "--crop",
        action="store_true",
        help="follow one person through a video or stream: look around where it was in the frame before",
    )


def add_outputs(parser: argparse.ArgumentParser) -> None:
    """Options of what is read and written, the same for ``demo``."""
    parser.add_argument("--out", metavar="DIR", help="write annotated pictures and videos to this folder")
    parser.add_argument("--no-draw", action="store_true", help="write no pictures and videos, whatever --out says")
    outputs.add_files(parser)
    parser.add_argument(
        "--stream",
        choices=("latest", "every"),
        default="latest",
        help="from a camera or stream take the latest frame or every one, however late (default: latest)",
    )
    parser.add_argument(
        "--reconnect",
        type=count_or_none,
        metavar="N",
        help="times in a row that a camera or stream which breaks off, or is not there yet, is tried again (default: "
        "no end)",
    )
    parser.add_argument(
        "--transport",
        choices=("tcp", "udp"),
        default="tcp",
        help="how a server of rtsp:// is asked to send: udp loses pictures rather than wait (default: tcp)",
    )
    parser.add_argument(
        "--decode",
        choices=DECODERS,
        default="cpu",
        help="what decodes videos and streams: the cpu, or a device as FFmpeg names it; codecs it has none for are "
        "decoded on the cpu (default: cpu)",
    )
    parser.add_argument("--max-frames", type=frames, metavar="N", help="stop after this many frames")
    parser.add_argument("--quiet", "-q", action="store_true", help="no line per picture and no progress bar")


def run(args: argparse.Namespace, seen: Callable[[Poses], None] | None = None) -> int:
    """Do it; returns the exit status. Errors are raised as :class:`trtpose.Error`. ``seen`` gets what is found."""
    from ..sinks.pictures import Pictures
    from ..sources import Sources

    sources = Sources(
        args.source, policy=args.stream, reconnect=args.reconnect, transport=args.transport, decode=args.decode
    )
    made: list[Path] = []
    view = contextlib.ExitStack()
    try:
        pictures: Pictures | None = None
        if args.out is not None and not args.no_draw:
            folder = Path(args.out)
            pictures = Pictures(folder, sources)
            made = make_folder(folder)
        outputs.check(args)
        outputs.divide(args, sources)
        place = live.announce(args, view)
        trackers = _trackers(args)
        # Where a frame is looked at depends on the one before, one is computed after the other.
        at_hand = 0 if getattr(args, "crop", False) else sources.frames_at_hand
        most = getattr(args, "max_frames", None) or at_hand
        cameras = 0 if getattr(args, "crop", False) else sources.waited_for
        engine = options.open_engine(args, frames=min(at_hand, most), cameras=cameras)
        done = outputs.leave_out_done(args, engine, sources)
        with contextlib.ExitStack() as stack:
            # Entered outside the progress bar, so that the bar is gone before an error is printed.
            sinks = outputs.open_sinks(args, engine, sources, done, stack, made)
            if place is not None:
                sinks.append(stack.enter_context(place.begin(engine, sources)))
            crops = _crops(args, engine)
            return _infer_all(args, engine, sources, pictures, trackers, crops, sinks, done, seen)
    finally:
        view.close()
        sources.close()
        remove_empty(made)


def _trackers(args: argparse.Namespace) -> Trackers | None:
    method = options.tracking(args)
    if method is None:
        return None
    from ..tracking.sources import Trackers

    return Trackers(method, smooth=args.smooth)


def _crops(args: argparse.Namespace, engine: Engine) -> Crops | None:
    if not getattr(args, "crop", False):
        return None
    from ..tracking.crop import Crops

    return Crops(engine)


def _infer_all(
    args: argparse.Namespace,
    engine: Engine,
    sources: Sources,
    pictures: Pictures | None,
    trackers: Trackers | None,
    crops: Crops | None,
    sinks: list[outputs.Sink],
    done: Done | None,
    seen: Callable[[Poses], None] | None,
) -> int:
    total = len(sources) if sources.pictures_only else None
    if args.max_frames is not None:
        total = args.max_frames if total is None else min(total, args.max_frames)
    try:
        looked_at = getattr(args, "show", False) or getattr(args, "serve", None) is not None
        with (
            Progress(total, "frame", quiet=args.quiet) as progress,
            Drawing(pictures, looked_at=looked_at) as drawing,
        ):
            return _Run(args, engine, sources, pictures, drawing, sinks, progress, seen, trackers, crops, done).all()
    finally:
        if pictures is not None:
            pictures.drop_videos()


@dataclass
class _Video:
    """What was found so far in a video, camera or stream that is being read."""

    source: str
    live: bool
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
        drawing: Drawing,
        sinks: list[outputs.Sink],
        progress: Progress,
        seen: Callable[[Poses], None] | None,
        trackers: Trackers | None,
        crops: Crops | None,
        done: Done | None,
    ) -> None:
        self._begun = {} if done is None else done.frames
        self._seen = seen
        self._trackers = trackers
        self._crops = crops
        self._engine = engine
        self._sources = sources
        self._pictures = pictures
        self._drawing = drawing
        # What was found in frames, and what waits until it is drawn.
        self._begun_drawing: deque[tuple[Frame, Poses, Callable[[], None]]] = deque()
        self._sinks = sinks
        self._progress = progress
        self._quiet = args.quiet
        self._max_frames = args.max_frames
        self._report = sys.stderr if "-" in (args.json, args.jsonl, args.csv) else sys.stdout
        self._videos: dict[int, _Video] = {}
        self._live = False
        self._failures = 0
        sources.notify = lambda text: note(text, progress)

    def all(self) -> int:
        """Run to the end; returns the exit status."""
        from ..sinks.window import WindowClosedError

        self._say_left_out()
        try:
            # With crops each frame is looked at where the one before was, so that one waits for the other.
            most = int(getattr(self._engine, "max_in_flight", 1))
            at_once: bool | Callable[[int], bool] = self._crops is not None or most == 1
            if not at_once and not self._sources.at_hand:
                at_once = when_live(self._engine, self._sources)
            groups = ((group, at_once) for group in self._batches())
            with contextlib.closing(overlapped(groups, self._begin, most)) as results:
                for (frames, batch), pairs in self._to_the_end(results):
                    self._sources.note_results(batch)
                    self._take_batch(frames, pairs, batch.ended)
            self._finish_all()
            self._end_videos()
        except WindowClosedError:
            self._end_videos()
        except (KeyboardInterrupt, SystemExit) as stop:
            if not self._live:
                raise
            # A camera has no end of its own: a signal is how a recording is stopped, and what was recorded is kept.
            self._finish_all()
            self._end_videos(live=True)
            return stop.code if isinstance(stop, SystemExit) and isinstance(stop.code, int) else INTERRUPTED
        return 1 if self._failures else 0

    def _to_the_end(self, results: Iterator[_Batch]) -> Iterator[_Batch]:
        """Batches with their results; where one fails those before it are finished."""
        try:
            yield from results
        except Error:
            self._finish_all()
            raise

    def _begin(self, group: tuple[list[Frame], Batch]) -> Callable[[], list[tuple[Frame, Poses | Error]]]:
        """Begin to infer a batch; what returned waits for the results."""
        good = [frame for frame in group[0] if frame.error is None]
        if self._crops is None and good and hasattr(self._engine, "submit"):
            with contextlib.suppress(InputError):  # that of one frame: the others are found one by one
                ticket = self._engine.submit([frame.given for frame in good])
                return lambda: list(zip(good, self._engine.collect(ticket), strict=True))
        found = _infer_batch(self._engine, good, self._crops)
        return lambda: found

    def _take_batch(self, frames: list[Frame], pairs: list[tuple[Frame, Poses | Error]], ended: list[int]) -> None:
        for frame, found in pairs:
            self._take(frame, found)
        for frame in frames:
            if frame.error is not None:
                self._finish_all()
                self._check_begun(frame)
                self._fail(str(frame.error))
                self._progress.step()
        for position in ended:
            self._finish_all()
            self._end_video(position)

    def _check_begun(self, frame: Frame) -> None:
        """A video that an earlier run began and that ends before its last frame there: behind the lines of another
        source the next run would take it for done."""
        done = self._begun.get(frame.position, 0)
        if frame.index < done:
            raise InputError(
                f"--resume: {frame.error}; {counted(done, 'frame')} of it stand last in the file of --jsonl, and the "
                "rest must follow them: repair it, or give --jsonl another file"
            )

    def _say_left_out(self) -> None:
        """What is no picture and no video in the folders that were named."""
        names = self._sources.left_out
        if names:
            shown = ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
            self._say(f"left out {len(names)} that are no picture and no video: {shown}")

    def _batches(self) -> Iterator[tuple[list[Frame], Batch]]:
        """Frames that are run together, of which only the last may have an error, and the batch that they are of."""
        left = self._max_frames
        for batch in self._sources.batches(max(self._engine.batch, 1), timed=False):
            frames = [frame for frame in batch.frames if not self._is_done(frame)][:left]
            for frame in frames:
                self._live = self._live or frame.live
                if len(self._sources) == 1 and frame.error is None:
                    self._progress.expect(self._expected(frame))
            yield frames, batch
            if left is not None:
                left -= sum(frame.error is None for frame in frames)
                if left <= 0:
                    return

    def _is_done(self, frame: Frame) -> bool:
        """Whether an earlier run has done it."""
        return frame.error is None and frame.index < self._begun.get(frame.position, 0)

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
        if isinstance(found, Error):
            self._finish_all()
            self._fail(f"{frame.source}: {found}")
            return
        if self._trackers is not None:
            found = self._trackers.update(frame, found)
        if self._seen is not None:
            self._seen(found)
        self._begun_drawing.append((frame, found, self._drawing.begin(frame, found)))
        if frame.is_video:  # a camera's must not wait for the frames behind it
            self._finish_all()
        while len(self._begun_drawing) > self._drawing.room or self._holds_too_much():
            self._finish()

    def _holds_too_much(self) -> bool:
        return sum(frame.nbytes for frame, *_ in self._begun_drawing) > _MAX_BYTES

    def _finish_all(self) -> None:
        while self._begun_drawing:
            self._finish()

    def _finish(self) -> None:
        """What comes behind the drawing of a frame, whose turn it is. A line that says it is done comes when it is."""
        from ..sinks.pictures import FormatError

        frame, found, drawn = self._begun_drawing.popleft()
        problem: FormatError | None = None
        try:
            drawn()
        except FormatError as error:
            problem = error
        for sink in self._sinks:
            sink.add(frame, found)
        if problem is not None:
            self._fail(str(problem))
        if frame.is_video:
            video = self._videos.setdefault(frame.position, _Video(frame.source, frame.live))
            video.frames += 1
            video.poses += len(found)
        else:
            self._say(f"{frame.source}: {counted(len(found), 'pose')}")
        self._progress.step()

    def _end_videos(self, *, live: bool = False) -> None:
        for position in [position for position, video in self._videos.items() if video.live or not live]:
            self._end_video(position)

    def _end_video(self, position: int) -> None:
        """Say what was found in a video that has come to its end."""
        video = self._videos.pop(position, None)
        if video is None:
            return
        if self._trackers is not None:
            self._trackers.end(position)
        if self._crops is not None:
            self._crops.end(position)
        if self._pictures is not None:
            for text in self._pictures.end_video(position):
                warn(text, self._progress)
        found = f"{video.source}: {counted(video.poses, 'pose')} in {counted(video.frames, 'frame')}"
        self._say(found + self._counters(position) if video.live else found)

    def _counters(self, position: int) -> str:
        """What became of the frames of a camera or stream."""
        counters = self._sources.counters[position]
        age = "" if counters.age is None else f", results {counters.age:.2f} seconds after reading"
        return f"; {counters.read} read, {counters.dropped} dropped, {counted(counters.reconnects, 'reconnect')}{age}"

    def _say(self, text: str) -> None:
        if not self._quiet:
            self._progress.line(text, self._report)

    def _fail(self, text: str) -> None:
        complain(text, self._progress)
        self._failures += 1


def _infer_batch(engine: Engine, batch: list[Frame], crops: Crops | None) -> list[tuple[Frame, Poses | Error]]:
    """Results of a batch; a frame the engine refuses does not take its neighbours with it."""
    if not batch:
        return []
    images = [frame.given for frame in batch]
    try:
        if crops is not None and len(batch) == 1:  # one after the other: each looks where the one before was
            return [(batch[0], crops.infer(batch[0]))]
        if crops is None:
            return list(zip(batch, engine.infer(images), strict=True))
    except InputError as error:
        if len(batch) == 1:
            return [(batch[0], error)]
    return [pair for frame in batch for pair in _infer_batch(engine, [frame], crops)]
