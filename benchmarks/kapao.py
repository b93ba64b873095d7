#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""KAPAO on a CPU: selection and fusion beside the same in PyTorch and NumPy, and the whole beside the bare OpenVINO
request.

    python benchmarks/kapao.py --scenes FILE.npz [--networks MODEL.onnx...] --images DIR [--json FILE] [--runs N]
        [--threads N]

All figures are of pairs taken in turn: one picture, both ways, the next picture.

selection  the reader's part of Engine.infer (Engine.timings: decode and nms) on the rows of a scene, alone and among as
           many anchors as its input has (`among_all_anchors`, where both ways look at every row first), beside a second
           implementation from the formulas of cpp/src/families/kapao/README.md: thresholds and classes in PyTorch,
           suppression by whole columns, one step for each box that is kept, fusion person by person as published code
           has it. Both give the same poses.
engine     Engine.infer on a photograph, beside the request alone on the letterboxed picture
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
import torch
from beside_request import beside_request, heading, photographs
from onnx import TensorProto, helper, numpy_helper
from timing import ratio, timed

import trtpose

STRIDES = (8, 16, 32, 64)
KEPT, OFFSET = 300, np.float32(4096)


def suppressed(boxes: Any, scores: Any, threshold: float) -> Any:
    """Places of what is kept, best first."""
    order = np.argsort(-scores, kind="stable")
    x1, y1, x2, y2 = boxes[order].T
    areas = (x2 - x1) * (y2 - y1)
    alive = np.arange(len(order))
    kept: list[int] = []
    while len(alive) and len(kept) < KEPT:
        first, alive = alive[0], alive[1:]
        kept.append(int(order[first]))
        w = np.minimum(x2[first], x2[alive]) - np.maximum(x1[first], x1[alive])
        h = np.minimum(y2[first], y2[alive]) - np.maximum(y1[first], y1[alive])
        inter = np.maximum(w, 0) * np.maximum(h, 0)
        alive = alive[inter / (areas[first] + areas[alive] - inter) <= threshold]
    return np.array(kept, np.int64)


def objects(rows: torch.Tensor, keypoints: int, conf: float, iou: float, people: bool) -> Any:
    """Boxes, scores, classes and coordinates of people or of keypoint objects."""
    rows = rows[rows[:, 4] > conf]
    score, kind = (rows[:, 5 : 6 + keypoints] * rows[:, 4:5]).max(1)
    wanted = (score > conf) & ((kind == 0) == people)
    rows, score, kind = rows[wanted], score[wanted], kind[wanted]
    half = rows[:, 2:4] / 2
    boxes = torch.cat([rows[:, :2] - half, rows[:, :2] + half], 1).numpy()
    classes = kind.numpy()
    kept = suppressed(boxes + (classes * OFFSET)[:, None].astype(np.float32), score.numpy(), iou)
    return boxes[kept], score.numpy()[kept], classes[kept], rows[:, 6 + keypoints :].numpy()[kept]


def second(rows: torch.Tensor, keypoints: int, p: dict[str, float], picture: Any, side: Any) -> tuple[Any, Any]:
    """Scores of the people and their keypoints, P x K x 3, in the picture."""
    height, width = picture
    gain = min(side[0] / height, side[1] / width)
    shift = np.array([(side[1] - width * gain) / 2, (side[0] - height * gain) / 2], np.float32)
    end = np.array([width, height], np.float32)

    def back(points: Any) -> Any:
        return (points - shift) / np.float32(gain)

    _, scores, _, points = objects(rows, keypoints, p["conf"], p["iou"], True)
    boxes, object_scores, classes, _ = objects(rows, keypoints, p["conf_kp"], p["iou_kp"], False)
    poses = back(points.reshape(-1, keypoints, 2))
    poses[:, :2] = poses[:, :2].clip(0, end)
    poses = np.concatenate([poses, np.zeros((*poses.shape[:2], 1))], -1)
    strong = poses[scores > p["conf_kp_person"]]
    if not len(strong):
        return scores, poses
    corners = back(boxes.reshape(-1, 2, 2)).clip(0, end)
    for (low, high), score, kind in zip(corners, object_scores, classes, strict=True):
        centre = (low + high) / 2
        column = strong[:, kind - 1]
        distances = np.linalg.norm(column[:, :2] - centre, axis=1)
        nearest = int(distances.argmin())
        if distances[nearest] < p["overwrite_tol"] and score > column[nearest, 2]:
            column[nearest] = (*centre, score)
    poses[: len(strong)] = strong
    return scores, poses


