#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What reading and annotating a video cost on the CPU.

    python benchmarks/video.py [--before PYTHON] [--model MODEL] [--pairs N] [--json FILE]

read    300 frames of 1280×720 in H.264: trtpose.sources beside OpenCV's VideoCapture in a loop, in this process
infer   the whole command with --out and --json, by this Python and by that of another installation (--before), by turns

Seconds are medians over the pairs, ratios medians of the ratio within a pair.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from machine import machine

FRAMES, WIDTH, HEIGHT = 300, 1280, 720


def make_video(path: Path) -> Path:
    """A coarse pattern that moves, so that there is motion to decode."""
    import av
    import cv2
    import numpy as np

    pattern = np.random.default_rng(0).integers(0, 255, (90, 160, 3), np.uint8)
    pattern = cv2.resize(pattern, (WIDTH + 200, HEIGHT + 100))
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for index in range(FRAMES):
            top, left = index % 100, 2 * index % 200
            image = np.ascontiguousarray(pattern[top : top + HEIGHT, left : left + WIDTH])
            out.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        out.mux(stream.encode())
    return path


def by_opencv(path: Path) -> int:
    import cv2

    capture, count = cv2.VideoCapture(str(path)), 0
    while capture.read()[0]:
        count += 1
    return count


def by_trtpose(path: Path) -> int:
    from trtpose.sources import Sources

    with Sources(path) as frames:
        return sum(frame.error is None for frame in frames)


def timed(work: Callable[[], Any]) -> tuple[float, float]:
    """Seconds by the clock, and of all processors, those of ended children among them."""

    def used() -> float:
        return sum(u.ru_utime + u.ru_stime for u in map(resource.getrusage, (0, resource.RUSAGE_CHILDREN)))

    start, before = time.perf_counter(), used()
    work()
    return time.perf_counter() - start, used() - before


def in_turn(new: Callable[[], Any], old: Callable[[], Any], pairs: int) -> dict[str, Any]:
    found: list[tuple[tuple[float, float], tuple[float, float]]] = []
    for pair in range(pairs + 1):
        first, second = (timed(new), timed(old)) if pair % 2 else (timed(old), timed(new))[::-1]
        if pair:
            found.append((first, second))
    result: dict[str, Any] = {"pairs": pairs}
    for place, kind in enumerate(("wall", "cpu")):
        result[kind] = {
            "now_s": round(statistics.median(mine[place] for mine, _ in found), 3),
            "other_s": round(statistics.median(other[place] for _, other in found), 3),
            "ratio": round(statistics.median(mine[place] / other[place] for mine, other in found), 3),
        }
    return result


def command(python: str, model: str, video: Path, out: Path) -> Callable[[], Any]:
    arguments = [python, "-m", "trtpose", "infer", model, str(video), "--out", str(out), "--json", str(out) + ".json"]
    return lambda: subprocess.run([*arguments, "--quiet"], check=True)


def main() -> int:
    import cv2

    import trtpose

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", metavar="PYTHON", help="of an installation to compare the command with")
    parser.add_argument("--model", default=str(Path(trtpose.__file__).parent / "data" / "demo.onnx"))
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    import av

    report: dict[str, Any] = {
        "date": f"{dt.date.today()}",
        "machine": machine(),
        "load_at_start": round(os.getloadavg()[0], 1),
        "versions": {"trtpose": trtpose.__version__, "av": av.__version__, "opencv": cv2.__version__},
        "video": f"{FRAMES} frames, {WIDTH}x{HEIGHT}, H.264",
        "model": Path(args.model).name,
    }
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        video = make_video(folder / "v.mp4")
        assert by_opencv(video) == by_trtpose(video) == FRAMES
        report["read"] = in_turn(lambda: by_trtpose(video), lambda: by_opencv(video), args.pairs)
        if args.before:
            new = command(sys.executable, args.model, video, folder / "new")
            old = command(args.before, args.model, video, folder / "old")
            report["infer"] = in_turn(new, old, args.pairs)
            report["written_mb"] = {
                name: round((folder / name / "v.mp4").stat().st_size / 1e6, 1) for name in ("new", "old")
            }
    text = json.dumps(report, indent=2)
    print(text)
    if args.json:
        Path(args.json).write_text(text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
