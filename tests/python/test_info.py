# SPDX-License-Identifier: Apache-2.0
"""What ``trtpose info`` says of a machine, with stand-ins for the driver's libraries."""

from __future__ import annotations

import ctypes
import json
import uuid
from pathlib import Path
from typing import Any

import pytest

import onnx_models
import trtpose
from trtpose import _core, _machine, info
from trtpose.cli import main

GIB = 1 << 30
IDENTITY = uuid.UUID("00112233-4455-6677-8899-aabbccddeeff")


class Cuda:
    """As much of libcuda as is asked: one GPU of capability 8.9 with 8 GiB."""

    def __init__(self, *, version: int = 13000, init: int = 0, count: int = 1) -> None:
        self.version, self.init, self.count = version, init, count

    def cuDriverGetVersion(self, out: Any) -> int:
        out._obj.value = self.version
        return 0

    def cuInit(self, flags: int) -> int:
        assert flags == 0
        return self.init

    def cuDeviceGetCount(self, out: Any) -> int:
        out._obj.value = self.count
        return 0

    def cuDeviceGet(self, out: Any, index: int) -> int:
        out._obj.value = 10 + index
        return 0

    def cuDeviceGetName(self, out: Any, size: int, device: ctypes.c_int) -> int:
        out.value = f"Card {device.value}".encode()
        return 0 if size == len(out) else 1

    def cuDeviceGetAttribute(self, out: Any, attribute: int, device: ctypes.c_int) -> int:
        assert device.value >= 10
        out._obj.value = {75: 8, 76: 9}[attribute]
        return 0

    def cuDeviceTotalMem_v2(self, out: Any, _: ctypes.c_int) -> int:
        out._obj.value = 8 * GIB
        return 0

    def cuDeviceGetUuid(self, out: Any, _: ctypes.c_int) -> int:
        out.raw = IDENTITY.bytes
        return 0

    def cuGetErrorName(self, status: int, out: Any) -> int:
        out._obj.value = b"CUDA_ERROR_SOMETHING"
        return 0 if status == 999 else 1


class Nvml:
    def __init__(self, used: int = 3 * GIB, init: int = 0) -> None:
        self.memory, self.init, self.open = used, init, 0

    def nvmlInit_v2(self) -> int:
        self.open += self.init == 0
        return self.init

    def nvmlShutdown(self) -> int:
        self.open -= 1
        return 0

    def nvmlSystemGetDriverVersion(self, out: Any, size: int) -> int:
        out.value = b"580.65.06"
        return 0 if size == len(out) else 1

    def nvmlDeviceGetHandleByUUID(self, label: bytes, out: Any) -> int:
        if label != f"GPU-{IDENTITY}".encode():
            return 6
        out._obj.value = 77
        return 0

    def nvmlDeviceGetMemoryInfo(self, handle: ctypes.c_void_p, out: Any) -> int:
        assert handle.value == 77
        out._obj.used = self.memory
        return 0


