#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Opening a model and its first inference on the CPU, in two installations of trtpose by turns.

    python benchmarks/opening.py BEFORE AFTER [--model FILE.onnx] [--pairs 24] [--json FILE]

BEFORE and AFTER are environments (or their Pythons) that hold a wheel each. Every sample is a process of its own; which
of the two goes first changes from pair to pair, and one pair that nobody counts warms the disk's cache. The figure is
the median of the ratios AFTER / BEFORE of the pairs, of wall time and of CPU time: a load that comes and goes meets
both samples of a pair. Without --model each opens the demo network of its own package; where these differ it is said.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

# What one process does. Its clock starts before trtpose is imported; the second figures leave the import out.
SAMPLE = """
import json, sys, time
began = time.perf_counter(), time.process_time()
import numpy as np
import trtpose
imported = time.perf_counter(), time.process_time()
engine = trtpose.Engine(sys.argv[1], device="cpu")
engine.infer(np.zeros((480, 640, 3), np.uint8))
done = time.perf_counter(), time.process_time()
print(json.dumps({
    "with_import": {"wall": done[0] - began[0], "cpu": done[1] - began[1]},
    "opening": {"wall": done[0] - imported[0], "cpu": done[1] - imported[1]},
}))
"""
# What is written beside the figures, to see that the two are what they are taken for.
IDENTITY = """
import importlib.metadata, json, pathlib, trtpose
names = ["numpy", "openvino", "opencv-python-headless", "opencv-python", "pillow"]
found = {d.name.lower(): d.version for d in importlib.metadata.distributions() if d.name}
package = pathlib.Path(trtpose.__file__).parent
print(json.dumps({
    "package": str(package),
    "trtpose": found.get("trtpose"),
    "packages": {name: found[name] for name in names if name in found},
    "library_bytes": sum(f.stat().st_size for f in package.rglob("*.so*")),
}))
"""


def python_of(environment: Path) -> Path:
    python = environment / "bin" / "python" if environment.is_dir() else environment
    if not python.exists():
        raise SystemExit(f"{environment}: no environment with bin/python, and no Python")
    return python


def ask(python: Path, code: str, *arguments: str) -> dict[str, Any]:
    # From a folder without sources, or they would be imported in place of the installed package.
    done = subprocess.run([python, "-c", code, *arguments], capture_output=True, text=True, cwd="/")
    if done.returncode:
        raise SystemExit(f"{python} failed:\n{done.stderr}")
    return json.loads(done.stdout)


def summary(before: list[float], after: list[float]) -> dict[str, float]:
    ratios = sorted(b / a for a, b in zip(before, after, strict=True))
    return {
        "before_ms": round(1000 * statistics.median(before), 2),
        "after_ms": round(1000 * statistics.median(after), 2),
        "median_of_ratios": round(statistics.median(ratios), 4),
        "ratio_of_medians": round(statistics.median(after) / statistics.median(before), 4),
        "ratio_of_minima": round(min(after) / min(before), 4),
        # Where half of the ratios lie: how much the median is worth.
        "lower_quartile": round(statistics.quantiles(ratios, n=4)[0], 4),
        "upper_quartile": round(statistics.quantiles(ratios, n=4)[2], 4),
    }


def measure(pythons: list[Path], models: list[str], pairs: int) -> dict[str, dict[str, dict[str, float]]]:
    samples: list[list[dict[str, Any]]] = [[], []]
    for pair in range(-1, pairs):
        for side in (0, 1) if pair % 2 else (1, 0):
            sample = ask(pythons[side], SAMPLE, models[side])
            if pair >= 0:
                samples[side].append(sample)
    return {
        what: {
            clock: summary(*([sample[what][clock] for sample in side] for side in samples)) for clock in ("wall", "cpu")
        }
        for what in ("opening", "with_import")
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--model", type=Path, help="the ONNX file that both open")
    parser.add_argument("--pairs", type=int, default=24)
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    args = parser.parse_args()
    if args.pairs < 2:
        parser.error("--pairs must be at least 2")
    pythons = [python_of(args.before), python_of(args.after)]
    identities = [ask(python, IDENTITY) for python in pythons]
    demos = [Path(identity["package"]) / "data" / "demo.onnx" for identity in identities]
    models = [str(args.model.resolve()) if args.model else str(demo) for demo in demos]
    hashes = [hashlib.sha256(Path(model).read_bytes()).hexdigest() for model in models]
    if hashes[0] != hashes[1]:
        print("the two demo networks differ; --model gives both the same", file=sys.stderr)
    load = os.getloadavg()
    figures = measure(pythons, models, args.pairs)
    report = {
        "machine": {"system": platform.platform(), "cpus": os.cpu_count(), "python": platform.python_version()},
        "load": {"before": load, "after": os.getloadavg()},
        "pairs": args.pairs,
        "before": {**identities[0], "model_sha256": hashes[0]},
        "after": {**identities[1], "model_sha256": hashes[1]},
        "figures": figures,
    }
    text = json.dumps(report, indent=2)
    if args.json:
        args.json.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
