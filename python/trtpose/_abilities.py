# SPDX-License-Identifier: Apache-2.0
"""What this installation can do here, why it cannot do the rest, and the command that mends it.

A remedy must work where it is read: it differs between a wheel and a clone, for what is installed already, for the
card, its driver, and on a Jetson.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlparse

from . import _core
from ._machine import Gpus, Library, cuda_text, module_version

__all__ = [
    "Ability",
    "Session",
    "abilities",
    "backend_problem",
    "build_with_cuda",
    "get_tensorrt",
    "package_for",
    "sentence",
    "sessions",
    "source_folder",
]

_MODULES = {"tensorrt": (8, 10, 11), "rtx": (1, 11)}
"""Major versions of trtpose's native modules that serve a runtime."""
_PACKAGES = {"tensorrt": "tensorrt", "rtx": "tensorrt_rtx_bindings"}
"""Python packages through which a runtime can be called."""
NAMES = {"tensorrt": "TensorRT", "rtx": "TensorRT for RTX"}
_RTX_CARDS = ("8.0", "8.6", "8.9", "12.0", "12.1")
_RTX = "pip install tensorrt_rtx_cu13_libs tensorrt_rtx_cu13_bindings"


@dataclass(frozen=True)
class Session:
    """A way to run engines.

    Attributes:
        runtime: ``tensorrt`` or ``rtx``.
        kind: ``native`` (a module of this build) or ``python`` (TensorRT's own package).
        version: of the library or package.
    """

    runtime: str
    kind: str
    version: str


@dataclass(frozen=True)
class Ability:
    """One thing that an installation can do here, or why it cannot and what to do."""

    name: str
    problem: str | None


def source_folder() -> Path | None:
    """The clone that this was installed from; None for a wheel."""
    try:
        text = importlib.metadata.distribution("trtpose").read_text("direct_url.json")
        found = json.loads(text) if text else {}
        if "dir_info" not in found:
            return None
        folder = Path(unquote(urlparse(found["url"]).path))
    except (importlib.metadata.PackageNotFoundError, ValueError, KeyError):
        return None
    return folder if (folder / "pyproject.toml").is_file() else None


def build_with_cuda() -> str:
    """How to get a trtpose that has CUDA."""
    folder = source_folder()
    if folder is None:
        return "install a wheel of trtpose that has CUDA, or install it from a clone with nvcc on the path"
    return (
        f"put nvcc (of the CUDA toolkit) on the path and install again: "
        f"pip install --force-reinstall --no-deps {shlex.quote(str(folder))}"
    )


def get_tensorrt(machine: Gpus, runtime: str = "") -> str:
    """How to get a TensorRT that runs engines on these GPUs; of one runtime, or of any."""
    if _is_jetson():
        return "JetPack has it: sudo apt-get install tensorrt python3-libnvinfer, in a venv with --system-site-packages"
    cuda = int((machine.cuda or "0").partition(".")[0])
    if not machine.devices or cuda >= 13:
        plain = "pip install tensorrt"
        if not runtime and all(gpu.compute_capability in _RTX_CARDS for gpu in machine.devices):
            return f"{_RTX} (GeForce and RTX cards), or {plain}"
        return plain
    # PyPI's tensorrt and TensorRT for RTX are for CUDA 13.
    return f"pip install tensorrt-cu{cuda}, which is for the CUDA {machine.cuda} of the driver"


def _is_jetson() -> bool:
    return platform.machine() == "aarch64" and Path("/etc/nv_tegra_release").exists()


def _module_folder() -> Path:
    named = os.environ.get("TRTPOSE_BACKEND_DIR")
    return Path(named) if named else Path(_core.__file__).parent / "lib"


