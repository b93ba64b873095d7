#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Kill commands at random moments, and see that no file under its own name is half written.

    python tools/kill_test.py [-n 100] [--verbs infer,export,quantize,eval,build] [--seed 0] [--json FILE]

Each run is a process of its own that gets SIGKILL: half of them at any moment of the time that a whole run takes, half
soon after a temporary file has appeared. After each kill every file under a name of its own is read to its end; after
every tenth, and the last, a run goes to its end in the same folder, and must leave no temporary file.

What is imported is imported once, before the processes are forked, so that the kills fall into the work. Needs what
`make test` installs; a verb whose packages are not there is named and left out. Exit status 1 where something was half
written or left behind.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from trtpose import cli, model_info, sources
from trtpose._opencv import cv2

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "python" / "trtpose" / "data"
PART = ".part"
RUNS_BETWEEN = 10
VIDEO_FRAMES = 40


@dataclass
class Verb:
    """A command and what it writes into a folder."""

    name: str
    arguments: Callable[[Path], Sequence[Any]]
    """Of the folder for results."""
    needs: tuple[str, ...] = ()


@dataclass
class Count:
    """What was seen of one verb."""

    kills: int = 0
    with_part: int = 0
    ended_before: int = 0
    written: int = 0
    half: list[str] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)
    seconds: float = 0.0


def start(arguments: Sequence[Any]) -> int:
    """The command in a process of its own; its number."""
    child = os.fork()
    if child == 0:
        status = 70
        try:
            os.setsid()
            silent = os.open(os.devnull, os.O_RDWR)
            for number in (0, 1, 2):
                os.dup2(silent, number)
            status = cli.main([str(argument) for argument in arguments])
        except SystemExit as leave:
            status = leave.code if isinstance(leave.code, int) else 1
        finally:
            os._exit(status)
    return child


