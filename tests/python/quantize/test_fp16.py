# SPDX-License-Identifier: Apache-2.0
"""FP16 graphs: what stays in FP32, what is kept of the file, and the look at ranges and drift."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import openvino as ov
import pytest
from onnx import TensorProto, helper, numpy_helper

import quantize_models as models
import rtx
import trtpose
from trtpose import Engine
from trtpose.cli import main
from trtpose.errors import InputError
from trtpose.quantize import quantize
from trtpose.quantize.fp16 import converted, simulate, to_fp16
from trtpose.quantize.half import convert

DATA = Path(trtpose.__file__).parent / "data"
FLOAT, HALF = TensorProto.FLOAT, TensorProto.FLOAT16


def _types(model: onnx.ModelProto) -> dict[str, int]:
    onnx.checker.check_model(model, full_check=True)
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    types = {t.name: t.data_type for t in inferred.initializer}
    for entry in [*inferred.input, *inferred.value_info, *inferred.output]:
        types[entry.name] = entry.type.tensor_type.elem_type
    return types


def _run(model: onnx.ModelProto, data: Any) -> list[Any]:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {model.graph.input[0].name: data})


def _openvino(model: onnx.ModelProto, data: Any) -> list[Any]:
    compiled = ov.Core().compile_model(
        ov.Core().read_model(model.SerializeToString()), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    found = compiled(data)
    return [found[i] for i in range(len(compiled.outputs))]


def _input(seed: int, count: int = 1) -> Any:
    return np.random.default_rng(seed).random((count, 3, *models.SPEC.imgsz), np.float32)


def _net(build: Any, *, opset: int = 17, shape: Any = (1, 3, 16, 16)) -> onnx.ModelProto:
    """A network of ``build(net)``, which gives the name of its output."""
    net = models.Net()
    out = build(net)
    return net.model(
        [helper.make_tensor_value_info("images", FLOAT, list(shape))],
        [helper.make_tensor_value_info(out, FLOAT, ["n", "c", "h", "w"])],
        opset,
    )


@pytest.mark.parametrize(
    "options", [{}, {"batch": "n"}, {"batch": "n", "dynamic": True}, {"opset": 13}, {"resize": "linear"}]
)
def test_what_is_kept_of_the_file(options: dict[str, Any]) -> None:
    before = models.small(**options)
    untouched = before.SerializeToString(deterministic=True)
    after = to_fp16(before).model
    assert before.SerializeToString(deterministic=True) == untouched
    assert list(after.graph.input) == list(before.graph.input)
    assert list(after.graph.output) == list(before.graph.output)
    assert after.opset_import == before.opset_import
    assert after.metadata_props == before.metadata_props
    assert len(after.SerializeToString()) < 0.7 * len(untouched)
    _types(after)


def test_all_but_the_raw_heads_is_fp16() -> None:
    result = to_fp16(models.small())
    types = _types(result.model)
    assert result.kept == ["head.0", "head.1"]
    assert set(result.reasons.values()) == {"raw head"}
    assert result.share == {"fp32": 2, "fp16": len(models.small().graph.node) - 2, "int8": 0}
    for node in result.model.graph.node:
        if node.op_type == "Conv":
            expected = FLOAT if node.name in result.kept else HALF
            assert {types[name] for name in [*node.input, *node.output]} == {expected}, node.name


def test_heads_in_fp16_where_asked() -> None:
    result = to_fp16(models.small(), keep_heads=False)
    assert result.kept == []
    types = _types(result.model)
    assert {types[name] for name in models.SPEC.outputs} == {FLOAT}
    for node in result.model.graph.node:
        if node.op_type == "Conv":
            assert types[node.input[0]] == HALF


def test_kept_nodes_and_no_cast_between_them() -> None:
    result = to_fp16(models.small(), keep=["elan*", "stem.0"])
    types = _types(result.model)
    kept = {"stem.0", "elan.a", "elan.a.sigmoid", "elan.a.silu", "elan.b", "elan.c", "elan.out", "elan.out.silu"}
    assert kept <= set(result.kept)
    for node in result.model.graph.node:
        if node.name in kept:
            assert types[node.output[0]] == FLOAT
    casts = [node for node in result.model.graph.node if node.op_type == "Cast"]
    # Into stem.0 and out; into elan and out to what reads it; into the heads.
    assert len(casts) <= 8
    by_output = {name: node for node in result.model.graph.node for name in node.output}
    assert by_output["elan.c:0"].input[0] == "elan.b.silu:0"


@pytest.mark.parametrize("runner", [_run, _openvino])
def test_numbers_are_near(runner: Any, seed: int) -> None:
    model = models.small()
    for a, b in zip(_run(model, _input(seed)), runner(to_fp16(model).model, _input(seed)), strict=True):
        # 11 digits in some 20 layers; a head in FP16 alone would give 5e-4.
        assert np.abs(a - b).max() < 5e-3 * np.abs(a).max()
        assert np.abs(a - b).max() > 0
        assert b.dtype == np.float32


def test_heads_have_all_digits(seed: int) -> None:
    """Values between those that FP16 can hold: nothing was rounded on the way out."""
    for head in _run(to_fp16(models.small()).model, _input(seed)):
        assert (head.astype(np.float16).astype(np.float32) == head).mean() < 0.01


def test_converting_twice_changes_nothing() -> None:
    once = to_fp16(models.small()).model
    twice = to_fp16(once)
    assert twice.model.SerializeToString(deterministic=True) == once.SerializeToString(deterministic=True)
    assert twice.kept == ["head.0", "head.1"]


@pytest.mark.parametrize("options", [{}, {"batch": "n", "dynamic": True}])
def test_tensorrt_reads_it_as_half(options: dict[str, Any]) -> None:
    trt = rtx.load()
    model = to_fp16(models.small(**options)).model
    shapes = tuple((n, 3, *models.SPEC.imgsz) for n in (1, 2, 4))
    assert len(rtx.build(model.SerializeToString(), {"images": shapes} if options else None)) > 10_000
    log = trt.Logger(trt.Logger.ERROR)
    network = trt.Builder(log).create_network(0)
    assert trt.OnnxParser(network, log).parse(model.SerializeToString())
    layers = [network.get_layer(i) for i in range(network.num_layers)]
    found = [layer.get_output(0).dtype for layer in layers if layer.type == trt.LayerType.CONVOLUTION]
    assert found.count(trt.DataType.HALF) == 15
    assert found.count(trt.DataType.FLOAT) == 2
    assert network.get_output(0).dtype == trt.DataType.FLOAT


def test_scales_of_resize_and_shape_arithmetic_stay_exact() -> None:
    """Sizes above 2048 are not all numbers of FP16."""

    def build(net: models.Net) -> str:
        x = net.conv("images", 3, 4, "a", act="relu")
        size = net.op("Cast", [net.op("Shape", [x], "shape")], "float", to=FLOAT)
        odd = net.op("Div", [net.op("Mul", [size, net.constant("k", np.float32(2049))], "times"), "k"], "same")
        one = net.op("Div", [odd, size], "one")
        two = net.op("Mul", [one, net.constant("two", np.array([1, 1, 2, 2], np.float32))], "two")
        y = net.op("Resize", [x, "", two], "up", mode="nearest")
        return net.conv(y, 4, 4, "head")

    model = _net(build)
    result = to_fp16(model)
    types = _types(result.model)
    for node in result.model.graph.node:
        if node.name in ("times", "same", "one", "two"):
            assert types[node.output[0]] == FLOAT
        if node.op_type == "Resize":
            assert types[node.output[0]] == HALF
            assert types[node.input[2]] == FLOAT
    data = np.random.default_rng(0).random((1, 3, 16, 16), np.float32)
    (a,), (b,) = _run(model, data), _run(result.model, data)
    assert a.shape == b.shape == (1, 4, 32, 32)


@pytest.mark.parametrize(
    ("value", "why"), [(1e6, "a constant of 1e+06"), (1e-7, "a constant of 1e-07"), (np.inf, "a constant of inf")]
)
def test_constants_that_fp16_does_not_hold(value: float, why: str) -> None:
    def build(net: models.Net) -> str:
        x = net.conv("images", 3, 4, "a", act="relu")
        x = net.op("Min" if value > 1e30 else "Add", [x, net.constant("limit", np.float32(value))], "odd")
        return net.conv(net.conv(x, 4, 4, "b"), 4, 4, "head")

    result = to_fp16(_net(build))
    assert result.reasons == {"odd": why, "head": "raw head"}
    assert _types(result.model)["odd:0"] == FLOAT


def test_decoded_pixels_and_fixed_sums_belong_to_the_heads() -> None:
    """FP16 holds every half pixel above 512; an expectation over bins has a convolution without a bias."""

    def build(net: models.Net) -> str:
        x = net.conv("images", 3, 8, "body", act="silu")
        x = net.conv(x, 8, 16, "last")
        x = net.op("Softmax", [x], "bins", axis=1)
        weights = net.constant("fixed.w", np.arange(16, dtype=np.float32).reshape(1, 16, 1, 1))
        x = net.op("Conv", [x, weights], "fixed")
        return net.op("Mul", [x, net.constant("stride", np.float32(32))], "pixels")

    result = to_fp16(_net(build))
    assert set(result.kept) == {"last", "bins", "fixed", "pixels"}
    assert result.reasons["pixels"] == "raw head"


def test_operators_of_other_domains_and_subgraphs_keep_their_types() -> None:
    def build(net: models.Net) -> str:
        x = net.conv("images", 3, 4, "a", act="relu")
        inner = [
            helper.make_graph(
                [helper.make_node(kind, [x], [f"{name}:out"])],
                name,
                [],
                [helper.make_tensor_value_info(f"{name}:out", FLOAT, None)],
            )
            for kind, name in (("Identity", "then"), ("Neg", "else"))
        ]
        choice = net.constant("choice", np.array(False))
        x = net.op("If", [choice], "if", then_branch=inner[0], else_branch=inner[1])
        return net.conv(net.conv(x, 4, 4, "b", act="relu"), 4, 4, "head")

    model = _net(build)
    result = to_fp16(model)
    assert result.reasons["if"] == "has subgraphs"
    assert _types(result.model)["if:0"] == FLOAT
    data = np.random.default_rng(0).random((1, 3, 16, 16), np.float32)
    np.testing.assert_allclose(_run(model, data)[0], _run(result.model, data)[0], atol=0.01)
    own = models.small()
    node = next(n for n in own.graph.node if n.name == "stem.0")
    node.domain = "somebody"
    own.opset_import.append(helper.make_opsetid("somebody", 1))
    assert to_fp16(own).reasons["stem.0"] == "not an operator of ONNX"


def test_constant_nodes_and_needless_casts_are_cleared_away() -> None:
    def build(net: models.Net) -> str:
        x = net.conv("images", 3, 4, "a", act="relu")
        x = net.op("Cast", [x], "idle", to=FLOAT)
        value = numpy_helper.from_array(np.array([2.5], np.float32))
        x = net.op("Mul", [x, net.op("Constant", [], "constant", value=value)], "times")
        return net.conv(net.conv(x, 4, 4, "b"), 4, 4, "head")

    model = _net(build)
    result = to_fp16(model)
    assert [n.op_type for n in result.model.graph.node].count("Cast") == 2  # in, and before the head
    assert "Constant" not in {n.op_type for n in result.model.graph.node}
    data = np.random.default_rng(0).random((1, 3, 16, 16), np.float32)
    np.testing.assert_allclose(_run(model, data)[0], _run(result.model, data)[0], atol=0.02)


def test_tiny_scales_of_quantised_weights_are_fitted() -> None:
    """A scale below 2**-17 would lose its digits in FP16, and below 2**-25 be zero."""

    def build(net: models.Net) -> str:
        x = net.op(
            "QuantizeLinear", ["images", net.constant("s", np.float32(1 / 127)), net.constant("z", np.int8(0))], "q"
        )
        x = net.op("DequantizeLinear", [x, "s", "z"], "dq")
        scales = np.array([1e-2, 1e-5, 1e-6, 1e-9], np.float32)
        weights = np.random.default_rng(0).integers(-127, 128, (4, 3, 1, 1)).astype(np.int8)
        inner = [net.constant("w", weights), net.constant("w.s", scales), net.constant("w.z", np.zeros(4, np.int8))]
        w = net.op("DequantizeLinear", inner, "w.dq", axis=0)
        return net.conv(net.op("Conv", [x, w], "conv"), 4, 4, "head")

    model = _net(build)
    result = to_fp16(model).model
    constants = {t.name: numpy_helper.to_array(t) for t in result.graph.initializer}
    node = next(n for n in result.graph.node if n.name == "w.dq")
    integers, scales = (constants[name] for name in node.input[:2])
    assert scales.dtype == np.float16
    assert (scales > 0).all()
    before = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    exact = before["w"].reshape(4, 3) * before["w.s"].astype(np.float64)[:, None]
    fitted = integers.reshape(4, 3) * scales.astype(np.float64)[:, None]
    # Half a step of the fitted scale, or FP16's rounding of a scale that fits.
    assert (np.abs(exact - fitted) <= np.maximum(scales[:, None].astype(np.float64) / 2, np.abs(exact) * 2**-10)).all()


# --- The rounding of the check ----------------------------------------------------------------------------------------


def test_simulation_rounds_as_fp16_does(seed: int) -> None:
    """Against NumPy's float16, in both runtimes: a last bit may fall the other way, where the sums differ."""

    def build(net: models.Net) -> str:
        x = net.conv("images", 3, 8, "a", act="relu")
        return net.conv(x, 8, 8, "head")

    model = _net(build)
    data = np.random.default_rng(seed).random((1, 3, 16, 16), np.float32)
    weights = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}

    def half(values: Any) -> Any:
        return values.astype(np.float16).astype(np.float32)

    inner = (
        np.einsum("oi,nihw->nohw", half(weights["a.w"])[..., 0, 0], half(data)) + half(weights["a.b"])[:, None, None]
    )
    inner = half(np.maximum(inner, 0))
    expected = np.einsum("oi,nihw->nohw", weights["head.w"][..., 0, 0], inner) + weights["head.b"][:, None, None]
    plain = _run(model, data)[0]
    for runner in (_run, _openvino):
        found = runner(simulate(model), data)[0]
        error, drift = np.abs(found - expected), np.abs(plain - expected)
        assert error.mean() < 0.02 * drift.mean()
        assert drift.max() > 1e-4