@pytest.fixture
def libraries(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Libraries that can be opened, by name."""
    there: dict[str, Any] = {}
    monkeypatch.setattr(_machine, "_open", there.get)
    return there


def test_a_machine_without_a_driver(libraries: dict[str, Any]):
    assert not libraries
    found = _machine.gpus()
    assert (found.devices, found.driver, found.cuda) == ((), None, None)
    assert found.problem is not None
    assert "no NVIDIA driver" in found.problem


def test_a_gpu(libraries: dict[str, Any]):
    nvml = Nvml()
    libraries.update({"libcuda.so.1": Cuda(count=2), "libnvidia-ml.so.1": nvml})
    found = _machine.gpus()
    assert (found.driver, found.cuda, found.problem) == ("580.65.06", "13.0", None)
    assert [gpu.name for gpu in found.devices] == ["Card 10", "Card 11"]
    first = found.devices[0]
    assert (first.compute_capability, first.memory_total, first.memory_free) == ("8.9", 8 * GIB, 5 * GIB)
    assert first.uuid == f"GPU-{IDENTITY}"
    assert nvml.open == 0
    with _machine.memory_used(first.uuid) as used:
        assert used() == 3 * GIB
        nvml.memory += 1
        assert used() == 3 * GIB + 1
    assert nvml.open == 0
    with _machine.memory_used("GPU-other") as used:
        assert used() is None


@pytest.mark.parametrize("nvml", [None, Nvml(init=12)])
def test_without_the_management_library_free_memory_is_unknown(libraries: dict[str, Any], nvml: Any):
    libraries["libcuda.so.1"] = Cuda()
    if nvml is not None:
        libraries["libnvidia-ml.so.1"] = nvml
    found = _machine.gpus()
    assert found.driver is None
    assert found.devices[0].memory_free is None
    assert found.devices[0].memory_total == 8 * GIB


@pytest.mark.parametrize(
    ("cuda", "words"),
    [
        (Cuda(init=100), "shows no GPU"),
        (Cuda(count=0), "shows no GPU"),
        (Cuda(init=999), "does not start (CUDA_ERROR_SOMETHING)"),
        (Cuda(init=803), "does not start (error 803)"),
        (object(), "not one that can be asked"),
    ],
)
def test_a_driver_without_a_usable_gpu(libraries: dict[str, Any], cuda: Any, words: str):
    libraries["libcuda.so.1"] = cuda
    found = _machine.gpus()
    assert found.devices == ()
    assert found.problem is not None
    assert words in found.problem


def test_tensorrt_libraries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A tar installation with links, pip's folder with bare SONAMEs, and one of the same name twice."""
    root, other, pip = tmp_path / "root", tmp_path / "other", tmp_path / "site" / "tensorrt_rtx_libs"
    for folder in (root / "lib", other, pip):
        folder.mkdir(parents=True)
    (root / "lib" / "libnvinfer.so.10.13.0").write_bytes(b"")
    (root / "lib" / "libnvinfer.so.10").symlink_to("libnvinfer.so.10.13.0")
    (root / "lib" / "libnvinfer_plugin.so.10").write_bytes(b"")
    (root / "lib" / "libnvinfer.so.9").symlink_to("nowhere")
    (other / "libnvinfer.so.8").write_bytes(b"")
    (pip / "libtensorrt_rtx.so.1").write_bytes(b"")
    monkeypatch.setenv("TENSORRT_ROOT", str(root))
    monkeypatch.setenv("LD_LIBRARY_PATH", f"{other}:{root / 'lib'}:")
    monkeypatch.setattr(_machine, "_module_folder", lambda name: pip if name == "tensorrt_rtx_libs" else None)
    monkeypatch.setattr(_machine, "module_version", lambda name: {"tensorrt_rtx_libs": "1.7.1.116"}.get(name))
    monkeypatch.setattr(_machine, "_SYSTEM_FOLDERS", (str(tmp_path / "none"),))
    found = [(one.runtime, one.version, one.origin) for one in _machine.tensorrt_libraries()]
    assert found == [
        ("tensorrt", "10.13.0", "TENSORRT_ROOT"),
        ("tensorrt", "8", "LD_LIBRARY_PATH"),
        ("rtx", "1.7.1.116", "pip"),
    ]


def test_versions_of_modules():
    assert _machine.module_version("pytest") == pytest.__version__
    assert _machine.module_version("no_such_module_anywhere") is None


def test_the_system_here():
    """Whatever this machine has, the answer is JSON and says how to get what it has not."""
    found = trtpose.system_info()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["trtpose"] == trtpose.__version__
    assert {one["name"] for one in found["backends"]} >= {"openvino"}
    for one in found["missing"]:
        assert one["name"]
        assert one["why"]
        assert one["how"]
    devices = found["gpu"]["devices"]
    assert bool(devices) != any(one["name"] == "GPU" for one in found["missing"])
    assert bool(devices) != bool(found["gpu"]["problem"])
    assert found["cuda"] == (_machine.cuda_text(_core.cuda_version()) if _core.cuda_version() else None)


def test_what_is_missing(libraries: dict[str, Any], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(_core, "cuda_version", lambda: 0)
    monkeypatch.setattr(info, "tensorrt_libraries", list)
    monkeypatch.setattr(info, "module_version", lambda _: None)
    monkeypatch.setattr(
        _core, "backends", lambda: [{"name": "openvino", "available": False, "problem": "pip install openvino"}]
    )
    requirements = ["numpy>=1", 'no-such-package>=2; extra == "eval"', 'pytest; extra == "export"']
    monkeypatch.setattr(info.importlib.metadata, "requires", lambda _: requirements)
    found = trtpose.system_info()
    names = {one["name"]: one["how"] for one in found["missing"]}
    assert list(names) == [
        "CUDA in this build",
        "GPU",
        "backend openvino",
        "TensorRT library",
        "TensorRT's Python package",
        "no-such-package",
    ]
    assert names["no-such-package"] == 'pip install "trtpose[eval]"'
    assert names["backend openvino"] == "pip install openvino"
    assert "pip install tensorrt_rtx_cu13_libs tensorrt_rtx_cu13_bindings" in names["TensorRT's Python package"]
    assert found["abilities"]["runs_onnx"] == {"able": False, "problem": "pip install openvino"}
    assert found["summary"].startswith("this machine runs ONNX: no, because pip install openvino; builds engines: no, ")
    libraries["libcuda.so.1"] = Cuda()
    found = trtpose.system_info()
    assert "GPU" not in {one["name"] for one in found["missing"]}
    assert found["gpu"]["devices"][0]["name"] == "Card 10"


@pytest.mark.parametrize(("version", "wanted"), [((3, 10), True), ((3, 11), False), ((3, 14), False)])
def test_what_another_python_needs_is_not_missing(
    version: tuple[int, int], wanted: bool, monkeypatch: pytest.MonkeyPatch
):
    requirements = [
        'no-such-tomli>=2; python_version < "3.11" and extra == "build"',
        "no-such-new>=2; python_version >= '3.11' and extra == 'build'",
        'no-such-cupy>=13; platform_system == "Linux" and extra == "cuda"',
    ]
    monkeypatch.setattr(info.importlib.metadata, "requires", lambda _: requirements)
    monkeypatch.setattr(info.sys, "version_info", version)
    extras = info._extras()
    assert ("no-such-tomli" in extras.get("build", {})) == wanted
    assert ("no-such-new" in extras.get("build", {})) == (not wanted)
    assert "no-such-cupy" in extras["cuda"]


def test_the_command(capsys: pytest.CaptureFixture[str], libraries: dict[str, Any]):
    libraries.update({"libcuda.so.1": Cuda(), "libnvidia-ml.so.1": Nvml()})
    assert main(["info"]) == 0
    text = capsys.readouterr().out
    assert "  driver: 580.65.06\n  driver_cuda: 13.0\n" in text
    assert "    - index: 0\n      name: Card 10\n      compute_capability: 8.9\n" in text
    assert "memory_total: 8,192 MiB\n" in text
    assert "memory_free: 5,120 MiB\n" in text
    last = text.splitlines()[-1]
    assert last.startswith("this machine runs ONNX: yes; builds engines: ")
    assert main(["info", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["gpu"]["devices"][0]["memory_free"] == 5 * GIB
    assert printed["summary"] == last
    assert printed["abilities"]["runs_onnx"] == {"able": True, "problem": None}


def test_a_model_that_runs_here(tmp_path: Path):
    spec = onnx_models.spec_fields()
    model = onnx_models.write_model(tmp_path / "m.onnx", metadata={"trtpose": json.dumps(spec)})
    found = trtpose.model_info(model, batch=2)
    assert found["kind"] == "onnx"
    assert found["runs_here"]["device"] == "cpu"
    assert found["runs_here"]["backend"].startswith("openvino ")
    assert found["batch"] == 2
    assert found["memory"]["total"] > 0
    assert found["macs"] > 0
    assert found["file_bytes"] == model.stat().st_size


def test_a_model_that_does_not_run_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    spec = onnx_models.spec_fields()
    model = onnx_models.write_model(tmp_path / "m.onnx", metadata={"trtpose": json.dumps(spec)})

    def refuse(*_: Any, **__: Any) -> Any:
        raise trtpose.DeviceError("no GPU here")

    monkeypatch.setattr(info, "Engine", refuse)
    found = trtpose.model_info(model)
    assert found["runs_here"] is None
    assert found["runs_here_problem"] == "no GPU here"
    assert "memory" not in found


def engine_file(path: Path, runtime: str = "rtx", **fields: object) -> Path:
    """An engine file whose plan is none, which nothing of ours looks into."""
    from trtpose.build import engine_file as files

    spec = onnx_models.spec_fields()
    shape = [1, 3, 64, 96]
    plan = {"rtx": b"vtrt", "tensorrt": b"ftrt"}[runtime] + bytes(4) + bytes(2000)
    tensors = {8: [1, 30, 8, 12], 16: [1, 30, 4, 6]}
    header = {
        "description": "a test",
        "trtpose": spec,
        "trtpose_engine": {
            "format": 1,
            "runtime": runtime,
            "version": "10.13.0.35" if runtime == "tensorrt" else "1.7.1.116",
            "precision": "fp16",
            "layers": {"fp32": 2, "fp16": 40},
            "device": {"name": "Card", "compute_capability": "8.9"} if runtime == "tensorrt" else None,
            "compute_capabilities": ["8.6", "8.9"] if runtime == "rtx" else [],
            "profiles": [{"images": {"min": shape, "opt": shape, "max": shape}}],
            "inputs": [{"name": "images", "dtype": "float32", "shape": shape}],
            "outputs": [{"name": f"head_{s}", "dtype": "float32", "shape": of} for s, of in tensors.items()],
            "onnx": {"name": "m.onnx", "sha256": "0" * 64},
            "plan": {},
            "memory": {"weights": 3 << 20, "activations": 5 << 20},
            "created": "2026-01-02T03:04:05Z",
            "trtpose": "0.1.0",
            **fields,
        },
    }
    files.write(path, header, plan)
    return path


@pytest.mark.parametrize("runtime", ["rtx", "tensorrt"])
def test_an_engine_file(tmp_path: Path, runtime: str, capsys: pytest.CaptureFixture[str]):
    """What it was built with and for is told on any machine, and why it does not run on this one."""
    path = engine_file(tmp_path / "m.engine", runtime)
    found = trtpose.model_info(path)
    assert found["kind"] == "engine"
    assert found["engine"]["precision"] == "fp16"
    assert found["engine"]["runtime"] == runtime
    assert found["engine"]["profiles"][0]["images"]["max"] == [1, 3, 64, 96]
    assert found["inputs"][0] == {"name": "images", "dtype": "float32", "shape": [1, 3, 64, 96]}
    assert [one["name"] for one in found["outputs"]] == ["head_8", "head_16"]
    assert "opset" not in found
    assert "macs" not in found
    assert found["runs_here"] is None  # its plan is none, whatever this machine has
    assert found["runs_here_problem"]
    assert main(["info", str(path)]) == 0
    text = capsys.readouterr().out
    assert "  precision: fp16\n" in text
    assert "weight_bytes: 3145728 (3.0 MiB)" in text
    assert "runs_here: none" in text
    assert text.count("anchors:") == 1
