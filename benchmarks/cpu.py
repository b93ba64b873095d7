#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""CPU benchmarks: trtpose's parts against what people write without it, on one machine with the same threads.

    python benchmarks/cpu.py [--json FILE] [--only letterbox,postprocess,engine] [--threads N]

letterbox    1080p frame to 960×960 with normalisation: trtpose; OpenCV + NumPy; cv2.dnn.blobFromImage after OpenCV
postprocess  four-stride heads at 960×960 with about 2,000 candidates: trtpose; plain PyTorch
engine       a network of YOLOv7-w6-pose's size at 960×960: Engine.infer on a 1080p frame; the bare OpenVINO request
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

import trtpose

ROOT = Path(__file__).resolve().parent.parent
BINARY = Path(os.environ.get("TRTPOSE_BENCH_CPU", ROOT / "build" / "cpu-dev" / "benchmarks" / "trtpose_bench_cpu"))
SIZE = 960
STRIDES = [8, 16, 32, 64]
# COCO-keypoint anchors of YOLO-Pose and YOLOv7-w6-pose, in pixels.
ANCHORS = [
    [[19, 27], [44, 40], [38, 94]],
    [[96, 68], [86, 152], [180, 137]],
    [[140, 301], [303, 264], [238, 542]],
    [[436, 615], [739, 380], [925, 792]],
]
KEYPOINTS = 17
FIELDS = 6 + 3 * KEYPOINTS


