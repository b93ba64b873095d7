# SPDX-License-Identifier: Apache-2.0
"""What the NVIDIA driver says of its devices.

TensorRT's own entry points crash on a machine without a driver, so this asks first, through the driver's C interface.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

from ..errors import DeviceError, InputError

__all__ = ["Device", "Driver", "query", "select"]

_LIBRARY = "libcuda.so.1"
_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, _MINOR


@dataclass(frozen=True)
class Device:
    """A GPU.

    Attributes:
        index: its number, as in ``cuda:0``.
        name: as the driver names it.
        compute_capability: such as ``8.6``.
        memory: bytes of its memory.
    """

    index: int
    name: str
    compute_capability: str
    memory: int


@dataclass(frozen=True)
class Driver:
    """The driver and its devices.

    Attributes:
        devices: in the driver's order; empty without a driver.
        problem: why there is none, empty if there is.
        library: the opened driver, None without one.
    """

    devices: tuple[Device, ...]
    problem: str = ""
    library: Any = None

    def make_current(self, index: int) -> None:
        """Let this thread's CUDA calls, TensorRT's among them, go to a device.

        Raises:
            DeviceError: the driver refuses.
        """
        if self.library is None:
            return
        device, context = ctypes.c_int(), ctypes.c_void_p()
        status = self.library.cuDeviceGet(ctypes.byref(device), index)
        # The primary context is the one the CUDA runtime uses. It is kept: TensorRT's objects outlive this call.
        status = status or self.library.cuDevicePrimaryCtxRetain(ctypes.byref(context), device)
        status = status or self.library.cuCtxSetCurrent(context)
        if status:
            raise DeviceError(f"cuda:{index} cannot be used (CUDA error {status}); see nvidia-smi for what occupies it")


def query() -> Driver:
    """Ask the driver; never fails."""
    try:
        library: Any = ctypes.CDLL(_LIBRARY)
        status = library.cuInit(0)
    except (OSError, AttributeError):
        return Driver((), f"no NVIDIA driver is installed ({_LIBRARY} cannot be loaded)")
    if status:
        return Driver((), f"the NVIDIA driver finds no usable GPU (cuInit: error {status})")
    count = ctypes.c_int()
    library.cuDeviceGetCount(ctypes.byref(count))
    if count.value < 1:
        return Driver((), "the NVIDIA driver finds no GPU")
    return Driver(tuple(_describe(library, index) for index in range(count.value)), library=library)


def _describe(library: Any, index: int) -> Device:
    device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    name, memory = ctypes.create_string_buffer(256), ctypes.c_size_t()
    library.cuDeviceGet(ctypes.byref(device), index)
    library.cuDeviceGetName(name, len(name), device)
    library.cuDeviceGetAttribute(ctypes.byref(major), _MAJOR, device)
    library.cuDeviceGetAttribute(ctypes.byref(minor), _MINOR, device)
    library.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
    return Device(index, name.value.decode(errors="replace"), f"{major.value}.{minor.value}", memory.value)


def select(driver: Driver, device: str | None) -> Device | None:
    """The device an option names: ``auto`` (the first, None without one), ``cuda`` or ``cuda:N``.

    Raises:
        InputError: not the name of a device.
        DeviceError: no such device.
    """
    text = (device or "auto").lower()
    if text == "auto":
        return driver.devices[0] if driver.devices else None
    kind, _, number = text.partition(":")
    if kind != "cuda" or not (number == "" or (number.isascii() and number.isdigit())):
        raise InputError(f"device {device!r} is not one to build for; write auto, cuda or cuda:N")
    index = int(number or 0)
    if index >= len(driver.devices):
        found = ", ".join(f"cuda:{entry.index} ({entry.name})" for entry in driver.devices)
        raise DeviceError(f"device {device}: {f'there are {found}' if found else driver.problem}")
    return driver.devices[index]
