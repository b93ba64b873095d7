# SPDX-License-Identifier: Apache-2.0
"""What an installation can do, and the remedies where it cannot, for machines made up here."""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path
from typing import Any

import pytest

from trtpose import _abilities, _core, info
from trtpose._machine import Gpu, Gpus, Library

NONE = Gpus(problem="no NVIDIA driver was found; install one")
RTX = "pip install tensorrt_rtx_cu13_libs tensorrt_rtx_cu13_bindings"


def machine(capability: str = "8.9", cuda: str = "13.0") -> Gpus:
    return Gpus("580.1", cuda, (Gpu(0, "Card", capability, 8 << 30, None),))


class Here:
    """An installation: version of CUDA, native modules, Python packages, where it came from."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        self.folder = tmp_path
        self.cuda = 13000
        self.packages: dict[str, str] = {"onnx": "1.20"}
        self.url: dict[str, Any] | None = None
        monkeypatch.setenv("TRTPOSE_BACKEND_DIR", str(tmp_path))
        monkeypatch.setattr(_core, "cuda_version", lambda: self.cuda)
        monkeypatch.setattr(_abilities, "module_version", self.packages.get)
        monkeypatch.setattr(importlib.metadata, "distribution", lambda _: self)
        monkeypatch.setattr(_abilities, "_is_jetson", lambda: False)

    def read_text(self, name: str) -> str | None:
        assert name == "direct_url.json"
        return None if self.url is None else json.dumps(self.url)

    def modules(self, *majors: int) -> None:
        for major in majors:
            (self.folder / f"libtrtpose_tensorrt{major}.so").write_bytes(b"")

    def why(self, ability: str, gpus: Gpus, *libraries: Library) -> str | None:
        builders = [name for name in ("tensorrt", "tensorrt_rtx_bindings") if name in self.packages]
        return next(one for one in _abilities.abilities(gpus, libraries, builders, None) if one.name == ability).problem

    def runs(self, gpus: Gpus, *libraries: Library) -> str | None:
        return self.why("runs engines", gpus, *libraries)

    def builds(self, gpus: Gpus) -> str | None:
        return self.why("builds engines", gpus)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Here:
    return Here(monkeypatch, tmp_path)


def library(version: str, runtime: str = "tensorrt") -> Library:
    return Library(runtime, version, f"/lib/{runtime}.so", "pip")


@pytest.mark.parametrize(
    ("modules", "found", "kinds"),
    [
        ((10,), [library("10.13.0")], ["native"]),
        ((10,), [library("11.1.0")], []),
        ((11,), [library("1.7.1", "rtx")], ["native"]),
        ((1,), [library("1.7.1", "rtx")], ["native"]),
        ((8, 10), [library("1.7.1", "rtx")], []),
        ((1,), [library("11.1.0")], []),
        ((8, 11), [library("8"), library("10.1.0"), library("11.0")], ["native", "native"]),
        ((), [library("10.13.0")], []),
    ],
)
def test_libraries_that_a_module_serves(here: Here, modules: tuple[int, ...], found: list[Library], kinds: list[str]):
    here.modules(*modules)
    assert [one.kind for one in _abilities.sessions(found)] == kinds
    problem = here.runs(machine(), *found)
    assert (problem is None) == bool(kinds)


def test_python_packages_are_a_way_to_run(here: Here):
    here.packages |= {"tensorrt": "10.16.1.11", "tensorrt_rtx_bindings": "1.7.1.116"}
    assert [(one.runtime, one.kind, one.version) for one in _abilities.sessions([])] == [
        ("tensorrt", "python", "10.16.1.11"),
        ("rtx", "python", "1.7.1.116"),
    ]
    assert here.runs(machine()) is None
    here.packages["tensorrt"] = "9.3.0"
    assert [one.runtime for one in _abilities.sessions([])] == ["rtx"]
    here.cuda = 0
    assert _abilities.sessions([]) == []


def test_the_session_that_is_asked_for(here: Here, monkeypatch: pytest.MonkeyPatch):
    here.packages["tensorrt"] = "10.1.0"
    here.modules(10)
    for chosen, kinds in (("", ["native", "python"]), ("native", ["native"]), ("python", ["python"])):
        monkeypatch.setenv("TRTPOSE_TENSORRT_SESSION", chosen)
        assert [one.kind for one in _abilities.sessions([library("10.1.0")])] == kinds


def test_a_build_without_cuda(here: Here, tmp_path: Path):
    here.cuda = 0
    problem = here.runs(machine())
    assert problem is not None
    assert "install a wheel of trtpose that has CUDA" in problem
    clone = tmp_path / "a clone"
    clone.mkdir()
    here.url = {"url": f"file://{str(clone).replace(' ', '%20')}", "dir_info": {}}
    assert "install a wheel" in str(here.runs(machine()))  # the clone is gone
    (clone / "pyproject.toml").write_text("")
    assert str(here.runs(machine())).endswith(f"pip install --force-reinstall --no-deps '{clone}'")
    here.url = {"url": f"file://{clone}", "archive_info": {}}
    assert "install a wheel" in str(here.runs(machine()))


@pytest.mark.parametrize(
    ("gpus", "words", "others"),
    [
        (machine("8.9"), RTX, ""),
        (machine("8.9"), "or pip install tensorrt", ""),
        (machine("9.0"), "; pip install tensorrt", "rtx"),
        (machine("8.6", "12.4"), "pip install tensorrt-cu12, which is for the CUDA 12.4 of the driver", "rtx"),
    ],
)
def test_which_tensorrt(here: Here, gpus: Gpus, words: str, others: str):
    here.cuda = 12040
    problem = str(here.runs(gpus))
    assert problem.startswith("no TensorRT was found; ")
    assert words in problem
    assert not others or others not in problem


def test_on_a_jetson_pip_has_none(here: Here, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(_abilities, "_is_jetson", lambda: True)
    assert "JetPack" in str(here.runs(machine("8.7")))
    assert "python3-libnvinfer" in str(here.runs(machine(), library("10.3.0")))


def test_a_library_that_nothing_calls(here: Here):
    problem = str(here.runs(machine(), library("10.13.0.35")))
    assert "TensorRT 10.13.0.35 was found (/lib/tensorrt.so)" in problem
    assert problem.endswith("pip install tensorrt==10.13.0.35")
    problem = str(here.runs(machine(), library("1.7.1.116", "rtx")))
    assert problem.endswith("pip install tensorrt_rtx_cu13_bindings==1.7.1.116")
    assert str(here.runs(machine(), library("10"))).endswith("pip install tensorrt")


def test_a_driver_that_is_too_old(here: Here):
    here.modules(10)
    problem = str(here.runs(machine(cuda="12.4"), library("10.1.0")))
    assert "the driver serves CUDA 12.4 and this build needs 13.0; update the driver" in problem
    here.cuda = 12080
    assert here.runs(machine(cuda="12.4"), library("10.1.0")) is None


def test_without_a_gpu_that_is_the_reason(here: Here):
    here.cuda = 0
    assert here.runs(NONE) == NONE.problem


def test_backends_are_told_by_what_is_installed(here: Here, monkeypatch: pytest.MonkeyPatch):
    """A Python package makes a backend without a module available; the problem left is the machine's."""
    native = "this build of trtpose has no module for TensorRT for RTX 1.7.1"
    core = [
        {"name": "openvino", "available": True, "version": "2026", "devices": [], "problem": ""},
        {"name": "tensorrt", "available": False, "version": "", "devices": [], "problem": "no TensorRT was found"},
        {"name": "tensorrt-rtx", "available": False, "version": "1.7.1", "devices": [], "problem": native},
    ]
    monkeypatch.setattr(_core, "backends", lambda: core)
    rtx = library("1.7.1.116", "rtx")

    def told(gpus: Gpus) -> dict[str, tuple[bool, str]]:
        return {one["name"]: (one["available"], one["problem"]) for one in info._backends(gpus, [rtx])}

    assert told(NONE)["openvino"] == (True, "")
    assert told(NONE)["tensorrt"] == (False, "no TensorRT was found; pip install tensorrt")
    assert told(NONE)["tensorrt-rtx"][1].endswith("pip install tensorrt_rtx_cu13_bindings==1.7.1.116")
    here.packages["tensorrt_rtx_bindings"] = "1.7.1.116"
    assert told(NONE)["tensorrt-rtx"] == (False, NONE.problem)
    assert told(machine())["tensorrt-rtx"] == (True, "")
    # A module that is there and cannot be opened: its own words.
    here.modules(11)
    assert told(machine())["tensorrt-rtx"] == (False, native)
    here.cuda = 0
    assert "this build has no CUDA" in told(machine())["tensorrt-rtx"][1]


