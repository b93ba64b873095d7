# SPDX-License-Identifier: Apache-2.0
"""Target assignment and losses.

As in YOLO-Pose (Maji et al., CVPR Workshops 2022, section 3): boxes by 1 - CIoU (Zheng et al., AAAI 2020), keypoints by
1 - OKS over the labelled ones with COCO's sigmas, keypoint confidence and objectness by binary cross-entropy. What
differs from the paper: the objectness target is the geometric mean of IoU and OKS, so that the score ranks poses as the
evaluation does; distances have a linear tail, since the gradient of exp(-e) vanishes for points that are far off.

The fields are taught in two ways: at random points about every labelled keypoint, and at the points where the
refinement of matched anchors really reads them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from .network import (
    ANCHORS,
    CLASSES,
    FINE_STRIDE,
    LIMBS,
    MAP_STRIDES,
    MIDDLE,
    NEAR_STRIDE,
    ORDER,
    RAW,
    STRIDES,
    TRUNK,
    cells,
    refined,
)  # fmt: skip
from .person import KEYPOINTS, SIGMAS

BOX, CONFIDENCE, OBJECTNESS, CLASS, MAPS = 0.5, 0.2, 0.5, 0.02, 0.1
GUESS, START, NEAR, FINE = 0.5, 0.25, 0.5, 2.0
"""Weights of a matched anchor's keypoints: its guess, where links lead, after the near field, after the fine one."""
FIELD_NEAR, FIELD_LINK, FIELD_FINE = 0.5, 0.25, 1.0
"""Weights of the fields at random points."""
TAIL = 0.4
MAX_RATIO = 1.8
POINTS = 6
"""Random points for each keypoint and field."""


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

    An anchor answers when the geometric means of width and height differ by at most ``MAX_RATIO`` (smaller ones at the
    first level and larger ones at the last in any case) and neither side is 3.8 times the anchor's, in the cell of the
    centre and the two nearest neighbours. Where two boxes claim one anchor, the one whose centre is nearest gets it.
    Returns indices: batch, anchor, row, column, box.
    """
    stride = STRIDES[level]
    anchors = torch.tensor(ANCHORS[level], device=boxes.device)
    ratio = boxes[:, None, 2:] / anchors[None]
    mean = ratio.prod(2).sqrt()
    fits = ratio.amax(2) < 3.8
    if level > 0:
        fits &= mean > 1 / MAX_RATIO
    if level < len(STRIDES) - 1:
        fits &= mean < MAX_RATIO
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


class Field:
    """A field N × 2·K × h × w that is read at scattered points."""

    def __init__(self, values: Tensor, stride: int) -> None:
        n, channels, self.height, self.width = values.shape
        self.stride, self.count = stride, channels // 2
        self.flat = values.view(n, self.count, 2, -1).transpose(2, 3).reshape(-1, 2)

    def read(self, picture: Tensor, kind: Tensor, points: Tensor) -> Tensor:
        """Bilinear values (P, 2) at points (P, 2) in pixels, as the network samples them.

        ``picture`` and ``kind``: (P,), index in the batch and number of the keypoint.
        """
        x = (points[:, 0] / self.stride - 0.5).clamp(0, self.width - 1)
        y = (points[:, 1] / self.stride - 0.5).clamp(0, self.height - 1)
        with torch.no_grad():
            x0, y0 = x.floor().clamp(max=self.width - 2), y.floor().clamp(max=self.height - 2)
            base = ((picture * self.count + kind) * self.height + y0.long()) * self.width + x0.long()
        fx, fy = (x - x0)[:, None], (y - y0)[:, None]
        # One selection: the gradient of each would be a tensor as large as the field.
        corners = torch.cat([base, base + 1, base + self.width, base + self.width + 1])
        a, b, c, d = self.flat.index_select(0, corners).chunk(4)
        return (a * (1 - fx) + b * fx) * (1 - fy) + (c * (1 - fx) + d * fx) * fy


def tail(distance: Tensor, width: Tensor) -> Tensor:
    """Quadratic near 0, linear far from it; ``distance`` (..., 2) and ``width`` in pixels."""
    return (1 + distance.square().sum(-1) / width.square()).sqrt() - 1


def field_loss(fields: dict[str, Field], targets: dict[str, Tensor], known: Tensor) -> Tensor:
    """Loss of the fields at random points about labelled keypoints.

    A point that lies nearer to the same keypoint of somebody else is left out: which person a field speaks of is
    decided by where it is read.
    """
    order = torch.tensor(ORDER, device=known.device)
    points = targets["keypoints"][known][:, order]
    picture = targets["picture"][known]
    scale = targets["areas"][known].clamp(16).sqrt()
    sigma = 2 * torch.tensor(SIGMAS, device=known.device)[order]
    trunk, middle = len(TRUNK), len(MIDDLE)
    height, width = fields["fine"].height * FINE_STRIDE, fields["fine"].width * FINE_STRIDE
    total = points.new_zeros(())
    if not len(points):
        return total
    # K × people × pictures × 3: everybody at a place of their own in their picture.
    same = picture[:, None] == picture[None]
    place = torch.tril(same, -1).sum(1)
    crowd = points.new_zeros(points.shape[1], int(place.max()) + 1, int(picture.max()) + 1, 3)
    crowd[:, place, picture] = points.transpose(0, 1)
    # Numbers of the first goal and of the keypoint its points lie about; weight; reach, least and most; width.
    for name, first, offset, share, least, most, floor in (
        ("near", 0, 0, FIELD_NEAR, 0.04, 0.45, 0.05),
        ("link", trunk, trunk - middle, FIELD_LINK, 0.05, 0.05, 0.1),
        ("fine", 0, 0, FIELD_FINE, 0.03, 0.16, 0.0),
    ):
        goal = points[:, first:]
        origin = points[:, offset : offset + goal.shape[1]]
        who, kind = ((goal[..., 2] > 0) & (origin[..., 2] > 0)).nonzero(as_tuple=True)
        who, kind = who.repeat(POINTS), kind.repeat(POINTS)
        reach = (least + (most - least) * torch.rand(len(who), device=who.device).square()) * scale[who] + 0.7
        start = origin[who, kind, :2] + reach[:, None] * torch.randn(len(who), 2, device=who.device)
        near = (start >= 0).all(1) & (start[:, 0] < width) & (start[:, 1] < height)
        # How far the same keypoint of everybody in the picture is from every point.
        others = crowd[kind + offset, :, picture[who]]
        away = torch.where(others[..., 2] > 0, (others[..., :2] - start[:, None]).square().sum(-1), torch.inf)
        near &= away.argmin(1) == place[who]
        who, kind, start = who[near], kind[near], start[near]
        end = goal[who, kind, :2]
        found = fields[name].read(picture[who], kind, start)
        spread = (sigma[first:][kind] + floor) * scale[who]
        weight = torch.where(goal[who, kind, 2] == 2, 1.0, 0.5)
        total = total + share * (tail(start + found - end, spread.clamp(0.7)) * weight).sum() / weight.sum().clamp(1)
    return total


Grid = tuple[Tensor, Tensor, Tensor]
"""Objectness of a level's anchors: logits, goal, and weight, each n × anchors × height × width."""


