#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Frames a second of a video on the CPU, start-up aside, beside the bare network in OpenVINO's throughput mode.

    python benchmarks/throughput.py MODEL [--pairs N] [--before PYTHON] [--pictures DIR] [--json FILE]

Every figure is a process of its own, all of them by turns, the order turned round from pair to pair:

bare             OpenVINO alone in its throughput mode: as many requests in flight as it asks for, one input for all
bare latency     the same with one request after the other in its latency mode
read             the video read and nothing else
latency, throughput
                 trtpose infer on 300 frames of 1280x720 in H.264 with these runs, results to a JSON file
before           the same command of another installation, which has no such option
read photos, photos
                 with --pictures: 400 files, the pictures of that folder again and again, read, and as `throughput`

The first 60 frames of each do not count, so that nobody's start-up does. Frames a second are medians over the pairs,
ratios medians of the ratio to `bare` within a pair.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from machine import machine
from photographs import PHOTOS, copies, photographs
from video import FRAMES, HEIGHT, WIDTH, make_video

SKIPPED = 60


def bare(model: str, mode: str) -> float:
    """Frames a second of the network alone, in float32 as trtpose opens it."""
    import numpy as np
    import openvino as ov

    core = ov.Core()
    network = core.read_model(model)
    compiled = core.compile_model(network, "CPU", {"PERFORMANCE_HINT": mode, "INFERENCE_PRECISION_HINT": "f32"})
    requests = ov.AsyncInferQueue(compiled, 0 if mode == "THROUGHPUT" else 1)
    image = np.random.default_rng(0).random(tuple(compiled.input(0).shape), np.float32)
    for index in range(len(requests)):
        requests[index].set_input_tensor(ov.Tensor(image))
    moments: list[float] = []
    for _ in range(FRAMES):
        requests.start_async()
        moments.append(time.perf_counter())
    requests.wait_all()
    return (FRAMES - SKIPPED) / (time.perf_counter() - moments[SKIPPED - 1])


def read(source: str) -> float:
    from trtpose.sources import Sources

    moments = []
    with Sources(source) as frames:
        for _ in frames:
            moments.append(time.perf_counter())
    return (len(moments) - SKIPPED) / (moments[-1] - moments[SKIPPED - 1])


def command(model: str, source: str, out: str, runs: str) -> float:
    """The whole command in this process; when each frame's poses were there."""
    from trtpose.commands import infer

    parser = argparse.ArgumentParser()
    infer.add_arguments(parser)
    options = ["--latency"] if runs == "latency" else ["--throughput"] if runs in ("throughput", "photos") else []
    args = parser.parse_args([model, source, "--json", out, "--quiet", *options])
    moments: list[float] = []
    assert infer.run(args, lambda _: moments.append(time.perf_counter())) == 0
    assert len(moments) == (PHOTOS if runs == "photos" else FRAMES)
    return (len(moments) - SKIPPED) / (moments[-1] - moments[SKIPPED - 1])


def child(what: str, model: str, source: str, out: str) -> float:
    if what.startswith("bare"):
        return bare(model, "LATENCY" if "latency" in what else "THROUGHPUT")
    return read(source) if what.startswith("read") else command(model, source, out, what)


def measure(python: str, what: str, model: str, source: Path) -> float:
    arguments = [python, __file__, model, "--child", what, str(source), str(source.with_suffix(".json"))]
    found = subprocess.run(arguments, check=True, stdout=subprocess.PIPE, text=True)
    return float(found.stdout.split()[-1])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument("--before", metavar="PYTHON", help="of an installation to compare with")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--pictures", metavar="DIR", help="of photographs, to measure a folder of them too")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--child", nargs=3, metavar=("WHAT", "VIDEO", "OUT"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(child(args.child[0], args.model, *args.child[1:]))
        return 0

    import openvino

    import trtpose

    kinds: dict[str, str] = dict.fromkeys(("bare", "bare latency", "read", "latency", "throughput"), sys.executable)
    if args.before:
        kinds["before"] = args.before
    if args.pictures:
        kinds |= dict.fromkeys(("read photos", "photos"), sys.executable)
    found: dict[str, list[float]] = {what: [] for what in kinds}
    begun = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as work:
        video = photos = make_video(Path(work) / "v.mp4")
        if args.pictures:
            photos = copies(photographs(args.pictures), Path(work) / "photos", PHOTOS)
        for pair in range(args.pairs):
            for what in list(kinds)[:: -1 if pair % 2 else 1]:
                source = photos if what.endswith("photos") else video
                found[what].append(measure(kinds[what], what, args.model, source))
    report: dict[str, Any] = {
        "date": f"{dt.date.today()}",
        "machine": machine(),
        "load": [round(begun, 1), round(os.getloadavg()[0], 1)],
        "versions": {"trtpose": trtpose.__version__, "openvino": openvino.__version__},
        "video": f"{FRAMES} frames, {WIDTH}x{HEIGHT}, H.264",
        "model": Path(args.model).name,
        **({"photos": PHOTOS} if args.pictures else {}),
        "pairs": args.pairs,
        "frames_per_second": {what: round(statistics.median(values), 1) for what, values in found.items()},
        "to_bare": {
            what: round(statistics.median(a / b for a, b in zip(values, found["bare"], strict=True)), 3)
            for what, values in found.items()
        },
        "each": {what: [round(value, 1) for value in values] for what, values in found.items()},
    }
    text = json.dumps(report, indent=2)
    print(text)
    if args.json:
        Path(args.json).write_text(text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
