# SPDX-License-Identifier: Apache-2.0
"""Which library builds, on which GPU, with stand-ins for TensorRT 8.6, 10 and 11."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import trtpose
from build_support import GPU, SECOND
from trtpose import _machine
from trtpose.build import driver as drivers
from trtpose.build import tensorrt_api
from trtpose.errors import DeviceError, InputError


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
    for cuda, command in (("13.0", r"pip install tensorrt$"), ("12.4", "pip install tensorrt-cu12, which")):
        card = _machine.Gpu(0, "Card", "9.0", 8 << 30, None)
        monkeypatch.setattr(tensorrt_api, "gpus", lambda cuda=cuda, card=card: _machine.Gpus("1", cuda, (card,)))
        with pytest.raises(DeviceError, match=command):
            tensorrt_api.open_library("tensorrt", here)


def test_nothing_of_tensorrt_is_touched_without_a_driver(
    use: Any, monkeypatch: pytest.MonkeyPatch, model: Path, tmp_path: Path
) -> None:
    module = use("10")
    module.Builder = None  # calling it would be a TypeError
    monkeypatch.setattr(drivers, "query", lambda: drivers.Driver((), "no NVIDIA driver is installed"))
    with pytest.raises(DeviceError, match=r"here no NVIDIA driver is installed.*--runtime rtx"):
        trtpose.build(model, tmp_path / "x.engine", precision="fp32", runtime="tensorrt")