def _level(raw: Tensor) -> Tensor:
    """n × anchors × height × width × numbers of an anchor."""
    n, _, height, width = raw.shape
    return raw.view(n, len(ANCHORS[0]), RAW, height, width).permute(0, 1, 3, 4, 2)


def _grids(raws: list[Tensor], boxes: Tensor, picture: Tensor) -> list[Grid]:
    """Nothing is to be found anywhere; what is in one of the ``boxes`` has no weight."""
    grids: list[Grid] = []
    for raw, stride in zip(raws, STRIDES, strict=True):
        t = _level(raw)
        weight = torch.ones(t.shape[:4], device=raw.device)
        if len(boxes):
            centre = (cells(t.shape[2], t.shape[3], raw.device) + 0.5) * stride
            for box, index in zip(boxes, picture.tolist(), strict=True):
                inside = ((centre - box[:2]).abs() < box[2:] / 2).all(-1)
                weight[index] = torch.where(inside, 0.0, weight[index])
        grids.append((t[..., 4], torch.zeros(t.shape[:4], device=raw.device), weight))
    return grids


@dataclass
class Matched:
    """Anchors that people are assigned to, m of them.

    Attributes:
        numbers: (m, RAW) what the network says of each.
        box: (m, 4) read from them: cx, cy, w, h in input pixels.
        who: (m,) index of the person.
        slot: (m, 5) level, picture, anchor of the cell, row, column.
    """

    numbers: Tensor
    box: Tensor
    who: Tensor
    slot: Tensor


def _match(raws: list[Tensor], boxes: Tensor, picture: Tensor) -> Matched | None:
    chosen: list[tuple[Tensor, ...]] = []
    for level, (raw, stride) in enumerate(zip(raws, STRIDES, strict=True)):
        if not len(boxes):
            continue
        t = _level(raw)
        b, a, i, j, who = assign(boxes, picture, level, t.shape[2], t.shape[3])
        size = torch.tensor(ANCHORS[level], device=raw.device)[a]
        corner = torch.stack([j, i], 1).float() * stride
        slot = torch.stack([torch.full_like(b, level), b, a, i, j], 1)
        chosen.append((t[b, a, i, j], corner, torch.full_like(size, stride), size, who, slot))
    if not sum(len(c[0]) for c in chosen):
        return None
    p, corner, step, size, who, slot = (torch.cat(v) for v in zip(*chosen, strict=True))
    half = p[:, :4].sigmoid() * 2
    box = torch.cat([(half[:, :2] - 0.5) * step + corner, half[:, 2:].square() * size], 1)
    return Matched(p, box, who, slot)


