# SPDX-License-Identifier: Apache-2.0
"""The command ``trtpose``.

Exit status: 0; 1 with a line ``error: ...`` on stderr; 2 for wrong usage; 130 after Ctrl-C, 143 after SIGTERM and 141
when the reader of the output has gone. A verb is one function that adds its arguments and one that runs it, and imports
what it needs only when it runs.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import json
import os
import signal
import sys
import textwrap
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

from ._arguments import count, count_or_none, counts, fraction, size
from .errors import Error, InputError, ModelError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .engine import Engine
    from .results import Poses
    from .sources import Frame, Sources

__all__ = ["main"]

_INTERRUPTED = 130
_TERMINATED = 143
_BROKEN_PIPE = 141


@dataclass(frozen=True)
class _Verb:
    name: str
    help: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


# --- Options that verbs share -----------------------------------------------------------------------------------------


def _add_common(parser: argparse.ArgumentParser) -> None:
    with contextlib.suppress(argparse.ArgumentError):  # the verb has one of its own
        parser.add_argument(
            "--debug", action="store_true", default=argparse.SUPPRESS, help="print the traceback of an error"
        )


def _add_spec(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--spec",
        metavar="FILE",
        help="model spec, JSON, for a model that carries none; one of the model's name with .json beside it is found",
    )


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="ONNX model or engine file")
    _add_engine(parser)


def _add_engine(parser: argparse.ArgumentParser) -> None:
    _add_spec(parser)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    parser.add_argument(
        "--precision", choices=("f32", "fp16", "bf16", "auto"), help="arithmetic (default: f32 on the CPU)"
    )
    parser.add_argument("--imgsz", type=size, metavar="N|HxW", help="input size in pixels (default: the model's)")
    parser.add_argument("--batch", type=count, metavar="N", help="frames per run (default: the model's, or 1)")
    parser.add_argument("--rect", action="store_true", help="pad to the network's stride only, not to a square")
    parser.add_argument("--threads", type=count, metavar="N", help="threads on the CPU (default: all cores)")
    parser.add_argument("--vram-budget", metavar="SIZE", help="refuse to plan more device memory than this, as 2GiB")


def _add_thresholds(parser: argparse.ArgumentParser, conf: str) -> None:
    parser.add_argument("--conf", "--conf-thres", type=fraction, metavar="X", help=f"least score of a pose ({conf})")
    parser.add_argument(
        "--iou",
        "--iou-thres",
        type=fraction,
        metavar="X",
        help="overlap above which the lesser pose goes (default: 0.65)",
    )
    parser.add_argument("--max-det", type=count, metavar="N", help="most poses per frame (default: 300)")


def _open_engine(args: argparse.Namespace, **more: Any) -> Engine:
    import trtpose

    options: dict[str, Any] = {"device": args.device, "rect": args.rect, **more}
    for name in ("precision", "spec", "imgsz", "batch", "threads", "streams", "vram_budget", "conf", "iou", "max_det"):
        value = getattr(args, name, None)
        if value is not None:
            options[name] = value
    return trtpose.Engine(args.model, **options)


# --- Talking to the user ----------------------------------------------------------------------------------------------


class _Progress:
    """A progress bar on stderr where that is a terminal, and lines that do not tear it."""

    def __init__(self, total: int | None, unit: str, *, quiet: bool = False) -> None:
        self._bar: Any = None
        if not quiet and sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=total, unit=unit, file=sys.stderr, leave=False, dynamic_ncols=True)

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def step(self, count: int = 1) -> None:
        if self._bar is not None:
            self._bar.update(count)

    def expect(self, total: int | None) -> None:
        if self._bar is not None:
            self._bar.total = total

    def at(self, done: int, total: int) -> None:
        if self._bar is not None:
            self._bar.total = total
            self._bar.update(done - self._bar.n)

    def line(self, text: str, file: TextIO) -> None:
        if self._bar is not None:
            self._bar.clear()
        print(_one_line(text), file=file, flush=True)
        if self._bar is not None:
            self._bar.refresh()


def _one_line(text: str) -> str:
    return " ".join(text.split("\n")).replace("\r", " ")


def _complain(text: str, progress: _Progress | None = None) -> None:
    line = f"error: {text}"
    if progress is not None:
        progress.line(line, sys.stderr)
    else:
        print(_one_line(line), file=sys.stderr, flush=True)


def _write_json(path: str, value: Any) -> None:
    from ._files import write_text

    text = json.dumps(value, indent=2, allow_nan=False) + "\n"
    if path == "-":
        sys.stdout.write(text)
    else:
        write_text(path, text)


def _check_json(path: str | None, inputs: Sequence[Path]) -> None:
    """See before the work that the JSON can be written and is none of the files that are read."""
    if path is None or path == "-":
        return
    from ._files import check_writable

    _refuse_overwrite(Path(path), inputs)
    check_writable(path)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


def _refuse_overwrite(target: Path, inputs: Sequence[Path]) -> None:
    mine = _identity(target)
    if mine is not None and any(_identity(path) == mine for path in inputs):
        raise InputError(
            f"{target}: is one of the inputs and would be overwritten; choose another place for the results"
        )


# --- infer ------------------------------------------------------------------------------------------------------------


def _infer_arguments(parser: argparse.ArgumentParser) -> None:
    _add_model(parser)
    parser.add_argument(
        "source",
        metavar="SOURCE",
        nargs="+",
        help="picture, folder (subfolders are not searched), quoted pattern, video, camera number, or address",
    )
    _add_thresholds(parser, "default: 0.25")
    _infer_outputs(parser)


def _infer_outputs(parser: argparse.ArgumentParser) -> None:
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


class _JsonStream:
    """The file of ``infer --json``, written as the run goes so that a long video needs no memory; whole or absent."""

    def __init__(self, path: str, engine: Engine) -> None:
        from ._files import atomic_path

        self._path = path
        self._stack = contextlib.ExitStack()
        if path == "-":
            self._file: TextIO = sys.stdout
        else:
            temporary = self._stack.enter_context(atomic_path(path))
            self._file = self._stack.enter_context(temporary.open("w", encoding="utf-8"))
        head = {
            "model": str(engine.model),
            "device": engine.device,
            "backend": engine.backend,
            "precision": engine.precision,
        }
        self._write(json.dumps(head)[:-1] + ', "images": [')
        self._first = True

    def _write(self, text: str) -> None:
        from ._files import cannot_write

        try:
            self._file.write(text)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise cannot_write(self._path, error) from error

    def add(self, frame: Frame, poses: Poses) -> None:
        entry: dict[str, Any] = {"source": frame.source}
        if frame.is_video:
            entry["frame"] = frame.index
        entry.update(poses.to_dict())
        self._write(("\n" if self._first else ",\n") + json.dumps(entry, allow_nan=False))
        self._first = False

    def __enter__(self) -> _JsonStream:
        return self

    def __exit__(self, *error: Any) -> None:
        try:
            if error[0] is None:
                self._write("\n]}\n")
                # Written out here, where a full disk can still be told; closing would try again.
                self._write_out()
        except BaseException:
            self._discard()
            raise
        if error[0] is None:
            self._stack.close()
        else:
            self._discard()

    def _write_out(self) -> None:
        from ._files import cannot_write

        try:
            self._file.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise cannot_write(self._path, error) from error

    def _discard(self) -> None:
        """Close without leaving a file; the error that led here is the one to report."""
        problem = InputError("discarded")
        with contextlib.suppress(InputError, OSError):
            self._stack.__exit__(InputError, problem, None)


_KEPT_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm"})


class _FormatError(InputError):
    """One result that its format cannot hold; the run can go on."""


class _Pictures:
    """Annotated pictures and videos in one folder, each whole or absent, none over an input or over another."""

    def __init__(self, folder: Path, sources: Sources) -> None:
        from .sources import VIDEOS

        self._folder = folder
        self._names: list[str] = []
        taken: set[str] = set()
        videos = set(VIDEOS)
        for number, name in enumerate(sources.names):
            path = Path(name.replace("://", "_").rstrip("/")) if "://" in name else Path(name)
            suffix = path.suffix.lower()
            if sources.is_video(number):
                stem, ending = path.stem if suffix in videos else path.name, ".mp4"
            else:
                stem, ending = path.stem, path.suffix if suffix in _KEPT_SUFFIXES else ".png"
            stem = "".join(c if c.isalnum() or c in " ._-+()" else "_" for c in stem)[:150] or "frame"
            # Compared without case: some file systems do not tell a.jpg and A.jpg apart.
            chosen, count = stem + ending, 0
            while chosen.lower() in taken:
                count += 1
                chosen = f"{stem}_{count}{ending}"
            taken.add(chosen.lower())
            self._names.append(chosen)
        inputs = {identity for path in sources.files if (identity := _identity(path)) is not None}
        for name in self._names:
            target = folder / name
            if _identity(target) in inputs:
                raise InputError(
                    f"{target}: is one of the inputs and would be overwritten; choose another folder for --out"
                )
            if target.is_dir():
                raise InputError(f"{target}: is a folder where a result would be written; choose another --out")
        self._video: _Video | None = None

    def add(self, frame: Frame, drawn: NDArray[Any]) -> None:
        target = self._folder / self._names[frame.position]
        if frame.is_video:
            if self._video is None or self._video.target != target:
                self.end_video()
                self._video = _Video(target, drawn.shape[1], drawn.shape[0], frame.fps)
            self._video.add(drawn)
            return
        import cv2

        from ._files import write_bytes

        try:
            good, data = cv2.imencode(target.suffix.lower(), drawn)
        except cv2.error:
            good, data = False, None
        if not good or data is None:
            raise InputError(
                f"{target}: a picture of {drawn.shape[1]}x{drawn.shape[0]} pixels cannot be written in this format"
            )
        write_bytes(target, data.tobytes())

    def end_video(self) -> None:
        """Close the video being written, if there is one, and give it its name."""
        video, self._video = self._video, None
        if video is not None:
            video.close()

    def drop_video(self) -> None:
        video, self._video = self._video, None
        if video is not None:
            video.drop()


class _Video:
    def __init__(self, target: Path, width: int, height: int, fps: float | None) -> None:
        import cv2

        from ._files import atomic_path

        self.target = target
        self._size = width, height
        self._frames = 0
        self._stack = contextlib.ExitStack()
        try:
            str(target).encode()
        except UnicodeEncodeError:
            # OpenCV 5 crashes on such a string.
            raise InputError(
                f"{target}: the name is not valid UTF-8, which OpenCV needs; choose another --out"
            ) from None
        self._path = self._stack.enter_context(atomic_path(target))
        rate = fps if fps is not None and 1.0 <= fps <= 240.0 else 25.0
        self._writer = cv2.VideoWriter(str(self._path), cv2.VideoWriter.fourcc(*"mp4v"), rate, self._size)
        if not self._writer.isOpened():
            self.drop()
            raise InputError(
                f"{target}: OpenCV cannot write an MP4 of {width}x{height} pixels; use --no-draw or --json"
            )

    def add(self, frame: NDArray[Any]) -> None:
        if (frame.shape[1], frame.shape[0]) != self._size:
            # A stream may change its size; the writer would drop such frames without a word.
            import cv2

            frame = cv2.resize(frame, self._size, interpolation=cv2.INTER_AREA)
        self._writer.write(frame)
        self._frames += 1

    def close(self) -> None:
        import cv2

        self._writer.release()
        # The writer says nothing of a full disk; the file is read back to see that all frames are in it.
        check = cv2.VideoCapture(str(self._path))
        written = round(check.get(cv2.CAP_PROP_FRAME_COUNT)) if check.isOpened() else 0
        check.release()
        if written < self._frames:
            self.drop()
            raise InputError(
                f"{self.target}: only {written} of {self._frames} frames could be written; is the disk full?"
            )
        self._stack.close()

    def drop(self) -> None:
        self._writer.release()
        problem = InputError("discarded")
        with contextlib.suppress(InputError):
            self._stack.__exit__(InputError, problem, None)


@dataclass
class _Tally:
    frames: int = 0
    poses: int = 0


def _run_infer(args: argparse.Namespace) -> int:
    from ._files import make_folder, remove_empty
    from .sources import Sources

    sources = Sources(args.source, policy=args.stream, reconnect=args.reconnect)
    made: list[Path] = []
    try:
        pictures: _Pictures | None = None
        if args.out is not None and not args.no_draw:
            folder = Path(args.out)
            pictures = _Pictures(folder, sources)
            made = make_folder(folder)
        _check_json(args.json, [*sources.files, Path(args.model)])
        engine = _open_engine(args)
        return _infer_all(args, engine, sources, pictures)
    finally:
        sources.close()
        remove_empty(made)


def _infer_all(args: argparse.Namespace, engine: Engine, sources: Sources, pictures: _Pictures | None) -> int:
    failures = 0
    report = sys.stderr if args.json == "-" else sys.stdout
    tally = _Tally()
    current: tuple[int, str] | None = None
    options = {"agnostic": True} if args.agnostic else {}
    if args.nms is not None:
        options["nms"] = args.nms

    def end_source(progress: _Progress) -> None:
        """Say what was found in the video that has come to its end."""
        nonlocal current, tally
        if current is not None:
            if pictures is not None:
                pictures.end_video()
            if not args.quiet:
                progress.line(
                    f"{current[1]}: {_number(tally.poses, 'pose')} in {_number(tally.frames, 'frame')}", report
                )
        current, tally = None, _Tally()

    def finish(batch: list[Frame], progress: _Progress) -> int:
        nonlocal current
        bad = 0
        for frame, poses in _infer_batch(engine, batch, options):
            if current is not None and current[0] != frame.position:
                end_source(progress)
            if isinstance(poses, Error):
                _complain(f"{frame.source}: {poses}", progress)
                bad += 1
                continue
            if stream is not None:
                stream.add(frame, poses)
            if pictures is not None and frame.image is not None:
                from .draw import draw

                try:
                    pictures.add(frame, draw(frame.image, poses, in_place=frame.image.flags.writeable))
                except _FormatError as error:
                    _complain(str(error), progress)
                    bad += 1
            if frame.is_video:
                current = frame.position, frame.source
                tally.frames += 1
                tally.poses += len(poses)
            elif not args.quiet:
                progress.line(f"{frame.source}: {_number(len(poses), 'pose')}", report)
            progress.step()
        return bad

    total = len(sources) if sources.pictures_only else None
    live = False
    done = 0
    try:
        with contextlib.ExitStack() as stack:
            # Entered outside the progress bar, so that the bar is gone before an error is printed.
            stream = stack.enter_context(_JsonStream(args.json, engine)) if args.json is not None else None
            progress = stack.enter_context(_Progress(total, "frame", quiet=args.quiet))
            batch: list[Frame] = []
            size = max(engine.batch, 1)
            try:
                for frame in sources:
                    if frame.error is not None:
                        failures += finish(batch, progress)
                        batch = []
                        _complain(str(frame.error), progress)
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
                return _INTERRUPTED
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


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


# --- eval -------------------------------------------------------------------------------------------------------------


def _eval_arguments(parser: argparse.ArgumentParser) -> None:
    _add_model(parser)
    parser.add_argument("--images", metavar="DIR", required=True, help="folder of the pictures")
    parser.add_argument("--annotations", metavar="FILE", required=True, help="COCO keypoint annotations, JSON")
    _add_thresholds(parser, "default: 0.001, as published figures have it")
    parser.add_argument("--json", metavar="FILE", help="write the figures to this file; - is the standard output")
    parser.add_argument("--quiet", "-q", action="store_true", help="no table and no progress bar")


def _run_eval(args: argparse.Namespace) -> int:
    from . import evaluate

    _check_json(args.json, [Path(args.annotations), Path(args.model)])
    conf = evaluate.CONF if args.conf is None else args.conf
    engine = _open_engine(args)
    failures = 0
    with _Progress(None, "picture", quiet=args.quiet) as progress:

        def report(error: InputError) -> None:
            nonlocal failures
            failures += 1
            _complain(str(error), progress)

        metrics = evaluate.evaluate(
            engine,
            args.images,
            args.annotations,
            conf=conf,
            iou=args.iou,
            max_det=args.max_det,
            on_error=report,
            progress=progress.at,
        )
    if args.json is not None:
        identity = {
            "model": str(engine.model),
            "device": engine.device,
            "backend": engine.backend,
            "precision": engine.precision,
        }
        _write_json(args.json, {"metrics": metrics, **identity, "imgsz": list(engine.imgsz), "conf": conf})
    if not args.quiet and args.json != "-":
        print(evaluate.table(metrics))
    return 1 if failures else 0


# --- bench ------------------------------------------------------------------------------------------------------------


def _bench_arguments(parser: argparse.ArgumentParser) -> None:
    _add_model(parser)
    _add_thresholds(parser, "default: 0.25")
    parser.add_argument(
        "--images", metavar="DIR", help="picture or folder to time with (default: a synthetic 1080p picture)"
    )
    parser.add_argument("--runs", type=count, default=50, metavar="N", help="timed runs (default: 50)")
    parser.add_argument("--warmup", type=count, default=5, metavar="N", help="runs before them (default: 5)")
    parser.add_argument("--batches", type=counts, metavar="N,N", help="time each of these batch sizes, as 1,4,16")
    parser.add_argument(
        "--streams", type=count, default=1, metavar="N", help="clones at work at the same time (default: 1)"
    )
    parser.add_argument("--json", metavar="FILE", help="write the figures to this file; - is the standard output")
    parser.add_argument("--quiet", "-q", action="store_true", help="no table and no progress bar")


def _run_bench(args: argparse.Namespace) -> int:
    from . import bench
    from .sources import Sources, read_picture

    pictures: list[bytes] | None = None
    files: list[Path] = []
    if args.images is not None:
        sources = Sources([args.images])
        files = [path for number, path in enumerate(sources.files) if not sources.is_video(number)]
        if not files:
            raise InputError(f"{args.images}: holds no picture; give a picture or a folder of pictures")
        pictures = []
        for path in files[:64]:
            read_picture(path)
            pictures.append(path.read_bytes())
    _check_json(args.json, [*files, Path(args.model)])
    if args.batches is not None and args.batch is not None:
        raise InputError("--batch and --batches exclude each other; give one of them")
    results: list[dict[str, Any]] = []
    failures = 0
    for batch in args.batches or [args.batch]:
        args.batch = batch
        try:
            results.append(_bench_once(args, pictures))
        except Error as error:
            if args.batches is None:
                raise
            failures += 1
            results.append({"batch": batch, "problem": str(error)})
            _complain(str(error))
            continue
        if not args.quiet and args.json != "-":
            print(("\n" if len(results) > 1 else "") + bench.table(results[-1]), flush=True)
    if args.json is not None:
        _write_json(args.json, results[0] if args.batches is None else {"batches": results})
    return 1 if failures else 0


def _bench_once(args: argparse.Namespace, pictures: list[bytes] | None) -> dict[str, Any]:
    from . import bench

    with bench.Vram(args.device) as vram:
        engine = _open_engine(args)
        with _Progress(args.warmup + args.runs, "run", quiet=args.quiet) as progress:
            return bench.bench(
                engine,
                pictures,
                runs=args.runs,
                warmup=args.warmup,
                streams=args.streams,
                vram=vram,
                staged=lambda: _open_engine(args, stage_times=True),
                progress=progress.at,
            )


# --- info -------------------------------------------------------------------------------------------------------------


def _info_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file", metavar="FILE", nargs="?", help="ONNX model or engine file (default: this installation)"
    )
    _add_spec(parser)
    parser.add_argument("--imgsz", type=size, metavar="N|HxW", help="size to count and plan for (default: the model's)")
    parser.add_argument(
        "--batch", type=count, metavar="N", help="frames per run to plan for (default: the model's, or 1)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def _run_info(args: argparse.Namespace) -> int:
    import trtpose

    from .spec import METADATA_KEY

    if args.file is None and (args.spec, args.imgsz, args.batch) != (None, None, None):
        raise InputError("--spec, --imgsz and --batch are about a model file; name the file as well")
    if args.file is None:
        info = trtpose.system_info()
    else:
        info = trtpose.model_info(args.file, spec=args.spec, imgsz=args.imgsz, batch=args.batch)
    if args.json:
        _write_json("-", info)
    else:
        if "spec" in info and isinstance(info.get("metadata"), dict):
            # The spec itself is shown below.
            info["metadata"] = {key: value for key, value in info["metadata"].items() if key != METADATA_KEY}
        print("\n".join(_outline(info)))
    return 0


def _outline(value: Any, depth: int = 0) -> list[str]:
    """Nested dictionaries and lists as indented lines."""
    indent = "  " * depth
    lines: list[str] = []
    pairs: list[tuple[str, Any]]
    if isinstance(value, dict):
        pairs = [(f"{key}:", entry) for key, entry in value.items()]
    else:
        pairs = [("-", entry) for entry in value]
    for key, entry in pairs:
        flat = _flat(entry)
        if flat is None and key == "-":
            first, *rest = _outline(entry, depth + 1)
            lines += [f"{indent}- {first.lstrip()}", *rest]
        elif key.startswith("memory_") and isinstance(entry, int):
            lines.append(f"{indent}{key} {entry / 2**20:,.0f} MiB")
        elif key.endswith("_bytes:") and isinstance(entry, int):
            lines.append(f"{indent}{key} {entry} ({entry / 2**20:.1f} MiB)")
        elif flat is not None:
            lines += textwrap.wrap(
                f"{key} {flat}", 100, initial_indent=indent, subsequent_indent=indent + "    ", break_long_words=False
            )
        else:
            lines.append(indent + key)
            lines += _outline(entry, depth + 1)
    return lines


def _flat(value: Any) -> str | None:
    """A value that fits one line, or None."""
    if value is None or value == "" or value == [] or value == {}:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, dict):
        return None
    if isinstance(value, (list, tuple)):
        parts = [_flat(entry) for entry in value]
        if any(part is None for part in parts):
            return None
        nested = [
            f"[{part}]" if isinstance(entry, (list, tuple)) else str(part)
            for entry, part in zip(value, parts, strict=True)
        ]
        return ", ".join(nested)
    return str(value)


# --- demo -------------------------------------------------------------------------------------------------------------


def _demo_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source", metavar="PICTURE", nargs="*", help="pictures of your own (default: the packaged ones)"
    )
    _add_engine(parser)
    _add_thresholds(parser, "default: 0.25")
    _infer_outputs(parser)
    parser.set_defaults(out="trtpose-demo")


def _run_demo(args: argparse.Namespace) -> int:
    data = Path(__file__).parent / "data"
    model = data / "demo.onnx"
    if not model.is_file():
        raise ModelError(f"{model}: this installation has no demo model; use trtpose infer with a model of your own")
    if not args.source:
        args.source = sorted(str(path) for path in (data / "demo").glob("*.jpg"))
        if not args.source:
            raise InputError(f"{data / 'demo'}: this installation has no demo pictures; name pictures of your own")
    args.model = str(model)
    status = _run_infer(args)
    if not args.no_draw and not args.quiet:
        print(f"the pictures are in {Path(args.out).resolve()}", file=sys.stderr if args.json == "-" else sys.stdout)
    return status


# --- The command ------------------------------------------------------------------------------------------------------


def _from_module(name: str, help_text: str) -> _Verb | None:
    """A verb with a module of its own: the package ``trtpose.NAME`` with ``cli.py``, or the module ``trtpose.NAME``,
    which offers ``add_arguments(parser)`` and ``run(args) -> int``. Imported when the verb is used."""
    here = Path(__file__).parent
    if (here / name / "cli.py").is_file():
        module = f"{__package__}.{name}.cli"
    elif (here / f"{name}.py").is_file():
        module = f"{__package__}.{name}"
    else:
        return None
    return _Verb(
        name,
        help_text,
        lambda parser: importlib.import_module(module).add_arguments(parser),
        lambda args: int(importlib.import_module(module).run(args)),
    )


def _verbs() -> list[_Verb]:
    apart = [
        ("export", "turn a YOLOv7 or YOLO-Pose checkpoint into ONNX"),
        ("build", "build an engine for NVIDIA GPUs from ONNX"),
        ("check", "compare an engine with the ONNX it came from"),
        ("quantize", "make an INT8 ONNX with explicit Q/DQ"),
    ]
    return [
        _Verb("infer", "find people in pictures, videos and streams", _infer_arguments, _run_infer),
        _Verb("eval", "COCO keypoint figures of a model on annotated pictures", _eval_arguments, _run_eval),
        _Verb("bench", "time a model stage by stage", _bench_arguments, _run_bench),
        _Verb("info", "what this installation can do, or what a model file is", _info_arguments, _run_info),
        *[verb for name, text in apart if (verb := _from_module(name, text)) is not None],
        _Verb("demo", "try the packaged model on the packaged pictures", _demo_arguments, _run_demo),
    ]


class _Version(argparse.Action):
    """Prints the version; reads it only when asked for."""

    def __init__(self, option_strings: Sequence[str], dest: str, **_: Any) -> None:
        super().__init__(option_strings, dest, nargs=0, help="print the version")

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        import trtpose

        print(f"trtpose {trtpose.__version__}")
        parser.exit()


def _parser(verb: str | None) -> argparse.ArgumentParser:
    """The parser; only the arguments of ``verb`` are added, so that other verbs' modules need not be imported."""
    parser = argparse.ArgumentParser(
        prog="trtpose", description="Multi-person pose estimation.", epilog="trtpose VERB --help describes a verb."
    )
    parser.add_argument("--version", action=_Version)
    parser.set_defaults(debug=False)
    _add_common(parser)
    verbs = parser.add_subparsers(title="verbs", dest="verb", metavar="VERB", required=True)
    for entry in _verbs():
        # An abbreviation would change its meaning when an option is added.
        sub = verbs.add_parser(
            entry.name, help=entry.help, description=entry.help.capitalize() + ".", allow_abbrev=False
        )
        if entry.name == verb:
            entry.add_arguments(sub)
            _add_common(sub)
        sub.set_defaults(run=entry.run)
    return parser


