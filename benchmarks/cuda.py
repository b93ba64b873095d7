#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""CUDA benchmarks: trtpose's operations, and the same work in PyTorch where it is installed with CUDA.

    python benchmarks/cuda.py --binary build/cuda/benchmarks/trtpose_bench_cuda --json FILE [--builder PROGRAM]

With the builder of tests/gpu, and TensorRT's plugins, also TensorRT's EfficientNMS; what could not be run is in the
file with the reason.

Every figure of trtpose comes with `floor_bytes`, the bytes the operation cannot do without, and `gb_per_s`, those bytes
over the time; `bandwidth_gb_per_s` is what a plain copy on the same GPU reaches, so that their ratio says how far from
the floor an operation is. `predicted_us` is what benchmarks/gpu_model.py said of it before anything ran, on cards it
knows. Needs a GPU; writes nothing without one.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import gpu_model

SIDE, STRIDES, ANCHORS, FIELDS = 960, (8, 16, 32, 64), 3, 57


def run_binary(binary: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    done = subprocess.run([str(binary)], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr.strip() or f"{binary} failed with status {done.returncode}")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return lines[0], lines[1:]


def predict(machine: dict[str, Any], figures: list[dict[str, Any]]) -> None:
    """Put beside each figure what was predicted of it; says so where the card is none that is known."""
    card = gpu_model.card_called(machine["device"])
    if card is None:
        known = ", ".join(card.name for card in gpu_model.CARDS)
        print(f"not predicted: {machine['device']} is not in benchmarks/gpu_model.py, which knows {known}")
        return
    for row in figures:
        predicted = gpu_model.operation_us(card, row)
        if predicted is not None:
            row["predicted_us"] = predicted


def torch_microseconds(run: Any) -> float:
    import torch

    times: list[float] = []
    for i in range(25):
        start, stop = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        run()
        stop.record()
        torch.cuda.synchronize()
        if i >= 5:
            times.append(start.elapsed_time(stop) * 1000)
    return round(statistics.median(times), 2)


def run_torch() -> dict[str, Any]:
    """Decode and greedy NMS as people write them with torchvision, letterbox by interpolate; empty without torch."""
    try:
        import torch
    except ImportError:
        return {"skipped": "torch is not installed"}
    if not torch.cuda.is_available():
        return {"skipped": "torch sees no GPU"}
    try:
        from torchvision.ops import nms  # pyright: ignore[reportMissingImports]
    except ImportError:
        return {"skipped": "torchvision is not installed"}

    out: dict[str, Any] = {"torch": torch.__version__, "us": {}}
    big = torch.empty(1 << 28, dtype=torch.uint8, device="cuda")
    other = torch.empty_like(big)
    out["bandwidth_gb_per_s"] = round(2 * big.numel() / torch_microseconds(lambda: other.copy_(big)) / 1000, 1)
    for batch in (1, 8, 32):
        frames = torch.randint(0, 256, (batch, 1080, 1920, 3), dtype=torch.uint8, device="cuda")

        def letterbox(frames: torch.Tensor = frames) -> None:
            x = frames.flip(-1).permute(0, 3, 1, 2).float()
            x = torch.nn.functional.interpolate(x, (540, 960), mode="bilinear", align_corners=False)
            torch.nn.functional.pad(x, (0, 0, 210, 210), value=114.0).div_(255)

        heads = [torch.randn(batch, ANCHORS, SIDE // s, SIDE // s, FIELDS, device="cuda") for s in STRIDES]
        for head in heads:
            head[..., 4] -= 5.5  # about 2,000 candidates at confidence 0.25

        def postprocess(heads: list[torch.Tensor] = heads) -> None:
            flat: list[torch.Tensor] = []
            for head, stride in zip(heads, STRIDES, strict=True):
                n, a, h, w, f = head.shape
                y, x = torch.meshgrid(torch.arange(h, device="cuda"), torch.arange(w, device="cuda"), indexing="ij")
                grid = torch.stack((x, y), -1)
                out_ = head.clone()
                out_[..., :6] = head[..., :6].sigmoid()
                out_[..., :2] = (out_[..., :2] * 2 - 0.5 + grid) * stride
                out_[..., 2:4] = (out_[..., 2:4] * 2) ** 2 * stride * 4
                flat.append(out_.view(n, a * h * w, f))
            for image in torch.cat(flat, 1):
                image = image[image[:, 4] > 0.25]
                scores = image[:, 4] * image[:, 5]
                half = image[:, 2:4] / 2
                boxes = torch.cat((image[:, :2] - half, image[:, :2] + half), 1)
                image[nms(boxes, scores, 0.65)[:300]]

        out["us"][f"letterbox batch {batch}"] = torch_microseconds(letterbox)
        out["us"][f"decode+nms batch {batch}"] = torch_microseconds(postprocess)
    return out


def efficient_nms_graph(batch: int, count: int) -> bytes:
    """An ONNX of that one node over ``boxes`` and ``scores`` of ``count`` anchors."""
    from onnx import TensorProto, helper

    shapes = {
        "num": [batch, 1],
        "kept": [batch, 300, 4],
        "kept_scores": [batch, 300],
        "kept_classes": [batch, 300],
    }
    whole = ("num", "kept_classes")
    node = helper.make_node(
        "EfficientNMS_TRT",
        ["boxes", "scores"],
        list(shapes),
        plugin_version="1",
        score_threshold=0.25,
        iou_threshold=0.65,
        max_output_boxes=300,
        background_class=-1,
        score_activation=0,
        box_coding=0,
    )
    inputs = [("boxes", [batch, count, 4]), ("scores", [batch, count, 1])]
    graph = helper.make_graph(
        [node],
        "efficient_nms",
        [helper.make_tensor_value_info(key, TensorProto.FLOAT, shape) for key, shape in inputs],
        [
            helper.make_tensor_value_info(key, TensorProto.INT32 if key in whole else TensorProto.FLOAT, shape)
            for key, shape in shapes.items()
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return model.SerializeToString()


def run_efficient_nms(builder: Path | None) -> dict[str, Any]:
    """TensorRT's EfficientNMS on boxes and scores that are decoded already, by the GPU's clock.

    It gets as many anchors as YOLOv7-w6-pose has at 960, about 2,000 or 30 of them above the threshold. It keeps boxes
    only; the rest of a pose would have to be gathered after it.
    """
    if builder is None:
        return {"skipped": "no trtpose_build_engine; it is built where TensorRT's headers and ONNX parser are found"}
    try:
        import numpy as np
        import onnx
    except ImportError as error:
        return {"skipped": f"{error.name} is not installed"}
    count = sum(ANCHORS * (SIDE // s) ** 2 for s in STRIDES)
    out: dict[str, Any] = {"us": {}}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for batch in (1, 8, 32):
            (folder / "m.onnx").write_bytes(efficient_nms_graph(batch, count))
            for label, above in (("about 30", 30), ("about 2,000", 2000)):
                rng = np.random.default_rng(4)
                corner = rng.uniform(0, SIDE - 120, (batch, count, 2)).astype(np.float32)
                boxes = np.concatenate([corner, corner + rng.uniform(20, 120, corner.shape).astype(np.float32)], 2)
                scores = rng.uniform(0, 0.2, (batch, count)).astype(np.float32)
                for image in scores:
                    image[rng.choice(count, above, replace=False)] = rng.uniform(0.3, 1, above)
                boxes.tofile(folder / "boxes")
                scores.tofile(folder / "scores")
                command = [str(builder), str(folder / "m.onnx"), str(folder / "plan"), "--plugins", "--time", "100"]
                for key in ("boxes", "scores"):
                    command += ["--input", key, str(folder / key)]
                done = subprocess.run(command, capture_output=True, text=True)
                if done.returncode:
                    return {"skipped": (done.stderr.strip().splitlines() or ["the builder failed"])[-1], **out}
                figures = json.loads(done.stdout)
                out["version"] = figures["version"]
                out["onnx"] = onnx.__version__
                out["us"][f"nms batch {batch}, {label} candidates"] = round(1000 * figures["median_ms"], 2)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=Path, required=True)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--builder", type=Path, help="trtpose_build_engine of tests/gpu")
    args = parser.parse_args()
    machine, figures = run_binary(args.binary)
    predict(machine, figures)
    result = {
        "machine": {**machine, "host": platform.processor() or platform.machine(), "python": platform.python_version()},
        "trtpose": figures,
        "torch": run_torch(),
        "efficient_nms": run_efficient_nms(args.builder),
    }
    args.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for row in figures:
        speed = f"{row['us']:>9.2f} µs  floor {row['floor_bytes'] / 1024:>9.1f} KiB  {row['gb_per_s']:>8.1f} GB/s"
        speed += f"  predicted {row['predicted_us']:>8.2f} µs" if "predicted_us" in row else ""
        print(f"{row['op']:<18} batch {row['batch']:>2}  {speed}  {row['case']}")
    for other in ("torch", "efficient_nms"):
        found = result[other]
        if "skipped" in found:
            print(f"{other}: not run: {found['skipped']}")
        for case, us in found.get("us", {}).items():
            print(f"{other}: {us:>9.2f} µs  {case}")
    goals = [
        ("decode+nms, one image, about 2,000 candidates", "decode+nms", 1, 1500, 60.0),
        ("decode+nms, per image at batch 32", "decode+nms", 32, 1500, 5.0),
    ]
    for name, op, batch, least, limit in goals:
        for row in figures:
            if row["op"] == op and row["batch"] == batch and least <= row["candidates"] <= 4000:
                verdict = "met" if row["us_per_image"] <= limit else "MISSED"
                print(f"goal {name}: {row['us_per_image']:.2f} of {limit} µs: {verdict} ({row['case']})")
    for row in figures:
        if row["op"] == "letterbox" and row["batch"] == 1 and row["case"].startswith("1920x1080"):
            verdict = "met" if row["us"] <= 15 else "MISSED"
            print(f"goal letterbox of a 1080p frame: {row['us']:.2f} of 15 µs: {verdict} ({row['case']})")


if __name__ == "__main__":
    sys.exit(main())
