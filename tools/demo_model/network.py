# SPDX-License-Identifier: Apache-2.0
"""A small one-stage pose network with the raw heads of YOLOv7-w6-pose: per stride N × (A·F) × h × w, channel a·F + f.

F = 5 + classes + 3·K: box (4), objectness, classes, then x, y, confidence for every keypoint.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from .person import KEYPOINTS

STRIDES = (8, 16, 32)
CLASSES = 1
MAP_STRIDES = (8, 16, 8)
FIELDS = 5 + CLASSES + 3 * len(KEYPOINTS)
# From `python -m tools.demo_model.anchors` on the boxes of training samples at 256 × 256.
ANCHORS = (
    ((17.0, 38.0), (25.0, 60.0), (55.0, 50.0)),
    ((37.0, 87.0), (44.0, 143.0), (60.0, 109.0)),
    ((75.0, 174.0), (109.0, 122.0), (127.0, 213.0)),
)


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


class Integral(nn.Module):
    """Where the mass of each keypoint's map lies as seen from every cell: its mean within the window of each anchor.

    Integral regression (Sun et al., ECCV 2018) with a Gaussian window of the anchor's size, not the whole picture.
    Maps N × K × H × W at ``STRIDES[0]`` become N × (2·K·A) × h × w, x of every keypoint and anchor, then y, in the
    numbers that heads hold: the position is (2t - 0.5 + cell) · stride. The window's kernels are constants.
    """

    def __init__(self, level: int) -> None:
        super().__init__()
        fine, stride, anchors = STRIDES[0], STRIDES[level], ANCHORS[level]
        self.step = stride // fine
        self.pad = int(0.9 * max(max(a) for a in anchors) / fine)
        at = (torch.arange(self.step + 2 * self.pad) - self.pad + 0.5) * fine - stride / 2
        across, down = [], []
        for width, height in anchors:
            gx = torch.exp(-0.5 * (at / (0.5 * width + 4)) ** 2)
            gy = torch.exp(-0.5 * (at / (0.4 * height + 4)) ** 2)
            move = at / (2 * stride)
            across += [gx, move * gx]
            none = torch.zeros_like(gy)
            down += [torch.stack([gy, none]), torch.stack([none, gy]), torch.stack([move * gy, none])]
        self.register_buffer("across", torch.stack(across)[:, None, None], persistent=False)
        self.register_buffer("down", torch.stack(down)[..., None], persistent=False)

    def forward(self, mass: Tensor) -> Tensor:
        # All keypoints have the same kernels, so each map is a picture of its own.
        x = mass.reshape(-1, 1, mass.shape[2], mass.shape[3])
        x = functional.conv2d(x, self.across, stride=(1, self.step), padding=(0, self.pad))
        x = functional.conv2d(
            x, self.down, stride=(self.step, 1), padding=(self.pad, 0), groups=self.down.shape[0] // 3
        )
        x = x.reshape(-1, len(KEYPOINTS) * self.down.shape[0], x.shape[2], x.shape[3])
        weight = x[:, 0::3] + 0.02
        return torch.cat([x[:, 1::3] / weight, x[:, 2::3] / weight], 1) + 0.5


class PoseNet(nn.Module):
    """Images N × 3 × H × W in 0..1 (RGB, H and W multiples of 32) to three raw heads.

    Each keypoint is a mixture of what a head says of it and of where its map, at stride 8, has its mass near the
    anchor: what a wrist looks like is learned far sooner than to carry its position to the centre of a person. Two more
    maps, of strides 8 and 16, teach the first layers. While the network is trained, the maps (N × K × h × w, logits)
    follow the heads in the output.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(Conv(3, 16, 3, 2), Conv(16, 32, 3, 2), Block(32, 32, 1))
        self.down8 = nn.Sequential(Conv(32, 64, 3, 2), Block(64, 64, 2))
        self.down16 = nn.Sequential(Conv(64, 128, 3, 2), Block(128, 128, 2))
        self.down32 = nn.Sequential(Conv(128, 160, 3, 2), Block(160, 128, 1), Context(128, 160))
        self.up16 = Block(128 + 160, 96, 1)
        self.up8 = Block(64 + 96, 64, 1)
        self.last = nn.ModuleList((Conv(64, 64), Conv(96, 96, 1), Conv(160, 128, 1)))
        self.maps = nn.ModuleList(nn.Conv2d(c, len(KEYPOINTS), 1) for c in (64, 128))
        for part in self.maps:
            nn.init.constant_(part.bias, -4.0)
        self.place = nn.Sequential(Conv(64, 32), nn.Conv2d(32, len(KEYPOINTS), 1))
        nn.init.constant_(self.place[1].bias, -4.0)
        self.integrals = nn.ModuleList(Integral(level) for level in range(len(STRIDES)))
        count, widths = len(ANCHORS[0]), (64, 96, 128)
        self.trust = nn.ModuleList(nn.Conv2d(c, count * len(KEYPOINTS), 1) for c in widths)
        self.heads = nn.ModuleList(nn.Conv2d(c, count * FIELDS, 1) for c in widths)
        for head, stride in zip(self.heads, STRIDES, strict=True):
            nn.init.normal_(head.weight, std=0.01)
            with torch.no_grad():
                bias = head.bias.view(count, FIELDS)
                bias.zero_()
                bias[:, 4] = math.log(4 / (256 / stride) ** 2)
                bias[:, 5 : 5 + CLASSES] = 2.0
                bias[:, 5 + CLASSES :].view(count, -1, 3)[..., :2] = 0.25

    def forward(self, images: Tensor) -> list[Tensor]:
        f8 = self.down8(self.stem(images))
        f16 = self.down16(f8)
        f32 = self.down32(f16)
        p16 = self.up16(torch.cat([functional.interpolate(f32, scale_factor=2.0), f16], 1))
        p8 = self.up8(torch.cat([functional.interpolate(p16, scale_factor=2.0), f8], 1))
        features = [last(p) for last, p in zip(self.last, (p8, p16, f32), strict=True)]
        # Keypoints are counted in cells far from their anchor: eight bits of mantissa would be pixels.
        place = self.place(p8)
        with torch.autocast(images.device.type, enabled=False):
            place = place.float()
            mass = place.sigmoid().square()
            heads = [
                mixed(head(f.float()), trust(f.float()).sigmoid(), integral(mass))
                for head, trust, integral, f in zip(self.heads, self.trust, self.integrals, features, strict=True)
            ]
            if self.training:
                heads += [part(f.float()) for part, f in zip(self.maps, (f8, f16), strict=True)] + [place]
            return heads


def mixed(raw: Tensor, trust: Tensor, means: Tensor) -> Tensor:
    """Raw heads whose keypoints move from where the head has them to ``means`` as far as ``trust`` (0..1) says.

    Written with slices of channels alone, so that an exported graph holds little arithmetic on shapes.
    """
    keypoints = len(KEYPOINTS)
    count = means.shape[1] // (2 * keypoints)
    first = 5 + CLASSES
    # Channels of the result before they are put in order: box, x, y, confidence.
    order = [*range(first), *(first + part * keypoints + k for k in range(keypoints) for part in range(3))]
    out: list[Tensor] = []
    for a in range(count):
        start, end = a * FIELDS + first, (a + 1) * FIELDS
        share = trust[:, a * keypoints : (a + 1) * keypoints]
        parts = [raw[:, start - first : start]]
        for axis in range(2):
            own = raw[:, start + axis : end : 3]
            mean = means[:, axis * count * keypoints + a : (axis + 1) * count * keypoints : count]
            parts.append(own + share * (mean - own))
        parts.append(raw[:, start + 2 : end : 3])
        out.append(torch.cat(parts, 1)[:, order])
    return torch.cat(out, 1)


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
