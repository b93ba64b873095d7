# SPDX-License-Identifier: Apache-2.0
"""KAPAO's head."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from ...networks.modules import Built, Scope
from . import forms

__all__ = ["HEADS", "ObjectHead"]


class ObjectHead(nn.Module):
    """Raw predictions of every level, N x (A*F) x h x w: a 1x1 convolution each."""

    def __init__(self, widths: Sequence[int], channels: int) -> None:
        super().__init__()
        self.m = nn.ModuleList(nn.Conv2d(width, channels, 1) for width in widths)

    def forward(self, levels: Sequence[Tensor]) -> list[Tensor]:
        return [self.m[i](x) for i, x in enumerate(levels)]


def _head(s: Scope) -> Built:
    d = s.description
    if len(s.inputs) != len(d.anchors):
        raise s.fail(f"reads {len(s.inputs)} levels but there are anchors for {len(d.anchors)}")
    return ObjectHead(s.inputs, len(d.anchors[0]) * forms.fields(d.keypoints)), 0


HEADS: dict[str, Callable[[Scope], Built]] = {"Detect": _head}
"""By the name under which the reference code has it."""
