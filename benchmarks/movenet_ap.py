#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""COCO AP of MoveNet MultiPose by its own decoding, for comparison with `trtpose eval` on the same pictures.

    python benchmarks/movenet_ap.py MODEL.onnx IMAGES ANNOTATIONS.json [SIDE]

MODEL is the file as it circulates, with N x H x W x 3 in and N x 6 x 56 out. Nothing of trtpose is used: OpenCV scales
a picture to SIDE (256) pixels on its longer side and fills up to multiples of 32 with black on the right and below, as
TensorFlow's own programs do, ONNX Runtime runs the network, and pycocotools judges all six rows of each picture.
"""

from __future__ import annotations

import contextlib
import io
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval


def rows_of(session: Any, picture: Any, side: int) -> Any:
    """A picture's six rows, in its pixels."""
    height, width = picture.shape[:2]
    scale = side / max(height, width)
    inner = round(height * scale), round(width * scale)
    scaled = cv2.resize(picture, inner[::-1], interpolation=cv2.INTER_LINEAR)
    below, right = (-inner[0] % 32, -inner[1] % 32)
    padded = cv2.copyMakeBorder(scaled, 0, below, 0, right, cv2.BORDER_CONSTANT, value=(0, 0, 0))
    fed = cv2.cvtColor(padded, cv2.COLOR_BGR2RGB)[None].astype(np.int32)
    rows = session.run(None, {session.get_inputs()[0].name: fed})[0][0].astype(float)
    points = rows[:, :51].reshape(-1, 17, 3)
    points[..., 0] *= padded.shape[0] / inner[0] * height
    points[..., 1] *= padded.shape[1] / inner[1] * width
    return points[..., [1, 0, 2]], rows[:, 55]


def main() -> None:
    model, images, annotations = sys.argv[1:4]
    side = int(sys.argv[4]) if len(sys.argv) > 4 else 256
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    with contextlib.redirect_stdout(io.StringIO()):
        people = COCO(annotations)
    results: Any = []
    for image in people.dataset["images"]:
        points, scores = rows_of(session, cv2.imread(str(Path(images) / image["file_name"])), side)
        for row, score in zip(points, scores, strict=True):
            result = {"image_id": image["id"], "category_id": 1, "keypoints": row.ravel().tolist()}
            results.append({**result, "score": float(score)})
    with contextlib.redirect_stdout(io.StringIO()):
        judge = COCOeval(people, people.loadRes(results), "keypoints")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    print(f"AP {judge.stats[0]:.4f}  AP50 {judge.stats[1]:.4f}  AP75 {judge.stats[2]:.4f}  AR {judge.stats[5]:.4f}")


if __name__ == "__main__":
    main()
