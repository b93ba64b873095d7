# SPDX-License-Identifier: Apache-2.0
"""What this installation can do here, and what a model file is."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import _abilities, _core
from ._checks import file_name
from ._machine import (
    Gpus,
    Library,
    cpu_name,
    cuda_text,
    gpus,
    module_version,
    tensorrt_libraries,
    usable_cores,
)
from ._sizes import parse_imgsz
from .engine import Engine
from .errors import Error, ModelError
from .formats.metadata import find_spec

__all__ = ["model_info", "system_info"]

_BUILDERS = {"tensorrt": "TensorRT", "tensorrt_rtx_bindings": "TensorRT for RTX", "tensorrt_rtx": "TensorRT for RTX"}


def system_info() -> dict[str, Any]:
    """What trtpose finds on this machine: versions, processor, GPUs, backends and what is missing. Never raises.

    Returns:
        trtpose, cuda (the version of this build, None without), python, platform, cpu, cpu_threads; gpu (driver,
        driver_cuda, devices with name, compute_capability, memory_total and memory_free in bytes, problem); opencv
        (which of its distributions, version, problem); backends; tensorrt (libraries found, none of them opened:
        runtime, version, path, origin); sessions (ways to run engines: runtime, session ``native`` or ``python``,
        version); builders (packages that build engines: name, version); extras (per extra of trtpose the packages and
        their versions); missing (name, why, how to get it); abilities (runs_onnx, builds_engines, runs_engines: able,
        and problem, which says why not and what to do); summary, the same in one line.
    """
    built = _core.cuda_version()
    machine = gpus()
    libraries = tensorrt_libraries()
    backends = _backends(machine, libraries)
    builders = [
        {"package": name, "builds": text, "version": version}
        for name, text in _BUILDERS.items()
        if (version := module_version(name)) is not None
    ]
    extras = _extras()
    info: dict[str, Any] = {
        "trtpose": _core.version(),
        "cuda": cuda_text(built) if built else None,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": cpu_name(),
        "cpu_threads": usable_cores(),
        "gpu": _gpu_info(machine),
        "opencv": _opencv_info(),
        "backends": backends,
        "tensorrt": [
            {"runtime": one.runtime, "version": one.version, "path": one.path, "origin": one.origin}
            for one in libraries
        ],
        "sessions": [
            {"runtime": one.runtime, "session": one.kind, "version": one.version}
            for one in _abilities.sessions(libraries)
        ],
        "builders": builders,
        "extras": extras,
    }
    onnx = next((one["problem"] for one in backends if one["name"] == "openvino" and not one["available"]), None)
    able = _abilities.abilities(machine, libraries, [one["package"] for one in builders], onnx)
    info["missing"] = _missing(info, machine)
    info["abilities"] = {
        one.name.lower().replace(" ", "_"): {"able": one.problem is None, "problem": one.problem} for one in able
    }
    info["summary"] = _abilities.sentence(able)
    return info


_RUNTIMES = {"tensorrt": "tensorrt", "tensorrt-rtx": "rtx"}


def _backends(machine: Gpus, libraries: Sequence[Library]) -> list[dict[str, Any]]:
    """The backends; of TensorRT's also what its Python package serves, and the remedy for this installation."""
    found: list[dict[str, Any]] = []
    for backend in _core.backends():
        runtime = _RUNTIMES.get(backend["name"])
        if runtime is not None and not backend["available"]:
            problem = _abilities.backend_problem(runtime, machine, libraries)
            versions = [one.version for one in _abilities.sessions(libraries) if one.runtime == runtime]
            version = backend["version"] or ", ".join(dict.fromkeys(versions))
            # Where all is there that can be seen from outside, what the backend itself says stands.
            served_by_python = not any(
                one.kind == "native" and one.runtime == runtime for one in _abilities.sessions(libraries)
            )
            if problem is None and not served_by_python:
                problem = backend["problem"]
            backend = {**backend, "version": version, "problem": problem or "", "available": problem is None}
        found.append(backend)
    return found


def _gpu_info(machine: Gpus) -> dict[str, Any]:
    """Driver and GPUs as JSON has them."""
    devices = [
        {
            "index": gpu.index,
            "name": gpu.name,
            "compute_capability": gpu.compute_capability,
            "memory_total": gpu.memory_total,
            "memory_free": gpu.memory_free,
        }
        for gpu in machine.devices
    ]
    return {"driver": machine.driver, "driver_cuda": machine.cuda, "devices": devices, "problem": machine.problem}


_OPENCV = re.compile(r"opencv(-contrib)?-python(-headless)?$")


def _opencv_info() -> dict[str, str | None]:
    """Which distributions of OpenCV are installed, the version that is loaded, and what is wrong."""
    from . import _opencv

    names = sorted({(one.name or "").lower().replace("_", "-") for one in importlib.metadata.distributions()})
    found = [name for name in names if _OPENCV.match(name)]
    problem = _opencv.PROBLEM or None
    if len(found) > 1:
        problem = (
            f"{' and '.join(found)} hold the same files, of which the last to be installed are there; uninstall all of "
            "them, then install one"
        )
    version = None if _opencv.cv2 is None else str(_opencv.cv2.__version__)
    return {"distribution": ", ".join(found) or None, "version": version, "problem": problem}


