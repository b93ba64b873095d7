# SPDX-License-Identifier: Apache-2.0
"""The command ``trtpose infer``."""

from __future__ import annotations

import argparse
import contextlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._files import make_folder, remove_empty
from ..errors import Error, InputError
from . import options
from .console import INTERRUPTED, Progress, check_json, complain, counted
from .options import add_model, add_thresholds
from .values import count, count_or_none

if TYPE_CHECKING:
    from ..engine import Engine
    from ..results import Poses
    from ..sinks.pictures import Pictures
    from ..sources import Frame, Sources

__all__ = ["SUMMARY", "add_arguments", "add_outputs", "run"]

SUMMARY = "find people in pictures, videos and streams"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    parser.add_argument(
        "source",
        metavar="SOURCE",
        nargs="+",
        help="picture, folder (subfolders are not searched), quoted pattern, video, camera number, or address",
    )
    add_thresholds(parser, "default: 0.25")
    add_outputs(parser)


def add_outputs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--agnostic", action="store_true", help="let poses of different classes suppress each other")
    parser.add_argument("--nms", choices=("iou", "oks"), help="similarity of two poses (default: iou)")
    parser.add_argument("--out", metavar="DIR", help="write annotated pictures and videos to this folder")
    parser.add_argument("--no-draw", action="store_true", help="write no pictures and videos, whatever --out says")
    parser.add_argument("--json", metavar="FILE", help="write the poses to this file; - is the standard output")
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
    parser.add_argument("--max-frames", type=count, metavar="N", help="stop after this many frames")
    parser.add_argument("--quiet", "-q", action="store_true", help="no line per picture and no progress bar")


@dataclass
class _Tally:
    frames: int = 0
    poses: int = 0


def run(args: argparse.Namespace) -> int:
    from ..sinks.pictures import Pictures
    from ..sources import Sources

    sources = Sources(args.source, policy=args.stream, reconnect=args.reconnect)
    made: list[Path] = []
    try:
        pictures: Pictures | None = None
        if args.out is not None and not args.no_draw:
            folder = Path(args.out)
            pictures = Pictures(folder, sources)
            made = make_folder(folder)
        check_json(args.json, [*sources.files, Path(args.model)])
        engine = options.open_engine(args)
        return _infer_all(args, engine, sources, pictures)
    finally:
        sources.close()
        remove_empty(made)


def _infer_all(args: argparse.Namespace, engine: Engine, sources: Sources, pictures: Pictures | None) -> int:
    from ..draw import draw
    from ..sinks.json_stream import JsonStream
    from ..sinks.pictures import FormatError

    failures = 0
    report = sys.stderr if args.json == "-" else sys.stdout
    tally = _Tally()
    current: tuple[int, str] | None = None
    options = {"agnostic": True} if args.agnostic else {}
    if args.nms is not None:
        options["nms"] = args.nms

    def end_source(progress: Progress) -> None:
        """Say what was found in the video that has come to its end."""
        nonlocal current, tally
        if current is not None:
            if pictures is not None:
                pictures.end_video()
            if not args.quiet:
                progress.line(
                    f"{current[1]}: {counted(tally.poses, 'pose')} in {counted(tally.frames, 'frame')}", report
                )
        current, tally = None, _Tally()

    def finish(batch: list[Frame], progress: Progress) -> int:
        nonlocal current
        bad = 0
        for frame, poses in _infer_batch(engine, batch, options):
            if current is not None and current[0] != frame.position:
                end_source(progress)
            if isinstance(poses, Error):
                complain(f"{frame.source}: {poses}", progress)
                bad += 1
                continue
            if stream is not None:
                stream.add(frame, poses)
            if pictures is not None and frame.image is not None:
                try:
                    pictures.add(frame, draw(frame.image, poses, in_place=frame.image.flags.writeable))
                except FormatError as error:
                    complain(str(error), progress)
                    bad += 1
            if frame.is_video:
                current = frame.position, frame.source
                tally.frames += 1
                tally.poses += len(poses)
            elif not args.quiet:
                progress.line(f"{frame.source}: {counted(len(poses), 'pose')}", report)
            progress.step()
        return bad

    total = len(sources) if sources.pictures_only else None
    live = False
    done = 0
    try:
        with contextlib.ExitStack() as stack:
            # Entered outside the progress bar, so that the bar is gone before an error is printed.
            stream = stack.enter_context(JsonStream(args.json, engine)) if args.json is not None else None
            progress = stack.enter_context(Progress(total, "frame", quiet=args.quiet))
            batch: list[Frame] = []
            size = max(engine.batch, 1)
            try:
                for frame in sources:
                    if frame.error is not None:
                        failures += finish(batch, progress)
                        batch = []
                        complain(str(frame.error), progress)
                        failures += 1
                        progress.step()
                        continue
                    live = frame.live
                    if len(sources) == 1:
                        progress.expect(frame.total)
                    batch.append(frame)
                    done += 1
                    last = args.max_frames is not None and done >= args.max_frames
                    # Waiting for a batch to fill would delay a live picture.
                    if len(batch) >= size or live or last:
                        failures += finish(batch, progress)
                        batch = []
                    if last:
                        break
                failures += finish(batch, progress)
                end_source(progress)
            except KeyboardInterrupt:
                if not live:
                    raise
                # A camera has no end of its own: Ctrl-C is how a recording is stopped, and what was recorded is kept.
                end_source(progress)
                return INTERRUPTED
    finally:
        if pictures is not None:
            pictures.drop_video()
    return 1 if failures else 0


def _infer_batch(engine: Engine, batch: list[Frame], options: dict[str, Any]) -> list[tuple[Frame, Poses | Error]]:
    """Results of a batch; a frame the engine refuses does not take its neighbours with it."""
    if not batch:
        return []
    images = [frame.image for frame in batch]
    try:
        return list(zip(batch, engine.infer(images, **options), strict=True))
    except InputError as error:
        if len(batch) == 1:
            return [(batch[0], error)]
    return [pair for frame in batch for pair in _infer_batch(engine, [frame], options)]
