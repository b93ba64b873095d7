# SPDX-License-Identifier: Apache-2.0
"""TensorRT through its Python package: what there is to see without a GPU. The session itself is tested on the double,
in ``tests/emulation``."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path
from typing import Any

import pytest

import rtx
import trtpose
from onnx_models import write_model
from trtpose import _core
from trtpose.backends import tensorrt

ROOT = Path(__file__).resolve().parents[3]
BEFORE_11 = {
    "create_execution_context_without_device_memory",
    "device_memory_size",
    "get_device_memory_size_for_profile",
}
"""What TensorRT 8.6 and 10 have and TensorRT for RTX, which is an 11, has not."""


def all_names(package: Any) -> set[str]:
    """The names of a package, of its classes and of the classes in them."""
    names: set[str] = set()
    for name, member in vars(package).items():
        names.add(name)
        if isinstance(member, type):
            names.update(dir(member))
    return names


def test_the_names_that_are_called_are_tensorrts() -> None:
    real = all_names(rtx.load())
    source = (ROOT / "python/trtpose/backends/tensorrt.py").read_text(encoding="utf-8")
    called = set(
        re.findall(r"\b(?:self\._(?:engine|context|runtime|trt|config|cache)|engine|trt|config|cache)\.(\w+)", source)
    )
    called |= set(re.findall(r"hasattr\([^,]+, \"(\w+)\"\)", source))
    assert len(called) > 30
    assert called - real == BEFORE_11


def test_the_names_of_the_double_are_tensorrts() -> None:
    real = all_names(rtx.load())
    source = (ROOT / "tests/emulation/tensorrt/python_double.cpp").read_text(encoding="utf-8")
    bound = set(re.findall(r"(?:def|def_property|def_property_readonly|value)\(\s*\"(\w+)\"", source))
    bound |= set(re.findall(r"py::(?:class_|enum_)<[^>]+>(?: \w+)?\((?:m|logger), \"(\w+)\"", source))
    assert len(bound) > 40
    assert bound - real == BEFORE_11


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A plan of a real builder, in a build without native modules."""
    path = tmp_path / "people.engine"
    path.write_bytes(rtx.build(write_model(tmp_path / "people.onnx", batch=1)))
    monkeypatch.setenv("TRTPOSE_BACKEND_DIR", str(tmp_path))
    return path


def open_without_driver(path: Path) -> str:
    with pytest.raises(trtpose.DeviceError) as raised:
        trtpose.Engine(path)
    return str(raised.value)


@pytest.mark.skipif(bool(_core.cuda_version() == 0), reason="this build has no CUDA")
def test_a_plan_of_a_real_builder_lacks_a_driver_and_nothing_else(engine: Path) -> None:
    if trtpose.system_info()["gpu"]["devices"]:
        pytest.skip("this machine has a GPU")
    message = open_without_driver(engine)
    assert "no NVIDIA driver was found" in message
    assert "module" not in message


def test_without_the_package_the_error_says_which_to_install(engine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt_rtx_bindings", None)
    message = open_without_driver(engine)
    assert "it needs TensorRT for RTX 1.7.1" in message
    assert "no Python package tensorrt_rtx_bindings was found; pip install tensorrt_rtx_cu13_libs==1.7.1" in message


def test_the_native_way_alone_names_the_package_too(engine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRTPOSE_TENSORRT_SESSION", "native")
    message = open_without_driver(engine)
    assert "pip install tensorrt_rtx_cu13_libs tensorrt_rtx_cu13_bindings" in message


def test_a_wrong_choice_is_an_error(engine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRTPOSE_TENSORRT_SESSION", "both")
    with pytest.raises(trtpose.InputError, match="use native or python"):
        trtpose.Engine(engine)


def test_finding_calls_nothing_and_tells_why_not(monkeypatch: pytest.MonkeyPatch) -> None:
    package = types.ModuleType("tensorrt")
    monkeypatch.setitem(sys.modules, "tensorrt", package)
    assert tensorrt.find("tensorrt")[:2] == ("", "")
    assert "AttributeError" in tensorrt.find("tensorrt")[2]
    monkeypatch.setattr(package, "__version__", "10.13.0.35", raising=False)
    assert tensorrt.find("tensorrt") == ("10.13.0.35", "tensorrt", "")
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    assert tensorrt.find("tensorrt") == ("", "", "")
