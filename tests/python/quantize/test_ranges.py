# SPDX-License-Identifier: Apache-2.0
"""Histograms of what a network computes, and the ranges chosen from them."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import quantize_models as models
import trtpose
from trtpose import _core
from trtpose.errors import ModelError
from trtpose.formats.onnx_graph import Graph
from trtpose.quantize import quantize, ranges
from trtpose.quantize.pictures import open_pictures
from trtpose.quantize.placement import place
from trtpose.quantize.ranges import BINS, Histogram, reach


def test_histogram_counts_every_magnitude_whatever_the_order(seed: int) -> None:
    random = np.random.default_rng(seed)
    parts = [random.normal(0, s, 3000).astype(np.float32) for s in (0.01, 5.0, 0.3, 200.0)]
    found = Histogram()
    for part in parts:
        assert found.add(part)
    every = np.abs(np.concatenate(parts))
    assert found.largest == every.max()
    assert found.seen == found.counts.sum() == len(every)
    assert found.exponent is not None
    width = 2.0**found.exponent
    assert BINS // 2 * width <= found.largest < BINS * width
    expected, _ = np.histogram(every, BINS, (0, BINS * width))
    np.testing.assert_array_equal(found.counts, expected)
    backwards = Histogram()
    for part in parts[::-1]:
        backwards.add(part)
    np.testing.assert_array_equal(found.counts, backwards.counts)


@pytest.mark.parametrize("value", [2.0**-140, 1e-30, 1.0, 4096.0, 3e38])
def test_histogram_of_extreme_magnitudes(value: float) -> None:
    found = Histogram()
    found.add(np.array([value, 0.0, -value / 2], np.float32))
    assert found.counts.sum() == 3
    for method in ranges.METHODS:
        assert 0 < reach(found, method) <= found.largest


def test_histogram_of_nothing_and_of_zeros() -> None:
    found = Histogram()
    assert found.add(np.zeros((0, 3), np.float32))
    assert found.add(np.zeros(10, np.float32))
    assert [reach(found, method) for method in ranges.METHODS] == [0.0] * 3


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_histogram_refuses_what_is_not_finite(value: float) -> None:
    found = Histogram()
    assert not found.add(np.array([1.0, value], np.float32))
    assert found.seen == 0


def test_large_tensors_are_sampled_but_their_maximum_is_exact(seed: int) -> None:
    values = np.random.default_rng(seed).normal(0, 1, (1, 8, 1024, 1024)).astype(np.float32)
    values[0, 3, 17, 18] = 77.0
    found = Histogram()
    found.add(values)
    assert found.largest == 77.0
    assert 1 << 20 <= 2 * found.seen <= 1 << 21
    assert reach(found, "percentile") == pytest.approx(np.quantile(np.abs(values), 0.9999), rel=0.05)


@pytest.mark.parametrize("size", [1, 15, 16, 1023, 1025, 40_000])
@pytest.mark.parametrize("step", [1, 3, 7])
def test_magnitudes_are_counted_as_numpy_counts_them(size: int, step: int, seed: int) -> None:
    values = np.random.default_rng(seed).normal(0, 1, size).astype(np.float32)
    counts = np.full(64, 5, np.int64)
    _core.count_magnitudes(values, step, 8.0, counts)
    bins = np.minimum((np.abs(values[::step]) * np.float32(8)).astype(np.int64), 63)
    np.testing.assert_array_equal(counts - 5, np.bincount(bins, minlength=64))
    assert _core.largest_magnitude(values) == np.abs(values).max()
    for where in (0, size // 2, size - 1):
        odd = values.copy()
        odd[where] = np.nan
        assert np.isnan(_core.largest_magnitude(odd))
        odd[where] = -np.inf
        assert _core.largest_magnitude(odd) == np.inf
        _core.count_magnitudes(odd, 1, 8.0, counts)  # in the last bin, and nowhere else in memory


def test_magnitudes_of_other_numbers_are_refused() -> None:
    for values in (np.zeros(8), np.zeros((8, 8), np.float32)[:, ::2]):
        with pytest.raises(TypeError):
            _core.count_magnitudes(values, 1, 1.0, np.zeros(4, np.int64))  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="step"):
        _core.count_magnitudes(np.zeros(8, np.float32), 0, 1.0, np.zeros(4, np.int64))


def test_methods_on_a_known_distribution(seed: int) -> None:
    """A normal distribution with one outlier: max keeps it, the others do not."""
    values = np.random.default_rng(seed).normal(0, 1, 200_000).astype(np.float32)
    values[0] = 60.0
    found = Histogram()
    found.add(values)
    assert reach(found, "max") == 60.0
    # One bin of 4096 up to 64 is a 64th, and the first one, a hundredth of the numbers, is left out.
    assert reach(found, "percentile") == pytest.approx(np.quantile(np.abs(values), 0.9999), abs=0.1)
    assert 2.0 < reach(found, "entropy") < 12.0


def test_percentile_leaves_zeros_out() -> None:
    values = np.concatenate([np.zeros(1_000_000), np.linspace(0.001, 1, 1000)]).astype(np.float32)
    found = Histogram()
    found.add(values[::-1].copy())
    assert reach(found, "percentile") > 0.99


def _graph_and_pictures(folder: Path, count: int = 6) -> tuple[Graph, Any]:
    pictures = open_pictures(folder / "pictures", models.SPEC, models.SPEC.imgsz, count=count)
    return Graph(models.small()), pictures


def test_ranges_are_those_of_the_network_behind_the_letterbox(folder: Path) -> None:
    import onnxruntime as ort

    graph, pictures = _graph_and_pictures(folder)
    tensors = list(place(graph).scales)
    found = ranges.collect(graph, tensors, pictures, "small")
    expected = dict.fromkeys(tensors, 0.0)
    wide = onnx.ModelProto()
    wide.CopyFrom(graph.model)
    del wide.graph.output[:]
    inner = [name for name in tensors if name != "images"]
    wide.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in inner)
    session = ort.InferenceSession(wide.SerializeToString(), providers=["CPUExecutionProvider"])
    for path in sorted((folder / "pictures").iterdir()):
        data = trtpose.letterbox(cv2.imread(str(path)), models.SPEC.imgsz, spec=models.SPEC)[None]
        for name, value in zip(inner, session.run(None, {"images": data}), strict=True):
            expected[name] = max(expected[name], float(np.abs(value).max()))
    for name in inner:
        assert found[name].largest == pytest.approx(expected[name], rel=1e-5), name
        assert found[name].seen > 0


def test_maxima_within_the_network_are_those_of_the_histograms(folder: Path) -> None:
    graph, pictures = _graph_and_pictures(folder)
    tensors = list(place(graph).scales)
    first = ranges.collect(graph, tensors, pictures, "small")
    second = ranges.maxima(graph, tensors, pictures, "small")
    for name in tensors:
        assert second[name] == pytest.approx(first[name].largest, rel=1e-5)


def test_a_small_budget_gives_the_same_histograms_in_more_runs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph, pictures = _graph_and_pictures(folder)
    tensors = list(place(graph).scales)
    whole = ranges.collect(graph, tensors, pictures, "small")
    sessions: list[int] = []
    real = ranges._session
    monkeypatch.setattr(ranges, "_session", lambda *a: sessions.append(1) or real(*a))
    parts = ranges.collect(graph, tensors, pictures, "small", budget=100_000)
    assert len(sessions) > 3
    for name in tensors:
        assert parts[name].exponent == whole[name].exponent
        # ONNX Runtime fuses differently when a tensor is an output; a number may land in the neighbouring bin.
        assert np.abs(parts[name].counts - whole[name].counts).sum() <= 0.001 * whole[name].seen


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("form", [{}, {"dynamic": True, "batch": "N"}, {"resize": "linear"}])
def test_inferred_sizes_are_those_of_a_run(form: dict[str, Any], batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = Graph(models.small(**form))
    tensors = [name for node in graph.nodes for name in node.output if graph.types.get(name) == TensorProto.FLOAT]
    data = np.zeros((batch if form.get("dynamic") else 1, 3, *models.SPEC.imgsz), np.float32)
    before = graph.model.SerializeToString()
    found = ranges.sizes(graph, tensors, data, "small")
    monkeypatch.setattr(Graph, "shapes", lambda *_: {})
    assert found == ranges.sizes(graph, tensors, data, "small")
    assert graph.model.SerializeToString() == before


def test_calibrating_runs_the_network_once_for_each_picture(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph, pictures = _graph_and_pictures(folder)
    tensors = list(place(graph).scales)
    runs: list[tuple[int, ...]] = []
    real = ranges._Runner.__call__

    def counted(runner: Any, data: Any) -> Any:
        runs.append(data.shape)
        return real(runner, data)

    monkeypatch.setattr(ranges._Runner, "__call__", counted)
    sessions: list[int] = []
    session = ranges._session
    monkeypatch.setattr(ranges, "_session", lambda *a: sessions.append(1) or session(*a))
    ranges.collect(graph, tensors, pictures, "small")
    assert len(runs) == len(pictures)
    assert len(sessions) == 1


def test_room_that_is_used_again_gives_the_same_histograms(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph, pictures = _graph_and_pictures(folder)
    tensors = list(place(graph).scales)
    for batch in (1, 4):  # of six pictures, the last batch is a smaller one
        found = ranges.collect(graph, tensors, pictures, "small", batch=batch)
        with monkeypatch.context() as patch:
            patch.setattr(
                ranges._Runner, "__call__", lambda self, data: ranges._run(self._session, {"images": data}, "small")
            )
            plain = ranges.collect(graph, tensors, pictures, "small", batch=batch)
        for name in tensors:
            assert found[name].largest == plain[name].largest
            assert found[name].exponent == plain[name].exponent
            np.testing.assert_array_equal(found[name].counts, plain[name].counts)


def test_memory_does_not_grow_with_the_pictures(tmp_path: Path) -> None:
    """Peak of what NumPy and Python hold, for 4 pictures and for 32; a tenth is left to chance."""
    graph = Graph(models.small())
    tensors = list(place(graph).scales)
    folder = models.write_pictures(tmp_path / "many", 32)
    peaks: list[int] = []
    for count in (4, 32):
        pictures = open_pictures(folder, models.SPEC, models.SPEC.imgsz, count=count)
        tracemalloc.start()
        ranges.collect(graph, tensors, pictures, "small")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0], peaks


def test_numbers_that_are_not_finite_are_named(folder: Path) -> None:
    model = models.small()
    weights = next(t for t in model.graph.initializer if t.name == "res.0.b")
    values = numpy_helper.to_array(weights).copy()
    values[3] = np.inf
    weights.CopyFrom(numpy_helper.from_array(values, weights.name))
    path = folder / "inf.onnx"
    onnx.save(model, str(path))
    with pytest.raises(ModelError, match=r"res\.0\.silu:0 is not finite on the calibration pictures"):
        quantize(path, folder / "pictures", cache=False, measure=False)
    assert not (folder / "inf.int8.onnx").exists()
