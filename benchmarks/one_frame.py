#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""``Engine.infer`` of one frame on the CPU, in two installations of trtpose by turns.

    python benchmarks/one_frame.py BEFORE AFTER [--model FILE.onnx] [--pairs 24] [--frames 300] [--batch N]
        [--json FILE]

As benchmarks/opening.py, whose samples and figures these are: each is a process of its own, which gives the median
time of a call over some hundred of them. One thread, so that the processor's time is the call's. A small network shows
what trtpose itself costs: half of the calls are of the smallest frame, whose letterbox takes next to nothing.

With --batch also N frames of 640×480 in one call, on all cores: as one batch, and, where an installation has them, as a
batch on each of as many streams as there are cores.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from pathlib import Path
from typing import Any

from opening import IDENTITY, ask, python_of, summary

SAMPLE = """
import json, statistics, sys, time
import numpy as np
import trtpose
engine = trtpose.Engine(sys.argv[1], device="cpu", threads=1)
count = int(sys.argv[2])
out = {}
for name, shape in (("frame_480x640", (480, 640, 3)), ("frame_8x8", (8, 8, 3))):
    frame = np.zeros(shape, np.uint8)
    for _ in range(20):
        engine.infer(frame)
    wall, cpu = [], []
    for _ in range(count):
        began = time.perf_counter(), time.process_time()
        engine.infer(frame)
        wall.append(time.perf_counter() - began[0])
        cpu.append(time.process_time() - began[1])
    out[name] = {"wall": statistics.median(wall), "cpu": statistics.median(cpu)}
many = int(sys.argv[3])
if many:
    import inspect, os
    cores = min(len(os.sched_getaffinity(0)), many)
    has = "streams" in inspect.signature(trtpose.Engine.__init__).parameters
    options = {"batch": many // cores, "streams": cores} if has else {"batch": many}
    engine = trtpose.Engine(sys.argv[1], device="cpu", **options)
    frames = [np.full((480, 640, 3), 8 * number, np.uint8) for number in range(many)]
    wall, cpu = [], []
    for call in range(12):
        began = time.perf_counter(), time.process_time()
        engine.infer(frames)
        if call >= 2:
            wall.append(time.perf_counter() - began[0])
            cpu.append(time.process_time() - began[1])
    out["batch"] = {"wall": statistics.median(wall), "cpu": statistics.median(cpu)}
print(json.dumps(out))
"""


def measure(pythons: list[Path], models: list[str], pairs: int, frames: int, batch: int) -> dict[str, Any]:
    samples: list[list[dict[str, Any]]] = [[], []]
    for pair in range(-1, pairs):
        for side in (0, 1) if pair % 2 else (1, 0):
            sample = ask(pythons[side], SAMPLE, models[side], str(frames), str(batch))
            if pair >= 0:
                samples[side].append(sample)
    return {
        what: {clock: summary(*([one[what][clock] for one in side] for side in samples)) for clock in ("wall", "cpu")}
        for what in samples[0][0]
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--model", type=Path, help="the ONNX file that both run (default: each its demo network)")
    parser.add_argument("--pairs", type=int, default=24)
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--batch", type=int, default=0, metavar="N", help="also a call with N frames")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    args = parser.parse_args()
    if args.pairs < 2 or args.frames < 2:
        parser.error("--pairs and --frames must be at least 2")
    pythons = [python_of(args.before), python_of(args.after)]
    identities = [ask(python, IDENTITY) for python in pythons]
    demos = [Path(identity["package"]) / "data" / "demo.onnx" for identity in identities]
    models = [str(args.model.resolve()) if args.model else str(demo) for demo in demos]
    load = os.getloadavg()
    figures = measure(pythons, models, args.pairs, args.frames, args.batch)
    report = {
        "machine": {"system": platform.platform(), "cpus": os.cpu_count(), "python": platform.python_version()},
        "load": {"before": load, "after": os.getloadavg()},
        "pairs": args.pairs,
        "frames": args.frames,
        **({"batch": args.batch} if args.batch else {}),
        "model": "the demo network" if args.model is None else args.model.name,
        "before": identities[0],
        "after": identities[1],
        "figures": figures,
    }
    text = json.dumps(report, indent=2)
    if args.json:
        args.json.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
