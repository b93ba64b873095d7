#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What INT8 and FP16 cost and gain on the CPU.

    python benchmarks/int8.py --work DIR [--shared DIR] [--json FILE] [--only demo,shared,w6,calibrate]

demo       the packaged network on 500 held-out pictures, ranges from 128 others (both drawn by tools/demo_model):
           AP of INT8 by each method and of FP16, loss of each group of layers, time of the network on the CPU
shared     networks of others on photographs: ranges from one half, agreement of poses on the other, and vice versa
calibrate  a network of YOLOv7-w6-pose's size at 960×960: time and memory of calibrating on 16 pictures
w6         the same network: time on the CPU in float32 and in INT8

Figures of sections that are not run are kept in the file. TensorRT for RTX builds every file where it is installed.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "python"))

METHODS = ("percentile", "entropy", "max")
HELD_OUT = 500
CALIBRATION = 128
CALIBRATION_SEED = 777
GROUPS_ON = 100
RUNS = 7


def draw(folder: Path, count: int, *options: str) -> Path:
    """Pictures of the generator with annotations, once."""
    if not (folder / "annotations.json").is_file():
        command = [sys.executable, "-m", "tools.demo_model.pictures", "--out", str(folder), "--count", str(count)]
        subprocess.run([*command, *options], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    return folder


def times(models: dict[str, tuple[Path, Any, Any]], frame: Any, threads: int, runs: int) -> dict[str, float]:
    """Median milliseconds of the network of each model; they take turns, so that others on the machine hit all."""
    import trtpose

    engines = {
        name: trtpose.Engine(path, spec=spec, imgsz=size, threads=threads)
        for name, (path, spec, size) in models.items()
    }
    found: dict[str, list[float]] = {name: [] for name in engines}
    for run in range(runs + 2):
        for name, engine in engines.items():
            engine.infer(frame)
            if run >= 2:
                found[name].append(engine.timings["network"])
    return {name: round(statistics.median(values), 2) for name, values in found.items()}


def rtx_megabytes(path: Path, shape: tuple[int, int]) -> float | str:
    """Size of the plan that TensorRT for RTX builds, or why there is none."""
    try:
        import onnx

        import rtx
    except ImportError as error:
        return f"not built: {error}"
    try:
        model = onnx.load(str(path), load_external_data=False)
        dims = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
        full = (1, 3, *shape)
        open_input = 0 in dims
        plan = rtx.build(path.read_bytes(), {model.graph.input[0].name: (full, full, full)} if open_input else None)
    except AssertionError as error:
        return str(error)[:300]
    except BaseException as error:  # pytest's Skipped, where the package is missing
        return f"not built: {error}"
    return round(len(plan) / 1e6, 2)


def demo_groups(work: Path, model: Path, calibration: Path, method: str, measured: dict[str, Any]) -> dict[str, Any]:
    """What each group of layers loses alone; its table and picture are left in ``work``."""
    from trtpose.quantize import quantize

    # One evaluation for each group: fewer pictures do for telling the groups apart.
    few = {**measured, "limit": GROUPS_ON}
    table = quantize(model, calibration, output=work / "x.onnx", method=method, sensitivity=True, **few).report
    for suffix in (".md", ".png"):
        table.write(work / f"demo{suffix}")
    groups = [
        {"name": g.name, "gmacs": round(g.gmacs, 4), "lost": None if g.loss is None else round(g.loss, 3)}
        for g in table.groups
    ]
    return {"groups_measured_on": table.measured_on, "groups": groups}


def bench_demo(work: Path, threads: int) -> dict[str, Any]:
    import cv2

    from trtpose import evaluate
    from trtpose.engine import Engine
    from trtpose.quantize import quantize
    from trtpose.quantize.half import convert

    model = ROOT / "python" / "trtpose" / "data" / "demo.onnx"
    held_out = draw(work / "held-out", HELD_OUT)
    calibration = draw(work / "calibration", CALIBRATION, "--seed", str(CALIBRATION_SEED))
    measured = {"annotations": held_out / "annotations.json", "images": held_out, "limit": HELD_OUT}
    result: dict[str, Any] = {"calibration_pictures": CALIBRATION, "held_out_pictures": HELD_OUT, "methods": {}}
    files: dict[str, tuple[Path, Any, Any]] = {"float32": (model, None, None)}
    for method in METHODS:
        target = work / f"demo.{method}.onnx"
        report = quantize(model, calibration, output=target, method=method, sensitivity=False, **measured).report
        assert report.reference is not None
        assert report.final is not None
        result["float32_ap"] = round(report.reference.points, 3)
        result["size"] = list(report.size)
        result["methods"][method] = {
            "ap_all_int8": round(report.steps[0].points, 3),
            "lost_all_int8": round(report.steps[0].loss, 3),
            "ap": round(report.final.points, 3),
            "lost": round(report.final.loss, 3),
            "floating": list(report.final.floating),
            "convolutions_int8": report.convolutions - len(report.kept),
            "convolutions": report.convolutions,
            "rtx_plan_mb": rtx_megabytes(target, report.size),
        }
        if method == METHODS[0]:
            files["int8"] = (target, None, None)
            result.update(demo_groups(work, model, calibration, method, measured))
            half_scales = work / "demo.int8-fp16.onnx"
            again = quantize(model, calibration, output=half_scales, fp16=True, measure=False, keep=report.kept)
            result["int8_fp16_scales_rtx_plan_mb"] = rtx_megabytes(again.path, report.size)
    half = convert(model, calibration, output=work / "demo.fp16.onnx", **measured)
    assert half.report.loss is not None
    file_ap = 100 * evaluate.evaluate(Engine(half.path), held_out, held_out / "annotations.json")["AP"]
    result["fp16"] = {
        "lost_rounding_as_fp16": round(half.report.loss, 3),
        "ap_of_the_file_on_this_cpu": round(file_ap, 3),
        "largest_number": [half.report.largest[0], round(half.report.largest[1], 3)],
        "nodes": half.report.share,
        "kept_for_their_range": half.report.at_risk,
        "rtx_plan_mb": rtx_megabytes(half.path, half.report.size),
    }
    files["fp16"] = (half.path, None, None)
    frame = cv2.imread(str(next(held_out.glob("*.jpg"))))
    result["network_ms"] = times(files, frame, threads, 101)
    return result


def search(report: Any) -> dict[str, Any]:
    """What was left floating to stay within the default loss, and what each group of layers loses alone."""
    return {
        "max_drop": report.max_drop,
        "float_ms": round(report.reference.milliseconds, 2),
        "steps": [
            {
                "floating": list(step.floating),
                "similarity": round(step.points, 2),
                "share_of_macs_in_int8": round(step.share, 4),
                "network_ms": round(step.milliseconds, 2),
                **{key: round(value, 2) for key, value in step.details.items()},
            }
            for step in report.steps
        ],
        "lost_alone": {g.name: None if g.loss is None else round(g.loss, 3) for g in report.groups},
    }


def photograph_halves(work: Path, shared: Path) -> tuple[Path, Path]:
    """Two folders, each with every other photograph."""
    photographs = sorted((shared / "images").glob("*.jpg"))
    halves = (work / "photographs-1", work / "photographs-2")
    for number, folder in enumerate(halves):
        folder.mkdir(parents=True, exist_ok=True)
        for path in photographs[number::2]:
            shutil.copy(path, folder)
    return halves


def bench_shared(work: Path, shared: Path, threads: int) -> dict[str, Any]:
    import cv2

    from trtpose.quantize import quantize
    from trtpose.quantize.half import convert

    halves = photograph_halves(work, shared)
    spec = ROOT / "tests" / "data" / "yolov7-lite-t-face5.json"
    result: dict[str, Any] = {}
    for name, known, size in (("yolov7-lite-t-face5", spec, 640), ("yolo26n-pose-256", None, None)):
        model = shared / "models" / f"{name}.onnx"
        rows: list[dict[str, Any]] = []
        for method in METHODS:
            for calibration, measured in (halves, halves[::-1]):
                target = work / f"{name}.{method}.onnx"
                report = quantize(
                    model,
                    calibration,
                    images=measured,
                    output=target,
                    method=method,
                    spec=known,
                    imgsz=size,
                    max_drop=100,
                ).report
                assert report.final is not None
                rows.append(
                    {
                        "method": method,
                        "calibrated_on": report.pictures,
                        "measured_on": report.measured_on,
                        "similarity": round(report.final.points, 2),
                        **{key: round(value, 2) for key, value in report.final.details.items()},
                    }
                )
        found = quantize(
            model, halves[0], images=halves[1], output=work / "x.onnx", spec=known, imgsz=size, sensitivity=True
        ).report
        found.write(work / f"{name}.png")
        target = work / f"{name}.percentile.onnx"
        half = convert(model, halves[0], images=halves[1], output=work / f"{name}.fp16.onnx", spec=known, imgsz=size)
        assert half.report.half is not None
        frame = cv2.imread(str(shared / "images" / "group.jpg"))
        shape = half.report.size
        result[name] = {
            "int8": rows,
            "search": search(found),
            "fp16": {
                "similarity": round(half.report.half.points, 2),
                **{key: round(value, 3) for key, value in half.report.half.details.items()},
                "nodes": half.report.share,
            },
            "network_ms": times({"float32": (model, known, size), "int8": (target, known, size)}, frame, threads, 51),
            "rtx_plan_mb": {"int8": rtx_megabytes(target, shape), "fp16": rtx_megabytes(half.path, shape)},
        }
    return result


def w6_model(work: Path) -> Path:
    from trtpose.export import export

    path = work / "w6.onnx"
    if not path.is_file():
        export("yolov7-w6-pose", path, random=True, verify=False)
    return path


def bench_calibrate(work: Path) -> dict[str, Any]:
    """In a process of its own, whose peak of memory is the calibration's."""
    w6_model(work)
    draw(work / "sixteen", 16, "--seed", str(CALIBRATION_SEED))
    done = subprocess.run(
        [sys.executable, str(Path(__file__)), "--work", str(work), "--only", "_calibrate"],
        check=True,
        capture_output=True,
        text=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def calibrate_here(work: Path) -> dict[str, Any]:
    from trtpose.quantize import quantize

    began, cpu = time.monotonic(), time.process_time()
    made = quantize(work / "w6.onnx", work / "sixteen", output=work / "w6.int8.onnx", cache=False, measure=False).report
    return {
        "pictures": made.pictures,
        "size": list(made.size),
        "wall_s": round(time.monotonic() - began, 1),
        "cpu_s": round(time.process_time() - cpu, 1),
        "peak_rss_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "convolutions_int8": made.convolutions - len(made.kept),
        "convolutions": made.convolutions,
        "load_before": [round(v, 2) for v in os.getloadavg()],
    }


def bench_w6(work: Path, threads: int) -> dict[str, Any]:
    import cv2
    import numpy as np

    from trtpose.quantize import graph as graphs
    from trtpose.quantize.fp16 import to_fp16

    frame = cv2.resize(np.random.default_rng(2).integers(0, 256, (108, 192, 3), np.uint8), (1920, 1080))
    files: dict[str, tuple[Path, Any, Any]] = {
        "float32": (w6_model(work), None, None),
        "int8": (work / "w6.int8.onnx", None, None),
    }
    found = times(files, frame, threads, RUNS)
    plans: dict[str, Any] = {}
    for name, source in (("fp16", work / "w6.onnx"), ("int8_fp16_scales", work / "w6.int8.onnx")):
        path = work / f"w6.{name}.onnx"
        path.write_bytes(to_fp16(graphs.load(source)).model.SerializeToString())
        plans[name] = rtx_megabytes(path, (960, 960))
        path.unlink()
    plans["int8"] = rtx_megabytes(work / "w6.int8.onnx", (960, 960))
    return {
        "network_ms": found,
        "speed_int8_to_float32": round(found["float32"] / found["int8"], 2),
        "threads": threads,
        "rtx_plan_mb": plans,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="What INT8 and FP16 cost and gain on the CPU.")
    parser.add_argument("--work", type=Path, required=True, help="folder for pictures and networks")
    parser.add_argument("--shared", type=Path, default=Path(os.environ.get("TRTPOSE_SHARED", ROOT.parent / "shared")))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", default="demo,shared,calibrate,w6")
    args = parser.parse_args()
    work = args.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    if args.only == "_calibrate":
        print(json.dumps(calibrate_here(work)))
        return
    from importlib import metadata

    import trtpose

    result: dict[str, Any] = json.loads(args.json.read_text()) if args.json and args.json.is_file() else {}
    info = trtpose.system_info()
    result["date"] = os.environ.get("TRTPOSE_BENCH_DATE", dt.date.today().isoformat())
    result["machine"] = {"cpu": info["cpu"], "threads": info["cpu_threads"], "platform": info["platform"]}
    result["versions"] = {
        "trtpose": trtpose.__version__,
        **{name: metadata.version(name) for name in ("onnx", "onnxruntime", "openvino", "numpy")},
    }
    for section in args.only.split(","):
        if section == "demo":
            result[section] = bench_demo(work, args.threads)
        elif section == "shared":
            result[section] = bench_shared(work, args.shared, args.threads)
        elif section == "calibrate":
            result[section] = bench_calibrate(work)
        elif section == "w6":
            result[section] = bench_w6(work, args.threads)
        else:
            parser.error(f"unknown section {section!r}")
        result[section]["load"] = [round(v, 2) for v in os.getloadavg()]
        if args.json:
            args.json.write_text(json.dumps(result, indent=2) + "\n")
    if not args.json:
        print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