def _terminate(*_: object) -> NoReturn:
    # As an exception, so that half written files are removed on the way out.
    raise SystemExit(_TERMINATED)


def _quiet_libraries() -> None:
    """Errors are ours to report; FFmpeg's own lines on them come on top. Read by OpenCV when a video is opened."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status, except that wrong usage and ``--help`` raise ``SystemExit``."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        # File names need not be valid text.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    verb = next((argument for argument in arguments if not argument.startswith("-")), None)
    debug = "--debug" in arguments
    before: Any = None
    try:
        args = _parser(verb).parse_args(arguments)
        debug = bool(args.debug)
        _quiet_libraries()
        with contextlib.suppress(ValueError):  # not in the main thread
            before = signal.signal(signal.SIGTERM, _terminate)
        status = int(args.run(args))
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        if debug:
            traceback.print_exc()
        print("interrupted", file=sys.stderr)
        return _INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone. Python would complain once more when it closes stdout.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_PIPE
    except Error as error:
        if debug:
            traceback.print_exc()
        _complain(str(error))
    except MemoryError:
        if debug:
            traceback.print_exc()
        _complain("not enough memory; use a smaller --imgsz or --batch")
    except OSError as error:
        if debug:
            traceback.print_exc()
        _complain(f"{error.filename}: {error.strerror}" if error.filename else f"{error}")
    except Exception as error:
        if debug:
            traceback.print_exc()
        _complain(f"unexpected {type(error).__name__}: {error}; --debug prints where it came from")
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)
    return 1


if __name__ == "__main__":
    sys.exit(main())
