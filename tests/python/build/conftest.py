# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the tests of ``trtpose.build``."""

from __future__ import annotations

import json
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import fake_tensorrt
import rtx
from build_support import GPU, W6
from onnx_models import spec_fields
from trtpose.build import driver as drivers


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """No GPU, whatever the machine has."""
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
