# SPDX-License-Identifier: Apache-2.0
"""What the machine is, for figures and reports: processor, GPUs, driver, vendor libraries.

Nothing here opens a vendor library except the driver's own, which exist to be asked: TensorRT's crash without a driver.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.metadata
import importlib.util
import os
import platform
import re
import uuid
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = [
    "Gpu",
    "Gpus",
    "Library",
    "cpu_name",
    "cuda_text",
    "gpus",
    "helping_threads",
    "memory_used",
    "module_version",
    "tensorrt_libraries",
    "usable_cores",
]

_MOST_HELPERS = 7


def cpu_name() -> str:
    """The processor as the system names it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.lower().startswith(("model name", "hardware")):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def helping_threads(cores: int) -> int:
    """How many threads read or draw beside the one that does it in any case: with it half of the cores, as the network
    runs meanwhile."""
    return max(0, min(_MOST_HELPERS, cores // 2 - 1))


def usable_cores() -> int:
    """Cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# --- GPUs -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Gpu:
    """One GPU as the CUDA driver counts them.

    Attributes:
        index: number in ``cuda:N``.
        compute_capability: for example ``9.0``.
        memory_total, memory_free: bytes; free is None where the driver's management library is missing or does not say.
        uuid: ``GPU-...``; empty where the driver does not say.
    """

    index: int
    name: str
    compute_capability: str
    memory_total: int
    memory_free: int | None
    uuid: str = ""


@dataclass(frozen=True)
class Gpus:
    """The GPUs, and why there are none.

    Attributes:
        driver: version of NVIDIA's driver, for example ``580.65.06``; None where it is not known.
        cuda: the newest CUDA version the driver serves, for example ``13.0``; None without a driver.
        devices: in the order of ``cuda:N``.
        problem: why there are no devices and what to do; None if there are some.
    """

    driver: str | None = None
    cuda: str | None = None
    devices: tuple[Gpu, ...] = field(default=())
    problem: str | None = None


_COMPUTE_MAJOR, _COMPUTE_MINOR = 75, 76
_NO_DEVICE = 100


def _open(name: str) -> Any:
    """A library of the driver, or None."""
    try:
        return ctypes.CDLL(name)
    except OSError:
        return None


def gpus() -> Gpus:
    """Ask the CUDA driver which GPUs there are. Makes no context, so it takes no memory of theirs; raises nothing."""
    cuda = _open("libcuda.so.1")
    if cuda is None:
        return Gpus(problem="no NVIDIA driver was found (no libcuda.so.1); install one to use a GPU")
    try:
        return _ask(cuda)
    except AttributeError as error:
        return Gpus(problem=f"the CUDA driver is not one that can be asked ({error}); install NVIDIA's driver")


def _ask(cuda: Any) -> Gpus:
    number = ctypes.c_int()
    version = None
    if cuda.cuDriverGetVersion(ctypes.byref(number)) == 0 and number.value:
        version = cuda_text(number.value)
    with _Nvml() as nvml:
        driver = nvml.driver()
        status = cuda.cuInit(0)
        if status == 0:
            status = cuda.cuDeviceGetCount(ctypes.byref(number))
        if status == _NO_DEVICE or (status == 0 and number.value == 0):
            return Gpus(driver, version, problem="the NVIDIA driver shows no GPU; see CUDA_VISIBLE_DEVICES")
        if status != 0:
            return Gpus(
                driver, version, problem=f"the CUDA driver does not start ({_error(cuda, status)}); see nvidia-smi"
            )
        devices = [_describe(cuda, nvml, index) for index in range(number.value)]
    return Gpus(driver, version, tuple(devices))


def _describe(cuda: Any, nvml: _Nvml, index: int) -> Gpu:
    device = ctypes.c_int()
    cuda.cuDeviceGet(ctypes.byref(device), index)
    name = ctypes.create_string_buffer(256)
    cuda.cuDeviceGetName(name, 256, device)
    parts: list[str] = []
    for attribute in (_COMPUTE_MAJOR, _COMPUTE_MINOR):
        value = ctypes.c_int()
        cuda.cuDeviceGetAttribute(ctypes.byref(value), attribute, device)
        parts.append(str(value.value))
    total = ctypes.c_size_t()
    cuda.cuDeviceTotalMem_v2(ctypes.byref(total), device)
    identity = ctypes.create_string_buffer(16)
    known = cuda.cuDeviceGetUuid(identity, device) == 0
    label = f"GPU-{uuid.UUID(bytes=identity.raw)}" if known else ""
    used = nvml.used(label) if label else None
    free = None if used is None else max(total.value - used, 0)
    return Gpu(index, name.value.decode(errors="replace"), ".".join(parts), total.value, free, label)


def _error(cuda: Any, status: int) -> str:
    text = ctypes.c_char_p()
    if cuda.cuGetErrorName(status, ctypes.byref(text)) == 0 and text.value:
        return text.value.decode(errors="replace")
    return f"error {status}"


def cuda_text(number: int) -> str:
    """``13.0`` for 13000."""
    return f"{number // 1000}.{number % 1000 // 10}"


class _MemoryInfo(ctypes.Structure):
    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


class _Nvml:
    """NVIDIA's management library; answers None to everything where it is missing (as on Jetson)."""

    def __init__(self) -> None:
        self._library: Any = _open("libnvidia-ml.so.1")

    def __enter__(self) -> _Nvml:
        if self._library is not None and self._library.nvmlInit_v2() != 0:
            self._library = None
        return self

    def __exit__(self, *_: object) -> None:
        if self._library is not None:
            self._library.nvmlShutdown()
            self._library = None

    def driver(self) -> str | None:
        if self._library is None:
            return None
        text = ctypes.create_string_buffer(96)
        return text.value.decode(errors="replace") if self._library.nvmlSystemGetDriverVersion(text, 96) == 0 else None

    def used(self, label: str) -> int | None:
        """Bytes in use on the GPU of that UUID, by whatever process, what the driver keeps for itself included."""
        if self._library is None:
            return None
        handle = ctypes.c_void_p()
        if self._library.nvmlDeviceGetHandleByUUID(label.encode(), ctypes.byref(handle)) != 0:
            return None
        info = _MemoryInfo()
        if self._library.nvmlDeviceGetMemoryInfo(handle, ctypes.byref(info)) != 0:
            return None
        return int(info.used)


@contextlib.contextmanager
def memory_used(label: str) -> Generator[Callable[[], int | None]]:
    """A function that gives the bytes in use on the GPU with that UUID (or None), cheap enough to call often."""
    with _Nvml() as nvml:
        yield lambda: nvml.used(label)


# --- Vendor libraries -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Library:
    """A TensorRT library as a file.

    Attributes:
        runtime: ``tensorrt`` or ``rtx``.
        version: as far as the file's name or its package tells; at least the major number.
        path: where it lies.
        origin: ``TENSORRT_ROOT``, ``LD_LIBRARY_PATH``, ``pip`` or ``system``.
    """

    runtime: str
    version: str
    path: str
    origin: str


_LIBRARIES = {"tensorrt": "libnvinfer.so.", "rtx": "libtensorrt_rtx.so."}
_PIP_FOLDERS = ("tensorrt_libs", "tensorrt_rtx_libs", "tensorrt", "tensorrt_rtx")
_SYSTEM_FOLDERS = (
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/lib64",
    "/usr/lib64",
    "/usr/lib",
    "/usr/local/lib",
    "/usr/local/tensorrt/lib",
    "/usr/local/TensorRT/lib",
    "/opt/tensorrt/lib",
)


def tensorrt_libraries() -> list[Library]:
    """The TensorRT libraries that can be found without opening one, in the order they are looked for."""
    found: list[Library] = []
    seen: set[Path] = set()
    for origin, folder in _folders():
        for runtime, prefix in _LIBRARIES.items():
            for path in sorted(folder.glob(f"{prefix}*")):
                try:
                    real = path.resolve(strict=True)
                except OSError:
                    continue
                if real in seen:
                    continue
                seen.add(real)
                found.append(Library(runtime, _version(real, prefix, folder), str(path), origin))
    return found


def _folders() -> Iterator[tuple[str, Path]]:
    root = os.environ.get("TENSORRT_ROOT")
    if root:
        for part in ("lib", "lib64", ".", "targets/x86_64-linux-gnu/lib", "targets/aarch64-linux-gnu/lib"):
            yield "TENSORRT_ROOT", Path(root) / part
    for part in os.environ.get("LD_LIBRARY_PATH", "").split(":"):
        if part:
            yield "LD_LIBRARY_PATH", Path(part)
    for name in _PIP_FOLDERS:
        folder = _module_folder(name)
        if folder is not None:
            yield "pip", folder
    for name in _SYSTEM_FOLDERS:
        yield "system", Path(name)


def _module_folder(name: str) -> Path | None:
    """The folder of an installed package, which is not imported."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    locations = list(spec.submodule_search_locations or ()) if spec else []
    return Path(locations[0]) if locations else None


def _version(real: Path, prefix: str, folder: Path) -> str:
    number = real.name.removeprefix(prefix)
    if number.count(".") >= 2:
        return number
    packaged = module_version(folder.name)
    return packaged if packaged and packaged.split(".")[0] == number.split(".")[0] else number


def module_version(module: str) -> str | None:
    """Version of the installed distribution that a top-level module belongs to; None if it is not installed."""
    try:
        if importlib.util.find_spec(module) is None:
            return None
    except (ImportError, ValueError):
        return None
    wanted = re.sub(r"[-_.]+", "_", module).lower()
    owners = importlib.metadata.packages_distributions().get(module, [])
    for name in [*owners, module]:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(name)
    # Packages that list no files: by the name.
    for distribution in importlib.metadata.distributions():
        name = re.sub(r"[-_.]+", "_", distribution.name or "").lower()
        if re.sub(r"_cu\d+", "", name) == wanted:
            return distribution.version
    return "unknown"
