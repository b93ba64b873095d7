# SPDX-License-Identifier: Apache-2.0
"""The keypoint heads of YOLOv7-pose, YOLO-Pose and yolov7-face."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from ...networks.layers import Conv, ImplicitAdd, ImplicitMultiply, depthwise
from ...networks.modules import Built, Scope
from .catalogue import Description

__all__ = ["HEADS", "KeypointHead"]


class KeypointHead(nn.Module):
    """Raw predictions of every level: N x (A*F) x h x w.

    A box branch of A * (5 + classes) channels and a keypoint branch of A * 3K channels are concatenated along the
    channels. Whoever reads the result divides those channels evenly among the A anchors, across the seam of the two
    branches, since the networks were trained that way.
    """

    def __init__(
        self, widths: Sequence[int], anchors: int, classes: int, keypoints: int, deep: bool, implicit: bool
    ) -> None:
        super().__init__()
        box, points = anchors * (5 + classes), anchors * 3 * keypoints

        def branch(width: int) -> nn.Module:
            if not deep:
                return nn.Conv2d(width, points, 1)
            chain: list[nn.Module] = []
            for _ in range(5):
                chain += [depthwise(width, 3), Conv(width, width)]
            return nn.Sequential(*chain, depthwise(width, 3), nn.Conv2d(width, points, 1))

        self.m = nn.ModuleList(nn.Conv2d(width, box, 1) for width in widths)
        self.m_kpt = nn.ModuleList(branch(width) for width in widths)
        if implicit:
            self.ia = nn.ModuleList(ImplicitAdd(width) for width in widths)
            self.im = nn.ModuleList(ImplicitMultiply(box) for _ in widths)
        self.implicit = implicit

    def forward(self, levels: Sequence[Tensor]) -> list[Tensor]:
        heads: list[Tensor] = []
        for i, x in enumerate(levels):
            box = self.im[i](self.m[i](self.ia[i](x))) if self.implicit else self.m[i](x)
            heads.append(torch.cat((box, self.m_kpt[i](x)), 1))
        return heads


def _head(s: Scope, implicit: bool) -> Built:
    d = cast("Description", s.description)
    if len(s.inputs) != len(d.anchors):
        raise s.fail(f"reads {len(s.inputs)} levels but there are anchors for {len(d.anchors)}")
    head = KeypointHead(s.inputs, len(d.anchors[0]), d.classes, d.keypoints, d.deep_keypoints, implicit)
    return head, 0


HEADS: dict[str, Callable[[Scope], Built]] = {
    "Detect": lambda s: _head(s, implicit=False),
    "IDetect": lambda s: _head(s, implicit=True),
    "IKeypoint": lambda s: _head(s, implicit=True),
}
"""By the names under which the reference code has them."""