def ended(child: int) -> int | None:
    """Its exit status; None while it runs."""
    found, status = os.waitpid(child, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if found else None


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def parts(folder: Path) -> list[Path]:
    return [path for path in files(folder) if PART in path.name]


def problem(path: Path) -> str:
    """What is wrong with a file under its own name; nothing where it is whole."""
    try:
        if path.suffix == ".json":
            json.loads(path.read_bytes())
        elif path.suffix == ".md":
            assert path.read_text().endswith("\n"), "ends in the middle of a line"
        elif path.suffix == ".onnx":
            import onnx

            onnx.checker.check_model(onnx.load(path), full_check=True)
        elif path.suffix == ".engine":
            model_info(path)  # reads the plan and holds it against its checksum
        elif path.suffix == ".mp4":
            frames = list(sources.Sources(path))
            assert len(frames) == VIDEO_FRAMES, f"{len(frames)} of {VIDEO_FRAMES} frames"
        else:
            sources.read_picture(path)
    except Exception as error:
        return f"{path.name}: {error}"
    return ""


def kill_one(verb: Verb, folder: Path, random_: random.Random, seconds: float, count: Count) -> None:
    """Run, kill, and look at what is there."""
    for path in files(folder):
        if PART not in path.name:
            path.unlink()
    before = set(parts(folder))
    child = start(verb.arguments(folder))
    began = time.monotonic()
    when = began + random_.uniform(0.0, seconds)
    waits_for_part = random_.random() < 0.5
    status = None
    while status is None and time.monotonic() < when + (5 * seconds if waits_for_part else 0.0):
        if waits_for_part and set(parts(folder)) - before:
            time.sleep(random_.uniform(0.0, 0.03))
            break
        time.sleep(0.001)
        status = ended(child)
    if status is None:
        os.kill(child, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status != -signal.SIGKILL:
        assert status == 0, f"{verb.name} failed by itself with status {status}"
        count.ended_before += 1
    else:
        count.kills += 1
        count.with_part += bool(set(parts(folder)) - before)
    whole = [path for path in files(folder) if PART not in path.name]
    count.written += len(whole)
    count.half += filter(None, map(problem, whole))


def run_whole(verb: Verb, folder: Path) -> float:
    """Seconds of a run that goes to its end."""
    began = time.monotonic()
    child = start(verb.arguments(folder))
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status == 0, f"trtpose {' '.join(map(str, verb.arguments(folder)))} fails with status {status}"
    return time.monotonic() - began


def kill_many(verb: Verb, folder: Path, kills: int, seed: int) -> Count:
    folder.mkdir()
    count, random_ = Count(), random.Random(f"{seed} {verb.name}")
    run_whole(verb, folder)
    seconds = run_whole(verb, folder)
    wrong = [text for text in map(problem, files(folder)) if text]
    assert not wrong, f"a whole run leaves {wrong}"
    while count.kills < kills:
        kill_one(verb, folder, random_, seconds, count)
        if count.kills % RUNS_BETWEEN == 0 or count.kills == kills:
            run_whole(verb, folder)
            count.stale += [path.name for path in parts(folder)]
            for path in parts(folder):
                path.unlink()
    count.seconds = seconds
    return count


def told(count: Count) -> str:
    return (
        f"{count.kills} kills in runs of {count.seconds:.1f} s, {count.with_part} of them with a temporary file there, "
        f"{count.ended_before} ended before; of {count.written} files under their names half written: "
        f"{len(count.half)}; temporary files after the next run: {len(count.stale)}"
    )


def write_video(path: Path) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 25.0, (192, 256))
    for index in range(VIDEO_FRAMES):
        writer.write(np.full((256, 192, 3), 5 * index, np.uint8))
    writer.release()
    return path


def verbs(work: Path, chosen: set[str]) -> list[Verb]:
    """The commands with their inputs, which are made in a folder for those that are chosen."""
    sys.path.insert(0, str(ROOT / "tests" / "python"))
    demo, pictures = DATA / "demo.onnx", DATA / "demo"
    video = write_video(work / "video.mp4")
    small, few, weights = work / "small.onnx", work / "pictures", work / "small.pt"
    if "quantize" in chosen and importlib.util.find_spec("onnx"):
        import quantize_models

        quantize_models.write_small(small)
        quantize_models.write_pictures(few, 6)
    if "export" in chosen and importlib.util.find_spec("torch"):
        import export_support

        export_support.save_checkpoint(weights, export_support.make_network(), export_support.SMALL)
    return [
        Verb("infer", lambda out: ["infer", demo, pictures, video, "--out", out, "--json", out / "poses.json"]),
        Verb(
            "export",
            lambda out: ["export", weights, "--imgsz", "64", "-o", out / "made.onnx"],
            ("torch", "onnx", "onnxruntime"),
        ),
        Verb(
            "quantize",
            lambda out: ["quantize", small, "--calib", few, "--max-drop", "100", "--no-cache", "-o", out / "made.onnx",
                         "--report", out / "report.md", "--report", out / "report.json"],
            ("onnx", "onnxruntime"),
        ),
        Verb(
            "eval",
            lambda out: ["eval", demo, "--images", pictures, "--annotations", pictures / "annotations.json",
                         "--json", out / "figures.json"],
            ("faster_coco_eval",),
        ),
        Verb(
            "build",
            lambda out: ["build", demo, "--fp16", "--runtime", "rtx", "-o", out / "made.engine"],
            ("tensorrt_rtx_bindings", "onnx"),
        ),
    ]  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("-n", "--kills", type=int, default=100, help="of each command (default: 100)")
    parser.add_argument("--verbs", default="infer,export,quantize,eval,build", metavar="A,B", help="these alone")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures")
    args = parser.parse_args(argv)
    chosen = set(args.verbs.split(","))
    result: dict[str, Any] = {}
    good = True
    with tempfile.TemporaryDirectory(prefix="trtpose-") as name:
        os.environ["TRTPOSE_CACHE"] = str(Path(name) / "cache")
        for verb in (verb for verb in verbs(Path(name), chosen) if verb.name in chosen):
            missing = [package for package in verb.needs if not importlib.util.find_spec(package)]
            if missing:
                print(f"{verb.name}: left out, {', '.join(missing)} not installed", flush=True)
                continue
            for package in verb.needs:
                if not package.startswith("tensorrt"):  # it does not outlive a fork
                    importlib.import_module(package)
            count = kill_many(verb, Path(name) / verb.name, args.kills, args.seed)
            result[verb.name] = vars(count)
            good = good and not count.half and not count.stale
            print(f"{verb.name}: {told(count)}", flush=True)
            for text in (count.half + count.stale)[:10]:
                print(f"    {text}", flush=True)
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