def test_ranges_are_looked_at_and_what_is_at_risk_stays(tmp_path: Path) -> None:
    model = models.small()
    for tensor in model.graph.initializer:
        if tensor.name in ("res.0.w", "res.0.b"):
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * 20000, tensor.name))
        if tensor.name == "res.1.w":
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) / 20000, tensor.name))
    path = tmp_path / "x.onnx"
    onnx.save(model, str(path))
    pictures = models.write_pictures(tmp_path / "p", 5)
    made = convert(path, pictures)
    assert made.path == tmp_path / "x.fp16.onnx"
    report = made.report
    assert "res.0:0" in report.at_risk
    assert all(value > 65504 / 4 for value in report.at_risk.values())
    assert {"res.0", "res.0.silu", "res.1"} <= set(report.kept)
    types = _types(made.model)
    assert types["res.0:0"] == types["res.1:0"] == FLOAT
    assert types["elan.a:0"] == HALF
    assert any("kept in FP32 for its range: res.0:0" in line for line in report.lines())
    data = _input(1)
    for a, b in zip(_run(model, data), _run(made.model, data), strict=True):
        assert np.isfinite(b).all()
        assert np.abs(a - b).max() < 5e-3 * np.abs(a).max()
    # Without the look it overflows where FP16 is computed.
    assert max(report.at_risk.values()) > 65504 / 4
    assert set(converted(model)) > set(report.at_risk)


