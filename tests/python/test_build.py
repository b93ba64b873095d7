# SPDX-License-Identifier: Apache-2.0
"""``trtpose build`` with the real builder of TensorRT for RTX, which needs neither a GPU nor a driver."""

from __future__ import annotations

import json
import signal
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest

import rtx
import trtpose
from onnx_models import spec_fields, write_model
from trtpose import _core, cli
from trtpose.build import driver as drivers
from trtpose.build import engine_file, precision
from trtpose.build import recipe as recipes
from trtpose.errors import DeviceError, InputError, ModelError
from trtpose.spec import ModelSpec

DEMO = Path(trtpose.__file__).parent / "data" / "demo.onnx"
_DEMO = onnx.load(str(DEMO))
_SPEC = ModelSpec.from_json({e.key: e.value for e in _DEMO.metadata_props}["trtpose"], source=str(DEMO))
SIDE = _SPEC.imgsz[0]
CHANNELS = _SPEC.anchors_per_cell * _SPEC.fields
CONVOLUTIONS = sum(node.op_type == "Conv" for node in _DEMO.graph.node)
RECIPES = Path(__file__).resolve().parents[2] / "engines"
W6 = "yolov7-w6-pose"


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same on every machine: these tests are about building without one."""
    found = drivers.Driver((), "no NVIDIA driver is installed")
    monkeypatch.setattr(drivers, "query", lambda: found)


@pytest.fixture(scope="session")
def builder() -> Any:
    """TensorRT for RTX, or a skip with the reason."""
    return rtx.load()


@pytest.fixture(scope="session")
def w6(tmp_path_factory: pytest.TempPathFactory, builder: Any) -> Path:
    """The full-size network with random weights, any number of frames, 960 x 960."""
    del builder
    pytest.importorskip("torch", reason="torch is not installed; pip install trtpose[export]")
    from trtpose.export import export

    path = tmp_path_factory.mktemp("w6") / f"{W6}.onnx"
    export(W6, path, random=True, batch=None, verify=False)
    return path


def nothing_but(folder: Path, *names: str) -> bool:
    return {entry.name for entry in folder.iterdir()} == set(names)


# --- What is built ----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("builder")
def test_demo(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    sizes: dict[str, int] = {}
    for kind in ("fp32", "fp16"):
        target = tmp_path / f"{kind}.engine"
        assert cli.main(["build", str(DEMO), "-o", str(target), f"--{kind}"]) == 0
        out, err = capfd.readouterr()
        assert err == ""
        assert "building for TensorRT for RTX: no NVIDIA driver is installed" in out
        assert f"{kind}, batch 1, {SIDE}x{SIDE} pixels" in out
        found = engine_file.read(target)
        sizes[kind] = found.size
        assert (found.runtime, found.version) == ("rtx", found.engine["version"])
        convolutions = found.engine["convolutions"]
        assert (
            convolutions.get("fp16", 0) > 2 * convolutions["fp32"] if kind == "fp16" else set(convolutions) == {"fp32"}
        )
        assert f"{convolutions['fp32']} fp32" in out
    assert sizes["fp16"] < 0.85 * sizes["fp32"]  # much of the demo's plan is code


@pytest.mark.usefixtures("builder")
def test_ranges(tmp_path: Path) -> None:
    built = trtpose.build(DEMO, tmp_path / "x.engine", precision="fp16", batch="1:2:4", imgsz="128:224:320x256")
    profile = {"min": [1, 3, 128, 128], "opt": [2, 3, 224, 224], "max": [4, 3, 320, 256]}
    engine = built.header["trtpose_engine"]
    assert engine["profiles"] == [{"images": profile}]
    assert engine["inputs"] == [{"name": "images", "dtype": "float32", "shape": [-1, 3, -1, -1]}]
    assert [entry["name"] for entry in engine["outputs"]] == ["head_8", "head_16", "head_32"]
    assert {tuple(entry["shape"]) for entry in engine["outputs"]} == {(-1, CHANNELS, -1, -1)}
    assert str(built.shapes) == "batch 1:2:4, 128x128:224x224:320x256 pixels"


@pytest.mark.usefixtures("builder")
def test_fixed_shapes_are_in_the_graph(tmp_path: Path) -> None:
    built = trtpose.build(DEMO, tmp_path / "x.engine", precision="fp32", batch=2, imgsz=(160, 96))
    engine = built.header["trtpose_engine"]
    assert engine["inputs"][0]["shape"] == [2, 3, 160, 96]
    assert [entry["shape"] for entry in engine["outputs"]] == [[2, CHANNELS, 160 // s, 96 // s] for s in (8, 16, 32)]
    assert engine["profiles"] == [{"images": {key: [2, 3, 160, 96] for key in ("min", "opt", "max")}}]
    assert (built.header["batch"], built.header["imgsz"]) == (2, [160, 96])


def with_pairs(model: onnx.ModelProto) -> onnx.ModelProto:
    """Q/DQ pairs where trtpose quantize puts them, with a range that was not calibrated."""
    from trtpose.formats.onnx_graph import Graph
    from trtpose.quantize.insert import insert
    from trtpose.quantize.placement import place

    graph = Graph(model)
    placement = place(graph, ())
    return insert(graph, placement, dict.fromkeys(placement.scales, 6.0))


@pytest.mark.slow
def test_w6_pose(w6: Path, tmp_path: Path) -> None:
    """Full size; FP16 takes about half of FP32, as 95 % of the convolutions are in it, INT8 a third and more."""
    sizes: dict[str, int] = {}
    for kind in ("fp32", "fp16", "int8"):
        source = w6
        if kind == "int8":
            source = tmp_path / "int8.onnx"
            onnx.save(with_pairs(onnx.load(str(w6))), str(source))
        built = trtpose.build(source, tmp_path / f"{kind}.engine", precision=kind)
        sizes[kind] = built.size
        counts = built.network.convolutions
        assert sum(counts.values()) == 155  # as docs/export.md counts them
        assert counts.get(kind) == (155 if kind == "fp32" else 147)
        assert counts["fp32"] == (155 if kind == "fp32" else 8)
        assert built.header["trtpose_engine"]["profiles"][0]["images"]["max"] == [1, 3, 960, 960]
        built.path.unlink()
    assert 0.48 < sizes["fp16"] / sizes["fp32"] < 0.56
    assert 0.25 < sizes["int8"] / sizes["fp32"] < 0.4


@pytest.mark.usefixtures("builder")
def test_int8_from_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed; pip install trtpose[quantize]")
    from trtpose import quantize

    real = quantize.quantize
    calls: list[dict[str, Any]] = []

    def quick(*args: Any, **more: Any) -> Any:
        calls.append(more)
        return real(*args, **more, count=4, measure=False, cache=False)

    monkeypatch.setattr(quantize, "quantize", quick)
    seen: list[float] = []
    built = trtpose.build(
        DEMO,
        tmp_path / "x.engine",
        precision="int8",
        calib=DEMO.parent / "demo",
        keep=["/stem/stem.0/*"],
        progress=lambda _, done: seen.append(done),
    )
    counts = built.network.convolutions
    assert counts["int8"] > 30
    assert sum(counts.values()) == CONVOLUTIONS
    engine = built.header["trtpose_engine"]
    assert (engine["precision"], engine["convolutions"]["int8"]) == ("int8", counts["int8"])
    assert built.header["args"]["int8"] is True
    assert engine["inputs"][0] == {"name": "images", "dtype": "float32", "shape": [1, 3, SIDE, SIDE]}
    assert (calls[0]["imgsz"], calls[0]["keep"]) == ((SIDE, SIDE), ["/stem/stem.0/*"])
    assert all(0 <= done <= 1 for done in seen)
    assert nothing_but(tmp_path, "x.engine")


@pytest.mark.usefixtures("builder")
def test_int8_of_others(tmp_path: Path) -> None:
    """Weights as floats before a pair of their own, as other tools write them, are INT8 too."""
    from trtpose.build import onnx_model

    stored = with_pairs(onnx.load(str(DEMO)))
    floats = onnx.ModelProto.FromString(stored.SerializeToString())
    onnx_model.store_weights(floats, as_int8=False)
    kinds = [node.op_type for node in floats.graph.node]
    assert kinds.count("QuantizeLinear") > [node.op_type for node in stored.graph.node].count("QuantizeLinear")
    onnx.checker.check_model(floats, full_check=True)
    counts: list[Any] = []
    for name, model in (("stored", stored), ("floats", floats)):
        onnx.save(model, str(tmp_path / f"{name}.onnx"))
        counts.append(trtpose.build(tmp_path / f"{name}.onnx", precision="int8").network)
    assert counts[0] == counts[1]
    assert counts[0].convolutions["int8"] > 30

    def integers(model: onnx.ModelProto) -> list[bytes]:
        tensors = [onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer]
        return sorted(tensor.tobytes() for tensor in tensors if tensor.dtype == "int8" and tensor.ndim == 4)

    onnx_model.store_weights(floats, as_int8=True)
    assert integers(floats) == integers(stored)  # there and back, not one number has changed


@pytest.mark.usefixtures("builder")
@pytest.mark.parametrize("name", ["SMALL", "FOCUS", "SHUFFLE"])
@pytest.mark.parametrize("layout", ["heads", "decoded"])
@pytest.mark.parametrize("form", ["fixed", "batch", "open"])
def test_every_export(name: str, layout: str, form: str, tmp_path: Path) -> None:
    support = pytest.importorskip("export_support")
    from trtpose.export import export_network

    source = tmp_path / "net.onnx"
    network = support.make_network(getattr(support, name))
    export_network(
        network,
        source,
        imgsz=64,
        layout=layout,
        batch=None if form == "batch" else 1,
        dynamic=form == "open",
        verify=False,
    )
    options_ = (
        {} if form == "fixed" else {"batch": "1:2:4"} if form == "batch" else {"batch": "1:2:4", "imgsz": "32:64:64"}
    )
    built = trtpose.build(source, tmp_path / "x.engine", precision="fp16", **options_)
    assert built.spec.layout == layout
    assert built.size > 1000
    assert {entry["dtype"] for entry in built.header["trtpose_engine"]["outputs"]} == {"float32"}


@pytest.mark.shared
@pytest.mark.usefixtures("builder")
@pytest.mark.parametrize(
    "name", ["yolov7-w6-pose-eighth", "yolov5s6_kpts-narrow", "yolov5s6_kpts_ti_lite-narrow", "yolov7-lite-t-face5"]
)
def test_published_kinds(name: str, shared: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="torch is not installed; pip install trtpose[export]")
    from trtpose.export import export

    folder = "models" if name.endswith("face5") else "golden"
    source = tmp_path / "net.onnx"
    export(shared / folder / f"{name}.pt", source, imgsz=256, verify=False)
    for kind in ("fp32", "fp16"):
        assert trtpose.build(source, tmp_path / f"{kind}.engine", precision=kind).size > 1000


@pytest.mark.shared
@pytest.mark.usefixtures("builder")
def test_a_model_of_ultralytics(shared: Path, tmp_path: Path) -> None:
    """Static shape, its own metadata, no spec of ours."""
    source = shared / "models" / "yolo26n-pose-256.onnx"
    built = trtpose.build(source, tmp_path / "x.engine", precision="fp16")
    assert built.spec.layout == "channels_first"
    counts = built.network.convolutions
    assert counts["fp16"] > 10 * counts["fp32"]
    header = built.header
    assert header["description"].startswith("Ultralytics YOLO26n-pose")  # theirs stay
    assert (header["author"], header["license"][:8]) == ("Ultralytics", "AGPL-3.0")
    assert (header["names"], header["kpt_shape"], header["stride"]) == ({"0": "person"}, [17, 3], 32)
    assert (header["args"]["half"], header["args"]["int8"], header["end2end"]) == (True, False, False)
    assert header["trtpose"]["layout"] == "channels_first"


@pytest.mark.usefixtures("builder")
def test_what_rtx_is_for(tmp_path: Path) -> None:
    every = trtpose.build(DEMO, tmp_path / "all.engine", precision="fp16")
    assert every.header["trtpose_engine"]["compute_capabilities"][:3] == ["8.0", "8.6", "8.9"]
    assert every.header["trtpose_engine"]["device"] is None
    some = trtpose.build(DEMO, tmp_path / "some.engine", precision="fp16", compute_capability="8.9,8.6,8.9")
    assert some.header["trtpose_engine"]["compute_capabilities"] == ["8.6", "8.9"]
    for options_, words in (
        ({"compute_capability": "9.0"}, r"compute capability 9.0: TensorRT for RTX [\d.]+ builds for .*8.6"),
        ({"hardware_compatible": "ampere_plus"}, "--compute-capability"),
        ({"version_compatible": True}, "no version-compatible engines"),
        ({"timing_cache": "here"}, "times nothing"),
    ):
        with pytest.raises(InputError, match=words):
            trtpose.build(DEMO, tmp_path / "no.engine", precision="fp16", **options_)
    assert nothing_but(tmp_path, "all.engine", "some.engine")


def test_a_gpu_that_rtx_does_not_know(builder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    del builder
    found = drivers.Driver((drivers.Device(0, "NVIDIA H200", "9.0", 1 << 37),))
    monkeypatch.setattr(drivers, "query", lambda: found)
    lines: list[str] = []
    built = trtpose.build(DEMO, tmp_path / "x.engine", precision="fp16", runtime="rtx", report=lines.append)
    assert not built.runs_here
    assert lines[0].startswith(
        "the engine will not run here: NVIDIA H200 has compute capability 9.0, it is for 8.0, 8.6"
    )


@pytest.mark.usefixtures("builder")
def test_check_without_a_gpu(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["build", str(DEMO), "-o", str(tmp_path / "x.engine"), "--fp32", "--check"]) == 0
    assert "not compared: no GPU here can run the engine" in capfd.readouterr().out


# --- Precision --------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("builder")
def test_a_graph_that_is_not_what_was_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from trtpose.quantize import fp16

    def nothing(model: Any, **_: Any) -> Any:
        return fp16.Fp16Result(model, [], {})

    monkeypatch.setattr(fp16, "to_fp16", nothing)
    every = rf"fp16 was asked, but of the {CONVOLUTIONS} convolutions of the network {CONVOLUTIONS} fp32 \(100%\)"
    with pytest.raises(ModelError, match=every):
        trtpose.build(DEMO, tmp_path / "x.engine", precision="fp16")
    assert nothing_but(tmp_path)


@pytest.mark.usefixtures("builder")
def test_a_graph_that_is_fp16_already(tmp_path: Path) -> None:
    from trtpose.quantize.fp16 import to_fp16

    half = tmp_path / "half.onnx"
    onnx.save(to_fp16(onnx.load(str(DEMO))).model, str(half))
    first = trtpose.build(DEMO, tmp_path / "x.engine", precision="fp16")
    again = trtpose.build(half, tmp_path / "y.engine", precision="fp16")
    assert first.network == again.network
    half_of_them = again.network.convolutions["fp16"]
    assert CONVOLUTIONS > half_of_them > CONVOLUTIONS / 2
    with pytest.raises(
        ModelError, match=rf"fp32 was asked, but of the {CONVOLUTIONS} convolutions .* {half_of_them} fp16"
    ):
        trtpose.build(half, tmp_path / "z.engine", precision="fp32")


@pytest.mark.usefixtures("builder")
def test_keep(tmp_path: Path) -> None:
    plain = trtpose.build(DEMO, tmp_path / "x.engine", precision="fp16")
    kept = trtpose.build(DEMO, tmp_path / "y.engine", precision="fp16", keep=["/stem/*"])
    assert kept.network.convolutions["fp32"] > plain.network.convolutions["fp32"]


def test_shares_of_an_engine() -> None:
    """What inspectors of TensorRT 8 and 10 print, and what tells nothing."""

    def layer(kind: str, form: str, **more: Any) -> dict[str, Any]:
        return {
            "Name": kind,
            "LayerType": kind,
            "Inputs": [{"Name": "x", "Format/Datatype": form}],
            "Outputs": [],
            **more,
        }

    eight = [
        layer("Reformat", "Row major linear FP32"),
        layer("CaskConvolution", "Thirty-two wide channel vectorized row major Int8 format", Weights={"Type": "Int8"}),
        layer("CaskConvolution", "Channel major FP16 format where channel % 8 == 0", Weights={"Type": "Half"}),
        layer("PointWiseV2", "Row major linear FP16 format"),
        layer("CaskPooling", "Row major linear FP32"),
    ]
    shares = precision.of_engine(json.dumps({"Layers": eight}))
    assert shares is not None
    assert shares.convolutions == {"fp16": 1, "int8": 1}
    assert shares.layers == {"fp32": 1, "fp16": 2, "int8": 1}
    ten = [layer("conv", "Half"), layer("kgen", "Float"), layer("gemm", "Int8"), layer("kgen", "Int64"), "a name"]
    shares = precision.of_engine(json.dumps({"Layers": ten}))
    assert shares is not None
    assert (shares.convolutions, shares.source) == ({"fp16": 1, "int8": 1}, "engine")
    for text in ("", "[]", "{}", '{"Layers": ["conv1", "conv2"]}', '{"Layers": []}'):
        assert precision.of_engine(text) is None


@pytest.mark.parametrize(
    ("asked", "counts", "good"),
    [
        ("fp32", {"fp32": 5}, True),
        ("fp32", {"fp32": 5, "fp16": 1}, False),
        ("fp16", {"fp32": 3, "fp16": 3}, True),
        ("fp16", {"fp32": 4, "fp16": 3}, False),
        ("fp16", {"fp16": 8, "int8": 1}, False),
        ("int8", {"fp32": 3, "fp16": 3, "int8": 1}, True),
        ("int8", {"fp32": 3, "fp16": 3}, False),
        ("fp16", {}, True),
    ],
)
def test_what_counts_as_asked(asked: str, counts: dict[str, int], good: bool) -> None:
    shares = precision.Shares(counts, counts)
    if good:
        precision.verify(asked, shares, "x.onnx")
    else:
        with pytest.raises(ModelError, match=f"x.onnx: {asked} was asked, but"):
            precision.verify(asked, shares, "x.onnx")


@pytest.mark.shared
@pytest.mark.parametrize("kind", ["int8", "fp16", "fp32"])
def test_asymmetric_pairs_are_refused(
    kind: str, shared: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rtx.load()
    source = shared / "models" / "yolo26n-pose-256-qdq.onnx"
    assert cli.main(["build", str(source), "-o", str(tmp_path / "x.engine"), f"--{kind}"]) == 1
    out, err = capfd.readouterr()
    assert len(err.splitlines()) == 1
    if kind == "int8":
        assert "node /model.10/m/m.0/attn/Constant_1_output_0_DequantizeLinear (DequantizeLinear)" in err
        assert "quantise the original network with: trtpose quantize" in err
    else:
        assert f"its Q/DQ pairs make it INT8, and {kind} was asked" in err
    assert "wrote" not in out
    assert nothing_but(tmp_path)


@pytest.mark.shared
def test_what_the_parser_says_of_asymmetric_pairs(
    shared: Path, builder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were they not refused before: the parser's own words in one sentence."""
    from trtpose.build import onnx_model

    del builder
    monkeypatch.setattr(onnx_model, "refuse_unfit_pairs", lambda *_, **__: None)
    monkeypatch.setattr(onnx_model, "store_weights", lambda *_, **__: None)
    with pytest.raises(ModelError) as caught:
        trtpose.build(
            shared / "models" / "yolo26n-pose-256-qdq.onnx", tmp_path / "x.engine", precision="int8", keep=["*"]
        )
    text = str(caught.value)
    assert "refuses node /model.10/m/m.0/attn/Constant_1_output_0_DequantizeLinear (DequantizeLinear)" in text
    assert text.endswith("quantise the original network with: trtpose quantize")
    assert "\n" not in text


