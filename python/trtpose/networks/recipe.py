# SPDX-License-Identifier: Apache-2.0
"""Writing down the layers of known networks."""

from __future__ import annotations

from typing import Any

from .description import Layer

__all__ = ["P6_ANCHORS", "Recipe", "yolov5_p6"]

P6_ANCHORS = (
    ((19.0, 27.0), (44.0, 40.0), (38.0, 94.0)),
    ((96.0, 68.0), (86.0, 152.0), (180.0, 137.0)),
    ((140.0, 301.0), (303.0, 264.0), (238.0, 542.0)),
    ((436.0, 615.0), (739.0, 380.0), (925.0, 792.0)),
)
"""(width, height) in pixels that YOLOv5's four levels begin with for COCO, strides 8 to 64."""


class Recipe:
    """Collects layers. Numbers returned by the methods are layer indices, which other layers refer to."""

    def __init__(self, *conv_options: Any) -> None:
        self.layers: list[Layer] = []
        self._options = conv_options

    def add(self, kind: str, *arguments: Any, source: int | tuple[int, ...] = -1, repeats: int = 1) -> int:
        self.layers.append(Layer(source, repeats, kind, arguments))
        return len(self.layers) - 1

    def conv(self, width: int, kernel: int = 1, stride: int = 1, source: int = -1) -> int:
        return self.add("Conv", width, kernel, stride, *self._options, source=source)

    def join(self, *sources: int) -> int:
        return self.add("Concat", 1, source=sources)

    def upsample(self) -> int:
        return self.add("nn.Upsample", None, 2, "nearest")

    def elan(self, side: int, inner: int, out: int, count: int, taps: tuple[int, ...]) -> int:
        """Efficient layer aggregation: two 1x1 convolutions of the input, a chain of 3x3 ones behind the second, and a
        1x1 convolution over the concatenated ``taps``, counted back from the end of the chain."""
        self.conv(side)
        self.conv(side, source=-2)
        for _ in range(count):
            self.conv(inner, 3)
        self.join(*taps)
        return self.conv(out)


def yolov5_p6(r: Recipe, stem: str) -> list[int]:
    """YOLOv5's network with four levels, strides 8 to 64, up to its head; ``stem`` is the first module.

    Returns:
        The layers that the head reads, in the order of their strides.
    """
    r.add(stem, 64, 3)
    stages: list[int] = []
    for width, repeats in ((128, 3), (256, 9), (512, 9), (768, 3)):
        r.conv(width, 3, 2)
        stages.append(r.add("C3", width, repeats=repeats))
    r.conv(1024, 3, 2)
    r.add("SPP", 1024, (3, 5, 7))
    r.add("C3", 1024, False, repeats=3)
    laterals: list[int] = []
    for width, stage in ((768, stages[3]), (512, stages[2]), (256, stages[1])):
        laterals.append(r.conv(width))
        r.upsample()
        r.join(-1, stage)
        last = r.add("C3", width, False, repeats=3)
    outs = [last]
    for width, out, lateral in ((256, 512, laterals[2]), (512, 768, laterals[1]), (768, 1024, laterals[0])):
        r.conv(width, 3, 2)
        r.join(-1, lateral)
        outs.append(r.add("C3", out, False, repeats=3))
    return outs
