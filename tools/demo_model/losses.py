# SPDX-License-Identifier: Apache-2.0
"""Target assignment and the losses of YOLO-Pose (Maji et al., CVPR Workshops 2022, section 3).

Box: 1 - CIoU (Zheng et al., AAAI 2020). Keypoints: 1 - OKS over the labelled ones, with COCO's sigmas. Keypoint
confidence and objectness: binary cross-entropy. What differs from the paper: the objectness target is the geometric
mean of IoU and OKS, so that the score ranks poses as the evaluation does; the OKS loss has a linear tail, since the
gradient of exp(-e) vanishes for points that are far off at the start; keypoint confidence counts 0.1 instead of 0.5,
averaged over keypoints; class scores are trained towards 1 on matched anchors.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from .network import ANCHORS, CLASSES, FIELDS, MAP_STRIDES, STRIDES, cells
from .person import SIGMAS

BOX, KEYPOINT, CONFIDENCE, OBJECTNESS, CLASS = 0.05, 0.1, 0.1, 0.5, 0.05
TAIL = 0.4
MAPS = 0.02
BALANCE = (2.0, 1.0, 0.6)
MAX_RATIO = 3.0


def ciou(a: Tensor, b: Tensor) -> Tensor:
    """Complete IoU of boxes (n, 4: cx, cy, w, h); returns CIoU and IoU, (2, n)."""
    a1, a2, b1, b2 = a[:, :2] - a[:, 2:] / 2, a[:, :2] + a[:, 2:] / 2, b[:, :2] - b[:, 2:] / 2, b[:, :2] + b[:, 2:] / 2
    inter = (torch.minimum(a2, b2) - torch.maximum(a1, b1)).clamp(0).prod(1)
    iou = inter / (a[:, 2:].prod(1) + b[:, 2:].prod(1) - inter + 1e-7)
    hull = torch.maximum(a2, b2) - torch.minimum(a1, b1)
    gap = (a[:, :2] - b[:, :2]).square().sum(1) / (hull.square().sum(1) + 1e-7)
    v = (4 / math.pi**2) * (
        torch.atan(b[:, 2] / b[:, 3].clamp(1e-3)) - torch.atan(a[:, 2] / a[:, 3].clamp(1e-3))
    ).square()
    with torch.no_grad():
        alpha = v / (1 - iou + v + 1e-7)
    return torch.stack([iou - gap - alpha * v, iou])


def assign(
    boxes: Tensor, picture: Tensor, level: int, height: int, width: int
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Anchors of one level that answer for boxes (n, 4: cx, cy, w, h in pixels; ``picture``: index in the batch).

    An anchor answers when neither side differs by more than ``MAX_RATIO``, in the cell of the centre and the two
    nearest neighbours. Where two boxes claim one anchor, the one whose centre is nearest gets it.
    Returns indices: batch, anchor, row, column, box.
    """
    stride = STRIDES[level]
    anchors = torch.tensor(ANCHORS[level], device=boxes.device)
    ratio = boxes[:, None, 2:] / anchors[None]
    fits = torch.maximum(ratio, 1 / ratio.clamp(1e-6)).amax(2) < MAX_RATIO
    who, anchor = fits.nonzero(as_tuple=True)
    centre = boxes[who, :2] / stride
    rows, cols, owners, kinds, far = [], [], [], [], []
    fraction = centre % 1
    for dx, dy, near in (
        (0, 0, None),
        (-1, 0, fraction[:, 0] < 0.5), (1, 0, fraction[:, 0] >= 0.5),
        (0, -1, fraction[:, 1] < 0.5), (0, 1, fraction[:, 1] >= 0.5),
    ):  # fmt: skip
        col, row = centre[:, 0].floor().long() + dx, centre[:, 1].floor().long() + dy
        keep = (col >= 0) & (col < width) & (row >= 0) & (row < height)
        if near is not None:
            keep &= near
        rows.append(row[keep])
        cols.append(col[keep])
        owners.append(who[keep])
        kinds.append(anchor[keep])
        far.append((torch.stack([col, row], 1) + 0.5 - centre).square().sum(1)[keep])
    row, col, owner, kind, distance = (torch.cat(v) for v in (rows, cols, owners, kinds, far))
    slot = ((picture[owner] * len(anchors) + kind) * height + row) * width + col
    order = torch.argsort(distance, stable=True)
    slots, claim = torch.unique(slot[order], return_inverse=True)
    first = torch.full((len(slots),), len(order), dtype=torch.long, device=boxes.device)
    first.scatter_reduce_(0, claim, torch.arange(len(order), device=boxes.device), "amin")
    chosen = order[first]
    return picture[owner[chosen]], kind[chosen], row[chosen], col[chosen], owner[chosen]


