#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Engine.infer on photographs beside OpenVINO's bare request of the same file, by turns.

    python benchmarks/beside_request.py MODEL.onnx... --images DIR [--json FILE] [--runs N] [--threads N...]

Each network at its own threshold and at one of 0, which nothing can be left out for, with each number of threads.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import openvino as ov
from timing import ratio, timed

import trtpose
from trtpose.formats import onnx_file


def heading(threads: int | list[int]) -> dict[str, Any]:
    """What a report says first: the day, the machine, the versions."""
    info = trtpose.system_info()
    return {
        "date": time.strftime("%Y-%m-%d"),
        "machine": {"cpu": info["cpu"], "threads": threads, "load_before": round(os.getloadavg()[0], 2)},
        "versions": {"trtpose": info["trtpose"], "numpy": np.__version__, "openvino": ov.__version__.split("-")[0]},
    }


def photographs(folder: Path) -> list[Any]:
    return [frame for path in sorted(folder.glob("*.jpg")) if (frame := cv2.imread(str(path))) is not None]


def beside_request(
    model: Path, frames: list[Any], runs: int, threads: int, *, spec: Any = None, **thresholds: Any
) -> dict[str, Any]:
    """Milliseconds of both for a frame, and the median of the pairs' ratios."""
    engine = trtpose.Engine(model, spec=spec, threads=threads)
    inputs = [trtpose.letterbox(frame, engine.imgsz, spec=engine.spec)[None] for frame in frames]
    graph = onnx_file.openvino_model(onnx_file.read(model))
    graph.reshape(list(inputs[0].shape))
    config = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32", "NUM_STREAMS": 1}
    request = ov.Core().compile_model(graph, "CPU", {**config, "INFERENCE_NUM_THREADS": threads}).create_infer_request()
    ours: list[float] = []
    bare: list[float] = []
    people: list[int] = []
    for i in range(runs + 2):
        for frame, pixels in zip(frames, inputs, strict=True):
            own, (poses,) = timed(partial(engine.infer, frame, **thresholds))
            request.set_input_tensor(ov.Tensor(pixels, shared_memory=True))
            alone, _ = timed(request.infer)
            if i >= 2:
                ours.append(own)
                bare.append(alone)
                people.append(len(poses))
    return {
        "input": list(engine.imgsz),
        "people": round(statistics.mean(people), 2),
        "infer_ms": round(statistics.median(ours), 3),
        "request_ms": round(statistics.median(bare), 3),
        "infer_over_request": ratio(ours, bare),
        "pairs": len(ours),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", type=Path, nargs="+")
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, len(os.sched_getaffinity(0))])
    args = parser.parse_args()
    frames = photographs(args.images)
    report = heading(args.threads) | {"photographs": len(frames)}
    for model in args.networks:
        for threads in args.threads:
            for name, thresholds in (("own threshold", {}), ("threshold 0", {"conf": 0.0})):
                row = beside_request(model, frames, args.runs, threads, **thresholds)
                report.setdefault(model.stem, {})[f"{threads} threads, {name}"] = row
                print(model.stem, threads, name, json.dumps(row), flush=True)
    if args.json:
        args.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