def figures(ms: list[float]) -> dict[str, Any]:
    ordered = sorted(ms)
    return {
        "median_ms": round(statistics.median(ordered), 4),
        "min_ms": round(ordered[0], 4),
        "p99_ms": round(ordered[len(ordered) * 99 // 100], 4),
        "runs": len(ordered),
    }


def measure(run: Callable[[], object], runs: int, warm_up: int = 5) -> dict[str, Any]:
    ms: list[float] = []
    for i in range(runs + warm_up):
        start = time.perf_counter()
        run()
        if i >= warm_up:
            ms.append((time.perf_counter() - start) * 1e3)
    return figures(ms)


def native(*arguments: object) -> dict[str, Any]:
    done = subprocess.run([str(BINARY), *map(str, arguments)], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def bench_letterbox(threads: int, runs: int) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    frame = cv2.GaussianBlur(rng.integers(0, 256, (1080, 1920, 3), np.uint8), (0, 0), 2)
    cv2.setNumThreads(threads)
    ratio = min(SIZE / frame.shape[0], SIZE / frame.shape[1])
    width, height = round(frame.shape[1] * ratio), round(frame.shape[0] * ratio)
    top, left = round((SIZE - height) / 2 - 0.1), round((SIZE - width) / 2 - 0.1)

    def padded() -> np.ndarray[Any, Any]:
        small = cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR)
        return cv2.copyMakeBorder(
            small, top, SIZE - height - top, left, SIZE - width - left, cv2.BORDER_CONSTANT, value=(114, 114, 114)
        )

    def plain() -> np.ndarray[Any, Any]:
        return np.ascontiguousarray(padded()[:, :, ::-1].transpose(2, 0, 1)).astype(np.float32) / 255.0

    assert np.array_equal(plain(), trtpose.letterbox(frame, SIZE)), "the letterbox does not equal OpenCV's"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "frame"
        path.write_bytes(frame.tobytes())
        ours = native("letterbox", path, *frame.shape[:2], SIZE, threads, runs)
    result = {
        "trtpose": ours,
        "opencv_numpy": measure(plain, runs),
        "opencv_blob": measure(lambda: cv2.dnn.blobFromImage(padded(), 1 / 255.0, swapRB=True), runs),
    }
    result["ratio_to_opencv_numpy"] = round(ours["median_ms"] / result["opencv_numpy"]["median_ms"], 4)
    return result


def torch_postprocess(heads: list[Any], conf: float, iou: float, max_det: int) -> tuple[Any, int]:
    """The formulas of the YOLO-Pose head and greedy NMS as a PyTorch user writes them; returns rows and candidates."""
    import torch

    rows = []
    for head, stride, anchors in zip(heads, STRIDES, ANCHORS, strict=True):
        _, _, ny, nx = head.shape
        x = head.view(1, len(anchors), FIELDS, ny, nx).permute(0, 1, 3, 4, 2)
        gy, gx = torch.meshgrid(torch.arange(ny), torch.arange(nx), indexing="ij")
        grid = torch.stack((gx, gy), 2).view(1, 1, ny, nx, 2).float()
        box = x[..., :6].sigmoid()
        xy = (box[..., :2] * 2 - 0.5 + grid) * stride
        wh = (box[..., 2:4] * 2) ** 2 * torch.tensor(anchors).float().view(1, len(anchors), 1, 1, 2)
        points = x[..., 6:].view(1, len(anchors), ny, nx, KEYPOINTS, 3)
        place = (points[..., :2] * 2 - 0.5 + grid.unsqueeze(-2)) * stride
        points = torch.cat((place, points[..., 2:].sigmoid()), -1).flatten(-2)
        rows.append(torch.cat((xy, wh, box[..., 4:6], points), -1).view(1, -1, FIELDS))
    decoded = torch.cat(rows, 1)[0]
    x = decoded[decoded[:, 4] > conf]
    score = x[:, 4] * x[:, 5]
    keep = score > conf
    x, score = x[keep], score[keep]
    order = score.argsort(descending=True, stable=True)
    x, score = x[order], score[order]
    boxes = torch.cat((x[:, :2] - x[:, 2:4] / 2, x[:, :2] + x[:, 2:4] / 2), 1)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    kept: list[int] = []
    remaining = torch.arange(len(x))
    while len(remaining) and len(kept) < max_det:
        i = int(remaining[0])
        kept.append(i)
        rest = remaining[1:]
        inter = (
            (torch.minimum(boxes[i, 2:], boxes[rest, 2:]) - torch.maximum(boxes[i, :2], boxes[rest, :2]))
            .clamp(0)
            .prod(1)
        )
        remaining = rest[inter / (area[i] + area[rest] - inter) <= iou]
    return torch.cat((boxes[kept], score[kept, None], x[kept, 6:]), 1), len(x)


def bench_postprocess(threads: int, runs: int) -> dict[str, Any]:
    import torch

    torch.set_num_threads(threads)
    rng = np.random.default_rng(1)
    cells = [(SIZE // s) ** 2 * len(a) for s, a in zip(STRIDES, ANCHORS, strict=True)]
    passing = 2000
    heads = []
    for stride, anchors, count in zip(STRIDES, ANCHORS, cells, strict=True):
        side = SIZE // stride
        head = rng.normal(0, 0.5, (1, len(anchors), FIELDS, side, side)).astype(np.float32)
        objectness = np.full(count, -6, np.float32)
        chosen = rng.choice(count, passing * count // sum(cells), replace=False)
        objectness[chosen] = rng.uniform(0.5, 4, len(chosen))
        head[:, :, 4] = objectness.reshape(1, len(anchors), side, side)
        head[:, :, 5] = 4
        heads.append(head.reshape(1, -1, side, side))
    spec = {
        "trtpose": 1,
        "layout": "heads",
        "imgsz": [SIZE, SIZE],
        "strides": STRIDES,
        "anchors": ANCHORS,
        "names": ["person"],
        "kpt_shape": [KEYPOINTS, 3],
    }
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "heads").write_bytes(b"".join(head.tobytes() for head in heads))
        (Path(folder) / "spec.json").write_text(json.dumps(spec))
        ours = native("postprocess", Path(folder) / "heads", Path(folder) / "spec.json", SIZE, 0.25, threads, runs)
    tensors = [torch.from_numpy(head) for head in heads]
    with torch.inference_mode():
        rows, candidates = torch_postprocess(tensors, 0.25, 0.65, 300)
        theirs = measure(lambda: torch_postprocess(tensors, 0.25, 0.65, 300), max(10, runs // 20))
    assert candidates > 1900, candidates
    # Both count what passed a float32 threshold, so the numbers of candidates must agree to the last one.
    assert (ours["candidates"], ours["poses"]) == (candidates, len(rows)), (ours, candidates, len(rows))
    return {"trtpose": ours, "torch": theirs, "ratio_to_torch": round(ours["median_ms"] / theirs["median_ms"], 5)}


def bench_engine(threads: int, runs: int) -> dict[str, Any]:
    import openvino as ov

    frame = cv2.resize(np.random.default_rng(2).integers(0, 256, (108, 192, 3), np.uint8), (1920, 1080))
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "w6-pose.onnx"
        command = [
            sys.executable,
            "-m",
            "trtpose",
            "export",
            "--random",
            "yolov7-w6-pose",
            "-o",
            str(model),
            "--imgsz",
            str(SIZE),
        ]
        subprocess.run(command, check=True, stdout=sys.stderr)
        engine = trtpose.Engine(model, threads=threads)
        config = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
        }
        compiled = ov.Core().compile_model(str(model), "CPU", config)
        request = compiled.create_infer_request()
        pixels = trtpose.letterbox(frame, SIZE)[None]
        request.set_input_tensor(ov.Tensor(pixels, shared_memory=True))
        # In turn, so that a machine that slows down slows both.
        bare: list[float] = []
        whole: list[float] = []
        for i in range(runs + 2):
            start = time.perf_counter()
            request.infer()
            middle = time.perf_counter()
            engine.infer(frame)
            if i >= 2:
                bare.append((middle - start) * 1e3)
                whole.append((time.perf_counter() - middle) * 1e3)
    ratios = sorted(w / b for w, b in zip(whole, bare, strict=True))
    return {
        "engine_infer": figures(whole),
        "bare_openvino": figures(bare),
        "stages_ms": {key: round(value, 4) for key, value in engine.timings.items()},
        "ratio_to_bare": round(statistics.median(ratios), 4),
    }


BENCHES: dict[str, tuple[Callable[[int, int], dict[str, Any]], int]] = {
    "letterbox": (bench_letterbox, 200),
    "postprocess": (bench_postprocess, 400),
    "engine": (bench_engine, 8),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--only", default=",".join(BENCHES), help="comma-separated names")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    info = trtpose.system_info()
    report: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d"),
        "machine": {"cpu": info["cpu"], "threads": options.threads, "platform": info["platform"]},
        "versions": {
            "trtpose": info["trtpose"],
            "python": info["python"],
            "numpy": np.__version__,
            "opencv": cv2.__version__,
            **{backend["name"]: backend["version"] for backend in info["backends"]},
        },
    }
    for name in options.only.split(","):
        bench, runs = BENCHES[name]
        report[name] = bench(options.threads, runs)
        print(f"{name}: {json.dumps(report[name])}", flush=True)
    if "postprocess" in report:
        import torch

        report["versions"]["torch"] = torch.__version__
    if options.json:
        temporary = options.json.with_suffix(".partial")
        temporary.write_text(json.dumps(report, indent=2) + "\n")
        temporary.replace(options.json)


if __name__ == "__main__":
    main()