@pytest.mark.usefixtures("builder")
def test_an_unknown_operator_is_named(tmp_path: Path) -> None:
    source = write_model(tmp_path / "net.onnx", batch=1, metadata={"trtpose": json.dumps(spec_fields())})
    net = onnx.load(str(source))
    net.graph.node.append(onnx.helper.make_node("Curl", ["head_8"], ["curled"], name="a/Curl", domain="com.example"))
    net.opset_import.append(onnx.helper.make_opsetid("com.example", 1))
    net.graph.output[0].name = "curled"
    net.metadata_props[0].value = json.dumps(spec_fields(outputs=["curled", "head_16"]))
    onnx.save(net, str(source))
    with pytest.raises(ModelError, match=r"refuses node a/Curl \(Curl\): .*; TensorRT knows no such operator"):
        trtpose.build(source, precision="fp32")
    assert nothing_but(tmp_path, "net.onnx")


@pytest.mark.usefixtures("builder")
def test_biases_in_32_bits(tmp_path: Path) -> None:
    """As ONNX Runtime's quantisation writes them; TensorRT's parser refuses them."""
    from trtpose.build import onnx_model

    net = onnx.load(str(write_model(tmp_path / "net.onnx", batch=1)))
    made, tensor = onnx.helper.make_node, onnx.numpy_helper.from_array
    pairs: list[Any] = [
        made("QuantizeLinear", ["images", "s", "z"], ["iq"], name="iq"),
        made("DequantizeLinear", ["iq", "s", "z"], ["id"], name="id"),
    ]
    net.graph.initializer.extend([tensor(np.float32(1 / 127), "s"), tensor(np.int8(0), "z"), tensor(np.int32(0), "zb")])
    for stride in (8, 16):
        (bias,) = (t for t in net.graph.initializer if t.name == f"b{stride}")
        values = onnx.numpy_helper.to_array(bias)
        bias.CopyFrom(tensor(np.rint(values * 1000).astype(np.int32), bias.name))
        net.graph.initializer.append(tensor(np.float32(0.001), f"sb{stride}"))
        pairs += [
            made("QuantizeLinear", [f"w{stride}", "s", "z"], [f"wq{stride}"], name=f"wq{stride}"),
            made("DequantizeLinear", [f"wq{stride}", "s", "z"], [f"wd{stride}"], name=f"wd{stride}"),
            made("DequantizeLinear", [bias.name, f"sb{stride}", "zb"], [f"bd{stride}"], name=f"bd{stride}"),
        ]
    for node in net.graph.node:
        stride = node.output[0].removeprefix("head_")
        node.input[:] = ["id", f"wd{stride}", f"bd{stride}"]
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in (*pairs, *net.graph.node)]
    del net.graph.node[:]
    net.graph.node.extend(nodes)
    onnx.checker.check_model(net, full_check=True)
    with pytest.raises(AssertionError, match="type Int32 but must have type"):
        rtx.build(net.SerializeToString())
    onnx_model.store_weights(net, as_int8=True)
    assert len(rtx.build(net.SerializeToString())) > 1000
    (bias,) = (tensor for tensor in net.graph.initializer if tensor.name == "bd8")
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(bias), np.rint(values * 1000) * np.float32(0.001))


