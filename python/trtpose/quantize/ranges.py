# SPDX-License-Identifier: Apache-2.0
"""How large the numbers in a network are: running histograms of magnitudes, in bounded memory.

A tensor's histogram has a fixed number of bins whose width is a power of two. When a larger magnitude comes, the width
doubles as often as needed and neighbouring bins are added up, so one pass over the pictures is enough, nothing of them
is kept, and the histograms of two tensors can be compared bin by bin.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..errors import ModelError
from ..formats import onnx_file
from ..formats.onnx_file import short

if TYPE_CHECKING:
    import onnx

    from ..formats.onnx_graph import Graph
    from .pictures import Pictures

__all__ = ["METHODS", "Histogram", "collect", "maxima", "reach"]

METHODS = ("entropy", "percentile", "max")
PERCENTILE = 99.99
"""Share of the magnitudes, in hundredths, that ``percentile`` leaves inside the range."""

BINS = 4096
_LEVELS = 128  # magnitudes of int8, zero included
_SAMPLE = 1 << 20
_BUDGET = 1 << 30
"""Bytes of intermediate tensors that are asked of one run of the network."""

_FLOAT = 1  # TensorProto.FLOAT


@dataclass
class Histogram:
    """Magnitudes seen so far.

    Attributes:
        exponent: bins are 2**exponent wide; None as long as nothing but zeros was seen.
        counts: how many magnitudes fell in each bin.
        largest: the largest magnitude, exact.
        seen: how many numbers were looked at, zeros included.
    """

    exponent: int | None = None
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(BINS, np.int64))
    largest: float = 0.0
    seen: int = 0

    def add(self, values: NDArray[np.float32]) -> bool:
        """Add the magnitudes of a tensor; every so many of them where there are more than a million.

        Returns:
            Whether all were finite; if not, nothing is added.
        """
        if not values.size:
            return True
        flat = np.ascontiguousarray(values, np.float32).reshape(-1)
        largest = _core.largest_magnitude(flat)
        if not math.isfinite(largest):
            return False
        # An odd step visits every column of a map whose width is a power of two.
        step = flat.size // _SAMPLE | 1
        self.seen += -(-flat.size // step)
        if largest == 0:
            return True
        self.largest = max(self.largest, largest)
        self._fit(largest)
        assert self.exponent is not None
        # The largest lies within the last bin, and the product with a power of two is exact.
        _core.count_magnitudes(flat, step, 2.0**-self.exponent, self.counts)
        return True

    def _fit(self, largest: float) -> None:
        needed = max(math.frexp(largest)[1] - int(math.log2(BINS)), -126)  # float32 holds 2**126
        if self.exponent is None:
            self.exponent = needed
        while self.exponent < needed:
            self.counts = np.concatenate([self.counts.reshape(-1, 2).sum(1), np.zeros(BINS // 2, np.int64)])
            self.exponent += 1


def reach(histogram: Histogram, method: str) -> float:
    """The largest magnitude that shall be represented.

    Args:
        histogram: of the tensor.
        method: ``max``: the largest seen; ``percentile``: what :data:`PERCENTILE` of the numbers that are not zero stay
            below; ``entropy``: where the distribution loses least information, as TensorRT's calibrator finds it (S.
            Migacz, "8-bit Inference with TensorRT", GTC 2017).
    """
    if histogram.exponent is None:
        return 0.0
    width = 2.0**histogram.exponent
    if method == "percentile":
        # Without the first bin: after ReLU half of all numbers are zero, and a padded picture has more.
        counts = histogram.counts.copy()
        counts[0] = 0
        if counts.sum() == 0:
            return histogram.largest
        covered = np.cumsum(counts) / counts.sum()
        return min((int(np.searchsorted(covered, PERCENTILE / 100)) + 1) * width, histogram.largest)
    if method == "entropy":
        return min(_entropy_bins(histogram.counts) * width, histogram.largest)
    return histogram.largest


def _entropy_bins(counts: NDArray[np.int64]) -> int:
    """How many of the bins to keep so that 128 levels tell most of the distribution (least Kullback-Leibler)."""
    used = int(np.flatnonzero(counts)[-1]) + 1
    # 2048 bins are what the method was published with; finer ones only take time.
    fold = 2
    bins = counts.reshape(-1, fold).sum(1).astype(np.float64)
    bins[0] = bins[1]  # zeros cost nothing at any scale, and are most of the numbers
    last = -(-used // fold)
    best, best_loss = last, math.inf
    for stop in range(_LEVELS, last + 1, max((last - _LEVELS) // 128, 1)):
        loss = _divergence(bins, stop)
        if loss < best_loss:
            best, best_loss = stop, loss
    return best * fold


def _divergence(bins: NDArray[np.float64], stop: int) -> float:
    kept = bins[:stop]
    total = kept.sum()
    if total == 0:
        return math.inf
    reference = kept.copy()
    reference[-1] += bins[stop:].sum()  # what is clipped lands on the last level
    level = np.arange(stop) * _LEVELS // stop
    filled = kept > 0
    sums = np.bincount(level, kept, _LEVELS)
    numbers = np.bincount(level, filled, _LEVELS)
    spread_out = np.where(filled, (sums / np.maximum(numbers, 1))[level], 0)
    p = reference / reference.sum()
    q = spread_out / spread_out.sum()
    both = (p > 0) & (q > 0)
    missing = p[(p > 0) & (q == 0)].sum()
    return float((p[both] * np.log(p[both] / q[both])).sum() + missing * 20)


# --- Running the network ----------------------------------------------------------------------------------------------


def _session(model: onnx.ModelProto, source: str) -> Any:
    content = onnx_file.checked(model, source)
    return onnx_file.runtime_session(content, extra="quantize", purpose="calibration", planned=False)


def _run(session: Any, feed: dict[str, NDArray[np.float32]], source: str) -> list[NDArray[Any]]:
    try:
        return session.run(None, feed)
    except Exception as error:
        raise ModelError(f"{source}: ONNX Runtime cannot run it ({short(error)}); check imgsz and batch") from None


@contextlib.contextmanager
def _with_outputs(model: onnx.ModelProto, tensors: Sequence[str], reduced: bool) -> Generator[onnx.ModelProto]:
    """The model itself with other outputs for a while: the tensors, or the largest magnitude and the size of each."""
    import onnx
    from onnx import TensorProto, helper

    graph, nodes = model.graph, len(model.graph.node)
    own = onnx.GraphProto()
    own.output.extend(graph.output)
    del graph.output[:]
    try:
        for number, name in enumerate(tensors):
            if not reduced:
                graph.output.append(helper.make_tensor_value_info(name, _FLOAT, None))
                continue
            magnitude, largest, size = (f"trtpose/{kind}/{number}" for kind in ("abs", "max", "size"))
            graph.node.extend(
                [
                    helper.make_node("Abs", [name], [magnitude]),
                    helper.make_node("ReduceMax", [magnitude], [largest], keepdims=0),
                    helper.make_node("Size", [name], [size]),
                ]
            )
            graph.output.append(helper.make_tensor_value_info(largest, _FLOAT, []))
            graph.output.append(helper.make_tensor_value_info(size, TensorProto.INT64, []))
        yield model
    finally:
        del graph.node[nodes:]
        del graph.output[:]
        graph.output.extend(own.output)


class _Runner:
    """The network with tensors as its outputs, whose memory the next run of the same size uses again."""

    def __init__(self, graph: Graph, tensors: Sequence[str], source: str) -> None:
        with _with_outputs(graph.model, tensors, reduced=False) as model:
            self._session = _session(model, source)
        self._graph, self._tensors, self._source = graph, tensors, source
        self._size: tuple[int, ...] = ()
        self._room: list[NDArray[np.float32]] = []

    def __call__(self, data: NDArray[np.float32]) -> list[NDArray[Any]]:
        """The tensors for an input; they are good until the next call."""
        if data.shape != self._size:
            self._room = []
            self._size, self._room = data.shape, self._room_for(data.shape)
        if self._room:
            try:
                self._session.run_with_iobinding(self._binding(data))
                return [*self._room]
            except Exception:  # sizes that depend on the picture; what else is wrong is said below
                self._room = []
        return _run(self._session, {self._graph.inputs[0]: data}, self._source)

    def _room_for(self, size: tuple[int, ...]) -> list[NDArray[np.float32]]:
        """Where the tensors go; none where inference does not tell their sizes."""
        shapes = self._graph.shapes(size)
        if any(name not in shapes for name in self._tensors):
            return []
        return [np.empty(shapes[name], np.float32) for name in self._tensors]

    def _binding(self, data: NDArray[np.float32]) -> Any:
        binding = self._session.io_binding()
        binding.bind_cpu_input(self._graph.inputs[0], data)
        for name, room in zip(self._tensors, self._room, strict=True):
            binding.bind_output(name, "cpu", 0, np.float32, room.shape, room.ctypes.data)
        return binding


def _fixed_batch(graph: Graph) -> int:
    shape = next(entry for entry in graph.model.graph.input if entry.name == graph.inputs[0]).type.tensor_type.shape
    return shape.dim[0].dim_value if len(shape.dim) else 0


def batches(graph: Graph, pictures: Pictures, batch: int) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """How many pictures and the input, for each batch; one of a fixed size is filled up by repeating its pictures."""
    fixed = _fixed_batch(graph)
    for pictures_in in pictures.batches(fixed or batch):
        wanted = fixed or len(pictures_in)
        repeat = -(-wanted // len(pictures_in))
        yield len(pictures_in), np.concatenate([pictures_in] * repeat)[:wanted]


def maxima(
    graph: Graph,
    tensors: Sequence[str],
    pictures: Pictures,
    source: str,
    *,
    batch: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, float]:
    """Largest magnitude of each tensor over the pictures, found within the network: none of them is handed out.

    NaN and infinity are given as such.
    """
    result = dict.fromkeys(tensors, 0.0)
    inner = [name for name in tensors if name not in graph.inputs]
    with _with_outputs(graph.model, inner, reduced=True) as model:
        session = _session(model, source)
    done = 0
    for real, data in batches(graph, pictures, batch):
        outputs = _run(session, {graph.inputs[0]: data}, source)
        for name, value in zip(inner, outputs[::2], strict=True):
            result[name] = float(np.fmax(result[name], value)) if not np.isnan(value) else math.nan
        for name in graph.inputs:
            if name in result:
                result[name] = max(result[name], float(np.abs(data).max()))
        done += real
        if progress is not None:
            progress(done, len(pictures))
    return result


def collect(
    graph: Graph,
    tensors: Collection[str],
    pictures: Pictures,
    source: str,
    *,
    batch: int = 1,
    budget: int = _BUDGET,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Histogram]:
    """Histograms of tensors over the pictures.

    Memory does not grow with the pictures: a batch of them and at most ``budget`` bytes of intermediate tensors are
    held at a time. Where a batch has more than that, the network is run once for each part of the tensors.

    Raises:
        ModelError: the network cannot be run, or its numbers are not finite.
    """
    wanted = list(dict.fromkeys(tensors))
    inner = [name for name in wanted if name not in graph.inputs]
    result = {name: Histogram() for name in wanted}
    parts = _parts(graph, inner, pictures, source, batch, budget)
    done = 0
    for number, part in enumerate(parts):
        runner = _Runner(graph, part, source)
        for real, data in batches(graph, pictures, batch):
            # Named, so that each can go as soon as it is counted.
            outputs = runner(data)
            for position, name in enumerate(part):
                values = outputs[position]
                outputs[position] = np.empty(0)
                if not result[name].add(values):
                    raise ModelError(
                        f"{source}: {name} is not finite on the calibration pictures; the network is damaged, or made "
                        "for another kind of input"
                    )
            if number == 0:
                for name in graph.inputs:
                    if name in result:
                        result[name].add(data)
            done += real
            if progress is not None:
                progress(done, len(pictures) * len(parts))
    return result


def _parts(
    graph: Graph, tensors: list[str], pictures: Pictures, source: str, batch: int, budget: int
) -> list[list[str]]:
    """The tensors in as many parts as keep each within the budget, in order."""
    parts: list[list[str]] = [[]]
    held = 0
    _, data = next(iter(batches(graph, pictures, batch)))
    for name, size in sizes(graph, tensors, data, source).items():
        if parts[-1] and held + 4 * size > budget:
            parts.append([])
            held = 0
        parts[-1].append(name)
        held += 4 * size
    return parts


def sizes(graph: Graph, tensors: Sequence[str], data: NDArray[np.float32], source: str) -> dict[str, int]:
    """How many numbers each tensor has for the input ``data``: by inference, and by a run where that does not tell."""
    inferred = graph.shapes(data.shape)
    found = {name: math.prod(inferred[name]) for name in tensors if name in inferred}
    unknown = [name for name in tensors if name not in found]
    if unknown:
        with _with_outputs(graph.model, unknown, reduced=True) as model:
            session = _session(model, source)
        outputs = _run(session, {graph.inputs[0]: data}, source)
        found.update((name, int(size)) for name, size in zip(unknown, outputs[1::2], strict=True))
    return {name: found[name] for name in tensors}


def pack(histograms: Mapping[str, Histogram]) -> dict[str, NDArray[Any]]:
    """Histograms as arrays, for a file."""
    names = list(histograms)
    values = [histograms[name] for name in names]
    return {
        "names": np.array(names),
        "exponents": np.array([-(1 << 20) if h.exponent is None else h.exponent for h in values], np.int64),
        "counts": np.stack([h.counts for h in values]) if values else np.zeros((0, BINS), np.int64),
        "largest": np.array([h.largest for h in values], np.float64),
        "seen": np.array([h.seen for h in values], np.int64),
    }


def unpack(arrays: Mapping[str, NDArray[Any]]) -> dict[str, Histogram]:
    """What :func:`pack` packed."""
    result: dict[str, Histogram] = {}
    for i, name in enumerate(arrays["names"].tolist()):
        exponent = int(arrays["exponents"][i])
        result[str(name)] = Histogram(
            None if exponent == -(1 << 20) else exponent,
            arrays["counts"][i].astype(np.int64),
            float(arrays["largest"][i]),
            int(arrays["seen"][i]),
        )
    return result
