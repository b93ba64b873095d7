#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a user of a large network waits for, in two installations of trtpose by turns: starting, exporting, calibrating.

    git worktree add ../before COMMIT && make -C ../before .venv/.test
    python benchmarks/waiting.py ../before/.venv .venv --work DIR [--only open,export,calibrate] [--pairs 5]

The network is YOLOv7-w6-pose at 960x960 with random weights. Every sample is a process of its own; which of the two
goes first changes from pair to pair. The figure is the median of the ratios AFTER / BEFORE of the pairs.

open       from the start of Python to the first poses, with the compiled network in the cache of AFTER (one start that
           nobody counts puts it there); beside the bare OpenVINO program, which reads, compiles and runs the same file.
           Floor: a bare program that imports what OpenVINO itself made of the file and runs it once
export     ``trtpose export yolov7-w6-pose --random``, comparison with PyTorch included
calibrate  ``trtpose.quantize.quantize`` on 16 drawn pictures, nothing kept and nothing measured.
           Floor: ONNX Runtime runs the same file 16 times, and hands out nothing from within
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

_END = """
import json, resource, time
# Not ru_maxrss, which begins with what the parent has.
memory = int(open("/proc/self/status").read().partition("VmHWM:")[2].split()[0]) / 1024
print(json.dumps({"cpu_s": time.process_time(), "peak_mib": memory, "answer": str(answer)}))
"""
_PROGRAMS = {
    "open": """
import hashlib, sys
import numpy as np
import trtpose
frame = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
poses = trtpose.Engine(sys.argv[1], device="cpu", conf=0.001).infer(frame)[0]
answer = hashlib.sha256(poses.boxes.tobytes() + poses.keypoints.tobytes()).hexdigest()
""",
    "bare": """
import sys
import numpy as np
import openvino
core = openvino.Core()
config = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
compiled = core.compile_model(core.read_model(sys.argv[1]), "CPU", config)
answer = len(compiled.create_infer_request().infer({0: np.full(compiled.input(0).shape, 0.5, np.float32)}))
""",
    "floor of open": """
import sys
from pathlib import Path
import numpy as np
import openvino
core = openvino.Core()
config = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
form = Path(sys.argv[1]).with_suffix(".form")
if not form.exists():
    form.write_bytes(core.compile_model(core.read_model(sys.argv[1]), "CPU", config).export_model().getvalue())
    sys.exit()
mapped = np.memmap(form, np.uint8, "c")
tensor = openvino.Tensor(mapped, shared_memory=True)  # both are read as long as the network is there
compiled = core.import_model(tensor, "CPU", config)
answer = len(compiled.create_infer_request().infer({0: np.full(compiled.input(0).shape, 0.5, np.float32)}))
""",
    "floor of calibrate": """
import sys
import numpy as np
import onnxruntime
options = onnxruntime.SessionOptions()
options.add_session_config_entry("session.intra_op.allow_spinning", "0")
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
frame = np.full(session.get_inputs()[0].shape, 0.5, np.float32)
answer = [len(session.run(None, {session.get_inputs()[0].name: frame})) for _ in range(16)]
""",
    "export": """
import hashlib, sys
from trtpose.export import export
made = export("yolov7-w6-pose", sys.argv[2], random=True, imgsz=960)
answer = hashlib.sha256(open(made.path, "rb").read()).hexdigest()
""",
    "calibrate": """
import hashlib, sys
from trtpose.quantize import quantize
made = quantize(sys.argv[1], sys.argv[3], output=sys.argv[2], cache=False, measure=False)
answer = hashlib.sha256(open(made.path, "rb").read()).hexdigest()
""",
}


def run(python: Path, what: str, model: Path, work: Path, cache: Path) -> tuple[str, float]:
    """What a program prints, and the seconds it takes."""
    out = work / "made.onnx"
    arguments = [str(python), "-c", _PROGRAMS[what] + _END, str(model), str(out), str(work / "pictures")]
    began = time.monotonic()
    # From a folder without sources, or they would be imported in place of the installed package.
    done = subprocess.run(
        arguments, capture_output=True, text=True, cwd="/", env={**os.environ, "TRTPOSE_CACHE": str(cache)}
    )
    took = time.monotonic() - began
    out.unlink(missing_ok=True)
    if done.returncode:
        raise SystemExit(f"{python} {what} failed:\n{done.stderr}")
    return done.stdout, took