# --- What cannot be ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options_", "kind", "words"),
    [
        ({"precision": "fp8"}, InputError, "precision 'fp8' is not one of fp32, fp16, int8"),
        ({"runtime": "cuda"}, InputError, "runtime 'cuda' is not one of"),
        ({"precision": "int8"}, InputError, r"needs ranges.*--calib.*trtpose quantize"),
        ({"calib": "pictures"}, InputError, "--calib is for --int8, and fp16 was asked"),
        ({"batch": 0}, InputError, "batch 0: write a number from 1"),
        ({"batch": "4:1:8"}, InputError, "batch 4:1:8"),
        ({"batch": True}, InputError, "batch True"),
        ({"imgsz": "big"}, InputError, "imgsz big"),
        ({"imgsz": "320:160:640"}, InputError, "imgsz 320:160:640"),
        ({"imgsz": 100}, InputError, "multiples of its largest stride 32, such as 128x128"),
        ({"imgsz": (64, 64, 100)}, InputError, "multiples of its largest stride"),
        ({"opt_level": 6}, InputError, "opt_level 6"),
        ({"workspace": "much"}, InputError, "workspace 'much' is not a size"),
        ({"compute_capability": "86"}, InputError, "compute capability '86'"),
        ({"hardware_compatible": "all"}, InputError, "hardware_compatible 'all'"),
        ({"device": "cuda:0"}, DeviceError, "cuda:0: no NVIDIA driver"),
        ({"device": "gpu"}, InputError, "device 'gpu'"),
        ({"runtime": "tensorrt"}, DeviceError, "here no NVIDIA driver is installed"),
        ({"conf": 0.5}, InputError, "conf: thresholds are no part of an engine"),
        ({"nms_in_engine": True}, InputError, "has no plugins"),
        ({"vram_budget": "1MiB"}, trtpose.BudgetError, "weights alone take"),
    ],
    ids=str,
)
def test_impossible_options(
    options_: dict[str, Any], kind: type[Exception], words: str, builder: Any, tmp_path: Path
) -> None:
    del builder
    with pytest.raises(kind, match=words):
        trtpose.build(DEMO, tmp_path / "x.engine", **{"precision": "fp16", **options_})
    assert nothing_but(tmp_path)


