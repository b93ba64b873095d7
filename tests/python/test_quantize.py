# SPDX-License-Identifier: Apache-2.0
"""Calibration, the search for what to leave floating, reports, errors and the command ``trtpose quantize``."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import quantize_models as models
import rtx
import trtpose
from trtpose import Engine
from trtpose.cli import main
from trtpose.errors import Error, InputError, ModelError
from trtpose.formats.onnx_graph import Graph
from trtpose.quantize import calibrate, quantize, quantizer, ranges, search
from trtpose.quantize.judge import Judge, Measurement
from trtpose.quantize.pictures import open_pictures, spread
from trtpose.quantize.placement import place
from trtpose.quantize.ranges import BINS, Histogram, reach

DATA = Path(trtpose.__file__).parent / "data"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("quantize")
    models.write_small(base / "small.onnx")
    models.write_pictures(base / "pictures", 6)
    return base


# --- Histograms -------------------------------------------------------------------------------------------------------


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


# --- Running the network ----------------------------------------------------------------------------------------------


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


# --- Pictures ---------------------------------------------------------------------------------------------------------


def test_spread_takes_from_all_over() -> None:
    assert spread(10, 20) == list(range(10))
    assert spread(10, 4) == [0, 3, 6, 9]
    assert len(spread(1000, 128)) == 128


@pytest.mark.parametrize(
    ("count", "asked", "message"),
    [
        (0, None, "holds no pictures"),
        (2, None, r"2 readable picture\(s\), and calibration needs at least 4"),
        (6, 9, "9 pictures were asked for"),
        (6, 2, "count is 2; calibration needs at least 4"),
    ],
)
def test_too_few_pictures(count: int, asked: int | None, message: str, folder: Path, tmp_path: Path) -> None:
    pictures = models.write_pictures(tmp_path / "p", count)
    (pictures / "notes.txt").write_text("not a picture")
    with pytest.raises(InputError, match=message):
        quantize(folder / "small.onnx", pictures, output=tmp_path / "o.onnx", count=asked, cache=False)
    assert not (tmp_path / "o.onnx").exists()


def test_no_folder_of_pictures(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder of calibration pictures"):
        quantize(folder / "small.onnx", tmp_path / "nowhere")


def test_unreadable_pictures_are_named(folder: Path, tmp_path: Path) -> None:
    pictures = models.write_pictures(tmp_path / "p", 6)
    (pictures / "002.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    (pictures / "004.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"002\.png"):
        calibrate(folder / "small.onnx", pictures, cache=False)
    seen: list[str] = []
    found = calibrate(folder / "small.onnx", pictures, cache=False, on_error=lambda e: seen.append(str(e)))
    assert ["002.png" in seen[0], "004.png" in seen[1], len(seen)] == [True, True, 2]
    assert found["images"].seen == 4 * 3 * 64 * 96
    for number in (0, 1):
        (pictures / f"{number:03}.png").write_bytes(b"GIF89a")
    with pytest.raises(InputError, match=r"2 readable picture\(s\)"):
        calibrate(folder / "small.onnx", pictures, cache=False, on_error=lambda _: None)


# --- The cache --------------------------------------------------------------------------------------------------------


def test_the_cache_spares_running_the_network(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRTPOSE_CACHE", str(tmp_path / "cache"))
    options: dict[str, Any] = {"output": tmp_path / "o.onnx", "measure": False}
    first = quantize(folder / "small.onnx", folder / "pictures", **options)
    assert not first.report.cached
    assert len(list((tmp_path / "cache" / "calibration").iterdir())) == 1

    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("the network was run again")

    monkeypatch.setattr(ranges, "collect", never)
    second = quantize(folder / "small.onnx", folder / "pictures", **options)
    assert second.report.cached
    assert second.model.SerializeToString(deterministic=True) == first.model.SerializeToString(deterministic=True)
    third = quantize(folder / "small.onnx", folder / "pictures", method="max", **options)  # the same histograms
    assert third.report.cached
    with pytest.raises(AssertionError, match="run again"):
        quantize(folder / "small.onnx", folder / "pictures", cache=False, **options)


@pytest.mark.parametrize("change", ["model", "picture", "count", "letterbox"])
def test_the_cache_knows_what_it_is_of(change: str, tmp_path: Path) -> None:
    model = models.write_small(tmp_path / "m.onnx")
    pictures = models.write_pictures(tmp_path / "p", 5)
    options: dict[str, Any] = {"cache": tmp_path / "cache", "measure": False, "output": tmp_path / "o.onnx"}
    assert not quantize(model, pictures, **options).report.cached
    assert quantize(model, pictures, **options).report.cached
    if change == "model":
        models.write_small(model, seed=1)
    elif change == "picture":
        models.write_pictures(tmp_path / "q", 1, seed=5)
        (tmp_path / "q" / "000.png").replace(pictures / "003.png")
    elif change == "count":
        options["count"] = 4
    else:
        options["spec"] = {**models.SPEC.to_dict(), "mean": [10.0, 0.0, 0.0]}
    assert not quantize(model, pictures, **options).report.cached


def test_a_damaged_cache_is_made_again(folder: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"cache": tmp_path / "cache", "measure": False, "output": tmp_path / "o.onnx"}
    whole = quantize(folder / "small.onnx", folder / "pictures", **options).path.read_bytes()
    (file,) = (tmp_path / "cache").iterdir()
    good = file.read_bytes()
    for damaged in (b"", good[:1000], b"PK\x03\x04" + good[4:500], good[:-200] + bytes(200)):
        file.write_bytes(damaged)
        again = quantize(folder / "small.onnx", folder / "pictures", **options)
        assert not again.report.cached
        assert again.path.read_bytes() == whole
        assert file.read_bytes() != damaged


def test_a_cache_that_cannot_be_written_is_no_error(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    lines: list[str] = []
    quantize(
        folder / "small.onnx",
        folder / "pictures",
        output=tmp_path / "o.onnx",
        cache=tmp_path / "file" / "cache",
        measure=False,
        report=lines.append,
    )
    assert any("could not be kept" in line for line in lines)


# --- Networks that cannot be quantised --------------------------------------------------------------------------------


def _half(model: onnx.ModelProto) -> onnx.ModelProto:
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and tensor.name != "scales":
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT16
    for output in model.graph.output:
        output.type.tensor_type.elem_type = TensorProto.FLOAT16
    return model


def _without_convolutions(model: onnx.ModelProto) -> onnx.ModelProto:
    del model.graph.node[:]
    for output in model.graph.output:
        model.graph.node.append(helper.make_node("Identity", ["images"], [output.name]))
    return model


def _old(model: onnx.ModelProto) -> onnx.ModelProto:
    model.opset_import[0].version = 11
    return model


def _loop(model: onnx.ModelProto) -> onnx.ModelProto:
    model.graph.node[0].input[0] = "nothing makes this"
    return model


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_half, "computes in FP16 already"),
        (_without_convolutions, "has no convolution"),
        (_old, "opset 11 has no scale per channel"),
    ],
)
def test_networks_that_cannot_be_quantised(spoil: Any, message: str, folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.onnx"
    onnx.save(spoil(models.small()), str(path))
    with pytest.raises(ModelError, match=message):
        quantize(path, folder / "pictures", cache=False)
    assert list(tmp_path.iterdir()) == [path]


def test_quantising_twice_is_refused(folder: Path, tmp_path: Path) -> None:
    once = quantize(folder / "small.onnx", folder / "pictures", output=tmp_path / "1.onnx", cache=False, measure=False)
    with pytest.raises(ModelError, match="is quantised already"):
        quantize(once.path, folder / "pictures", cache=False)


def test_hostile_files(folder: Path, tmp_path: Path, seed: int) -> None:
    """Whatever is in the file, it is a sentence and no file is left."""
    random = np.random.default_rng(seed)
    good = (folder / "small.onnx").read_bytes()
    path = tmp_path / "x.onnx"
    cases = [b"", b"ONNX", bytes(100), good[: len(good) // 2], good[:-1]]
    for _ in range(24):
        data = bytearray(good)
        for at in random.integers(0, len(good), 8):
            data[at] = random.integers(0, 256)
        cases.append(bytes(data))
    onnx.save(_loop(models.small()), str(path))
    cases.append(path.read_bytes())
    passed = 0
    told: list[str] = []
    for data in cases:
        path.write_bytes(data)
        try:
            quantize(path, folder / "pictures", cache=False, measure=False)
            passed += 1  # a changed weight is none of our business
            (tmp_path / "x.int8.onnx").unlink()
        except Error as error:
            told.append(str(error))
        assert list(tmp_path.iterdir()) == [path]
    assert passed < len(cases) - 4
    assert [line for line in told if str(path) not in line and "ONNX" not in line] == []


def test_options_that_do_not_fit(folder: Path, tmp_path: Path) -> None:
    model, pictures = folder / "small.onnx", folder / "pictures"
    for options, message in (
        ({"method": "mean"}, "method 'mean' is not known"),
        ({"max_drop": -1.0}, "max_drop is -1"),
        ({"batch": 0}, "batch is 0"),
        ({"imgsz": 128}, "made for 64x96 pixels"),
        ({"keep": ["*"]}, "leaves no convolution"),
        ({"output": model}, "would be overwritten"),
        ({"output": tmp_path / "no" / "o.onnx"}, "does not exist"),
        ({"images": tmp_path / "no"}, "no such folder of pictures to measure on"),
        ({"annotations": tmp_path / "no.json"}, "cannot be read"),
    ):
        given = {"output": tmp_path / "o.onnx", "cache": False, **options}
        with pytest.raises(InputError, match=message):
            quantize(model, pictures, **given)
    dynamic = models.write_small(tmp_path / "d.onnx", batch="n", dynamic=True)
    with pytest.raises(InputError, match="multiples of 16"):
        quantize(dynamic, pictures, imgsz=100, cache=False)
    assert quantize(dynamic, pictures, imgsz=(32, 64), cache=False, measure=False).report.size == (32, 64)


def test_a_network_without_a_spec_needs_one(folder: Path, tmp_path: Path) -> None:
    model = models.small()
    del model.metadata_props[:]
    path = tmp_path / "x.onnx"
    onnx.save(model, str(path))
    with pytest.raises(ModelError, match="--spec"):
        quantize(path, folder / "pictures", cache=False)
    spec = tmp_path / "other.json"
    spec.write_text(models.SPEC.to_json())
    made = quantize(path, folder / "pictures", spec=spec, cache=False, measure=False)
    assert made.report.pictures == 6


# --- What to leave floating -------------------------------------------------------------------------------------------


class _Fake(Judge):
    """Takes points off for each group that is in INT8, by the names of its convolutions."""

    kind = "agreement"

    def __init__(self, cost: dict[str, float]) -> None:
        self.cost = cost
        self.measured = 0

    def measure(self, model: Path) -> Measurement:
        self.measured += 1
        quantised = set()
        graph = onnx.load(str(model)).graph
        made = {name: node for node in graph.node for name in node.output}
        for node in graph.node:
            if node.op_type == "Conv" and made.get(node.input[1], node).op_type == "DequantizeLinear":
                quantised.add(node.name.split(".")[0])
        details = {"poses": 5.0, "found": 5.0, "extra": 0.0, "keypoint_px_median": 0.5, "keypoint_px_p95": 1.0}
        return Measurement(90 - sum(self.cost.get(name, 0.0) for name in quantised), 2.0, details)


def _search(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cost: dict[str, float], **options: Any
) -> Any:
    judge = _Fake(cost)
    monkeypatch.setattr(search, "MAX_GROUPS", 8)
    monkeypatch.setattr(quantizer, "judge_for", lambda *_: (judge, "5 pictures"))
    options = {"output": tmp_path / "o.onnx", "cache": False, "max_drop": 1.0, **options}
    result = quantize(folder / "small.onnx", folder / "pictures", **options)
    return result, judge


def _floating(result: Any) -> set[str]:
    return {name.split(".")[0] for name in result.report.kept} - {"head"}


def test_all_in_int8_where_little_is_lost(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result, judge = _search(folder, tmp_path, monkeypatch, {"stem": 0.4, "elan": 0.5})
    assert _floating(result) == set()
    assert judge.measured == 2
    assert result.report.within
    assert result.report.final.loss == pytest.approx(0.9)
    assert result.report.final.share == 1.0


def test_the_worst_groups_are_left_floating(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cost = {"stem": 0.4, "elan": 0.7, "spp": 3.0, "res": 1.5}
    result, judge = _search(folder, tmp_path, monkeypatch, cost)
    assert _floating(result) == {"spp", "res", "elan"}
    assert [step.floating for step in result.report.steps] == [(), ("spp",), ("spp", "res"), ("spp", "res", "elan")]
    assert result.report.final.loss == pytest.approx(0.4)
    losses = {group.name: group.loss for group in result.report.groups}
    assert losses == pytest.approx({"stem": 0.4, "elan": 0.7, "res": 1.5, "spp": 3.0, "down": 0, "neck": 0, "deep": 0})
    assert {group.name for group in result.report.groups if group.floating} == {"spp", "res", "elan"}
    assert judge.measured == 2 + 7 + 3
    assert 0 < result.report.final.share < 1 < result.report.final.speed < 2
    metadata = {p.key: p.value for p in result.model.metadata_props}
    assert set(json.loads(metadata["trtpose_int8"])["floating"]) == set(result.report.kept) - {"head.0", "head.1"}


def test_a_loss_that_cannot_be_met_is_told(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result, _ = _search(
        folder, tmp_path, monkeypatch, dict.fromkeys(("stem", "elan", "res", "spp", "down", "neck", "deep"), 2.0)
    )
    assert not result.report.within
    assert "No choice of layers" in result.report.note
    assert result.report.final.loss == min(step.loss for step in result.report.steps) == pytest.approx(2.0)
    assert len(_floating(result)) == 6


def test_reports(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result, _ = _search(folder, tmp_path, monkeypatch, {"elan": 0.7, "spp": 3.0})
    report = result.report
    for suffix in ("md", "json", "png"):
        report.write(tmp_path / f"r.{suffix}")
    page = (tmp_path / "r.md").read_text()
    for text in ("90.00", "| all in INT8 | 86.30 | 3.70 | 100% | 2.00 |", "| spp |", "- head.0", "without spp"):
        assert text in page, text
    data = json.loads((tmp_path / "r.json").read_text())
    assert data["within"] is True
    assert data["steps"][0]["speed"] == 2.0
    image = cv2.imread(str(tmp_path / "r.png"))
    assert image.shape[2] == 3
    assert len(np.unique(image.reshape(-1, 3), axis=0)) > 20
    with pytest.raises(InputError, match=r"ends in \.json, \.md, \.png"):
        report.write(tmp_path / "r.pdf")


def test_a_network_that_finds_nobody_is_told(folder: Path, tmp_path: Path) -> None:
    model = models.small()
    for tensor in model.graph.initializer:
        if tensor.name in ("head.0.b", "head.1.b"):
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) - 40, tensor.name))
    path = tmp_path / "x.onnx"
    onnx.save(model, str(path))
    made = quantize(path, folder / "pictures", cache=False)
    assert "finds nobody" in made.report.note
    assert made.report.within is None
    made.report.write(tmp_path / "r.md")
    made.report.write(tmp_path / "r.png")


# --- Real networks ----------------------------------------------------------------------------------------------------


def test_the_demo_network_keeps_its_people(tmp_path: Path) -> None:
    """Ranges from the packaged pictures; every pose the float network is sure of is found again."""
    made = quantize(DATA / "demo.onnx", DATA / "demo", output=tmp_path / "d.onnx", cache=False, max_drop=100)
    details = made.report.final.details if made.report.final else {}
    assert details["poses"] >= 4
    assert details["found"] == details["poses"]
    assert details["keypoint_px_median"] < 2.0  # pixels of the frame, as for other networks
    size = made.report.size
    full = (1, 3, *size)
    assert len(rtx.build(made.path, {"images": (full, full, full)})) > 100_000


@pytest.mark.parametrize("name", ["yolov7-lite-t-face5", "yolo26n-pose-256"])
def test_networks_of_others(name: str, shared: Path, tmp_path: Path) -> None:
    """Calibrated on every other photograph, measured on those between."""
    for number, path in enumerate(sorted((shared / "images").glob("*.jpg"))):
        target = tmp_path / f"half{number % 2}"
        target.mkdir(exist_ok=True)
        (target / path.name).symlink_to(path)
    face = name.endswith("face5")
    made = quantize(
        shared / "models" / f"{name}.onnx",
        tmp_path / "half0",
        images=tmp_path / "half1",
        output=tmp_path / "x.onnx",
        spec=Path(__file__).parents[1] / "data" / f"{name}.json" if face else None,
        imgsz=640 if face else None,
        cache=False,
        max_drop=100,
    )
    assert made.report.final is not None
    details = made.report.final.details
    print(name, details)
    assert details["poses"] >= 7
    assert details["found"] == details["poses"]
    assert details["keypoint_px_median"] <= 2.0
    onnx.checker.check_model(made.model)


def test_foreign_pairs_with_zero_points_and_a_concat_run_in_int8(tmp_path: Path) -> None:
    """OpenVINO's own folding of such pairs loses scales where they meet in a Concat; the engine's does not."""
    import onnxruntime as ort

    for zero_point, kind in ((0, np.int8), (17, np.int8), (128, np.uint8)):
        net = models.Net()
        zero = net.constant("zero", np.array(zero_point, kind))
        scale = net.constant("scale", np.array(0.011, np.float32))
        halves = []
        for number in range(2):
            x = net.conv("images", 3, 16, f"in.{number}", k=9, s=8)
            x = net.op("Sigmoid", [x], f"act.{number}")
            q = net.op("QuantizeLinear", [x, scale, zero], f"q.{number}")
            halves.append(net.op("DequantizeLinear", [q, scale, zero], f"dq.{number}"))
        x = net.op("Concat", halves, "cat", axis=1)
        weights = net.random.integers(-127, 128, (models.FIELDS, 32, 1, 1)).astype(np.int8)
        steps = net.constant("w.scale", np.full(models.FIELDS, 0.004, np.float32))
        zeros = net.constant("w.zero", np.zeros(models.FIELDS, np.int8))
        inner = [net.constant("w", weights), steps, zeros]
        w = net.op("DequantizeLinear", inner, "w.dq", axis=0)
        bias = net.constant("b", np.full(models.FIELDS, 1.0, np.float32))
        net.nodes.append(helper.make_node("Conv", [x, w, bias], ["head_8"]))
        net.nodes.append(helper.make_node("MaxPool", ["head_8"], ["head_16"], kernel_shape=[2, 2], strides=[2, 2]))
        size = models.SPEC.imgsz
        model = net.model(
            [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, *size])],
            [
                helper.make_tensor_value_info(
                    f"head_{s}", TensorProto.FLOAT, [1, models.FIELDS, size[0] // s, size[1] // s]
                )
                for s in (8, 16)
            ],
            metadata={"trtpose": models.SPEC.to_json()},
        )
        path = tmp_path / "x.onnx"
        onnx.save(model, str(path))
        data = np.random.default_rng(3).random((1, 3, *size), np.float32)
        options = ort.SessionOptions()
        options.add_session_config_entry("session.disable_quant_qdq", "1")
        head, coarse = ort.InferenceSession(str(path), options).run(None, {"images": data})
        engine = Engine(path, device="cpu", conf=0.0, iou=1.0, max_det=1000)
        scores = np.sort(engine.infer(data)[0].scores)

        def wanted(values: Any) -> Any:
            fields = values.reshape(2, -1, values.shape[2] * values.shape[3])
            return (1 / (1 + np.exp(-fields[:, 4])) / (1 + np.exp(-fields[:, 5]))).reshape(-1)

        expected = np.sort(np.concatenate([wanted(head), wanted(coarse)]))[-len(scores) :]
        assert len(scores) > 100
        np.testing.assert_allclose(scores, expected, atol=0.02)  # one step of the inputs is 0.011


# --- The command ------------------------------------------------------------------------------------------------------


def test_command(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output, report = tmp_path / "o.onnx", tmp_path / "r.md"
    status = main(
        [
            "quantize",
            str(folder / "small.onnx"),
            "--calib",
            str(folder / "pictures"),
            "-o",
            str(output),
            "--report",
            str(report),
            "--report",
            str(tmp_path / "r.json"),
            "--max-drop",
            "100",
            "--no-cache",
        ]
    )
    printed = capsys.readouterr()
    assert status == 0, printed.err
    assert printed.err == ""
    assert f"wrote {output}" in printed.out
    assert "15 of 17 convolutions in INT8, ranges by percentile" in printed.out
    assert "# small.onnx in INT8" in report.read_text()
    assert json.loads((tmp_path / "r.json").read_text())["kind"] == "agreement"
    assert main(["info", str(output)]) == 0


def test_command_that_loses_too_much(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status = main(
        [
            "quantize",
            str(folder / "small.onnx"),
            "--calib",
            str(folder / "pictures"),
            "-o",
            str(tmp_path / "o.onnx"),
            "--max-drop",
            "0",
            "--keep",
            "elan.*",
            "res.*",
            "spp.*",
            "neck.*",
            "down",
            "deep.*",
            "--no-cache",
        ]
    )
    printed = capsys.readouterr()
    assert status == 1
    assert "error: " in printed.err
    assert "more than 0" in printed.err


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        ([], 2, "--calib"),
        (["--calib", "nowhere"], 1, "no such folder"),
        (["--calib", "{pictures}", "--method", "mean"], 2, "mean"),
        (["--calib", "{pictures}", "--max-drop", "many"], 2, "not a number of points"),
        (["--calib", "{pictures}", "--report", "r.pdf"], 1, "a report ends in"),
        (["--calib", "{pictures}", "--no-int8"], 1, "leaves nothing to do"),
        (["--calib", "{pictures}", "--imgsz", "0"], 2, "not a size"),
        (["--calib", "{pictures}", "--count", "0"], 2, "whole number"),
    ],
)
def test_command_errors(
    options: list[str], status: int, message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [option.format(pictures=folder / "pictures") for option in options]
    try:
        found = main(["quantize", str(folder / "small.onnx"), *given])
    except SystemExit as error:
        found = int(error.code or 0)
    assert found == status
    assert message in capsys.readouterr().err


def test_command_with_annotations(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """AP of the demo network, and the table of its groups, fewer than usual to save time."""
    monkeypatch.setattr(search, "MAX_GROUPS", 12)
    status = main(
        [
            "quantize",
            str(DATA / "demo.onnx"),
            "--calib",
            str(DATA / "demo"),
            "-o",
            str(tmp_path / "o.onnx"),
            "--annotations",
            str(DATA / "demo" / "annotations.json"),
            "--max-drop",
            "100",
            "--no-cache",
            "--limit",
            "4",
            "--report",
            str(tmp_path / "r.json"),
        ]
    )
    assert status == 0, capsys.readouterr().err
    data = json.loads((tmp_path / "r.json").read_text())
    assert data["kind"] == "AP"
    assert data["measured_on"] == "4 annotated pictures"
    assert len(data["groups"]) > 3
    assert all(group["loss"] is not None for group in data["groups"])


def test_everything_is_told(folder: Path, tmp_path: Path) -> None:
    stages: dict[str, list[tuple[int, int]]] = {}
    quantize(
        folder / "small.onnx",
        folder / "pictures",
        output=tmp_path / "o.onnx",
        cache=False,
        measure=False,
        progress=lambda stage, done, total: stages.setdefault(stage, []).append((done, total)),
    )
    assert stages == {"calibrating": [(n, 6) for n in range(1, 7)]}
