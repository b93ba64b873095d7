# SPDX-License-Identifier: Apache-2.0
"""A small one-stage pose network with the raw heads of YOLOv7-w6-pose: per stride N × (A·F) × h × w, channel a·F + f.

F = 5 + classes + 3·K: box (4), objectness, classes, then x, y, confidence for every keypoint.

An anchor says where a person is and guesses the keypoints from there; fields of displacements then lead every guess to
the keypoint, from what the picture shows near the guess (:func:`refined`). That is the idea of PersonLab (Papandreou et
al., ECCV 2018, sections 3.1 and 3.2): short-range offsets, and mid-range ones from a joint to the next on the limb.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from .person import KEYPOINTS

STRIDES = (8, 16, 32)
CLASSES = 1
MAP_STRIDES = (8, 16, 8)
FIELDS = 5 + CLASSES + 3 * len(KEYPOINTS)
# One for each stride. Width and height are within a factor of 4 of every person a cell answers for.
ANCHORS = (((24.0, 44.0),), ((48.0, 88.0),), ((88.0, 150.0),))

NEAR_STRIDE, FINE_STRIDE = 8, 4
"""Strides of the fields of displacements."""

TRUNK = tuple(KEYPOINTS.index(n) for n in (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_hip", "right_hip"
))  # fmt: skip
MIDDLE = tuple(KEYPOINTS.index(n) for n in ("left_elbow", "right_elbow", "left_knee", "right_knee"))
END = tuple(KEYPOINTS.index(n) for n in ("left_wrist", "right_wrist", "left_ankle", "right_ankle"))
ORDER = (*TRUNK, *MIDDLE, *END)
"""Keypoints as the network's own channels have them. MIDDLE hangs from the last four of TRUNK, END from MIDDLE."""
LIMBS = len(MIDDLE) + len(END)
RAW = 5 + CLASSES + 3 * len(KEYPOINTS) + LIMBS
"""Channels of an anchor before refinement: box, objectness, classes, K confidences, K x, K y, trust in links."""


