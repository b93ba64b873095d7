# SPDX-License-Identifier: Apache-2.0
"""``trtpose build`` with stand-ins for TensorRT 8.6, 10 and 11 and for the driver: each branch for a version runs."""

from __future__ import annotations

import ctypes
import json
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import fake_tensorrt
import trtpose
from onnx_models import spec_fields, write_model
from trtpose import cli
from trtpose.build import driver as drivers
from trtpose.build import engine_file, messages, monitor, tensorrt_api
from trtpose.build.timing_cache import TimingCache, default_path
from trtpose.errors import BudgetError, DeviceError, InputError, ModelError

GPU = drivers.Device(0, "NVIDIA RTX A2000", "8.6", 6 << 30)
SECOND = drivers.Device(1, "NVIDIA T4", "7.5", 16 << 30)
MODERN = ("10", "11")
EVERY = ("8", "10", "11")


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("TRTPOSE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch, cache: Path) -> Callable[..., Any]:
    """Install a version of the stand-in and GPUs; returns the module."""
    del cache

    def install(version: str, *devices: drivers.Device) -> Any:
        module = fake_tensorrt.make(version)
        monkeypatch.setitem(sys.modules, "tensorrt", module)
        found = drivers.Driver(devices or (GPU,), library=None)
        monkeypatch.setattr(drivers, "query", lambda: found)
        return module

    return install


@pytest.fixture
def ctrl_c() -> Iterator[Callable[[], None]]:
    """Sends the signal of Ctrl-C to the main thread."""
    # Where the suite runs in the background the signal is ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    main = threading.main_thread().ident
    assert main is not None
    yield lambda: signal.pthread_kill(main, signal.SIGINT)
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Any batch, any size; three convolutions, of which the last is the head."""
    folder = tmp_path_factory.mktemp("model")
    rng = np.random.default_rng(0)
    nodes: list[Any] = []
    weights: list[Any] = []
    last = "images"
    for index, (outputs, inputs) in enumerate(((8, 3), (8, 8), (36, 8))):
        head = index == 2
        name, result = ("head.0", "head_8") if head else (f"model.{index}", f"x{index}")
        kernel = rng.normal(0, 0.1, (outputs, inputs, 2, 2)).astype(np.float32)
        weights += [numpy_helper.from_array(kernel, f"w{index}")]
        weights += [numpy_helper.from_array(np.zeros(outputs, np.float32), f"b{index}")]
        inner = [last, f"w{index}", f"b{index}"]
        nodes += [helper.make_node("Conv", inner, [result], name=f"{name}/Conv", strides=[2, 2])]
        if not head:
            nodes += [helper.make_node("Relu", [result], [f"{result}r"], name=f"{name}/Relu")]
        last = f"{result}r"
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "net",
        [value("images", TensorProto.FLOAT, ["n", 3, "h", "w"])],
        [value("head_8", TensorProto.FLOAT, ["n", 36, "h/8", "w/8"])],
        weights,
    )
    net = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    spec = spec_fields("heads", keypoints=4, strides=[8], anchors=[[[10, 13], [30, 30]]], outputs=["head_8"])
    net.metadata_props.add(key="trtpose", value=json.dumps(spec))
    net.metadata_props.add(key="license", value="a licence")
    onnx.save(net, str(folder / "net.onnx"))
    return folder / "net.onnx"


def quantised(model: Path, target: Path, scale_type: Any = np.float32, zero: bool = True) -> Path:
    """The first two convolutions between Q/DQ pairs."""
    net = onnx.load(str(model))
    graph = net.graph
    nodes: list[Any] = []
    graph.initializer.append(numpy_helper.from_array(np.array(0.02, scale_type), "scale"))
    graph.initializer.append(numpy_helper.from_array(np.array(0, np.int8), "zero"))
    tail = ["scale", "zero"] if zero else ["scale"]
    for node in graph.node:
        if node.op_type == "Conv" and not node.name.startswith("head."):
            for at in (0, 1):
                source = node.input[at]
                for kind, suffix in (("QuantizeLinear", "_q"), ("DequantizeLinear", "_dq")):
                    nodes.append(
                        helper.make_node(kind, [source, *tail], [node.input[at] + suffix], name=source + suffix)
                    )
                    source = node.input[at] + suffix
                node.input[at] = source
        nodes.append(node)
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(kept)
    net.opset_import[0].version = 19
    onnx.save(net, str(target))
    return target


def asked_of(path: Path) -> dict[str, Any]:
    """What the stand-in was asked for, from its "plan"."""
    return json.loads(engine_file.read(path).plan()[28:])


# --- What every version is asked --------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", EVERY)
def test_fp32(version: str, use: Any, model: Path, tmp_path: Path) -> None:
    use(version)
    built = trtpose.build(model, tmp_path / "x.engine", precision="fp32")
    asked = asked_of(built.path)
    assert asked["flags"] == []  # TF32 is not FP32
    assert (asked["pools"], asked["profiles"], asked["opt_level"], asked["aux_streams"]) == ({}, [], 3, 0)
    assert asked["previews"] == (["PROFILE_SHARING_0806"] if version == "8" else [])
    assert asked["sources"] == (None if version == "11" else 0b11000)  # without cuBLAS and cuDNN
    assert built.runtime == "tensorrt"
    assert built.version == fake_tensorrt.VERSIONS[version]
    assert built.network.convolutions == built.engine.convolutions == {"fp32": 3}
    engine = built.header["trtpose_engine"]
    assert engine["device"] == {"name": GPU.name, "compute_capability": "8.6"}
    assert engine["compute_capabilities"] == []
    assert engine["memory"]["activations"] == 50 << 20
    assert engine["memory"]["weights"] == (12345 if version == "11" else 4 * (4 * (8 * 3 + 8 * 8 + 36 * 8) + 52))


@pytest.mark.parametrize("version", EVERY)
def test_tf32_on_request(version: str, use: Any, model: Path, tmp_path: Path) -> None:
    use(version)
    assert asked_of(trtpose.build(model, tmp_path / "x.engine", precision="fp32", tf32=True).path)["flags"] == ["TF32"]


@pytest.mark.parametrize("version", MODERN)
def test_fp16_is_in_the_graph(version: str, use: Any, model: Path, tmp_path: Path) -> None:
    use(version)
    built = trtpose.build(model, tmp_path / "x.engine", precision="fp16")
    asked = asked_of(built.path)
    assert asked["flags"] == []
    assert [entry[:2] for entry in asked["convolutions"]] == [["HALF", "HALF"]] * 2 + [["FLOAT", "FLOAT"]]
    assert built.network.convolutions == built.engine.convolutions == {"fp32": 1, "fp16": 2}
    engine = built.header["trtpose_engine"]
    assert [entry["dtype"] for entry in engine["inputs"] + engine["outputs"]] == ["float32", "float32"]


def test_fp16_by_flags_on_8(use: Any, model: Path, tmp_path: Path) -> None:
    use("8")
    built = trtpose.build(model, tmp_path / "x.engine", precision="fp16")
    asked = asked_of(built.path)
    assert asked["flags"] == ["FP16", "OBEY_PRECISION_CONSTRAINTS"]
    assert asked["pinned"] == ["head.0/Conv"]
    assert {tuple(entry[:2]) for entry in asked["convolutions"]} == {("FLOAT", "FLOAT")}  # an FP32 graph
    assert built.network.convolutions == {"fp32": 1, "fp16": 2}


def test_keep_on_8(use: Any, model: Path, tmp_path: Path) -> None:
    use("8")
    built = trtpose.build(model, tmp_path / "x.engine", precision="fp16", keep=["model.0/R*"])
    assert asked_of(built.path)["pinned"] == ["model.0/Relu", "head.0/Conv"]


@pytest.mark.parametrize("version", EVERY)
def test_int8(version: str, use: Any, model: Path, tmp_path: Path) -> None:
    use(version)
    source = quantised(model, tmp_path / "qdq.onnx")
    built = trtpose.build(source, tmp_path / "x.engine", precision="int8")
    asked = asked_of(built.path)
    assert built.network.convolutions["int8"] == built.engine.convolutions["int8"] == 2
    if version == "8":
        assert asked["flags"] == ["FP16", "INT8", "OBEY_PRECISION_CONSTRAINTS"]
        assert asked["pinned"] == ["head.0/Conv"]
    else:
        assert asked["flags"] == []
        assert [entry[:2] for entry in asked["convolutions"]][:2] == [["HALF", "HALF"]] * 2  # FP16 scales


def test_8_is_given_weights_as_floats(use: Any, model: Path, tmp_path: Path) -> None:
    """Stored as INT8, as trtpose quantize does, they get back a pair of their own."""
    from trtpose.build import onnx_model

    use("8")
    net = onnx.load(str(quantised(model, tmp_path / "qdq.onnx")))
    onnx_model.store_weights(net, as_int8=True)
    assert len([node for node in net.graph.node if node.op_type == "QuantizeLinear"]) == 2
    onnx.save(net, str(tmp_path / "stored.onnx"))
    asked = asked_of(trtpose.build(tmp_path / "stored.onnx", tmp_path / "x.engine", precision="int8").path)
    assert len(asked["quantized"]) == 4
    use("10")
    asked = asked_of(trtpose.build(tmp_path / "qdq.onnx", tmp_path / "x.engine", precision="int8").path)
    assert len(asked["quantized"]) == 2


@pytest.mark.parametrize(
    ("scale", "zero", "words"), [(np.float16, True, "FP16 scale"), (np.float32, False, "no zero point")]
)
def test_pairs_that_8_misreads(scale: Any, zero: bool, words: str, use: Any, model: Path, tmp_path: Path) -> None:
    use("8")
    source = quantised(model, tmp_path / "qdq.onnx", scale, zero)
    with pytest.raises(ModelError, match=words) as caught:
        trtpose.build(source, tmp_path / "x.engine", precision="int8")
    assert "trtpose quantize" in str(caught.value)
    assert not (tmp_path / "x.engine").exists()


@pytest.mark.parametrize("version", EVERY)
def test_ranges_memory_and_effort(version: str, use: Any, model: Path, tmp_path: Path) -> None:
    use(version)
    built = trtpose.build(
        model,
        tmp_path / "x.engine",
        precision="fp16",
        batch="1:2:4",
        imgsz=((64, 96), (64, 96), (128, 192)),
        vram_budget="2GiB",
        opt_level=1,
    )
    asked = asked_of(built.path)
    assert asked["profiles"] == [{"images": [[1, 3, 64, 96], [2, 3, 64, 96], [4, 3, 128, 192]]}]
    assert asked["pools"] == {"WORKSPACE": 512 << 20, "TACTIC_DRAM": 1536 << 20}
    assert asked["opt_level"] == 1
    engine = built.header["trtpose_engine"]
    profile = {"min": [1, 3, 64, 96], "opt": [2, 3, 64, 96], "max": [4, 3, 128, 192]}
    assert engine["profiles"] == [{"images": profile}]
    assert engine["inputs"][0]["shape"] == [-1, 3, -1, -1]
    assert (built.header["batch"], built.header["imgsz"]) == (4, [64, 96])
    named = trtpose.build(
        model, tmp_path / "y.engine", precision="fp32", workspace="64MiB", tactic_memory=1 << 30, batch=3
    )
    assert asked_of(named.path)["pools"] == {"WORKSPACE": 64 << 20, "TACTIC_DRAM": 1 << 30}
    assert named.header["trtpose_engine"]["inputs"][0]["shape"] == [3, 3, 64, 96]


def test_one_open_dimension(use: Any, model: Path, tmp_path: Path) -> None:
    use("10")
    built = trtpose.build(model, tmp_path / "x.engine", precision="fp32", batch=(1, 1, 4))
    assert asked_of(built.path)["profiles"] == [{"images": [[1, 3, 64, 96], [1, 3, 64, 96], [4, 3, 64, 96]]}]
    assert built.header["trtpose_engine"]["inputs"][0]["shape"] == [-1, 3, 64, 96]


# --- Compatibility ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", EVERY)
def test_compatible_engines(version: str, use: Any, model: Path, tmp_path: Path) -> None:
    use(version)
    built = trtpose.build(
        model, tmp_path / "x.engine", precision="fp32", hardware_compatible="ampere_plus", version_compatible=True
    )
    asked = asked_of(built.path)
    assert (asked["flags"], asked["hardware"]) == (["VERSION_COMPATIBLE"], "AMPERE_PLUS")
    engine = built.header["trtpose_engine"]
    assert (engine["hardware_compatibility"], engine["version_compatible"]) == ("ampere_plus", True)


def test_what_8_does_not_have(use: Any, model: Path, tmp_path: Path) -> None:
    use("8")
    for options, words in (
        ({"weight_streaming": True}, "TensorRT 10 or newer"),
        ({"hardware_compatible": "same_compute_capability"}, "ampere_plus"),
        ({"compute_capability": "8.6"}, "--runtime rtx"),
    ):
        with pytest.raises(InputError, match=words):
            trtpose.build(model, tmp_path / "x.engine", precision="fp32", **options)
    assert list(tmp_path.glob("*engine*")) == []


@pytest.mark.parametrize("version", MODERN)
def test_weight_streaming(version: str, use: Any, model: Path, tmp_path: Path) -> None:
    use(version)
    built = trtpose.build(model, tmp_path / "x.engine", precision="fp32", weight_streaming=True)
    assert asked_of(built.path)["flags"] == ["WEIGHT_STREAMING"]
    assert built.header["trtpose_engine"]["weight_streaming"] is True


@pytest.mark.parametrize("version", MODERN)
def test_nms_in_the_engine(
    version: str, use: Any, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "plugin.so").touch()
    monkeypatch.setenv("TRTPOSE_PLUGIN", str(tmp_path / "plugin.so"))
    module = use(version)
    built = trtpose.build(model, tmp_path / "x.engine", precision="fp16", nms_in_engine=True, conf=0.4, max_det=20)
    assert module.told["plugins"] == [str(tmp_path / "plugin.so")]
    engine = built.header["trtpose_engine"]
    assert engine["plugins"] == ["trtpose_decode_nms/1"]
    assert [entry["name"] for entry in engine["outputs"]] == ["num_dets", "boxes", "scores", "classes", "keypoints"]
    assert engine["outputs"][4]["shape"] == [1, 20, 4, 3]
    assert (built.spec.extra["nms"]["conf"], built.spec.outputs[0]) == (0.4, "num_dets")


# --- Devices and versions ---------------------------------------------------------------------------------------------


def test_the_device_asked_for(use: Any, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use("10", GPU, SECOND)
    current: list[tuple[int, bool]] = []
    monkeypatch.setattr(
        drivers.Driver,
        "make_current",
        lambda _, index: current.append((index, threading.current_thread() is threading.main_thread())),
    )
    built = trtpose.build(model, tmp_path / "x.engine", precision="fp32", device="cuda:1")
    assert built.header["trtpose_engine"]["device"]["name"] == SECOND.name
    assert current == [(1, False)]  # in the thread that builds
    with pytest.raises(DeviceError, match=r"cuda:2: there are cuda:0 \(NVIDIA RTX A2000\), cuda:1"):
        trtpose.build(model, tmp_path / "y.engine", precision="fp32", device="cuda:2")
    with pytest.raises(InputError, match="cpu"):
        trtpose.build(model, tmp_path / "y.engine", precision="fp32", device="cpu")


def test_too_old(use: Any, model: Path, tmp_path: Path) -> None:
    use("8").__version__ = "8.5.3.1"
    with pytest.raises(DeviceError, match=r"8\.6 is the oldest"):
        trtpose.build(model, tmp_path / "x.engine", precision="fp32")


def test_a_library_that_does_not_start(use: Any, model: Path, tmp_path: Path) -> None:
    use("10").told["works"] = False
    with pytest.raises(DeviceError, match=r"TensorRT 10.13.3.9 does not start \(CUDA initialization failure"):
        trtpose.build(model, tmp_path / "x.engine", precision="fp32")


def test_default_runtime(use: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    use("10")
    here, nowhere = drivers.query(), drivers.Driver((), "no NVIDIA driver is installed")
    assert tensorrt_api.choose(None, here) == ("tensorrt", "")
    assert tensorrt_api.choose("rtx", here) == ("rtx", "")
    assert tensorrt_api.choose(None, nowhere) == (
        "rtx",
        "building for TensorRT for RTX: no NVIDIA driver is installed",
    )
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    assert tensorrt_api.choose(None, here) == (
        "rtx",
        "building for TensorRT for RTX: the package tensorrt is not installed",
    )
    with pytest.raises(DeviceError, match=r'pip install "trtpose\[tensorrt\]"'):
        tensorrt_api.open_library("tensorrt", here)


def test_nothing_of_tensorrt_is_touched_without_a_driver(
    use: Any, monkeypatch: pytest.MonkeyPatch, model: Path, tmp_path: Path
) -> None:
    module = use("10")
    module.Builder = None  # calling it would be a TypeError
    monkeypatch.setattr(drivers, "query", lambda: drivers.Driver((), "no NVIDIA driver is installed"))
    with pytest.raises(DeviceError, match=r"here no NVIDIA driver is installed.*--runtime rtx"):
        trtpose.build(model, tmp_path / "x.engine", precision="fp32", runtime="tensorrt")


class _Cuda:
    """The few functions of ``libcuda`` that are called; writes through ``ctypes.byref`` as the real ones do."""

    def __init__(self, count: int = 1, init: int = 0) -> None:
        self.count, self.init, self.calls = count, init, []

    def cuInit(self, flags: int) -> int:
        assert flags == 0
        return self.init

    def cuDeviceGetCount(self, count: Any) -> int:
        count._obj.value = self.count
        return 0

    def cuDeviceGet(self, device: Any, index: int) -> int:
        device._obj.value = 40 + index
        return 0

    def cuDeviceGetName(self, name: Any, size: int, device: Any) -> int:
        assert size == 256
        name.value = f"GPU {device.value}".encode()
        return 0

    def cuDeviceGetAttribute(self, value: Any, attribute: int, device: Any) -> int:
        assert device.value >= 40
        value._obj.value = {75: 8, 76: 9}[attribute]
        return 0

    def cuDeviceTotalMem_v2(self, size: Any, device: Any) -> int:
        assert device.value >= 40
        size._obj.value = 8 << 30
        return 0

    def cuDevicePrimaryCtxRetain(self, context: Any, device: Any) -> int:
        context._obj.value = 1000 + device.value
        return 0

    def cuCtxSetCurrent(self, context: Any) -> int:
        self.calls.append(context.value)
        return 0 if context.value == 1041 else 201


def test_the_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = _Cuda(2)
    monkeypatch.setattr(ctypes, "CDLL", lambda _: cuda)
    driver = drivers.query()
    assert [(d.index, d.name, d.compute_capability, d.memory) for d in driver.devices] == [
        (0, "GPU 40", "8.9", 8 << 30),
        (1, "GPU 41", "8.9", 8 << 30),
    ]
    driver.make_current(1)
    assert cuda.calls == [1041]
    with pytest.raises(DeviceError, match=r"cuda:0 cannot be used \(CUDA error 201\)"):
        driver.make_current(0)


def test_no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    for stand_in, words in ((_Cuda(0), "finds no GPU"), (_Cuda(1, 100), "error 100")):
        monkeypatch.setattr(ctypes, "CDLL", lambda _, cuda=stand_in: cuda)
        driver = drivers.query()
        assert driver.devices == ()
        assert words in driver.problem

    def missing(_: str) -> Any:
        raise OSError("cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert "no NVIDIA driver is installed" in drivers.query().problem
    assert drivers.select(drivers.query(), None) is None
    with pytest.raises(DeviceError, match="cuda:0: no NVIDIA driver"):
        drivers.select(drivers.query(), "cuda:0")


# --- What goes wrong --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", EVERY)
def test_a_refused_node_is_named(version: str, use: Any, model: Path, tmp_path: Path) -> None:
    use(version).told["refuse"] = "Relu"
    with pytest.raises(ModelError) as caught:
        trtpose.build(model, tmp_path / "x.engine", precision="fp32")
    text = str(caught.value)
    assert f"refuses node model.0/Relu{'' if version == '8' else ' (Relu)'}: No importer registered" in text
    assert "\n" not in text
    assert not (tmp_path / "x.engine").exists()


@pytest.mark.parametrize("version", EVERY)
def test_a_failed_build(version: str, use: Any, model: Path, tmp_path: Path) -> None:
    told = use(version).told
    told["fail"] = (
        "IBuilder::buildSerializedNetwork: Error Code 10: Internal Error (Could not find any implementation for node "
        "model.0/Conv.)"
    )
    with pytest.raises(
        ModelError, match=r"cannot build it: Could not find any implementation for node model\.0/Conv; try"
    ):
        trtpose.build(model, tmp_path / "x.engine", precision="fp32")
    told["fail"] = "[defaultAllocator.cpp::allocate::31] Error Code 1: Cuda Runtime (out of memory)"
    with pytest.raises(BudgetError, match=r"not enough free memory .*Cuda Runtime \(out of memory\).*--workspace"):
        trtpose.build(model, tmp_path / "x.engine", precision="fp32")
    assert list(tmp_path.glob("*engine*")) == []


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            "IBuilder::buildSerializedNetwork: Error Code 1: Myelin ([pass.cpp:337: check_op] Cannot compile operation "
            "'/a/MatMul' for Turing (SM75): FP32 GEMM is not supported)",
            "Cannot compile operation '/a/MatMul' for Turing (SM75): FP32 GEMM is not supported",
        ),
        (
            "IBuilder::buildSerializedNetwork: Error Code 6: API Usage Error (Unable to load library: lib.so.1: no "
            "such file In Impl at /_src/common/dl.cpp:12)",
            "Unable to load library: lib.so.1: no such file",
        ),
        (
            "2: [optimizer.cpp::validate::3331] Error Code 2: Internal Error (Assertion engine != nullptr failed. )",
            "Assertion engine != nullptr failed",
        ),
        (
            "Assertion failed: shiftIsAllZeros(zeroPoint): Non-zero zero point is not supported. Please set something.",
            "Non-zero zero point is not supported",
        ),
        ("[ModelImporter.cpp:140] bad\nnode", "bad node"),
    ],
)
def test_what_libraries_say_in_one_sentence(said: str, told: str) -> None:
    assert messages.first_sentence(said) == told


@pytest.mark.parametrize("version", EVERY)
def test_an_engine_that_is_not_what_was_asked(version: str, use: Any, model: Path, tmp_path: Path) -> None:
    use(version).told["convolutions"] = "Float"
    with pytest.raises(ModelError, match=r"fp16 was asked, but of the 3 convolutions of the engine 3 fp32 \(100%\)"):
        trtpose.build(model, tmp_path / "x.engine", precision="fp16")
    assert list(tmp_path.glob("*engine*")) == []


@pytest.mark.parametrize("version", MODERN)
def test_an_engine_that_does_not_tell(version: str, use: Any, model: Path, tmp_path: Path) -> None:
    use(version).told["convolutions"] = "Unknown"
    with pytest.raises(KeyError):
        _ = fake_tensorrt.DataType["Unknown"]
    built = trtpose.build(model, tmp_path / "x.engine", precision="fp16")
    assert built.engine is None
    assert built.header["trtpose_engine"]["layers"] == dict(built.network.layers)
    assert any("does not tell" in line for line in built.report())


def test_an_engine_over_the_budget(use: Any, model: Path, tmp_path: Path) -> None:
    use("10").told["activations"] = 3 << 30
    with pytest.raises(BudgetError, match="3072 MiB for intermediate tensors, the budget is 2048 MiB"):
        trtpose.build(model, tmp_path / "x.engine", precision="fp32", vram_budget="2GiB")
    with pytest.raises(BudgetError, match="weights alone"):
        trtpose.build(model, tmp_path / "x.engine", precision="fp32", vram_budget=100)
    assert list(tmp_path.glob("*engine*")) == []


@pytest.mark.parametrize("version", EVERY)
def test_interrupted(version: str, use: Any, model: Path, tmp_path: Path, ctrl_c: Callable[[], None]) -> None:
    """Ctrl-C reaches the main thread while the builder runs in another."""
    module = use(version)
    lines: list[str] = []
    steps: list[int] = []

    def run() -> None:
        steps.append(1)
        if len(steps) == 1:
            ctrl_c()
            time.sleep(0.1)  # for the main thread to see it

    module.told["run"] = run
    with pytest.raises(KeyboardInterrupt):
        trtpose.build(model, tmp_path / "x.engine", precision="fp32", report=lines.append)
    assert list(tmp_path.glob("*engine*")) == []
    assert not [thread for thread in threading.enumerate() if thread.name == "trtpose-build"]
    # 8.6 has no way to be stopped: it goes on to its end, and what it built is dropped.
    assert len(steps) == (3 if version == "8" else 1)
    assert lines == (["TensorRT 8.6.1.6 cannot be interrupted; stopping when it comes back"] if version == "8" else [])


def test_leaving_at_once(use: Any, model: Path, tmp_path: Path, ctrl_c: Callable[[], None]) -> None:
    """A second Ctrl-C does not wait for a library that cannot be stopped."""
    module = use("8")
    go_on = threading.Event()
    lines: list[str] = []

    def run() -> None:
        if not go_on.is_set():
            for _ in range(2):
                ctrl_c()
                time.sleep(0.1)  # for the main thread to see it
            assert go_on.wait(60)

    module.told["run"] = run
    with pytest.raises(KeyboardInterrupt):
        trtpose.build(model, tmp_path / "x.engine", precision="fp32", report=lines.append)
    (thread,) = (thread for thread in threading.enumerate() if thread.name == "trtpose-build")
    go_on.set()
    thread.join(60)
    assert len(lines) == 1
    assert list(tmp_path.glob("*engine*")) == []


def test_terminated(use: Any, model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    module = use("10")
    main = threading.main_thread().ident
    assert main is not None

    def run() -> None:
        module.told["run"] = None
        signal.pthread_kill(main, signal.SIGTERM)
        time.sleep(0.1)  # for the main thread to see it

    module.told["run"] = run
    with pytest.raises(SystemExit) as stop:
        cli.main(["build", str(model), "-o", str(tmp_path / "x.engine"), "--fp32"])
    assert stop.value.code == 143
    assert "wrote" not in capfd.readouterr().out
    assert list(tmp_path.glob("*engine*")) == []


def test_progress(use: Any, model: Path, tmp_path: Path) -> None:
    use("10")
    seen: list[tuple[str, float]] = []
    trtpose.build(model, tmp_path / "x.engine", precision="fp32", progress=lambda *entry: seen.append(entry))
    assert [name for name, _ in seen] == ["Building engine"] * 3
    assert [round(done, 3) for _, done in seen] == [0.333, 0.667, 1.0]


def test_phases_within_phases() -> None:
    phases = monitor.Phases()
    phases.start("all", None, 2)
    phases.start("part", "all", 4)
    phases.step("part", 1)
    assert phases.done() == 0.25
    phases.finish("part")
    phases.step("all", 0)
    assert phases.done() == 0.5
    phases.step("unknown", 3)
    phases.start("all", "all", 0)  # its own parent, and no steps: as good as none
    assert phases.done() == 0.0


def test_progress_that_fails(use: Any, model: Path, tmp_path: Path) -> None:
    use("10")

    def report(_: str, __: float) -> None:
        raise OSError("the terminal has gone")

    with pytest.raises(OSError, match="the terminal has gone"):
        trtpose.build(model, tmp_path / "x.engine", precision="fp32", progress=report)
    assert list(tmp_path.glob("*engine*")) == []


# --- Timing caches ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", EVERY)
def test_timings_are_kept(version: str, use: Any, cache: Path, model: Path, tmp_path: Path) -> None:
    use(version)
    trtpose.build(model, tmp_path / "x.engine", precision="fp32")
    number = fake_tensorrt.VERSIONS[version]
    path = cache / "timing" / f"tensorrt-{number}-nvidia-rtx-a2000-8.6.cache"
    assert path == default_path(number, GPU.name, GPU.compute_capability)
    assert path.read_bytes() == f"{number}\ntiming of 5 layers".encode()
    path.write_bytes(path.read_bytes() + b"\nof another build")
    trtpose.build(model, tmp_path / "x.engine", precision="fp32")
    assert path.read_bytes().split(b"\n")[1:] == [b"of another build", b"timing of 5 layers"]
    path.write_bytes(b"damaged")
    trtpose.build(model, tmp_path / "x.engine", precision="fp32")
    assert path.read_bytes() == f"{number}\ntiming of 5 layers".encode()
    assert {entry.name for entry in path.parent.iterdir()} == {path.name, path.name + ".lock"}


def test_builds_at_the_same_time_lose_no_timings(use: Any, tmp_path: Path) -> None:
    module = use("10")
    path = tmp_path / "timings"

    def one(number: int) -> None:
        config = module.Builder(module.ILogger()).create_builder_config()
        timings = TimingCache(path)
        timings.attach(config)
        config.get_timing_cache().lines.add(b"build %d" % number)
        timings.keep(config)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(path.read_bytes().split(b"\n")[1:]) == {b"build %d" % number for number in range(16)}


def test_timing_cache_by_choice(use: Any, cache: Path, model: Path, tmp_path: Path) -> None:
    use("11")
    trtpose.build(model, tmp_path / "x.engine", precision="fp32", timing_cache="none")
    assert not cache.exists()
    trtpose.build(model, tmp_path / "x.engine", precision="fp32", timing_cache=tmp_path / "mine" / "cache")
    assert (tmp_path / "mine" / "cache").is_file()
    assert not cache.exists()


def test_timings_that_cannot_be_kept(use: Any, model: Path, tmp_path: Path) -> None:
    use("10")
    (tmp_path / "file").write_text("")
    lines: list[str] = []
    built = trtpose.build(
        model, tmp_path / "x.engine", precision="fp32", timing_cache=tmp_path / "file" / "cache", report=lines.append
    )
    assert built.path.is_file()
    assert any("the timings are not kept" in line for line in lines)


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from trtpose._files import cache_folder

    monkeypatch.delenv("TRTPOSE_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "trtpose"
    monkeypatch.setenv("TRTPOSE_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"


# --- The command ------------------------------------------------------------------------------------------------------


def test_the_command(use: Any, model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    use("10")
    target = tmp_path / "x.engine"
    status = cli.main(["build", str(model), "-o", str(target), "--fp16", "--hardware-compatible", "--opt-level", "2"])
    out, err = capfd.readouterr()
    assert (status, err) == (0, "")  # no progress bar where there is no terminal
    assert out.splitlines()[:5] == [
        "TensorRT 10.13.3.9, for NVIDIA RTX A2000 (compute capability 8.6)",
        "fp16, batch 1, 64x96 pixels",
        "network: convolutions 1 fp32 (33%), 2 fp16 (67%); all layers 1 fp32 (20%), 4 fp16 (80%)",
        "engine: convolutions 1 fp32 (33%), 2 fp16 (67%); all layers 1 fp32 (33%), 2 fp16 (67%)",
        "device memory: weights 0 MiB, intermediate tensors 50 MiB",
    ]
    assert out.splitlines()[5].startswith(f"wrote {target} (0.0 MB) in ")
    assert asked_of(target)["hardware"] == "AMPERE_PLUS"


def test_check_runs_the_engine(
    use: Any, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    import trtpose.check

    use("10")
    calls: list[tuple[Any, ...]] = []

    class Agreement:
        passed = False

    def check(*args: Any, **options: Any) -> Any:
        calls.append((*args, options))
        return Agreement

    monkeypatch.setattr(trtpose.check, "check", check)
    monkeypatch.setattr(trtpose.check, "table", lambda _: "the table")
    target = tmp_path / "x.engine"
    arguments = ["build", str(model), "-o", str(target), "--fp32", "--check", "--images", str(tmp_path)]
    assert cli.main(arguments) == 1
    assert calls == [(str(model), target, str(tmp_path), {"spec": None, "device": "auto"})]
    assert capfd.readouterr().out.splitlines()[-1] == "the table"
    Agreement.passed = True
    assert cli.main(arguments[:-2]) == 0
    assert Path(calls[1][2]).name == "demo"  # the packaged pictures


def test_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    from trtpose.commands.console import Progress

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    progress = Progress()
    progress.share("Timing", 0.5)
    progress.share("Timing", 0.25)
    assert (progress._bar.n, progress._bar.desc) == (0.5, "Timing")
    progress.close()
    progress.share("late", 1.0)
    assert terminal.getvalue()


def test_models_of_others_are_described(use: Any, tmp_path: Path) -> None:
    """A model with a spec file beside it and no metadata at all."""
    use("10")
    source = write_model(tmp_path / "theirs.onnx", "decoded", batch=1)
    spec = spec_fields("decoded")
    (tmp_path / "theirs.json").write_text(json.dumps(spec))
    built = trtpose.build(source, precision="fp32")
    assert built.path == tmp_path / "theirs.engine"
    header = built.header
    assert header["trtpose"]["layout"] == "decoded"
    assert (header["task"], header["stride"], header["batch"], header["imgsz"]) == ("pose", 16, 1, [64, 96])
    assert (header["names"], header["kpt_shape"], header["end2end"]) == ({"0": "person"}, [3, 3], False)
    assert header["args"] == {"batch": 1, "dynamic": False, "half": False, "int8": False, "nms": False}