def sample(python: Path, what: str, model: Path, work: Path, cache: Path) -> dict[str, Any]:
    printed, took = run(python, what, model, work, cache)
    return {**json.loads(printed.splitlines()[-1]), "wall_s": took}


def summary(samples: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for side, taken in samples.items():
        result[side] = {
            key: round(statistics.median(s[key] for s in taken), 2) for key in ("wall_s", "cpu_s", "peak_mib")
        }
    for key in ("wall_s", "cpu_s", "peak_mib"):
        ratios = [a[key] / b[key] for b, a in zip(samples["before"], samples["after"], strict=True)]
        result[f"ratio_{key}"] = round(statistics.median(ratios), 3)
        result[f"ratios_{key}"] = [round(ratio, 3) for ratio in ratios]
    if bare := samples.get("bare"):
        ratios = [a["peak_mib"] / b["peak_mib"] for b, a in zip(bare, samples["after"], strict=True)]
        result["ratio_peak_to_bare"] = round(statistics.median(ratios), 3)
    if floor := samples.get("floor"):
        ratios = [f["cpu_s"] / b["cpu_s"] for b, f in zip(samples["before"], floor, strict=True)]
        result["ratio_floor_cpu_s"] = round(statistics.median(ratios), 3)
    result["same_answer"] = len({s["answer"] for side in ("before", "after") for s in samples[side]}) == 1
    return result


def measure(what: str, sides: dict[str, Path], model: Path, work: Path, pairs: int) -> dict[str, Any]:
    samples: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
    caches = {side: work / f"cache-{side}" for side in sides}
    if what == "open":
        samples["bare"] = []
        run(sides["after"], what, model, work, caches["after"])
        if not model.with_suffix(".form").exists():
            run(sides["after"], "floor of open", model, work, caches["after"])
    floor = f"floor of {what}"
    if floor in _PROGRAMS:
        samples["floor"] = []
    for pair in range(pairs):
        for side in list(sides)[:: 1 if pair % 2 else -1]:
            samples[side].append(sample(sides[side], what, model, work, caches[side]))
        if what == "open":
            samples["bare"].append(sample(sides["after"], "bare", model, work, caches["after"]))
        if floor in _PROGRAMS:
            samples["floor"].append(sample(sides["after"], floor, model, work, caches["after"]))
    return {"pairs": pairs, **summary(samples)}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--work", type=Path, help="folder for files, some 2 GB (default: a temporary one)")
    parser.add_argument("--only", default="open,export,calibrate")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    args = parser.parse_args()
    sides = {
        "before": args.before.absolute() / "bin" / "python",
        "after": args.after.absolute() / "bin" / "python",
    }
    with tempfile.TemporaryDirectory() as temporary:
        work = (args.work or Path(temporary)).absolute()
        work.mkdir(exist_ok=True, parents=True)
        model = work / "w6.onnx"
        if not model.exists():
            made = f"export('yolov7-w6-pose', {str(model)!r}, random=True, verify=False)"
            subprocess.run([sides["after"], "-c", f"from trtpose.export import export; {made}"], check=True, cwd="/")
        if "calibrate" in args.only and not (work / "pictures").is_dir():
            draw = [sides["after"], "-m", "tools.demo_model.pictures", "--out", work / "pictures", "--count", "16"]
            subprocess.run(draw, check=True, cwd=Path(__file__).parents[1], stdout=subprocess.DEVNULL)
        report: dict[str, Any] = {
            "machine": {"system": platform.platform(), "cpus": os.cpu_count(), "python": platform.python_version()},
            "load": {"before": os.getloadavg()},
            "command": "benchmarks/waiting.py BEFORE AFTER --only " + args.only + f" --pairs {args.pairs}",
        }
        for what in args.only.split(","):
            report[what] = measure(what, sides, model, work, args.pairs)
        report["load"]["after"] = os.getloadavg()
    text = json.dumps(report, indent=2)
    if args.json:
        args.json.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
