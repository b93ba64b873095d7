# SPDX-License-Identifier: Apache-2.0
"""The NVIDIA driver, by a stand-in for its library."""

from __future__ import annotations

import ctypes
from typing import Any

import pytest

from trtpose.build import driver as drivers
from trtpose.errors import DeviceError


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