@pytest.mark.usefixtures("builder")
def test_a_fixed_network_stays_as_it_is(tmp_path: Path) -> None:
    source = write_model(tmp_path / "net.onnx", batch=2, metadata={"trtpose": json.dumps(spec_fields())})
    with pytest.raises(InputError, match=r"takes 2 frames per call and no other number, batch 1:2:4 .*--dynamic-batch"):
        trtpose.build(source, precision="fp32", batch="1:2:4")
    with pytest.raises(InputError, match=r"takes pictures of 64x96 pixels .* only, imgsz 128x128 .*--dynamic"):
        trtpose.build(source, precision="fp32", imgsz=128)
    built = trtpose.build(source, precision="fp32", batch=2, imgsz="64x96")
    assert built.header["trtpose_engine"]["inputs"][0]["shape"] == [2, 3, 64, 96]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"absent\.onnx"):
        trtpose.build(tmp_path / "absent.onnx", precision="fp32")
    (tmp_path / "text.onnx").write_text("no model at all")
    with pytest.raises(ModelError, match=r"text\.onnx: not a readable ONNX"):
        trtpose.build(tmp_path / "text.onnx", precision="fp32")
    whole = DEMO.read_bytes()
    (tmp_path / "short.onnx").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match=r"short\.onnx"):
        trtpose.build(tmp_path / "short.onnx", precision="fp32")
    write_model(tmp_path / "bare.onnx", batch=1)
    with pytest.raises(ModelError, match=r"bare\.onnx.*--spec"):
        trtpose.build(tmp_path / "bare.onnx", precision="fp32")
    assert nothing_but(tmp_path, "text.onnx", "short.onnx", "bare.onnx")


