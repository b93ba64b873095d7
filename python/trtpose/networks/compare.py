# SPDX-License-Identifier: Apache-2.0
"""Comparing an exported model with what it was made from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError
from ..formats import onnx_file
from ..formats.onnx_runner import Runner, sample_pictures

if TYPE_CHECKING:
    import onnx

__all__ = ["compare", "compare_file", "sigmoid"]

Array = NDArray[np.float32]

# Folding batch norm in float64 and another order of summation change a head by some 1e-6 of its range.
HEAD_TOLERANCE = 1e-4
# The same error after decoding: the largest stride times twice the raw value, plus float32's spacing of large pixels.
DECODED_TOLERANCE = 1e-5
DECODED_FLOOR = 1e-2

# Operators that are the same at every size of their input, of those that are written here.
_OF_ANY_SIZE = frozenset(
    {"Add", "Clip", "Concat", "Conv", "Elu", "HardSigmoid", "LeakyRelu", "MaxPool", "Mul", "Relu", "Resize", "Sigmoid"}
)
_CELLS = (4, 5)
_LEAST = (128, 160)
"""Height and width to compare such a graph at, in cells of the largest stride, and in pixels where those are small: not
square, or axes could be swapped unseen."""


def sigmoid(x: Array) -> Array:
    """The logistic function in float32, without overflow."""
    with np.errstate(over="ignore"):
        return (1 / (1 + np.exp(-x))).astype(np.float32)


def compare(
    runner: Callable[[Array], list[Array]],
    reference: Callable[[Array], list[Array]],
    outputs: Sequence[str],
    shape: tuple[int, int, int, int],
    source: str,
    decode: Callable[[list[Array]], Array] | None = None,
    tolerance: float = HEAD_TOLERANCE,
) -> list[str]:
    """Run both on the sample pictures, side by side, and compare.

    Args:
        runner: the exported model.
        reference: gives the raw heads.
        outputs: the names of the exported model's, in the order in which it gives them.
        shape: of the input to compare at.
        source: what to call the model in errors.
        decode: makes the one decoded output, in pixels, of the raw heads; None where the raw heads are compared.
        tolerance: of raw heads, relative to their largest value.

    Returns:
        A line with the largest differences.

    Raises:
        ModelError: they differ by more than rounding; the message holds the numbers.
    """
    kinds = sample_pictures(shape, seed=0)
    kind, pictures = " and ".join(kinds), _side_by_side([*kinds.values()])
    expected = reference(pictures)
    if decode is not None:
        expected = [decode(expected)]
    found = runner(pictures)
    parts: list[str] = []
    for name, ours, theirs in zip(outputs, found, expected, strict=True):
        if ours.shape != theirs.shape:
            raise ModelError(
                f"{source}: {name} has the shape {ours.shape} where {theirs.shape} is right; nothing was written"
            )
        reach = float(np.abs(theirs).max(initial=0))
        difference = float(np.abs(ours - theirs).max(initial=0))
        if decode is not None:
            limit = max(DECODED_FLOOR, DECODED_TOLERANCE * reach)
            parts.append(f"{name} {difference:.1e} px")
        else:
            limit = tolerance * reach
            parts.append(f"{name} {difference / max(reach, 1e-30):.1e}")
        # Written so that a NaN on either side fails.
        if not difference <= limit:
            raise ModelError(
                f"{source}: {name} differs from the network by {difference:.3g} on {kind} where {limit:.3g} is "
                "allowed; nothing was written"
            )
    return [f"{kind}: " + ", ".join(parts)]


def compare_file(
    file: Path,
    reference: Callable[[Array], list[Array]],
    outputs: Sequence[str],
    shape: tuple[int, int, int, int],
    stride: int,
    source: str,
    decode: Callable[[list[Array]], Array] | None = None,
    tolerance: float = HEAD_TOLERANCE,
) -> list[str]:
    """:func:`compare` for a file that was written here.

    A graph of operators that are the same at every size is run at a small one, where every weight has its part as well:
    at w6-pose's own size both runs are most of an export's time. What the file says of its outputs' size is held
    against what came out.

    Args:
        stride: the network's largest.
        file, reference, outputs, shape, source, decode, tolerance: as there; ``shape`` is the file's own.
    """
    content = onnx_file.read(file)
    model = onnx_file.parse(content, extra="export", purpose="checking the exported model")
    own = shape[2:]
    sides = _small(own, stride)
    if sides == own or not _of_any_size(model.graph):
        del model
        return compare(Runner(content), reference, outputs, shape, source, decode, tolerance)
    del content
    _set_sides(model.graph.input[0], sides)
    stated = [_sides(entry) for entry in model.graph.output]
    for entry in model.graph.output:
        entry.type.tensor_type.ClearField("shape")
    resized = onnx_file.checked(model, str(file))
    del model
    runner = Runner(resized)
    del resized

    def run(pictures: Array) -> list[Array]:
        found = runner(pictures)
        for name, values, said in zip(outputs, found, stated, strict=True):
            if any(a * b != c * d for a, b, c, d in zip(values.shape[2:], own, said, sides, strict=True)):
                raise ModelError(
                    f"{source}: {name} is to be {said[0]}x{said[1]}, which does not fit {values.shape[2]}x"
                    f"{values.shape[3]} for an input of {sides[0]}x{sides[1]}; nothing was written"
                )
        return found

    return compare(run, reference, outputs, (*shape[:2], *sides), source, decode, tolerance)


def _small(own: tuple[int, int], stride: int) -> tuple[int, int]:
    """Height and width to compare at: the file's own where it is no larger, or no whole number of cells."""
    if any(side % stride for side in own):
        return own
    wanted = [-(-max(cells * stride, least) // stride) * stride for cells, least in zip(_CELLS, _LEAST, strict=True)]
    return min(wanted[0], own[0]), min(wanted[1], own[1])


def _of_any_size(graph: onnx.GraphProto) -> bool:
    """Whether each operator is the same at every size; a Resize with four inputs has a fixed one."""
    return all(
        node.op_type in _OF_ANY_SIZE and not (node.op_type == "Resize" and len(node.input) > 3) for node in graph.node
    )


def _set_sides(entry: onnx.ValueInfoProto, sides: Sequence[int]) -> None:
    for dim, side in zip(entry.type.tensor_type.shape.dim[2:], sides, strict=True):
        dim.dim_value = side


def _sides(entry: onnx.ValueInfoProto) -> list[int]:
    return [dim.dim_value for dim in entry.type.tensor_type.shape.dim[2:]]


def _side_by_side(kinds: Sequence[Array]) -> Array:
    """One picture of strips of several, as each costs a run of both networks: every weight meets every kind."""
    whole = kinds[0].copy()
    width = whole.shape[-1]
    for place, picture in enumerate(kinds):
        begin, end = place * width // len(kinds), (place + 1) * width // len(kinds)
        whole[..., begin:end] = picture[..., begin:end]
    return whole
