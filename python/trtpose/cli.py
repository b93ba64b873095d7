# SPDX-License-Identifier: Apache-2.0
"""The command ``trtpose``.

Exit status: 0; 1 with a line ``error: ...`` on stderr; 2 for wrong usage; 130 after Ctrl-C, 143 after SIGTERM, 129 when
the terminal was closed and 141 when the reader of the output has gone. A verb is a file in ``commands`` with a function
that adds its arguments and one that runs it, which imports what it needs when it runs.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import signal
import stat
import sys
import traceback
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, Protocol

from . import _run, _terminal
from .commands import bench, build, check, completion, demo, evaluate, export, infer, info, quantize, serve, triton
from .commands.console import INTERRUPTED, complain
from .commands.options import add_common
from .errors import Error

__all__ = ["main"]

_TERMINATED = 143
_HUNG_UP = 129
_BROKEN_PIPE = 141


class _Module(Protocol):
    """What a file in ``commands`` offers."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None: ...

    def run(self, args: argparse.Namespace) -> int: ...


@dataclass(frozen=True)
class _Verb:
    name: str
    help: str
    module: _Module


_VERBS: tuple[_Verb, ...] = (
    _Verb("infer", "find people in pictures, videos and streams", infer),
    _Verb("eval", "COCO keypoint figures of a model on annotated pictures", evaluate),
    _Verb("bench", "time a model stage by stage", bench),
    _Verb("info", "what this installation can do, or what a model file is", info),
    _Verb("export", "turn a YOLOv7 or YOLO-Pose checkpoint into ONNX", export),
    _Verb("build", "build an engine for NVIDIA GPUs from ONNX", build),
    _Verb("check", "compare an engine with the ONNX it came from", check),
    _Verb("quantize", "make an INT8 ONNX with explicit Q/DQ", quantize),
    _Verb("serve", "answer over HTTP who is in the pictures that are sent", serve),
    _Verb("triton", "write a model into a repository of NVIDIA's Triton Inference Server", triton),
    _Verb("demo", "try the packaged model on the packaged pictures", demo),
    _Verb("completion", "print what completes this command in a shell", completion),
)


class _Version(argparse.Action):
    """Prints the version; reads it only when asked for."""

    def __init__(self, option_strings: Sequence[str], dest: str, **_: Any) -> None:
        super().__init__(option_strings, dest, nargs=0, help="print the version")

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        import trtpose

        print(f"trtpose {trtpose.__version__}")
        parser.exit()


def _parser(verb: str | None, *, whole: bool = False) -> argparse.ArgumentParser:
    """The parser; only the arguments of ``verb`` are added, so that other verbs' modules need not be imported.

    ``whole``: those of all verbs, for what describes the command.
    """
    parser = argparse.ArgumentParser(
        prog="trtpose", description="Multi-person pose estimation.", epilog="trtpose VERB --help describes a verb."
    )
    parser.add_argument("--version", action=_Version)
    parser.set_defaults(debug=False)
    add_common(parser)
    verbs = parser.add_subparsers(title="verbs", dest="verb", metavar="VERB", required=True)
    for entry in _VERBS:
        # An abbreviation would change its meaning when an option is added.
        sub = verbs.add_parser(
            entry.name,
            help=entry.help,
            description=f"{entry.help[0].upper()}{entry.help[1:]}.",
            allow_abbrev=False,
        )
        if whole or entry.name == verb:
            entry.module.add_arguments(sub)
            add_common(sub)
        sub.set_defaults(run=entry.module.run)
        if entry.module is completion:
            sub.set_defaults(parser=lambda: _parser(None, whole=True))
    return parser


_INPUTS = ("model", "source", "spec", "images", "annotations", "calib", "reference", "candidate", "file", "recipe")
"""Options and arguments of all verbs that name files to read. What reads a file says so itself; those named here are
known before the first is opened."""


def _named_inputs(args: argparse.Namespace) -> Iterator[str]:
    """The files among the inputs of a command line."""
    for name in _INPUTS:
        value: Any = getattr(args, name, None)
        for entry in value if isinstance(value, list) else [value]:
            with contextlib.suppress(OSError, ValueError):
                if isinstance(entry, str) and Path(entry).is_file():
                    yield entry


def _terminate(*_: object) -> NoReturn:
    # As an exception, so that half written files are removed on the way out.
    raise SystemExit(_TERMINATED)


def _hang_up(*_: object) -> NoReturn:
    # Writing to a terminal that is gone would be an error, and one that throws away what a recording has.
    null = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        with contextlib.suppress(OSError):
            if stat.S_ISCHR(os.fstat(descriptor).st_mode):
                os.dup2(null, descriptor)
    raise SystemExit(_HUNG_UP)


@contextlib.contextmanager
def _signals() -> Generator[None]:
    """Signals that end a run are exceptions inside; one that the caller ignores, as ``nohup`` does, stays so."""
    before: dict[int, Any] = {}
    for name, handler in (("SIGTERM", _terminate), ("SIGHUP", _hang_up)):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            with contextlib.suppress(ValueError):  # not in the main thread
                before[number] = signal.signal(number, handler)
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:
                signal.signal(number, handler)


def _quiet_libraries() -> None:
    """Errors are ours to report; FFmpeg's own lines on them come on top. Read by OpenCV when a camera is opened."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status, except that wrong usage and ``--help`` raise ``SystemExit``."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        # File names need not be valid text.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    with _terminal.shown(), _signals():
        return _main(arguments)


def _main(arguments: list[str]) -> int:
    verb = next((argument for argument in arguments if not argument.startswith("-")), None)
    debug = "--debug" in arguments
    try:
        args = _parser(verb).parse_args(arguments)
        debug = bool(args.debug)
        _quiet_libraries()
        with _run.run():
            _run.reads(*_named_inputs(args))
            status = int(args.run(args))
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        if debug:
            traceback.print_exc()
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone. Python would complain once more when it closes stdout.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_PIPE
    except Error as error:
        if debug:
            traceback.print_exc()
        complain(str(error))
    except MemoryError:
        if debug:
            traceback.print_exc()
        complain("not enough memory; use a smaller --imgsz or --batch")
    except OSError as error:
        if debug:
            traceback.print_exc()
        complain(f"{error.filename}: {error.strerror}" if error.filename else f"{error}")
    except Exception as error:
        if debug:
            traceback.print_exc()
        complain(f"unexpected {type(error).__name__}: {error}; --debug prints where it came from")
    return 1


if __name__ == "__main__":
    sys.exit(main())