@pytest.mark.usefixtures("builder")
def test_a_spec_by_hand(tmp_path: Path) -> None:
    source = write_model(tmp_path / "bare.onnx", batch=1)
    (tmp_path / "spec.json").write_text(json.dumps(spec_fields(name="by hand")))
    for spec in (tmp_path / "spec.json", spec_fields(name="by hand"), ModelSpec.from_dict(spec_fields(name="by hand"))):
        assert trtpose.build(source, precision="fp32", spec=spec).spec.name == "by hand"


@pytest.mark.usefixtures("builder")
def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        trtpose.build(DEMO, tmp_path / "absent" / "x.engine", precision="fp32")
    with pytest.raises(InputError, match="is a folder"):
        trtpose.build(DEMO, tmp_path, precision="fp32")
    source = write_model(tmp_path / "net.onnx", batch=1, metadata={"trtpose": json.dumps(spec_fields())})
    before = source.read_bytes()
    with pytest.raises(InputError, match="is the ONNX itself"):
        trtpose.build(source, source, precision="fp32")
    assert source.read_bytes() == before


def test_without_packages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt_rtx_bindings", None)
    with pytest.raises(DeviceError, match=r'tensorrt_rtx_cu13_bindings.*pip install "trtpose\[rtx\]"'):
        trtpose.build(DEMO, tmp_path / "x.engine", precision="fp32")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(DeviceError, match=r'onnx.*pip install "trtpose\[build\]"'):
        trtpose.build(DEMO, tmp_path / "x.engine", precision="fp32")
    assert nothing_but(tmp_path)