class Conv(nn.Sequential):
    """Convolution, batch norm and ReLU."""

    def __init__(self, cin: int, cout: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(cin, cout, kernel, stride, kernel // 2, bias=False),
            nn.BatchNorm2d(cout, momentum=0.03),
            nn.ReLU(inplace=True),
        )


class Block(nn.Module):
    """Half of the channels go through residual pairs of 3 × 3 convolutions; every stage's output is concatenated."""

    def __init__(self, cin: int, cout: int, depth: int) -> None:
        super().__init__()
        self.half = half = cout // 2
        self.enter = Conv(cin, cout, 1)
        self.pairs = nn.ModuleList(nn.Sequential(Conv(half, half), Conv(half, half)) for _ in range(depth))
        self.leave = Conv(cout + depth * half, cout, 1)

    def forward(self, x: Tensor) -> Tensor:
        parts = [self.enter(x)]
        last = parts[0][:, self.half :]
        for pair in self.pairs:
            last = last + pair(last)
            parts.append(last)
        return self.leave(torch.cat(parts, 1))


class Context(nn.Module):
    """Three chained 5 × 5 max pools, concatenated: what is far away becomes visible in one cell."""

    def __init__(self, cin: int, cout: int) -> None:
        super().__init__()
        half = cin // 2
        self.enter = Conv(cin, half, 1)
        self.leave = Conv(4 * half, cout, 1)

    def forward(self, x: Tensor) -> Tensor:
        parts = [self.enter(x)]
        for _ in range(3):
            parts.append(functional.max_pool2d(parts[-1], 5, 1, 2))
        return self.leave(torch.cat(parts, 1))


Sample = Callable[[str, int, Tensor], Tensor]
"""``sample(field, first, points)``: displacements, as ``points``, of a field's keypoints from number ``first`` on."""


def refined(guess: Tensor, trust: Tensor, sample: Sample) -> list[Tensor]:
    """Lead guessed keypoints along the fields.

    Args:
        guess: N × K × ... × 2, pixels, in :data:`ORDER`.
        trust: N × LIMBS × ... × 1, in 0..1: how far a limb's joint is looked for from the joint before it.
        sample: reads the fields ``near`` (K keypoints), ``link`` (LIMBS of them) and ``fine`` (K).

    Returns:
        Positions as ``guess``: after the links, after the near field, after the fine field, which is read twice.
    """
    trunk, middle = len(TRUNK), len(MIDDLE)
    started, led = [guess[:, :trunk]], []
    led.append(started[0] + sample("near", 0, started[0]))
    before = led[0][:, trunk - middle :]
    for first, last in ((trunk, trunk + middle), (trunk + middle, len(ORDER))):
        share = trust[:, first - trunk : last - trunk]
        linked = before + sample("link", first - trunk, before)
        start = guess[:, first:last] + share * (linked - guess[:, first:last])
        before = start + sample("near", first, start)
        started.append(start)
        led.append(before)
    near = torch.cat(led, 1)
    fine = near + sample("fine", 0, near)
    return [torch.cat(started, 1), near, fine + sample("fine", 0, fine)]


class Refine(nn.Module):
    """Raw channels of every stride and fields to heads: guesses refined and put into the numbers that heads hold.

    The anchors of all strides go through the fields together, so that the exported graph stays small.
    """

    def forward(self, raw: list[Tensor], fields: dict[str, Tensor]) -> list[Tensor]:
        keypoints = len(KEYPOINTS)
        at = 5 + CLASSES + keypoints
        fine = fields["fine"]
        to_grid = (2 / FINE_STRIDE) / torch.stack([size_of(fine, 3), size_of(fine, 2)])
        corners: list[tuple[Tensor, Tensor]] = []
        guesses: list[Tensor] = []
        trusts: list[Tensor] = []
        for t, stride, anchors in zip(raw, STRIDES, ANCHORS, strict=True):
            cols = torch.arange(t.shape[3], device=t.device).float().view(1, 1, 1, -1) * stride
            rows = torch.arange(t.shape[2], device=t.device).float().view(1, 1, -1, 1) * stride
            corners.append((cols, rows))
            for a, size in enumerate(anchors):
                p = t[:, a * RAW : (a + 1) * RAW]
                box = p[:, :4].sigmoid() * 2
                guess: list[Tensor] = []
                for axis, corner in enumerate((cols, rows)):
                    middle = (box[:, axis : axis + 1] - 0.5) * stride + corner
                    side = box[:, 2 + axis : 3 + axis].square() * size[axis]
                    first = at + axis * keypoints
                    guess.append((middle + side * p[:, first : first + keypoints]).flatten(2))
                guesses.append(torch.stack(guess, -1))
                trusts.append(p[:, RAW - LIMBS :].flatten(2)[..., None])

        def sample(field: str, first: int, points: Tensor) -> Tensor:
            number = points.shape[1]
            part = fields[field][:, 2 * first : 2 * (first + number)]
            part = part.reshape(-1, 2, part.shape[2], part.shape[3])
            grid = (points * to_grid - 1).flatten(0, 1).unsqueeze(2)
            # Groups × 2 × points × 1
            read = functional.grid_sample(part, grid, padding_mode="border", align_corners=False)
            return read.reshape(-1, number, 2, read.shape[2]).transpose(2, 3)

        points = refined(torch.cat(guesses, 2), torch.cat(trusts, 2).sigmoid(), sample)[-1]
        order = [ORDER.index(k) for k in range(keypoints)]
        # x, y and confidence of each keypoint side by side.
        mixed = [part * keypoints + (order[k] if part < 2 else k) for k in range(keypoints) for part in range(3)]
        heads: list[Tensor] = []
        start = 0
        for t, (cols, rows), stride, anchors in zip(raw, corners, STRIDES, ANCHORS, strict=True):
            out: list[Tensor] = []
            for a in range(len(anchors)):
                p = t[:, a * RAW : (a + 1) * RAW]
                end = start + t.shape[2] * t.shape[3]
                here = points[:, :, start:end].unflatten(2, (t.shape[2], t.shape[3]))
                x = (here[..., 0] - cols) * (0.5 / stride) + 0.25
                y = (here[..., 1] - rows) * (0.5 / stride) + 0.25
                out += [p[:, : 5 + CLASSES], torch.cat([x, y, p[:, 5 + CLASSES : at]], 1)[:, mixed]]
                start = end
            heads.append(torch.cat(out, 1))
        return heads


class PoseNet(nn.Module):
    """Images N × 3 × H × W in 0..1 (RGB, H and W multiples of 32) to three raw heads.

    While the network is trained, it returns what the heads are made of instead: raw channels (:data:`RAW`) of every
    stride, the fields by name, N × 2·K' × h × w in pixels with x and y of a keypoint side by side, and maps of the
    keypoints (N × K × h × w, logits, at ``MAP_STRIDES``), which only teach the layers they are read from.
    """

    def __init__(self) -> None:
        super().__init__()
        keypoints, widths = len(KEYPOINTS), (64, 96, 128)
        self.stem = nn.Sequential(Conv(3, 16, 3, 2), Conv(16, 32, 3, 2), Block(32, 32, 1))
        self.down8 = nn.Sequential(Conv(32, 64, 3, 2), Block(64, 64, 2))
        self.down16 = nn.Sequential(Conv(64, 128, 3, 2), Block(128, 128, 2))
        self.down32 = nn.Sequential(Conv(128, 160, 3, 2), Block(160, 128, 1), Context(128, 160))
        self.up16 = Block(128 + 160, 96, 1)
        self.up8 = Block(64 + 96, 64, 1)
        self.up4 = Conv(64, 32, 1)
        self.last = nn.ModuleList((Conv(64, 64), Conv(96, 96, 1), Conv(160, 128, 1)))
        self.near = nn.Sequential(Conv(64, 64), nn.Conv2d(64, 2 * (keypoints + LIMBS), 1))
        self.fine = nn.Sequential(Conv(64, 32), Conv(32, 32), nn.Conv2d(32, 2 * keypoints, 1))
        self.maps = nn.ModuleList(nn.Conv2d(c, keypoints, 1) for c in (64, 128, 64))
        for part in self.maps:
            nn.init.constant_(part.bias, -4.0)
        self.heads = nn.ModuleList(nn.Conv2d(c, len(ANCHORS[0]) * RAW, 1) for c in widths)
        self.refine = Refine()
        for part in (self.near[-1], self.fine[-1], *self.heads):
            nn.init.normal_(part.weight, std=0.01)
            nn.init.zeros_(part.bias)
        for head in self.heads:
            with torch.no_grad():
                bias = head.bias.view(len(ANCHORS[0]), RAW)
                bias[:, 4] = -4.0
                bias[:, 5 : 5 + CLASSES] = 2.0
                bias[:, RAW - LIMBS :] = 1.0

    def forward(self, images: Tensor) -> list[Tensor] | dict[str, list[Tensor]]:
        f4 = self.stem(images)
        f8 = self.down8(f4)
        f16 = self.down16(f8)
        f32 = self.down32(f16)
        p16 = self.up16(torch.cat([functional.interpolate(f32, scale_factor=2.0), f16], 1))
        p8 = self.up8(torch.cat([functional.interpolate(p16, scale_factor=2.0), f8], 1))
        p4 = torch.cat([functional.interpolate(self.up4(p8), scale_factor=2.0), f4], 1)
        features = [last(p) for last, p in zip(self.last, (p8, p16, f32), strict=True)]
        near, fine = self.near[0](p8), self.fine[:-1](p4)
        # Eight bits of mantissa would be pixels for what is far from its anchor.
        with torch.autocast(images.device.type, enabled=False):
            raw = [head(f.float()) for head, f in zip(self.heads, features, strict=True)]
            near = NEAR_STRIDE * self.near[1](near.float())
            fields = {
                "near": near[:, : 2 * len(KEYPOINTS)],
                "link": near[:, 2 * len(KEYPOINTS) :],
                "fine": FINE_STRIDE * self.fine[-1](fine.float()),
            }
            if self.training:
                maps = [part(f.float()) for part, f in zip(self.maps, (f8, f16, p8), strict=True)]
                return {"raw": raw, "maps": maps, **{k: [v] for k, v in fields.items()}}
            return self.refine(raw, fields)


def size_of(x: Tensor, dim: int) -> Tensor:
    """The length of a dimension as a number of the graph, also while it is traced."""
    return torch.as_tensor(x.shape[dim], device=x.device).float()


def fused(model: PoseNet) -> PoseNet:
    """A copy in evaluation mode whose batch norms are folded into the convolutions before them."""
    copy = PoseNet()
    copy.load_state_dict(model.state_dict())
    copy.eval()
    for module in copy.modules():
        if isinstance(module, nn.Sequential) and len(module) > 1 and isinstance(module[1], nn.BatchNorm2d):
            module[0] = nn.utils.fuse_conv_bn_eval(module[0], module[1])
            module[1] = nn.Identity()
    return copy


def decode(heads: list[Tensor]) -> Tensor:
    """Raw heads to N × M × (5 + classes + 3K) in input pixels: cx, cy, w, h, objectness, classes, x, y, confidence."""
    rows: list[Tensor] = []
    for head, stride, anchors in zip(heads, STRIDES, ANCHORS, strict=True):
        n, _, h, w = head.shape
        t = head.view(n, len(anchors), FIELDS, h, w).permute(0, 1, 3, 4, 2)
        grid = cells(h, w, head.device)
        size = torch.tensor(anchors, device=head.device)[None, :, None, None]
        points = t[..., 5 + CLASSES :].unflatten(-1, (-1, 3))
        out = torch.cat(
            [
                (2 * t[..., :2].sigmoid() - 0.5 + grid) * stride,
                (2 * t[..., 2:4].sigmoid()) ** 2 * size,
                t[..., 4 : 5 + CLASSES].sigmoid(),
                torch.cat(
                    [(2 * points[..., :2] - 0.5 + grid[:, :, None]) * stride, points[..., 2:].sigmoid()], -1
                ).flatten(-2),
            ],
            -1,
        )
        rows.append(out.flatten(1, 3))
    return torch.cat(rows, 1)


def cells(height: int, width: int, device: torch.device) -> Tensor:
    """height × width × 2: column and row of every cell."""
    y, x = torch.meshgrid(torch.arange(height, device=device), torch.arange(width, device=device), indexing="ij")
    return torch.stack([x, y], -1).float()
