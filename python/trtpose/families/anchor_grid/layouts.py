# SPDX-License-Identifier: Apache-2.0
"""The shapes of the five layouts, see ``docs/conventions.md``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ...spec import ModelSpec
from ..family import Heads

__all__ = ["LAYOUTS", "Layout", "heads"]


@dataclass(frozen=True)
class Layout:
    """The shape of an output.

    Attributes:
        rank: dimensions.
        axis: the dimension that holds the numbers of an anchor, or of all anchors of a cell.
        width: its length.
        grid: whether there is one output per stride, of raw numbers on a grid of cells.
    """

    rank: int
    axis: int
    width: Callable[[ModelSpec], int]
    grid: bool


def _keypoint_numbers(spec: ModelSpec) -> int:
    return spec.kpt_shape[0] * spec.kpt_shape[1]


LAYOUTS = {
    "heads": Layout(4, 1, lambda spec: spec.anchors_per_cell * spec.fields, grid=True),
    "heads5d": Layout(5, 4, lambda spec: spec.fields, grid=True),
    "decoded": Layout(3, 2, lambda spec: spec.fields, grid=False),
    "channels_first": Layout(3, 1, lambda spec: 4 + spec.classes + _keypoint_numbers(spec), grid=False),
    "final": Layout(3, 2, lambda spec: 6 + _keypoint_numbers(spec), grid=False),
}


def heads(spec: ModelSpec) -> Heads:
    """The outputs that a spec describes."""
    layout = LAYOUTS[spec.layout]
    count = len(spec.strides) if layout.grid else 1
    return Heads(count, layout.rank, layout.axis, layout.width(spec), sized=layout.grid)