def test_building(here: Here):
    assert RTX in str(here.builds(NONE))
    here.packages["tensorrt"] = "11.1.0"
    assert "builds on the GPU that an engine is for, and no NVIDIA driver was found" in str(here.builds(NONE))
    assert here.builds(machine("9.0")) is None
    here.packages["tensorrt_rtx_bindings"] = "1.7.1"
    assert here.builds(NONE) is None
    del here.packages["onnx"]
    assert str(here.builds(NONE)).endswith("pip install onnx")


def test_the_line(here: Here):
    here.packages["tensorrt_rtx_bindings"] = "1.7.1"
    found = _abilities.abilities(NONE, [], ["tensorrt_rtx_bindings"], None)
    told = _abilities.sentence(found)
    assert told.startswith(
        "this machine runs ONNX: yes; builds engines: yes; runs engines: no, because no NVIDIA driver"
    )


def test_two_opencvs_are_told(monkeypatch: pytest.MonkeyPatch):
    class Found:
        def __init__(self, name: str) -> None:
            self.name = name

    names = ["opencv-python", "opencv_python_headless", "opencv-other", "numpy"]
    monkeypatch.setattr(importlib.metadata, "distributions", lambda: [Found(name) for name in names])
    told = info._opencv_info()
    assert told["distribution"] == "opencv-python, opencv-python-headless"
    assert "uninstall all of them, then install one" in str(told["problem"])
    names[:] = ["opencv-contrib-python-headless"]
    told = info._opencv_info()
    assert (told["distribution"], told["problem"]) == ("opencv-contrib-python-headless", None)
    assert told["version"]
