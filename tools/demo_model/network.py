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


class PoseNet(nn.Module):
    """Images N × 3 × H × W in 0..1 (RGB, H and W multiples of 32) to three raw heads.

    While it is trained, maps of keypoints at strides 8 and 16 (N × K × h × w, logits) follow the heads: they teach the
    first layers what a wrist is before the heads can tell whose.
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
        count = len(ANCHORS[0])
        self.heads = nn.ModuleList(nn.Conv2d(c, count * FIELDS, 1) for c in (64, 96, 128))
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
        with torch.autocast(images.device.type, enabled=False):
            heads = [head(f.float()) for head, f in zip(self.heads, features, strict=True)]
            if self.training:
                heads += [part(f.float()) for part, f in zip(self.maps, (f8, f16), strict=True)]
            return heads


def fused(model: PoseNet) -> PoseNet:
    """A copy in evaluation mode whose batch norms are folded into the convolutions before them."""
    copy = PoseNet()
    copy.load_state_dict(model.state_dict())
    copy.eval()
    for module in copy.modules():
        if isinstance(module, Conv):
            conv, norm = module[0], module[1]
            module[0] = nn.utils.fuse_conv_bn_eval(conv, norm)
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