def _refinement(fields: dict[str, Field], matched: Matched) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Keypoints (m, K, 2) of each anchor: its guess, where links lead, after the near field, after the fine one."""
    p, box, keypoints = matched.numbers, matched.box, len(KEYPOINTS)
    at = 5 + CLASSES + keypoints
    offset = p[:, at : at + 2 * keypoints].unflatten(1, (2, keypoints)).transpose(1, 2)
    guess = box[:, None, :2].detach() + box[:, None, 2:].detach() * offset

    def sample(field: str, first: int, where: Tensor) -> Tensor:
        number = where.shape[1]
        kind = torch.arange(first, first + number, device=p.device).expand(len(where), -1).reshape(-1)
        pictures = matched.slot[:, 1].repeat_interleave(number)
        return fields[field].read(pictures, kind, where.reshape(-1, 2)).view(len(where), number, 2)

    trust = p[:, RAW - LIMBS :].sigmoid()[..., None]
    started, near, fine = refined(guess, trust, sample)
    return guess, started, near, fine


def _matched_loss(
    total: Tensor, parts: Tensor, fields: dict[str, Field], matched: Matched, known: dict[str, Tensor]
) -> tuple[Tensor, Tensor]:
    """``total`` with the loss of matched anchors, and the score each should have; fills the first three ``parts``."""
    p, count = matched.numbers, len(matched.numbers)
    order = torch.tensor(ORDER, device=p.device)
    sigma = 2 * torch.tensor(SIGMAS, device=p.device)[order]
    complete, iou = ciou(matched.box, known["boxes"][matched.who])
    guess, started, near, fine = _refinement(fields, matched)
    truth = known["keypoints"][matched.who][:, order]
    labelled = (truth[..., 2] > 0).float()
    each = labelled / labelled.sum(1, keepdim=True).clamp(1)
    scale = known["areas"][matched.who, None].clamp(16).sqrt()
    e = (fine - truth[..., :2]).square().sum(-1) / (2 * (scale * sigma).square())
    for share, loss in (
        (GUESS, tail(guess - truth[..., :2], 0.15 * scale)),
        (START, tail(started - truth[..., :2], (sigma + 0.1) * scale)),
        (NEAR, tail(near - truth[..., :2], (sigma + 0.05) * scale)),
        (FINE, 1 - torch.exp(-e) + TAIL * ((1 + e).sqrt() - 1)),
    ):
        total = total + share * (loss * each).sum() / count
    seen = (known["keypoints"][matched.who][..., 2] > 0).float()
    conf = functional.binary_cross_entropy_with_logits(p[:, 5 + CLASSES : 5 + CLASSES + len(KEYPOINTS)], seen)
    one = torch.ones_like(p[:, 5 : 5 + CLASSES])
    classes = functional.binary_cross_entropy_with_logits(p[:, 5 : 5 + CLASSES], one)
    lost = (1 - complete).mean()
    total = total + BOX * lost + CONFIDENCE * conf + CLASS * classes
    with torch.no_grad():
        oks = (torch.exp(-e) * each).sum(1)
        parts[0], parts[1], parts[2] = lost, oks.mean(), conf
        return total, (iou.clamp(0) * oks).sqrt()


def pose_loss(out: dict[str, list[Tensor]], targets: dict[str, Tensor], *, maps: bool = True) -> tuple[Tensor, Tensor]:
    """Loss of a batch.

    Args:
        out: what the network returns in training.
        targets: ``picture`` (n,) index in the batch, ``boxes`` (n, 4: cx, cy, w, h in input pixels), ``keypoints``
            (n, K, 3: x, y, visibility), ``areas`` (n,), ``ignored`` (n,): no loss for objectness inside its box.
        maps: whether the keypoint maps are taught too.

    Returns:
        The weighted sum, and (box, OKS of matched anchors, confidence, objectness, fields, maps) before weighting,
        detached.
    """
    raws = out["raw"]
    strides = (("near", NEAR_STRIDE), ("link", NEAR_STRIDE), ("fine", FINE_STRIDE))
    fields = {name: Field(out[name][0], stride) for name, stride in strides}
    known = ~targets["ignored"]
    people = {key: targets[key][known] for key in ("boxes", "picture", "keypoints", "areas")}
    fields_loss = field_loss(fields, targets, known)
    maps_loss = map_loss(out["maps"], targets) if maps else fields_loss.new_zeros(())
    total = fields_loss + MAPS * maps_loss
    parts = raws[0].new_zeros(6)
    parts[4], parts[5] = fields_loss.detach(), maps_loss.detach()
    grids = _grids(raws, targets["boxes"][~known], targets["picture"][~known])
    matched = _match(raws, people["boxes"], people["picture"])
    if matched is not None:
        total, wanted = _matched_loss(total, parts, fields, matched, people)
        for level, (_, goal, weight) in enumerate(grids):
            here = matched.slot[:, 0] == level
            index = tuple(matched.slot[here, 1:].T)
            goal[index] = wanted[here]
            weight[index] = 1.0
    found = raws[0].new_zeros(())
    for logits, goal, weight in grids:
        found = found + functional.binary_cross_entropy_with_logits(logits, goal, weight, reduction="sum")
    found = found / max(0 if matched is None else len(matched.who), 1)
    parts[3] = found.detach()
    return total + OBJECTNESS * found, parts