def test_drift_is_measured(tmp_path: Path) -> None:
    made = convert(DATA / "demo.onnx", DATA / "demo", output=tmp_path / "x.onnx")
    report = made.report
    assert report.kind == "agreement"
    assert report.half is not None
    assert report.loss is not None
    assert abs(report.loss) < 0.5  # points of similarity; INT8 loses some
    assert report.half.details["found"] == report.half.details["poses"] >= 4
    assert report.at_risk == {}
    assert 0 < report.largest[1] < 65504 / 4
    assert Engine(made.path, device="cpu").spec.name == "demo"


@pytest.mark.skipif(
    tuple(map(int, ort.__version__.split(".")[:2])) < (1, 30),
    reason="ONNX Runtime before 1.30 truncates where QuantizeLinear in FP16 has to round",
)
def test_fp16_around_int8_runs(tmp_path: Path) -> None:
    """The file for strongly typed TensorRT computes the same on a CPU, though not for its speed."""
    path = models.write_small(tmp_path / "x.onnx")
    pictures = models.write_pictures(tmp_path / "p", 4)
    one = quantize(path, pictures, output=tmp_path / "1.onnx", cache=False, measure=False).model
    two = quantize(path, pictures, output=tmp_path / "2.onnx", fp16=True, cache=False, measure=False).model
    _types(two)
    options = ort.SessionOptions()
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    data = _input(3)
    first, second = (
        ort.InferenceSession(m.SerializeToString(), options).run(None, {"images": data}) for m in (one, two)
    )
    for a, b in zip(first, second, strict=True):
        assert np.sqrt(((a - b) ** 2).mean()) < 0.03 * a.std()


