#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The family `rows` on a CPU: reading rows beside the same in NumPy, and the whole beside the bare OpenVINO request.

    python benchmarks/rows.py --images DIR [--networks MODEL.onnx...] [--json FILE] [--runs N] [--threads N]

All figures are of pairs taken in turn.

reading  the reader's part of Engine.infer (Engine.timings: decode and nms) on rows drawn at random, beside the same in
         vectorised float32 NumPy: thresholds, suppression by whole columns, one step for each box that is kept, the way
         back to the picture. Both give the same poses. `suppressed`: eight people, each in twelve of 500 rows, as RTMO
         without the NMS of its graph; `once`: each in one of 100, without suppression, as RF-DETR gives them
engine   Engine.infer on a photograph, beside the request alone on the letterboxed picture: of a network of convolutions
         drawn here whose rows are the same for every picture, and of each MODEL, a file of the family
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from beside_request import beside_request, heading, photographs
from onnx import TensorProto, helper, numpy_helper
from timing import ratio, timed

import trtpose

SIDE, KEYPOINTS, CONF, IOU, KEPT = 640, 17, 0.25, 0.65, 300


def draw_rows(count: int, people: int, each: int) -> tuple[Any, Any]:
    """Boxes with scores and keypoints of `people`, `each` in so many rows; the other rows are nobody."""
    rng = np.random.default_rng(7)
    dets = np.zeros((count, 5), np.float32)
    dets[:, :4] = rng.uniform(0, SIDE, (count, 4))
    dets[:, 4] = rng.uniform(0, 0.2, count)
    keypoints = rng.uniform(0, 1, (count, KEYPOINTS, 3)).astype(np.float32)
    places = rng.permutation(count)[: people * each]
    for number, row in enumerate(places):
        left = 20 + number % people * 75
        box = np.array([left, 100, left + 70, 300]) + rng.uniform(-3, 3, 4)
        dets[row] = [*box, rng.uniform(0.3, 0.95)]
        keypoints[row, :, :2] = box[:2] + keypoints[row, :, :2] * (box[2:] - box[:2])
    return dets, keypoints


def second(dets: Any, keypoints: Any, scale: Any, suppress: bool) -> tuple[Any, Any, Any]:
    """Boxes, scores and keypoints in the picture, best first."""
    chosen = np.flatnonzero((dets[:, 4] > CONF) & np.isfinite(dets).all(1))
    order = chosen[np.argsort(-dets[chosen, 4], kind="stable")]
    if suppress:
        x1, y1, x2, y2 = dets[order, :4].T
        areas = (x2 - x1) * (y2 - y1)
        alive = np.arange(len(order))
        kept: list[int] = []
        while len(alive) and len(kept) < KEPT:
            first, alive = alive[0], alive[1:]
            kept.append(int(first))
            w = np.minimum(x2[first], x2[alive]) - np.maximum(x1[first], x1[alive])
            h = np.minimum(y2[first], y2[alive]) - np.maximum(y1[first], y1[alive])
            inter = np.maximum(w, 0) * np.maximum(h, 0)
            alive = alive[inter / (areas[first] + areas[alive] - inter) <= IOU]
        order = order[np.array(kept, np.int64)]
    order = order[:KEPT]
    boxes = (dets[order, :4] * scale).clip(0, SIDE * scale)
    points = keypoints[order].copy()
    points[..., :2] *= scale
    return boxes, dets[order, 4], points


def network_of(path: Path, dets: Any, keypoints: Any, convolutions: int) -> Path:
    """An ONNX that gives these rows for every picture, behind so many convolutions."""
    rng = np.random.default_rng(1)
    nodes, constants, last, channels = [], [], "images", 3
    for number in range(convolutions):
        wanted = 32 << min(number, 2)
        weights = (rng.standard_normal((wanted, channels, 3, 3)) * 0.05).astype(np.float32)
        constants.append(numpy_helper.from_array(weights, f"weights{number}"))
        strides = [2, 2] if number < 4 else [1, 1]
        nodes.append(
            helper.make_node("Conv", [last, f"weights{number}"], [f"c{number}"], pads=[1] * 4, strides=strides)
        )
        nodes.append(helper.make_node("Relu", [f"c{number}"], [f"r{number}"]))
        last, channels = f"r{number}", wanted
    constants.append(numpy_helper.from_array(np.zeros((), np.float32), "zero"))
    nodes.append(helper.make_node("ReduceMax", [last], ["largest"], keepdims=0))
    nodes.append(helper.make_node("Mul", ["largest", "zero"], ["nothing"]))
    outputs = []
    for name, rows in (("dets", dets), ("keypoints", keypoints)):
        constants.append(numpy_helper.from_array(rows[None], f"{name}_rows"))
        nodes.append(helper.make_node("Add", [f"{name}_rows", "nothing"], [name]))
        outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, *rows.shape]))
    picture = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, SIDE, SIDE])
    graph = helper.make_graph(nodes, "rows", [picture], outputs, constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def spec_of(suppress: bool) -> trtpose.ModelSpec:
    fields = {"family": "rows", "form": "dets_keypoints", "imgsz": [SIDE, SIDE], "kpt_shape": [KEYPOINTS, 3]}
    return trtpose.ModelSpec.from_dict(
        {**fields, "names": ["person"], "outputs": ["dets", "keypoints"], "suppress": suppress}
    )


def reading(count: int, people: int, each: int, runs: int, threads: int, folder: Path) -> dict[str, Any]:
    """Both ways on the same rows."""
    suppress = each > 1
    dets, keypoints = draw_rows(count, people, each)
    model = network_of(folder / f"reading{count}.onnx", dets, keypoints, 0)
    engine = trtpose.Engine(model, spec=spec_of(suppress), conf=CONF, iou=IOU, threads=threads)
    scale = np.float32(2)
    frame = np.zeros((int(SIDE * scale), int(SIDE * scale), 3), np.uint8)
    (poses,), (boxes, scores, points) = engine.infer(frame), second(dets, keypoints, scale, suppress)
    np.testing.assert_array_equal(poses.scores, scores)
    np.testing.assert_allclose(poses.boxes, boxes, rtol=0, atol=1e-3)
    np.testing.assert_allclose(poses.keypoints, points, rtol=0, atol=1e-3)
    ours: list[float] = []
    theirs: list[float] = []
    for i in range(runs + 2):
        engine.infer(frame)
        own = engine.timings["decode"] + engine.timings["nms"]
        other, _ = timed(partial(second, dets, keypoints, scale, suppress))
        if i >= 2:
            ours.append(own)
            theirs.append(other)
    return {
        "rows": count,
        "above_conf": int((dets[:, 4] > CONF).sum()),
        "people": len(poses),
        "ours_ms": round(statistics.median(ours), 4),
        "numpy_ms": round(statistics.median(theirs), 4),
        "times_as_fast": ratio(theirs, ours),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--networks", type=Path, nargs="*", default=[])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    args = parser.parse_args()
    frames = photographs(args.images)
    report = heading(args.threads)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        report["reading"] = {
            "suppressed": reading(500, 8, 12, args.runs, args.threads, folder),
            "once": reading(100, 8, 1, args.runs, args.threads, folder),
        }
        drawn = network_of(folder / "drawn.onnx", *draw_rows(100, 8, 1), 8)
        runs = max(args.runs // 5, 3)
        report["engine"] = {"drawn": beside_request(drawn, frames, runs, args.threads, spec=spec_of(suppress=False))}
    for model in args.networks:
        report["engine"][model.stem] = beside_request(model, frames, runs, args.threads)
    print(json.dumps(report, indent=1))
    if args.json:
        args.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
