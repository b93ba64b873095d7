# SPDX-License-Identifier: Apache-2.0
"""OKS average precision of the network while it is trained, without the engine: decode, greedy NMS, COCO evaluation."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from .body import F32
from .network import CLASSES, PoseNet, decode


def letterbox(image: NDArray[np.uint8], size: int) -> tuple[NDArray[np.uint8], float, int, int]:
    """BGR picture to size × size: scaled to fit, centred, border 114. Returns it with scale, left and top margin."""
    height, width = image.shape[:2]
    scale = min(size / height, size / width)
    w, h = round(width * scale), round(height * scale)
    left, top = round((size - w) / 2 - 0.1), round((size - h) / 2 - 0.1)
    small = cv2.resize(image, (w, h), interpolation=cv2.INTER_LINEAR)
    return (
        cv2.copyMakeBorder(
            small, top, size - h - top, left, size - w - left, cv2.BORDER_CONSTANT, value=(114, 114, 114)
        ),
        scale,
        left,
        top,
    )


def nms(rows: F32, conf: float, iou: float, max_det: int = 100) -> F32:
    """Greedy NMS of decoded rows (M, 5 + classes + 3K); kept rows: x1, y1, x2, y2, score, then keypoints."""
    score = rows[:, 4] * rows[:, 5 : 5 + CLASSES].max(1)
    rows, score = rows[score > conf], score[score > conf]
    order = np.argsort(-score, kind="stable")
    rows, score = rows[order], score[order]
    boxes = np.concatenate([rows[:, :2] - rows[:, 2:4] / 2, rows[:, :2] + rows[:, 2:4] / 2], 1)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    alive = np.ones(len(rows), np.bool_)
    kept: list[int] = []
    for i in range(len(rows)):
        if not alive[i]:
            continue
        kept.append(i)
        if len(kept) == max_det:
            break
        inter = (
            (np.minimum(boxes[i, 2:], boxes[i + 1 :, 2:]) - np.maximum(boxes[i, :2], boxes[i + 1 :, :2]))
            .clip(0)
            .prod(1)
        )
        alive[i + 1 :] &= inter / (area[i] + area[i + 1 :] - inter) <= iou
    return np.concatenate([boxes[kept], score[kept, None], rows[kept, 5 + CLASSES :]], 1)


@torch.no_grad()
def predict(
    model: PoseNet, images: list[NDArray[np.uint8]], size: int, conf: float = 0.01, iou: float = 0.65, batch: int = 32
) -> list[F32]:
    """Poses of BGR pictures in their own pixels.

    Returns, per picture, rows of x1, y1, x2, y2, score, then x, y, confidence for every keypoint.
    """
    device = next(model.parameters()).device
    results: list[F32] = []
    for start in range(0, len(images), batch):
        boxed = [letterbox(image, size) for image in images[start : start + batch]]
        x = torch.from_numpy(np.stack([b[0][..., ::-1] for b in boxed])).permute(0, 3, 1, 2)
        x = (x.to(device).float() / 255).contiguous(memory_format=torch.channels_last)
        for rows, (_, scale, left, top) in zip(decode(model(x)).cpu().numpy(), boxed, strict=True):
            found = nms(rows, conf, iou)
            found[:, [0, 2]] = (found[:, [0, 2]] - left) / scale
            found[:, [1, 3]] = (found[:, [1, 3]] - top) / scale
            found[:, 5::3] = (found[:, 5::3] - left) / scale
            found[:, 6::3] = (found[:, 6::3] - top) / scale
            results.append(found)
    return results


def average_precision(truth: dict[str, Any], found: list[F32], ids: list[int]) -> dict[str, float]:
    """AP, AP50, AP75, AR by COCO's keypoint evaluation of ``found``, one array of :func:`predict` per image id."""
    from faster_coco_eval import COCO, COCOeval_faster

    results = [
        {"image_id": i, "category_id": 1, "score": float(row[4]), "keypoints": row[5:].astype(float).tolist()}
        for i, rows in zip(ids, found, strict=True)
        for row in rows
    ]
    if not results:
        return dict.fromkeys(("AP", "AP50", "AP75", "AR"), 0.0)
    with contextlib.redirect_stdout(io.StringIO()):
        gt = COCO(truth)
        run = COCOeval_faster(gt, gt.loadRes(results), "keypoints")
        run.params.imgIds = ids
        run.evaluate()
        run.accumulate()
        run.summarize()
    stats = run.stats
    return {"AP": float(stats[0]), "AP50": float(stats[1]), "AP75": float(stats[2]), "AR": float(stats[5])}
