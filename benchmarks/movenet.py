#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""MoveNet on a CPU: decoding beside the same in NumPy, and the whole beside the bare OpenVINO request.

    python benchmarks/movenet.py MODEL.onnx... --images DIR [--json FILE] [--runs N] [--threads N]

MODEL is a file as it circulates, which is adopted here. All figures are of pairs taken in turn: one picture, both ways,
the next picture.

decode   heads to poses in C++ (benchmarks/ops/cpu_ops.cpp, one thread) and the same formulas in vectorised float32
         NumPy, both again and again on the same heads in memory; and the same part of Engine.infer, where the heads are
         as far away as the network left them
engine   Engine.infer on a photograph, beside the request alone on the letterboxed picture: of the network that was
         adopted, and of the file as it came, whose decoding is inside
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import openvino as ov
from timing import ratio, timed

import trtpose
from trtpose.export import export
from trtpose.formats import onnx_file

ROOT = Path(__file__).resolve().parent.parent
BINARY = Path(os.environ.get("TRTPOSE_BENCH_CPU", ROOT / "build" / "cpu-dev" / "benchmarks" / "trtpose_bench_cpu"))
CONF = 0.25


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def best_cells(values: Any) -> Any:
    """Cells of the greatest values, over the last two axes."""
    return values.reshape(*values.shape[:-2], -1).argmax(-1)