def test_nothing_is_imported_before_it_is_used() -> None:
    import subprocess

    code = (
        "import inspect, sys, trtpose; assert 'trtpose.build' not in sys.modules; build = trtpose.build; "
        "assert 'precision' in inspect.signature(build).parameters; "
        "assert not {'onnx', 'torch', 'tensorrt', 'tensorrt_rtx_bindings'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


# --- Stopping ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def ctrl_c() -> Iterator[Callable[[], None]]:
    """Sends the signal of Ctrl-C to the main thread."""
    # Where the suite runs in the background the signal is ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    main = threading.main_thread().ident
    assert main is not None
    yield lambda: signal.pthread_kill(main, signal.SIGINT)
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("builder")
def test_ctrl_c_stops_the_real_builder(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    ctrl_c: Callable[[], None],
    capfd: pytest.CaptureFixture[str],
) -> None:
    from trtpose.commands.console import Progress

    phases: list[str] = []

    def share(_: Any, phase: str, done: float) -> None:
        assert 0 <= done <= 1
        phases.append(phase)
        if len(phases) == 1:
            ctrl_c()
            time.sleep(0.2)  # for the main thread to see it

    monkeypatch.setattr(Progress, "share", share)
    assert cli.main(["build", str(DEMO), "-o", str(tmp_path / "x.engine"), "--fp32"]) == 130
    assert capfd.readouterr().err.splitlines()[-1] == "interrupted"
    assert nothing_but(tmp_path)
    stopped = len(phases)
    phases += ["not the first"]
    assert cli.main(["build", str(DEMO), "-o", str(tmp_path / "x.engine"), "--fp32"]) == 0
    assert len(phases) - stopped > 2 * stopped  # it did stop early


@pytest.mark.usefixtures("builder")
def test_an_old_engine_outlives_a_failed_build(tmp_path: Path) -> None:
    target = tmp_path / "x.engine"
    target.write_bytes(b"an engine")

    def fail(_: str, __: float) -> None:
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        trtpose.build(DEMO, target, precision="fp32", progress=fail)
    assert target.read_bytes() == b"an engine"
    assert nothing_but(tmp_path, "x.engine")


# --- Recipes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.stem)
def test_our_recipes(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    recipe = recipes.load_recipe(path)
    assert recipe.values["output"] == str(RECIPES / f"{path.stem}.engine")
    assert recipe.values["precision"] in path.stem
    assert Path(recipe.values["onnx"]).stem in path.stem
    readme = (RECIPES / "README.md").read_text()
    assert path.name.removeprefix("yolov7-w6-pose") in readme
    if not Path(recipe.values["onnx"]).exists():
        assert cli.main(["build", "--recipe", str(path)]) == 1
        assert f"trtpose export {recipe.values['export']} -o {recipe.values['onnx']}" in capfd.readouterr().err


@pytest.mark.slow
def test_a_recipe_builds(w6: Path, tmp_path: Path) -> None:
    """Of up to four frames per call, with limits on memory."""
    target, recipe = tmp_path / "x.engine", RECIPES / "yolov7-w6-pose-fp16-4gb.toml"
    assert cli.main(["build", str(w6), "-o", str(target), "--recipe", str(recipe), "-q"]) == 0
    engine = engine_file.read(target).engine
    assert (engine["precision"], engine["profiles"][0]["images"]["max"]) == ("fp16", [4, 3, 960, 960])


@pytest.mark.usefixtures("builder")
def test_the_command_line_wins(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_model(tmp_path / "net.onnx", metadata={"trtpose": json.dumps(spec_fields())})
    recipe = tmp_path / "net.toml"
    recipe.write_text('onnx = "net.onnx"\noutput = "recipe.engine"\nprecision = "fp16"\nbatch = 2\n')
    arguments = ["build", "--recipe", str(recipe), "--fp32"]  # two convolutions, both raw heads
    assert cli.main(arguments) == 0
    made = engine_file.read(tmp_path / "recipe.engine").engine
    assert (made["inputs"][0]["shape"], made["precision"]) == ([2, 3, 64, 96], "fp32")
    assert cli.main([*arguments, "--batch", "3", "-o", str(tmp_path / "mine.engine")]) == 0
    assert engine_file.read(tmp_path / "mine.engine").engine["inputs"][0]["shape"] == [3, 3, 64, 96]
    # With another ONNX the recipe's output does not fit.
    other = tmp_path / "other"
    other.mkdir()
    (other / "copy.onnx").write_bytes((tmp_path / "net.onnx").read_bytes())
    assert cli.main([*arguments, str(other / "copy.onnx")]) == 0
    assert nothing_but(other, "copy.onnx", "copy.engine")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('precison = "fp16"', "unknown key precison; known are batch"),
        ('precision = "fp8"', "precision = 'fp8': is not one of fp32, fp16, int8"),
        ("precision = 16", "precision = 16: is not one of"),
        ("batch = 1.5", "batch = 1.5: is not of the expected type"),
        ('batch = "4:2:1"', "batch = '4:2:1': batch 4:2:1: write a number"),
        ("tf32 = 1", "tf32 = 1: is neither true nor false"),
        ("opt_level = 9", "opt_level = 9: is not a whole number from 0 to 5"),
        ('workspace = "lots"', "workspace = 'lots': size 'lots' is not a size"),
        ("workspace = true", "workspace = True: is not a size"),
        ("spec = 3", "spec = 3: is not a text"),
        ("keep = 3", "keep = 3: is not a list of texts"),
        ('conf = "high"', "conf = 'high': is not a number"),
        ("max_det = 0", "max_det = 0: is not a whole number"),
        ("batch = ", "is not valid TOML"),
    ],
)
def test_recipes_that_cannot_be(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        recipes.load_recipe(path)
    assert f"{path}: {words}" in str(caught.value)


def test_recipes_on_python_3_10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """tomllib came with 3.11; before, the package tomli is the same."""
    (tmp_path / "r.toml").write_text("batch = 2")
    monkeypatch.setattr(recipes, "sys", SimpleNamespace(version_info=(3, 10)))
    monkeypatch.setitem(sys.modules, "tomli", pytest.importorskip("tomllib"))
    assert recipes.load_recipe(tmp_path / "r.toml").values == {"batch": 2}
    monkeypatch.setitem(sys.modules, "tomli", None)
    with pytest.raises(DeviceError, match=r'tomli.*pip install "trtpose\[build\]"'):
        recipes.load_recipe(tmp_path / "r.toml")


def test_recipes_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read the recipe"):
        recipes.load_recipe(tmp_path / "absent.toml")
    (tmp_path / "r.toml").write_bytes(b'onnx = "\xff"')
    with pytest.raises(InputError, match="is not valid TOML"):
        recipes.load_recipe(tmp_path / "r.toml")


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--fp16"], 1, "no ONNX is named"),
        ([str(DEMO)], 1, "name the precision: --fp32, --fp16 or --int8"),
        ([str(DEMO), "--fp16", "--int8"], 2, "not allowed with"),
        ([str(DEMO), "--fp16", "--batch", "x"], 2, "batch x: write a number"),
        ([str(DEMO), "--fp16", "--images", "x"], 1, "--images is for --check"),
        ([str(DEMO), "--fp16", "--opt-level", "7"], 2, "invalid choice"),
    ],
)
def test_wrong_usage(arguments: list[str], status: int, words: str, capfd: pytest.CaptureFixture[str]) -> None:
    if status == 2:
        with pytest.raises(SystemExit) as stop:
            cli.main(["build", *arguments])
        assert stop.value.code == 2
    else:
        assert cli.main(["build", *arguments]) == status
    assert words in capfd.readouterr().err