def map_loss(maps: list[Tensor], targets: dict[str, Tensor]) -> Tensor:
    """Focal loss of keypoint maps (Zhou et al., "Objects as Points", 2019, section 3), per seen keypoint."""
    points = targets["keypoints"]
    who, kind = (points[..., 2] == 2).nonzero(as_tuple=True)
    xy = points[who, kind, :2]
    variance = (2 * torch.tensor(SIGMAS, device=xy.device)).square()[kind] * targets["areas"][who] * 0.25
    total = maps[0].new_zeros(())
    for part, stride in zip(maps, MAP_STRIDES, strict=True):
        n, count, height, width = part.shape
        centre = (cells(height, width, part.device) + 0.5) * stride
        # The cell that holds a keypoint is its peak, wherever in the cell it lies.
        near = ((xy / stride).floor() + 0.5) * stride
        square = (centre[None] - near[:, None, None]).square().sum(-1)
        blobs = torch.exp(-square / (2 * variance.clamp((0.5 * stride) ** 2)[:, None, None]))
        wanted = torch.zeros(n * count, height, width, device=part.device)
        wanted.index_reduce_(0, targets["picture"][who] * count + kind, blobs, "amax")
        wanted = wanted.view(part.shape)
        p = part.sigmoid()
        peak = wanted > 0.999
        loss = torch.where(
            peak,
            (1 - p).square() * functional.softplus(-part),
            (1 - wanted) ** 4 * p.square() * functional.softplus(part),
        )
        total = total + loss.sum() / max(len(xy), 1)
    return total


def pose_loss(heads: list[Tensor], targets: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Loss of a batch.

    Args:
        heads: outputs of the network in training, keypoint maps included.
        targets: ``picture`` (n,) index in the batch, ``boxes`` (n, 4: cx, cy, w, h in input pixels), ``keypoints``
            (n, K, 3: x, y, visibility), ``areas`` (n,), ``ignored`` (n,): no loss for objectness inside its box.

    Returns:
        The weighted sum, and (box, keypoint, confidence, objectness, maps) before weighting, detached.
    """
    device = heads[0].device
    known = ~targets["ignored"]
    boxes, picture = targets["boxes"][known], targets["picture"][known]
    points, areas = targets["keypoints"][known], targets["areas"][known]
    shadow_boxes, shadow_picture = targets["boxes"][~known], targets["picture"][~known]
    variance = (2 * torch.tensor(SIGMAS, device=device)).square()
    total = MAPS * map_loss(heads[len(STRIDES) :], targets)
    parts = heads[0].new_zeros(5)
    parts[4] = total.detach() / MAPS
    zero = heads[0].new_zeros(())
    sums = {"box": zero, "point": zero, "conf": zero, "class": zero}
    matched = 0
    for level, (head, stride) in enumerate(zip(heads[: len(STRIDES)], STRIDES, strict=True)):
        n, _, height, width = head.shape
        count = len(ANCHORS[level])
        t = head.view(n, count, FIELDS, height, width).permute(0, 1, 3, 4, 2)
        wanted = torch.zeros(t.shape[:4], device=device)
        weight = torch.ones(t.shape[:4], device=device)
        if len(shadow_boxes):
            centre = (cells(height, width, device) + 0.5) * stride
            for box, index in zip(shadow_boxes, shadow_picture.tolist(), strict=True):
                inside = ((centre - box[:2]).abs() < box[2:] / 2).all(-1)
                weight[index] = torch.where(inside, 0.0, weight[index])
        if len(boxes):
            b, a, i, j, who = assign(boxes, picture, level, height, width)
            if len(b):
                p = t[b, a, i, j]
                cell = torch.stack([j, i], 1).float()
                size = torch.tensor(ANCHORS[level], device=device)[a]
                box = torch.cat(
                    [(2 * p[:, :2].sigmoid() - 0.5 + cell) * stride, (2 * p[:, 2:4].sigmoid()) ** 2 * size], 1
                )
                complete, iou = ciou(box, boxes[who])
                raw = p[:, 5 + CLASSES :].unflatten(1, (-1, 3))
                xy = (2 * raw[..., :2] - 0.5 + cell[:, None]) * stride
                truth = points[who]
                labelled = (truth[..., 2] > 0).float()
                e = (xy - truth[..., :2]).square().sum(-1) / (2 * areas[who, None].clamp(16) * variance)
                each = 1 - torch.exp(-e) + TAIL * ((1 + e).sqrt() - 1)
                seen = labelled.sum(1).clamp(1)
                sums["point"] = sums["point"] + ((each * labelled).sum(1) / seen).sum()
                sums["box"] = sums["box"] + (1 - complete).sum()
                conf = functional.binary_cross_entropy_with_logits(raw[..., 2], labelled, reduction="none").mean(1)
                sums["conf"] = sums["conf"] + conf.sum()
                one = torch.ones_like(p[:, 5 : 5 + CLASSES])
                sums["class"] = (
                    sums["class"]
                    + functional.binary_cross_entropy_with_logits(p[:, 5 : 5 + CLASSES], one, reduction="none").sum()
                )
                matched += len(b)
                with torch.no_grad():
                    oks = (torch.exp(-e) * labelled).sum(1) / seen
                    wanted[b, a, i, j] = (iou.clamp(0) * oks).sqrt()
                    weight[b, a, i, j] = 1.0
        found = functional.binary_cross_entropy_with_logits(t[..., 4], wanted, weight, reduction="sum") / wanted.numel()
        total = total + OBJECTNESS * BALANCE[level] * found
        parts[3] += found.detach()
    scale = 1 / max(matched, 1)
    total = total + scale * (
        BOX * sums["box"] + KEYPOINT * sums["point"] + CONFIDENCE * sums["conf"] + CLASS * sums["class"]
    )
    for k, name in enumerate(("box", "point", "conf")):
        parts[k] = sums[name].detach() * scale
    return total, parts