def sessions(libraries: Sequence[Library]) -> list[Session]:
    """The ways to run engines: libraries that a module of this build serves, then Python packages.

    ``TRTPOSE_TENSORRT_SESSION`` may leave only one of the two.
    """
    chosen = os.environ.get("TRTPOSE_TENSORRT_SESSION", "")
    folder = _module_folder()
    modules = {
        major
        for majors in _MODULES.values()
        for major in majors
        if (folder / f"libtrtpose_tensorrt{major}.so").is_file()
    }
    found: list[Session] = []
    for library in libraries:
        major = library.version.partition(".")[0]
        served = modules & set(_MODULES["rtx"]) if library.runtime == "rtx" else {int(major or 0)} & modules
        if served and chosen != "python":
            found.append(Session(library.runtime, "native", library.version))
    if _core.cuda_version() and chosen != "native":
        for runtime, package in _PACKAGES.items():
            version = module_version(package)
            if version is not None and version.partition(".")[0] in map(str, _MODULES[runtime]):
                found.append(Session(runtime, "python", version))
    return found


def abilities(
    machine: Gpus, libraries: Sequence[Library], builders: Sequence[str], onnx_problem: str | None
) -> list[Ability]:
    """What this machine can do.

    Args:
        machine: its GPUs.
        libraries: TensorRT's libraries that were found.
        builders: packages that build engines.
        onnx_problem: why ONNX models do not run on the CPU.
    """
    return [
        Ability("runs ONNX", onnx_problem),
        Ability("builds engines", _why_not_build(machine, builders)),
        Ability("runs engines", _why_not_run(machine, libraries)),
    ]


def _why_not_build(machine: Gpus, builders: Sequence[str]) -> str | None:
    rtx = any("rtx" in name for name in builders)
    if not builders:
        return f"no Python package of TensorRT is installed; {get_tensorrt(machine)}"
    if module_version("onnx") is None:
        return "the package onnx is not installed; pip install onnx"
    if not rtx and not machine.devices:
        return f"TensorRT builds on the GPU that an engine is for, and {machine.problem}; for RTX cards: {_RTX}"
    return None


def _why_not_run(machine: Gpus, libraries: Sequence[Library]) -> str | None:
    return _no_device(machine) or _no_session(machine, libraries)


def backend_problem(runtime: str, machine: Gpus, libraries: Sequence[Library]) -> str | None:
    """Why engines of one runtime do not run here, or None: first what is not installed, then what the machine lacks."""
    ours = [library for library in libraries if library.runtime == runtime]
    return _no_session(machine, ours, runtime) or _no_device(machine)


def _no_device(machine: Gpus) -> str | None:
    if not machine.devices:
        return machine.problem
    built = _core.cuda_version()
    if not built:
        return f"this build has no CUDA; {build_with_cuda()}"
    if machine.cuda and int(machine.cuda.partition(".")[0]) < built // 1000:
        return (
            f"the driver serves CUDA {machine.cuda} and this build needs {cuda_text(built)}; update the driver, or "
            f"build trtpose with the toolkit of CUDA {machine.cuda.partition('.')[0]}"
        )
    return None


def _no_session(machine: Gpus, libraries: Sequence[Library], runtime: str = "") -> str | None:
    if not _core.cuda_version():
        return f"this build has no CUDA; {build_with_cuda()}"
    if any(not runtime or one.runtime == runtime for one in sessions(libraries)):
        return None
    if libraries:
        one = libraries[0]
        return (
            f"{NAMES[one.runtime]} {one.version} was found ({one.path}), but neither a module of this build nor a "
            f"Python package to call it; {package_for(one.runtime, one.version)}"
        )
    how = _RTX if runtime == "rtx" and not _is_jetson() else get_tensorrt(machine, runtime)
    return f"no {NAMES.get(runtime, 'TensorRT')} was found; {how}"


def package_for(runtime: str, version: str) -> str:
    """How to get the Python package that calls a library of a version."""
    if _is_jetson():
        return "sudo apt-get install python3-libnvinfer, in a venv with --system-site-packages"
    exact = f"=={version}" if version.count(".") >= 2 else ""
    return f"pip install {'tensorrt_rtx_cu13_bindings' if runtime == 'rtx' else 'tensorrt'}{exact}"


def sentence(found: Sequence[Ability]) -> str:
    """One line of all: ``this machine runs ONNX: yes; builds engines: yes; runs engines: no, because ...``."""
    parts = [f"{one.name}: {'yes' if one.problem is None else f'no, because {one.problem}'}" for one in found]
    return f"this machine {'; '.join(parts)}"