# --- Engine files -----------------------------------------------------------------------------------------------------


def plan(size: int = 1000) -> bytes:
    return b"ftrt" + bytes(20) + bytes([10, 13, 3, 9]) + bytes(range(256)) * (size // 256)


HEADER: dict[str, Any] = {
    "names": {"0": "person ü"},
    "trtpose": spec_fields(),
    "trtpose_engine": {
        "format": 1,
        "runtime": "tensorrt",
        "version": "10.13.3.9",
        "precision": "fp16",
        "layers": {"fp16": 3},
        "inputs": [{"name": "images", "dtype": "float32", "shape": [1, 3, 64, 96]}],
        "outputs": [
            {"name": f"head_{stride}", "dtype": "float32", "shape": [1, 30, 64 // stride, 96 // stride]}
            for stride in (8, 16)
        ],
        "profiles": [{"images": {"min": [1, 3, 64, 96], "opt": [1, 3, 64, 96], "max": [1, 3, 64, 96]}}],
    },
}


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "x.engine"
    size = engine_file.write(path, HEADER, plan())
    assert path.stat().st_size == size
    data = path.read_bytes()
    length = struct.unpack("<i", data[:4])[0]
    assert data[4 : 4 + length].decode("ascii")
    assert (4 + length) % 64 == 0  # where it can be read in place
    assert data[4 + length :] == plan()
    found = engine_file.read(path)
    assert found.plan() == plan()
    assert (found.runtime, found.version, found.offset) == ("tensorrt", "10.13.3.9", 4 + length)
    assert found.spec == ModelSpec.from_dict(spec_fields())
    written = found.engine.pop("plan")
    assert written["bytes"] == len(plan())
    assert {**found.header, "trtpose_engine": {**found.engine, "plan": 0}} == {
        **HEADER,
        "trtpose_engine": {**HEADER["trtpose_engine"], "plan": 0},
    }


def test_the_engine_reads_what_is_written(tmp_path: Path) -> None:
    """The reader in C++ and the writer in Python agree."""
    path = tmp_path / "x.engine"
    engine_file.write(path, HEADER, plan())
    facts = _core.read_model_file(str(path))
    assert facts["kind"] == "engine"
    assert facts["inputs"] == HEADER["trtpose_engine"]["inputs"]
    assert facts["outputs"] == HEADER["trtpose_engine"]["outputs"]
    assert json.loads(_core.find_spec(str(path), "")[0])["layout"] == "heads"
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    for read in (engine_file.read, lambda path: _core.read_model_file(str(path))):
        with pytest.raises(ModelError, match="is damaged"):
            read(path)


@pytest.mark.usefixtures("builder")
def test_the_engine_reads_what_is_built(tmp_path: Path) -> None:
    built = trtpose.build(DEMO, tmp_path / "x.engine", precision="fp16", batch="1:1:2")
    facts = _core.read_model_file(str(built.path))
    assert facts["inputs"] == built.header["trtpose_engine"]["inputs"]
    assert facts["outputs"] == built.header["trtpose_engine"]["outputs"]
    text, _ = _core.find_spec(str(built.path), "")
    assert ModelSpec.from_json(text) == built.spec


def test_files_of_others(tmp_path: Path) -> None:
    path = tmp_path / "x.engine"
    path.write_bytes(plan())
    bare = engine_file.read(path)
    assert (dict(bare.header), bare.offset, bare.size, bare.spec) == ({}, 0, len(plan()), None)
    theirs = json.dumps({"task": "pose", "names": {"0": "person"}}).encode()
    path.write_bytes(struct.pack("<i", len(theirs)) + theirs + b"vtrt" + plan()[4:])
    found = engine_file.read(path)
    assert (found.header["task"], found.runtime, found.engine) == ("pose", "rtx", {})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda _: b"", "is not an engine file"),
        (lambda _: b"abc", "is not an engine file"),
        (lambda _: b"\x08\x07" * 50, "is not an engine file"),
        (lambda data: data[:40], "ends within its header"),
        (lambda data: data[:4] + b"[" + data[5:], "is not an engine file"),
        (lambda data: data[:-10], "bytes where .* were written"),
        (lambda data: data + b"more", "bytes where .* were written"),
        (lambda data: data[:-1] + b"\x00", "wrong checksum"),
        (lambda data: data.replace(b"ftrt", b"FTRT"), "no TensorRT plan follows"),
        (lambda data: data.replace(b'"format": 1', b'"format": 2'), "of format 2, this trtpose reads format 1"),
        (lambda data: data.replace(b'"crc32": ', b'"crc99": '), "description of the plan is damaged"),
        (lambda data: data.replace(b'"tensorrt"', b'"tensorRT"'), "of different kinds"),
    ],
)
def test_damaged_files(change: Callable[[bytes], bytes], words: str, tmp_path: Path) -> None:
    path = tmp_path / "x.engine"
    engine_file.write(path, HEADER, plan())
    changed = change(path.read_bytes())
    assert changed != path.read_bytes()
    path.write_bytes(changed)
    with pytest.raises(ModelError, match=words) as caught:
        engine_file.read(path)
    assert str(caught.value).startswith(str(path))


def test_absent_files(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        engine_file.read(tmp_path / "absent.engine")
    with pytest.raises(InputError, match="does not exist"):
        engine_file.write(tmp_path / "absent" / "x.engine", HEADER, plan())
    path = tmp_path / "x.engine"
    engine_file.write(path, HEADER, plan())
    found = engine_file.read(path)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(ModelError, match="has become shorter"):
        found.plan()
    with pytest.raises(ModelError, match="not a JSON object"):
        _ = replace(found, header={"trtpose": 3}).spec