def list_network(path: Path, rows: Any, size: list[int]) -> Path:
    """An ONNX that gives these rows for every picture."""
    nodes = [
        helper.make_node("ReduceMax", ["images"], ["largest"], keepdims=0),
        helper.make_node("Mul", ["largest", "zero"], ["nothing"]),
        helper.make_node("Add", ["rows", "nothing"], ["output"]),
    ]
    constants = [numpy_helper.from_array(rows[None], "rows"), numpy_helper.from_array(np.zeros((), np.float32), "zero")]
    picture = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, *size])
    answer = helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, *rows.shape])
    graph = helper.make_graph(nodes, "rows", [picture], [answer], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def selection(scenes: Any, name: str, alone: bool, runs: int, threads: int, folder: Path) -> dict[str, Any]:
    """Both ways on one scene."""
    found = scenes[f"{name}/predictions"]
    keypoints = (found.shape[1] - 6) // 3
    size = scenes[f"{name}/input"].tolist()
    count = 3 * sum((size[0] // stride) * (size[1] // stride) for stride in STRIDES)
    rows = np.full((len(found) if alone else count, found.shape[1]), 1e-3, np.float32)
    rows[np.linspace(0, len(rows) - 1, len(found)).astype(int)] = found
    keys = ("conf", "iou", "conf_kp", "iou_kp", "conf_kp_person", "overwrite_tol")
    p: dict[str, float] = dict(zip(keys, scenes[f"{name}/parameters"].tolist(), strict=True))
    fields = {"family": "kapao", "form": "decoded", "imgsz": size, "strides": STRIDES, "kpt_shape": [keypoints, 2]}
    names = ["person", *(f"keypoint {k}" for k in range(keypoints))]
    spec = trtpose.ModelSpec.from_dict(
        {**fields, "names": names, "zero_unreplaced": True, **{key: p[key] for key in keys[2:]}}
    )
    model = list_network(folder / f"{name}.onnx", rows, size)
    engine = trtpose.Engine(model, spec=spec, conf=p["conf"], iou=p["iou"], threads=threads)
    frame = np.zeros((*scenes[f"{name}/picture"].tolist(), 3), np.uint8)
    tensor = torch.from_numpy(rows)
    torch.set_num_threads(threads)
    (poses,), (scores, expected) = engine.infer(frame), second(tensor, keypoints, p, frame.shape[:2], size)
    np.testing.assert_array_equal(poses.scores, scores)
    np.testing.assert_array_equal(poses.keypoints, expected.astype(np.float32))
    ours: list[float] = []
    theirs: list[float] = []
    for i in range(runs + 2):
        engine.infer(frame)
        own = engine.timings["decode"] + engine.timings["nms"]
        other, _ = timed(partial(second, tensor, keypoints, p, frame.shape[:2], size))
        if i >= 2:
            ours.append(own)
            theirs.append(other)
    return {
        "people": len(poses),
        "rows": len(rows),
        "ours_ms": round(statistics.median(ours), 4),
        "python_ms": round(statistics.median(theirs), 3),
        "times_as_fast": ratio(theirs, ours),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=Path, required=True)
    parser.add_argument("--networks", type=Path, nargs="*", default=[])
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    args = parser.parse_args()
    frames = photographs(args.images)
    report = heading(args.threads) | {"selection": {}, "among_all_anchors": {}, "engine": {}}
    report["versions"]["torch"] = torch.__version__
    scenes = np.load(args.scenes)
    fitting = [
        name
        for name in sorted({key.rsplit("/", 1)[0] for key in scenes.files if "/" in key})
        if len(scenes[f"{name}/scores"]) > 2
        and scenes[f"{name}/parameters"][1] != scenes[f"{name}/parameters"][3]
        and scenes[f"{name}/use_keypoint_objects"]
    ]
    with tempfile.TemporaryDirectory() as folder:
        for kind, alone in (("selection", True), ("among_all_anchors", False)):
            for name in fitting:
                report[kind][name] = selection(scenes, name, alone, args.runs, args.threads, Path(folder))
    for model in args.networks:
        report["engine"][model.stem] = beside_request(model, frames, max(args.runs // 5, 3), args.threads)
    print(json.dumps(report, indent=1))
    if args.json:
        args.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
