#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What opening a large ONNX model takes: what reading it ourselves, before OpenVINO does, costs.

    python benchmarks/opening_large.py [--megabytes 320] [--pairs 6] [--baseline FOLDER]

Makes a network of so many megabytes of weights and opens it in a new process each time. ``--baseline`` names a folder
that holds another build of the package ``trtpose``, which then takes turns with this one. Prints one line of JSON: the
medians of the seconds that Engine takes, on the clock and of all CPUs, of those that reading the file's description
takes, and of the peak of memory; with a baseline also the medians of the ratios within each pair.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from onnx import helper, numpy_helper

_CHANNELS = 1024
_LAYER_BYTES = _CHANNELS * _CHANNELS * 9 * 4

_OPEN = """
import json, sys, time
import trtpose
from trtpose import _core
path = sys.argv[1]
def seconds(work):
    start = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - start[0], time.process_time() - start[1]
reading = seconds(lambda: _core.read_model_file(path))
engine = seconds(lambda: trtpose.Engine(path))
# Not ru_maxrss, which begins with what the parent has.
memory = int(open("/proc/self/status").read().partition("VmHWM:")[2].split()[0]) / 1024
print(json.dumps({"engine_s": engine[0], "engine_cpu_s": engine[1], "description_s": reading[0], "peak_mib": memory}))
"""


def write_model(path: Path, megabytes: int) -> None:
    """A pose network of one stride whose weights are noise."""
    random = np.random.default_rng(0)
    nodes, weights = [], []
    name, channels = "images", 3
    layers = max(round(megabytes * 1e6 / _LAYER_BYTES), 1)
    for layer in range(layers + 2):
        out, size = (9, 1) if layer == layers + 1 else (_CHANNELS, 3)
        values = (random.standard_normal((out, channels, size, size), np.float32) * 0.01).astype(np.float32)
        weights.append(numpy_helper.from_array(values, f"w{layer}"))
        target = "head" if layer == layers + 1 else f"x{layer}"
        stride = 8 if layer == 0 else 1
        nodes.append(
            helper.make_node(
                "Conv", [name, f"w{layer}"], [target], strides=[stride, stride], pads=[size // 2] * 4,
                kernel_shape=[size, size],
            )
        )  # fmt: skip
        name, channels = target, out
    graph = helper.make_graph(
        nodes,
        "large",
        [helper.make_tensor_value_info("images", 1, [1, 3, 64, 64])],
        [helper.make_tensor_value_info("head", 1, [1, 9, 8, 8])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    spec = {
        "trtpose": 1, "layout": "heads", "imgsz": [64, 64], "strides": [8], "anchors": [[[8, 8]]],
        "names": ["thing"], "kpt_shape": [1, 3], "outputs": ["head"],
    }  # fmt: skip
    model.metadata_props.add(key="trtpose", value=json.dumps(spec))
    path.write_bytes(model.SerializeToString())


def opened(path: Path, package: str | None) -> dict[str, float]:
    """What one opening in a new process takes."""
    environment = dict(os.environ, **({"PYTHONPATH": package} if package else {}))
    # Without site the finder of an editable install, which comes before PYTHONPATH, stays out.
    arguments = [sys.executable, *(["-S"] if package else []), "-c", _OPEN, str(path)]
    if package:
        environment["PYTHONPATH"] = os.pathsep.join([package, *(p for p in sys.path if p.endswith("site-packages"))])
    done = subprocess.run(arguments, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=320)
    parser.add_argument("--pairs", type=int, default=6)
    parser.add_argument("--baseline")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.onnx"
        write_model(path, asked.megabytes)
        sides: dict[str, str | None] = {"this": None, **({"baseline": asked.baseline} if asked.baseline else {})}
        runs: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
        for turn in range(asked.pairs):
            for side in sorted(sides, reverse=bool(turn % 2)):
                runs[side].append(opened(path, sides[side]))
        size = path.stat().st_size
    medians = {
        side: {key: round(statistics.median(run[key] for run in found), 4) for key in found[0]}
        for side, found in runs.items()
    }
    result: dict[str, object] = {"bytes": size, "pairs": asked.pairs, **medians}
    if asked.baseline:
        for key in ("engine_s", "engine_cpu_s"):
            ratios = [mine[key] / theirs[key] for mine, theirs in zip(runs["this"], runs["baseline"], strict=True)]
            result[f"{key}_ratio"] = round(statistics.median(ratios), 4)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
