# SPDX-License-Identifier: Apache-2.0
"""What a network is made of: a list of layers and a few numbers, as networks that descend from YOLOv5 are described."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from ..errors import ModelError

__all__ = ["Description", "Given", "Layer", "brief"]

_MAX_LAYERS = 2000
_MAX_WIDTH = 1 << 16


@dataclass(frozen=True)
class Layer:
    """One layer: where its input comes from (negative: counted back from it), how often, what, and its arguments."""

    source: int | tuple[int, ...]
    repeats: int
    kind: str
    arguments: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Description:
    """A network before it has weights.

    Attributes:
        layers: in order; the last is the head.
        classes, keypoints: what the head predicts.
        anchors: per level, (width, height) pairs in input pixels.
        depth, width: factors on repeats and channels.
        activation: ``None`` for each layer's own (SiLU), else the name of one for all.
        channels: of the input picture.
    """

    layers: tuple[Layer, ...]
    classes: int
    keypoints: int
    anchors: tuple[tuple[tuple[float, float], ...], ...]
    depth: float = 1.0
    width: float = 1.0
    activation: str | None = None
    channels: int = 3


@dataclass(frozen=True)
class Given:
    """The description in a checkpoint, the dictionary that the reference code keeps as the model's ``yaml``.

    Attributes:
        data: not yet checked.
        source: the file's name, for errors.

    Raises:
        ModelError: a value is of the wrong type; the message names the value.
    """

    data: Mapping[str, Any]
    source: str

    def common(self) -> dict[str, Any]:
        """The fields of a :class:`Description` that are written alike everywhere; what it predicts is not."""
        anchors, rows = self.anchors(), self.rows()
        activation = self.data.get("act")
        if activation is not None and not isinstance(activation, str):
            raise self.bad("act", "the name of an activation")
        return {
            "layers": tuple(_layer(row, i, self.source) for i, row in enumerate(rows)),
            "anchors": anchors,
            "depth": self.number("depth_multiple", 0.01, 100),
            "width": self.number("width_multiple", 0.001, 100),
            "activation": activation,
            "channels": int(self.number("ch", 1, 64, 3)),
        }

    def bad(self, key: str, what: str) -> ModelError:
        return ModelError(
            f"{self.source}: {key} of the network's description is {brief(self.data.get(key))}, expected {what}"
        )

    def number(self, key: str, low: float, high: float, default: Any = None) -> float:
        value = self.data.get(key, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
            raise self.bad(key, f"a number from {low:g} to {high:g}")
        return float(value)

    def anchors(self) -> tuple[tuple[tuple[float, float], ...], ...]:
        given = self.data.get("anchors")
        if not isinstance(given, Sequence) or isinstance(given, str) or not 1 <= len(cast("Sequence[Any]", given)) <= 8:
            raise self.bad("anchors", "one list of numbers per level")
        levels: list[tuple[tuple[float, float], ...]] = []
        for level in cast("Sequence[Any]", given):
            flat = (
                list(cast("Sequence[Any]", level)) if isinstance(level, Sequence) and not isinstance(level, str) else []
            )
            if not 2 <= len(flat) <= 64 or len(flat) % 2 or not all(_is_number(v) and v > 0 for v in flat):
                raise self.bad("anchors", "pairs of positive numbers for each level")
            levels.append(tuple((float(w), float(h)) for w, h in zip(flat[::2], flat[1::2], strict=True)))
        if len({len(level) for level in levels}) != 1:
            raise self.bad("anchors", "as many anchors for each level")
        return tuple(levels)

    def rows(self) -> list[Any]:
        rows: list[Any] = []
        for part in ("backbone", "head"):
            value = self.data.get(part)
            if not isinstance(value, Sequence) or isinstance(value, str):
                raise self.bad(part, "a list of layers")
            rows.extend(cast("Sequence[Any]", value))
        if not 2 <= len(rows) <= _MAX_LAYERS:
            raise ModelError(
                f"{self.source}: the network's description lists {len(rows)} layers, expected 2 to {_MAX_LAYERS}"
            )
        return rows


def brief(value: Any) -> str:
    """A value of a checkpoint for an error message; containers may be nested without end and are only named."""
    return repr(value)[:60] if value is None or isinstance(value, (bool, int, float, str)) else type(value).__name__


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _layer(row: Any, index: int, source: str) -> Layer:
    items = list(cast("Sequence[Any]", row)) if isinstance(row, (list, tuple)) else []
    origin = items[0] if items else None
    origins = list(cast("Sequence[Any]", origin)) if isinstance(origin, (list, tuple)) else [origin]
    ok = (
        len(items) == 4
        and 1 <= len(origins) <= 64
        and all(isinstance(o, int) and not isinstance(o, bool) and -index - 1 <= o < max(index, 1) for o in origins)
        and isinstance(items[1], int)
        and 1 <= items[1] <= 1000
        and isinstance(items[2], str)
        and isinstance(items[3], (list, tuple))
        and len(cast("Sequence[Any]", items[3])) <= 16
    )
    if not ok:
        raise ModelError(
            f"{source}: layer {index} of the network's description is not [from, number, module, arguments]"
        )
    arguments = tuple(
        tuple(cast("list[Any]", a)) if isinstance(a, (list, tuple)) else a for a in cast("Sequence[Any]", items[3])
    )
    flat = [v for a in arguments for v in (cast("tuple[Any, ...]", a) if isinstance(a, tuple) else (a,))]
    for value in flat:
        number = _is_number(value)
        if not (number or value is None or isinstance(value, (bool, str))) or (
            number and not abs(cast("float", value)) <= _MAX_WIDTH
        ):
            raise ModelError(f"{source}: layer {index} ({items[2]}) has the argument {brief(value)}, which cannot be")
    inputs = cast("list[int]", origins)
    return Layer(tuple(inputs) if isinstance(origin, (list, tuple)) else inputs[0], items[1], items[2], arguments)
