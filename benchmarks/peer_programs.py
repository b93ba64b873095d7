#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What benchmarks/peers.py runs, each in a process of its own and as its users would write it.

    python benchmarks/peer_programs.py PROGRAM MODEL SOURCE [--imgsz N] [--conf X] [--annotated DIR]

SOURCE is a video or a folder of pictures. Prints one line of JSON: frames, people and the package's version.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

IOU = 0.65
PAD = 114

Arguments = argparse.Namespace
Program = Callable[[Arguments], Iterator[int]]
"""Gives the number of people of each frame, in order."""


def frames(source: str) -> Iterator[Any]:
    """Pictures as OpenCV reads them: height × width × 3, uint8, BGR."""
    import cv2

    if Path(source).is_dir():
        yield from (cv2.imread(str(path)) for path in sorted(Path(source).iterdir()))
        return
    capture = cv2.VideoCapture(source)
    while True:
        found, image = capture.read()
        if not found:
            return
        yield image


def letterbox(image: Any, size: int) -> tuple[Any, float, int, int]:
    """The picture as 1 × 3 × size × size float32, RGB in 0 to 1; its scale, and left and top in pixels."""
    import cv2
    import numpy as np

    height, width = image.shape[:2]
    scale = min(size / width, size / height)
    inner = (round(width * scale), round(height * scale))
    left, top = (size - inner[0]) // 2, (size - inner[1]) // 2
    canvas = np.full((size, size, 3), PAD, np.uint8)
    canvas[top : top + inner[1], left : left + inner[0]] = cv2.resize(image, inner)
    return cv2.dnn.blobFromImage(canvas, 1 / 255, swapRB=True), scale, left, top


def chosen(rows: Any, conf: float, scale: float, left: int, top: int) -> Any:
    """People of decoded rows, F × M: boxes as centre and size, score, then keypoints; all in the picture's pixels."""
    import cv2
    import numpy as np

    rows = rows.T[rows[4] >= conf]
    rows[:, 0:2] = (rows[:, 0:2] - (left, top)) / scale
    rows[:, 2:4] /= scale
    points = rows[:, 5:].reshape(len(rows), (rows.shape[1] - 5) // 3, 3)
    points[..., :2] = (points[..., :2] - (left, top)) / scale
    corners = np.concatenate([rows[:, :2] - rows[:, 2:4] / 2, rows[:, 2:4]], 1)
    return rows[np.asarray(cv2.dnn.NMSBoxes(corners.tolist(), rows[:, 4].tolist(), conf, IOU), int)]


def by_onnxruntime(args: Arguments) -> Iterator[int]:
    import onnxruntime

    session = onnxruntime.InferenceSession(args.model, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    for image in frames(args.source):
        picture, *place = letterbox(image, args.imgsz)
        yield len(chosen(session.run(None, {name: picture})[0][0], args.conf, *place))


def by_openvino(args: Arguments) -> Iterator[int]:
    import openvino

    # Of itself the CPU plugin computes in bf16 where the processor can.
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    network = openvino.Core().compile_model(args.model, "CPU", settings)
    for image in frames(args.source):
        picture, *place = letterbox(image, args.imgsz)
        yield len(chosen(network(picture)[0][0].copy(), args.conf, *place))


def by_ultralytics(args: Arguments) -> Iterator[int]:
    from ultralytics import YOLO

    into = {"save": True, "project": args.annotated, "name": "run"} if args.annotated else {}
    found = YOLO(args.model, task="pose").predict(
        args.source, stream=True, imgsz=args.imgsz, conf=args.conf, iou=IOU, verbose=False, **into
    )
    yield from (len(result) for result in found)


def by_rtmlib(args: Arguments) -> Iterator[int]:
    from rtmlib import RTMO

    model = RTMO(
        args.model, model_input_size=(args.imgsz, args.imgsz), backend="onnxruntime", score_thr=args.conf, nms_thr=IOU
    )
    for image in frames(args.source):
        keypoints, scores = model(image)
        # It answers a frame without people by one whose scores are all 0.
        yield len(keypoints) if scores.any() else 0


def plain_nms(boxes: Any, scores: Any, iou: float) -> Any:
    """What torchvision.ops.nms answers, for machines that have no torchvision for their PyTorch."""
    import torch

    order, kept = scores.argsort(descending=True), []
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    while len(order):
        best, order = order[0], order[1:]
        kept.append(best)
        low = torch.maximum(boxes[best, :2], boxes[order, :2])
        high = torch.minimum(boxes[best, 2:], boxes[order, 2:])
        both = (high - low).clamp(min=0).prod(1)
        order = order[both / (area[best] + area[order] - both) <= iou]
    return torch.stack(kept) if kept else torch.zeros(0, dtype=torch.long)


def by_reference(args: Arguments) -> Iterator[int]:
    """sas-yolov7-pose: the YOLOv7-pose reference as PyPI has it, with its letterbox and its selection."""
    import torch

    try:
        import torchvision.ops

        nms = torchvision.ops.nms
    except (AttributeError, ImportError, RuntimeError):
        nms = plain_nms
    stub = types.ModuleType("torchvision")
    stub.ops = types.ModuleType("torchvision.ops")  # type: ignore[attr-defined]
    stub.ops.nms = nms
    sys.modules.update({"torchvision": stub, "torchvision.ops": stub.ops})
    from sas_yolov7_pose.utils.datasets import letterbox as fit
    from sas_yolov7_pose.utils.general import non_max_suppression

    model = torch.load(args.model, weights_only=False)["model"].float().eval()
    kinds, points = model.yaml["nc"], model.yaml["nkpt"]
    with torch.inference_mode():
        for image in frames(args.source):
            shown = fit(image, args.imgsz, stride=64, auto=False)[0][..., ::-1].transpose(2, 0, 1).copy()
            rows = model(torch.from_numpy(shown)[None].float() / 255)[0]
            found = non_max_suppression(rows, args.conf, IOU, nc=kinds, nkpt=points, kpt_label=True)
            yield len(found[0])


PROGRAMS: dict[str, tuple[str, Program]] = {
    "ultralytics": ("ultralytics", by_ultralytics),
    "rtmlib": ("rtmlib", by_rtmlib),
    "reference": ("sas-yolov7-pose", by_reference),
    "onnxruntime": ("onnxruntime", by_onnxruntime),
    "openvino": ("openvino", by_openvino),
}
"""Name to distribution and program."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", choices=PROGRAMS)
    parser.add_argument("model")
    parser.add_argument("source")
    parser.add_argument("--imgsz", type=int, default=256)
    parser.add_argument("--conf", type=float, default=0.25)
    parser.add_argument("--annotated", metavar="DIR", help="draw people into a copy of the video there (Ultralytics)")
    args = parser.parse_args()
    distribution, program = PROGRAMS[args.program]
    counts = list(program(args))
    version = importlib.metadata.version(distribution)
    print(json.dumps({"frames": len(counts), "people": sum(counts), "version": version}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