def _extras() -> dict[str, dict[str, str | None]]:
    """Per extra its packages and their installed versions."""
    try:
        requirements = importlib.metadata.requires("trtpose") or []
    except importlib.metadata.PackageNotFoundError:
        return {}
    extras: dict[str, dict[str, str | None]] = {}
    for requirement in requirements:
        extra = re.search(r"extra *== *['\"]([^'\"]+)['\"]", requirement)
        name = re.match(r"[A-Za-z0-9._-]+", requirement)
        if extra is None or name is None or not _is_wanted(requirement):
            continue
        package = name.group()
        version: str | None
        try:
            version = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            # Packages of one library for several versions of CUDA: any of them will do.
            plain = re.sub(r"[-_]cu(da)?\d+x?", "", package).replace("-", "_")
            version = module_version(plain)
        if version is None and _OPENCV.match(package):
            version = module_version("cv2")  # any of the four
        extras.setdefault(extra.group(1), {})[package] = version
    return extras


def _is_wanted(requirement: str) -> bool:
    """Whether a requirement is one for this Python; the other conditions of ours are about Linux, where this runs."""
    condition = re.search(r"python_version *(<|>=) *['\"](\d+)\.(\d+)['\"]", requirement)
    if condition is None:
        return True
    older = sys.version_info[:2] < (int(condition[2]), int(condition[3]))
    return older == (condition[1] == "<")


def _missing(info: dict[str, Any], machine: Gpus) -> list[dict[str, str]]:
    missing: list[dict[str, str]] = []

    def add(name: str, why: str, how: str) -> None:
        missing.append({"name": name, "why": why, "how": how})

    if info["cuda"] is None:
        add("CUDA in this build", "to run engines on a GPU", _abilities.build_with_cuda())
    if not info["gpu"]["devices"]:
        add("GPU", "to run engines", str(info["gpu"]["problem"]))
    if info["opencv"]["problem"]:
        add("OpenCV", "to read cameras", str(info["opencv"]["problem"]))
    for backend in info["backends"]:
        # Those of TensorRT are told by what is found below.
        if not backend["available"] and backend["name"] == "openvino":
            add("backend openvino", "to run ONNX models on the CPU", str(backend["problem"]))
    if not info["sessions"]:
        if info["tensorrt"] and info["cuda"] is not None:
            found = info["tensorrt"][0]
            add("a way to call TensorRT", "to run engines", _abilities.package_for(found["runtime"], found["version"]))
        elif not info["tensorrt"]:
            add("TensorRT library", "to run engines", _abilities.get_tensorrt(machine))
    if not info["builders"]:
        add("TensorRT's Python package", "to build engines", _abilities.get_tensorrt(machine))
    for extra, packages in info["extras"].items():
        absent = [name for name, version in packages.items() if version is None]
        # What runs and builds engines is told above, and OpenVINO as a backend.
        if absent and extra not in ("cpu", "opencv", "rtx", "tensorrt"):
            add(", ".join(absent), f"for the extra {extra}", f'pip install "trtpose[{extra}]"')
    return missing


def model_info(
    path: str | os.PathLike[str],
    spec: str | os.PathLike[str] | None = None,
    *,
    imgsz: int | Sequence[int] | None = None,
    batch: int | None = None,
) -> dict[str, Any]:
    """What a model file says of itself, how much it computes and what running it would take.

    Args:
        path: an ONNX model or an engine file.
        spec: model spec file for models that carry none.
        imgsz: input height and width in pixels to count and plan for; by default the model's.
        batch: frames per run to plan for; by default the model's, or 1.

    Returns:
        path, kind, inputs, outputs, metadata, most_frames (per run, where an NMS of its own bounds them) and, of an
        ONNX model, parameters, weight_bytes, opset, producer, of an engine what it was built with and for; spec and
        spec_origin, or spec_problem, which says why there is none; macs (multiply-adds of one picture at macs_imgsz),
        or macs_problem; runs_here (device, backend, precision), batch and memory (planned bytes for batch frames, by
        part), or runs_here None and runs_here_problem.

    Raises:
        ModelError: the file cannot be read.
    """
    info = _core.read_model_file(file_name(path, "path", "the path of an ONNX model or an engine file"))
    try:
        found = find_spec(path, spec)
        info["spec"] = found.fields
        info["spec_origin"] = found.origin
    except ModelError as error:
        if spec is not None:
            raise
        info["spec_problem"] = str(error)
    if not info["most_frames"]:
        del info["most_frames"]
    info["file_bytes"] = Path(path).stat().st_size
    if info["kind"] == "onnx":
        _count(info, path, imgsz)
    else:
        for key in ("parameters", "opset"):  # a plan does not tell
            info.pop(key, None)
    if "spec" in info:
        try:
            engine = Engine(path, spec=spec, imgsz=imgsz, batch=batch)
            info["runs_here"] = {
                "device": engine.device,
                "backend": f"{engine.backend} {engine.backend_version}",
                "precision": engine.precision,
            }
            info["batch"] = engine.batch
            info["memory"] = engine.memory
        except Error as error:
            info["runs_here"] = None
            info["runs_here_problem"] = str(error)
    return info


def _count(info: dict[str, Any], path: str | os.PathLike[str], imgsz: int | Sequence[int] | None) -> None:
    from .cost import channels_last, model_cost

    size = parse_imgsz(imgsz)
    if size == (0, 0):
        inputs = info["inputs"]
        shape = inputs[0]["shape"] if inputs else []
        fixed = shape[1:3] if channels_last(shape) else shape[2:]
        size = tuple(fixed) if len(fixed) == 2 and min(fixed) > 0 else tuple(info.get("spec", {}).get("imgsz", ()))
    try:
        info["macs"] = model_cost(os.fspath(path), size or None)["macs"]
        info["macs_imgsz"] = list(size)
    except Error as error:
        info["macs_problem"] = str(error)