def numpy_single(heads: list[Any], keys: dict[str, Any]) -> Any:
    """One person, K x 3: y, x, score."""
    heatmap, center, regress, offset = (head[0] for head in heads)
    k, h, w = heatmap.shape
    soft, activated = keys.get("softening", 1.8), keys.get("activated", False)
    order = [1, 0] if keys.get("pairs") == "xy" else [0, 1]
    score_of = np.asarray if activated else sigmoid
    rows, columns = np.mgrid[:h, :w].astype(np.float32)
    cell = int(best_cells(score_of(center[0]) / (np.hypot(rows - h / 2, columns - w / 2) + soft)))
    shift = regress.reshape(k, 2, -1)[:, order, cell]
    if keys.get("rounded"):
        shift = np.trunc(shift + 0.5)
    expected = shift + np.array([cell // w, cell % w], np.float32)
    scores = score_of(heatmap)
    near = np.hypot(rows - expected[:, 0, None, None], columns - expected[:, 1, None, None]) + soft
    floor = keys.get("floor", 0)
    cells = best_cells(np.where(scores < floor, 0, scores) / near)
    every = np.arange(k)
    place = offset.reshape(k, 2, -1)[every[:, None], order, cells[:, None]] + np.stack([cells // w, cells % w], 1)
    return np.concatenate([place / np.array([h, w], np.float32), scores.reshape(k, -1)[every, cells][:, None]], 1)


def numpy_multi(heads: list[Any], keys: dict[str, Any]) -> Any:
    """Everybody above CONF: P x K x 3, P scores."""
    heatmap, center, regress, offset, scale, box_offset = (head[0] for head in heads)
    k, h, w = heatmap.shape
    centers = sigmoid(center[0])
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(centers, 2), (5, 5)).max((2, 3))
    chosen = np.flatnonzero((centers == windows) & (centers > CONF))
    if not len(chosen):
        return np.empty((0, k, 3)), np.empty(0)
    rows, columns = np.arange(h, dtype=np.float32), np.arange(w, dtype=np.float32)
    cell = np.stack([chosen // w, chosen % w], 1).astype(np.float32)
    middle = cell + box_offset.reshape(2, -1)[:, chosen].T
    half = np.maximum(scale.reshape(2, -1)[:, chosen].T, 0) / 2
    low, high = np.clip(middle - half, 0, [h, w]), np.clip(middle + half, 0, [h, w])
    expected = cell[:, None] + regress.reshape(k, 2, -1)[:, :, chosen].transpose(2, 0, 1)
    width = keys.get("spread", 0.3) * min(h, w)
    in_rows = (rows >= low[:, :1]) & (rows < high[:, :1])
    in_columns = (columns >= low[:, 1:]) & (columns < high[:, 1:])
    by_row = np.exp(-((rows - expected[..., :1]) ** 2) / width) * in_rows[:, None]
    by_column = np.exp(-((columns - expected[..., 1:]) ** 2) / width) * in_columns[:, None]
    maps = sigmoid(heatmap) * by_row[..., None] * by_column[..., None, :]
    cells = best_cells(maps)
    scores = np.take_along_axis(maps.reshape(len(chosen), k, -1), cells[..., None], -1)[..., 0]
    at = offset.reshape(k, 2, -1)[np.arange(k)[None, :, None], [0, 1], cells[..., None]]
    place = (at + np.stack([cells // w, cells % w], -1)) / np.array([h, w], np.float32)
    counted = scores > keys.get("counted", 0.127)
    mean = (scores * counted).sum(1) / np.maximum(counted.sum(1), 1)
    total = centers.ravel()[chosen] * mean
    kept = total > CONF
    return np.concatenate([place, scores[..., None]], -1)[kept], total[kept]


def request_of(path: Path, pixels: Any, threads: int) -> tuple[Any, Any]:
    """A request of a file, and a letterboxed picture as it takes it."""
    config = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
    }
    model = onnx_file.openvino_model(onnx_file.read(path))
    last = model.inputs[0].get_partial_shape()[3]
    channels_last = last.is_static and last.get_length() == 3
    shape = [pixels.shape[i] for i in ([0, 2, 3, 1] if channels_last else range(4))]
    model.reshape(shape)
    request = ov.Core().compile_model(model, "CPU", config).create_infer_request()
    kind = model.inputs[0].get_element_type().to_dtype()

    def fed(picture: Any) -> Any:
        return np.ascontiguousarray((picture.transpose(0, 2, 3, 1) if channels_last else picture).astype(kind))

    return request, fed


def reader_ms(heads: list[Any], spec: Any, side: int, folder: Path) -> float:
    """Of the reader in C++ on heads in memory, by the program that times operations."""
    data, description = folder / "heads.bin", folder / "spec.json"
    data.write_bytes(b"".join(np.ascontiguousarray(head, np.float32).tobytes() for head in heads))
    description.write_text(spec.to_json())
    command = [BINARY, "postprocess", data, description, side, CONF, 1, 300]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)["median_ms"]


def bench(model: Path, frames: list[Any], runs: int, threads: int, folder: Path) -> dict[str, Any]:
    adopted = export(model, folder / model.name).path
    engine = trtpose.Engine(adopted, threads=threads, conf=CONF)
    keys = dict(engine.spec.extra)
    several = keys["form"].startswith("multi")
    inputs = [trtpose.letterbox(frame, engine.imgsz, spec=engine.spec)[None] for frame in frames]
    (bare, _), (original, fed) = (request_of(path, inputs[0], threads) for path in (adopted, model))
    theirs = [fed(pixels) for pixels in inputs]
    names = list(engine.spec.outputs)
    decoding = numpy_multi if several else numpy_single
    ours: list[float] = []
    numpy: list[float] = []
    in_engine: list[float] = []
    whole: list[float] = []
    request: list[float] = []
    as_it_came: list[float] = []
    for i in range(runs + 2):
        for frame, pixels, other in zip(frames, inputs, theirs, strict=True):
            own, _ = timed(partial(engine.infer, frame))
            stages = engine.timings
            bare.set_input_tensor(ov.Tensor(pixels, shared_memory=True))
            alone, _ = timed(bare.infer)
            original.set_input_tensor(ov.Tensor(other, shared_memory=True))
            before, _ = timed(original.infer)
            if i == 0:
                heads = [np.array(bare.get_tensor(name).data) for name in names]
                plain = [timed(partial(decoding, heads, keys))[0] for _ in range(40)]
                ours.append(reader_ms(heads, engine.spec, engine.imgsz[0], folder))
                numpy.append(statistics.median(plain))
            if i >= 2:
                in_engine.append(stages["decode"] + stages["nms"])
                whole.append(own)
                request.append(alone)
                as_it_came.append(before)
    median = statistics.median
    return {
        "imgsz": list(engine.imgsz),
        "decode": {
            "trtpose_ms": round(median(ours), 5),
            "numpy_ms": round(median(numpy), 4),
            "numpy_to_trtpose": ratio(numpy, ours),
            "least_numpy_to_trtpose": round(min(a / b for a, b in zip(numpy, ours, strict=True)), 2),
            "in_engine_ms": round(median(in_engine), 4),
        },
        "engine": {
            "engine_infer_ms": round(median(whole), 3),
            "bare_request_ms": round(median(request), 3),
            "request_of_the_file_as_it_came_ms": round(median(as_it_came), 3),
            "to_bare_request": ratio(whole, request),
            "to_request_of_the_file_as_it_came": ratio(whole, as_it_came),
        },
        "pairs": len(whole),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, nargs="+", metavar="MODEL.onnx")
    parser.add_argument("--images", type=Path, required=True, metavar="DIR")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--runs", type=int, default=20, help="of each picture")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    frames = [cv2.imread(str(path)) for path in sorted(options.images.glob("*.jpg"))]
    info = trtpose.system_info()
    report: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d"),
        "machine": {"cpu": info["cpu"], "threads": options.threads, "load_before": round(os.getloadavg()[0], 2)},
        "versions": {"trtpose": info["trtpose"], "numpy": np.__version__, "openvino": ov.__version__.split("-")[0]},
        "pictures": len(frames),
    }
    with tempfile.TemporaryDirectory() as folder:
        for model in options.models:
            report[model.stem] = bench(model, frames, options.runs, options.threads, Path(folder))
            print(f"{model.stem}: {json.dumps(report[model.stem])}", flush=True)
    if options.json:
        temporary = options.json.with_suffix(".partial")
        temporary.write_text(json.dumps(report, indent=2) + "\n")
        temporary.replace(options.json)


if __name__ == "__main__":
    main()