@pytest.mark.parametrize("name", ["yolov7-lite-t-face5", "yolo26n-pose-256"])
def test_networks_of_others(name: str, shared: Path) -> None:
    model = onnx.load(str(shared / "models" / f"{name}.onnx"))
    result = to_fp16(model)
    onnx.checker.check_model(result.model, full_check=True)
    fixed = model.graph.input[0].type.tensor_type.shape.dim[2].dim_value
    size = fixed or 128
    data = np.random.default_rng(0).random((1, 3, size, size), np.float32)
    for a, b in zip(_run(model, data), _run(result.model, data), strict=True):
        assert np.abs(a - b).max() < 0.02 * np.abs(a).max()
    full = ((1, 3, size, size),) * 3
    assert len(rtx.build(result.model.SerializeToString(), None if fixed else {"images": full})) > 100_000


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = models.write_small(tmp_path / "x.onnx")
    pictures = models.write_pictures(tmp_path / "p", 4)
    assert main(["quantize", str(path), "--calib", str(pictures), "--fp16", "--no-int8"]) == 0
    printed = capsys.readouterr().out
    assert "largest number in FP16" in printed
    assert f"wrote {tmp_path / 'x.fp16.onnx'}" in printed
    assert main(["quantize", str(path), "--calib", str(pictures), "--fp16", "--no-measure", "--no-cache"]) == 0
    made = onnx.load(str(tmp_path / "x.int8.onnx"))
    assert made.opset_import[0].version == 19


def test_errors(tmp_path: Path) -> None:
    path = models.write_small(tmp_path / "x.onnx")
    pictures = models.write_pictures(tmp_path / "p", 4)
    with pytest.raises(InputError, match="would be overwritten"):
        convert(path, pictures, output=path)
    with pytest.raises(InputError, match="at least 4"):
        convert(path, pictures, count=2)
