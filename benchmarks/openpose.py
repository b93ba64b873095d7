#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Lightweight OpenPose: the grouping against Python's, Engine.infer against OpenVINO's bare request, by turns.

    python benchmarks/openpose.py [--json FILE] [--shared FOLDER] [--pairs N] [--threads N] [--reference CHECKOUT]

grouping  the drawn scene of eight people (openpose-scenes.npz): an engine whose network gives that scene's maps, decode
          and NMS of its stages; benchmarks/openpose_in_python.py on the same maps
reference the same engine beside modules/keypoints.py of a checkout of the reference,
          Daniil-Osokin/lightweight-human-pose-estimation.pytorch, on one thread, its maps' enlarging counted and not,
          and its group_keypoints alone beside the limbs and poses of trtpose
engine    human-pose-estimation-0001 at 256×344 on a photograph: Engine.infer; the same request without trtpose
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import openpose_in_python as plain
from onnx import TensorProto, helper, numpy_helper

import trtpose
from trtpose._machine import cpu_name

ROOT = Path(__file__).resolve().parent.parent


def constant_network(path: Path, heatmaps: Any, fields: Any) -> Path:
    """A network that gives these maps whatever it is fed."""
    nodes, constants, outputs = [], [], []
    height, width = (8 * side for side in heatmaps.shape[1:])
    constants.append(numpy_helper.from_array(np.zeros(1, np.float32), "zero"))
    nodes.append(helper.make_node("MaxPool", ["data"], ["cells"], kernel_shape=[8, 8], strides=[8, 8]))
    nodes.append(helper.make_node("ReduceMean", ["cells"], ["mean"], axes=[1], keepdims=1))
    nodes.append(helper.make_node("Mul", ["mean", "zero"], ["nothing"]))
    for name, maps in (("heatmaps", heatmaps), ("pafs", fields)):
        constants.append(numpy_helper.from_array(maps[None].astype(np.float32), f"{name}_values"))
        nodes.append(helper.make_node("Add", ["nothing", f"{name}_values"], [name]))
        outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, *maps.shape]))
    picture = helper.make_tensor_value_info("data", TensorProto.FLOAT, [1, 3, height, width])
    graph = helper.make_graph(nodes, "maps", [picture], outputs, constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def spec_of(name: str, rule: str, keypoints: int = 18, **changes: Any) -> dict[str, Any]:
    return {
        "trtpose": 1,
        "family": "openpose",
        "name": name,
        "imgsz": [256, 256],
        "strides": [8],
        "names": ["person"],
        "kpt_shape": [keypoints, 3],
        "color": "bgr",
        "pad": 128,
        "form": "maps",
        "maps": 18,
        "filling": plain.FILLING,
        "limbs": [list(limb) for limb in plain.LIMBS],
        "keypoint_maps": list(range(keypoints)),
        "rule": rule,
        **changes,
    }


def by_turns(first: Callable[[], float], second: Callable[[], float], pairs: int) -> dict[str, Any]:
    """Milliseconds of two, run one after the other; the ratio is that of each pair."""
    for _ in range(3):
        first(), second()
    both = [(first(), second()) for _ in range(pairs)]
    ratios = sorted(a / b for a, b in both)
    return {
        "first_ms": round(statistics.median(a for a, _ in both), 4),
        "second_ms": round(statistics.median(b for _, b in both), 4),
        "ratio": round(statistics.median(ratios), 4),
        "ratio_quartiles": [round(ratios[len(ratios) // 4], 4), round(ratios[3 * len(ratios) // 4], 4)],
        # The fastest of each: what the load of the machine hardly changes.
        "fastest_ms": [round(min(one), 4) for one in zip(*both, strict=True)],
        "pairs": pairs,
    }


def clocked(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return (time.perf_counter() - start) * 1e3


class Scene:
    """The scene of eight people, and an engine whose network gives it."""

    def __init__(self, shared: Path, threads: int, folder: Path) -> None:
        with np.load(shared / "golden" / "openpose-scenes.npz") as scenes:
            maps = [scenes[f"eight/{name}"].astype(np.float32) for name in ("heatmaps", "pafs")]
            self.people = len(scenes["eight/entries"])
        self.heatmaps, self.fields = maps
        height, width = (8 * side for side in self.heatmaps.shape[1:])
        path = constant_network(folder / "eight.onnx", self.heatmaps, self.fields)
        spec = spec_of("eight", "reference", imgsz=[height, width], outputs=["heatmaps", "pafs"])
        self.engine = trtpose.Engine(path, device="cpu", spec=spec, conf=0.0, threads=threads)
        self.frame = np.full((height, width, 3), 128, np.uint8)

    def ours(self, *stages: str) -> float:
        """Milliseconds of these stages: peaks are the decode, limbs and poses the NMS."""
        assert len(self.engine.infer([self.frame])[0]) == self.people
        return float(sum(self.engine.timings[stage] for stage in stages or ("decode", "nms")))


def bench_grouping(scene: Scene, pairs: int) -> dict[str, Any]:
    def theirs() -> float:
        found: list[Any] = []
        ms = clocked(lambda: found.extend(plain.decode(scene.heatmaps, scene.fields)[1]))
        assert len(found) == scene.people
        return ms

    result = by_turns(theirs, scene.ours, pairs)
    return {
        "python_ms": result.pop("first_ms"),
        "trtpose_ms": result.pop("second_ms"),
        "people": scene.people,
        **result,
    }


def bench_reference(scene: Scene, checkout: Path, pairs: int) -> dict[str, Any]:
    """As the reference's demo calls its functions: maps enlarged by 4, peaks of each keypoint, groups."""
    import importlib.util

    source = importlib.util.spec_from_file_location("reference_keypoints", checkout / "modules" / "keypoints.py")
    if source is None or source.loader is None:
        raise SystemExit(f"{checkout} has no modules/keypoints.py; give a checkout of the reference")
    module: Any = importlib.util.module_from_spec(source)
    source.loader.exec_module(module)
    heatmaps, fields = (np.ascontiguousarray(maps.transpose(1, 2, 0)) for maps in (scene.heatmaps, scene.fields))

    def grown(maps: Any) -> Any:
        return cv2.resize(maps, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)

    def theirs() -> dict[str, float]:
        start = time.perf_counter()
        large, large_fields = grown(heatmaps), grown(fields)
        enlarged = time.perf_counter()
        total, by_kind = 0, []
        for k in range(len(plain.COCO) + 1):
            total += module.extract_keypoints(large[:, :, k], by_kind, total)
        found = time.perf_counter()
        entries, _ = module.group_keypoints(by_kind, large_fields)
        end = time.perf_counter()
        assert len(entries) == scene.people
        times = {"with_enlarging": end - start, "without": end - enlarged, "groups_alone": end - found}
        return {name: 1e3 * seconds for name, seconds in times.items()}

    out: dict[str, Any] = {}
    for name, stages in (("with_enlarging", ()), ("without", ()), ("groups_alone", ("nms",))):
        result = by_turns(lambda name=name: theirs()[name], partial(scene.ours, *stages), pairs)
        out[name] = {"reference_ms": result.pop("first_ms"), "trtpose_ms": result.pop("second_ms"), **result}
    return out


def bench_engine(shared: Path, pairs: int, threads: int) -> dict[str, Any]:
    import openvino

    model = shared / "models" / "openpose-hpe0001.onnx"
    frame = cv2.imread(str(shared / "images" / "person.jpg"))
    engine = trtpose.Engine(model, device="cpu", threads=threads)
    people = len(engine.infer([frame])[0])
    compiled = openvino.Core().compile_model(
        str(model),
        "CPU",
        {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"},
    )
    width = 8 * -(-round(frame.shape[1] * 256 / frame.shape[0]) // 8)
    request = compiled.create_infer_request()
    picture = np.random.default_rng(0).uniform(0, 255, (1, 3, 256, width)).astype(np.float32)
    result = by_turns(
        lambda: clocked(lambda: engine.infer([frame])),
        lambda: clocked(lambda: request.infer([picture], share_inputs=True, share_outputs=True)),
        pairs,
    )
    stages = {name: round(float(ms), 4) for name, ms in engine.timings.items()}
    ours, bare = result.pop("first_ms"), result.pop("second_ms")
    return {"infer_ms": ours, "openvino_ms": bare, "people": people, "input": [256, width], **result, "stages": stages}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--shared", type=Path, default=Path(os.environ.get("TRTPOSE_SHARED", ROOT.parent / "shared")))
    parser.add_argument("--reference", type=Path, help="a checkout of the reference")
    parser.add_argument("--pairs", type=int, default=60)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    args = parser.parse_args()
    cv2.setNumThreads(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        grouping = bench_grouping(Scene(args.shared, args.threads, Path(folder)), args.pairs)
    result: dict[str, Any] = {"cpu": cpu_name(), "threads": args.threads, "load": round(os.getloadavg()[0], 2)}
    result["grouping"] = grouping
    if args.reference:
        cv2.setNumThreads(1)
        with tempfile.TemporaryDirectory() as folder:
            result["reference"] = bench_reference(Scene(args.shared, 1, Path(folder)), args.reference, args.pairs)
        cv2.setNumThreads(args.threads)
    result["engine"] = bench_engine(args.shared, args.pairs, args.threads)
    text = json.dumps(result, indent=1)
    print(text)
    if args.json:
        args.json.write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
