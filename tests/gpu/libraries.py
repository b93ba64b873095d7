# SPDX-License-Identifier: Apache-2.0
"""The libraries that make arrays on a GPU, behind one face for the tests."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest


class Cupy:
    """cupy: DLPack and ``__cuda_array_interface__``."""

    def __init__(self) -> None:
        self.cupy: Any = _module("cupy")

    def put(self, values: np.ndarray) -> Any:
        return self.cupy.asarray(values)

    def padded(self, values: np.ndarray) -> Any:
        """The same pixels in rows with room behind them."""
        big = self.cupy.full((values.shape[0], values.shape[1] + 7, 3), 255, self.cupy.uint8)
        big[:, : values.shape[1]] = self.cupy.asarray(values)
        return big[:, : values.shape[1]]

    def get(self, array: Any) -> np.ndarray:
        return self.cupy.asnumpy(array)

    def take(self, result: Any) -> Any:
        return self.cupy.from_dlpack(result)

    def take_interface(self, result: Any) -> Any:
        return self.cupy.asarray(result)

    def late(self, values: np.ndarray) -> tuple[Any, Any, Any]:
        """An array that a busy stream of its own will write by and by; the stream, and whether it is done."""
        source, target = self.cupy.asarray(values), self.cupy.zeros(values.shape, values.dtype)
        work = self.cupy.ones(1 << 26, self.cupy.float32)
        work *= 1.0  # compiles what it needs
        self.cupy.cuda.Device().synchronize()
        stream = self.cupy.cuda.Stream(non_blocking=True)
        with stream:
            for _ in range(600):  # a tenth of a millisecond each on the fastest cards
                work *= 1.0
            target[...] = source
        return target, stream, lambda: stream.done

    def sum_on_another_stream(self, result: Any) -> float:
        with self.cupy.cuda.Stream(non_blocking=True) as stream:
            total = self.cupy.from_dlpack(result).sum()
            stream.synchronize()
        return float(total)


class Torch:
    """torch: DLPack, and an interface without a stream."""

    def __init__(self) -> None:
        self.torch: Any = _module("torch")
        if not self.torch.cuda.is_available():
            pytest.skip("torch sees no GPU")

    def put(self, values: np.ndarray) -> Any:
        return self.torch.from_numpy(values.copy()).cuda()

    def padded(self, values: np.ndarray) -> Any:
        big = self.torch.full((values.shape[0], values.shape[1] + 7, 3), 255, dtype=self.torch.uint8, device="cuda")
        big[:, : values.shape[1]] = self.put(values)
        return big[:, : values.shape[1]]

    def get(self, array: Any) -> np.ndarray:
        return array.cpu().numpy()

    def take(self, result: Any) -> Any:
        return self.torch.from_dlpack(result)

    def take_interface(self, result: Any) -> Any:
        return self.torch.as_tensor(result, device="cuda")

    def late(self, values: np.ndarray) -> tuple[Any, Any, Any]:
        source = self.put(values)
        target = self.torch.zeros_like(source)
        self.torch.cuda.synchronize()
        stream = self.torch.cuda.Stream()
        with self.torch.cuda.stream(stream):
            self.torch.cuda._sleep(400_000_000)
            target.copy_(source)
        return target, self.torch.cuda.stream(stream), stream.query

    def sum_on_another_stream(self, result: Any) -> float:
        with self.torch.cuda.stream(self.torch.cuda.Stream()):
            return float(self.torch.from_dlpack(result).sum().item())


class Numba:
    """numba: the interface alone, with the stream an array was made on."""

    def __init__(self) -> None:
        self.cuda: Any = _module("numba.cuda")

    def put(self, values: np.ndarray) -> Any:
        return self.cuda.to_device(values)

    def padded(self, values: np.ndarray) -> Any:
        big = np.full((values.shape[0], values.shape[1] + 7, 3), 255, np.uint8)
        big[:, : values.shape[1]] = values
        return self.cuda.to_device(big)[:, : values.shape[1]]

    def get(self, array: Any) -> np.ndarray:
        return array.copy_to_host()

    def take(self, result: Any) -> Any:
        return self.cuda.as_cuda_array(result)

    take_interface = take


class Pycuda:
    """pycuda: the interface alone, of a version without a stream; its context is made the process's own."""

    def __init__(self) -> None:
        _module("pycuda")
        importlib.import_module("pycuda.autoprimaryctx")
        self.gpuarray: Any = importlib.import_module("pycuda.gpuarray")

    def put(self, values: np.ndarray) -> Any:
        return self.gpuarray.to_gpu(values)

    def padded(self, values: np.ndarray) -> Any:
        big = np.full((values.shape[0], values.shape[1] + 7, 3), 255, np.uint8)
        big[:, : values.shape[1]] = values
        return self.gpuarray.to_gpu(big)[:, : values.shape[1]]

    def get(self, array: Any) -> np.ndarray:
        return array.get()

    def take(self, result: Any) -> Any:
        about = result.__cuda_array_interface__
        return self.gpuarray.GPUArray(about["shape"], np.dtype(about["typestr"]), gpudata=about["data"][0], base=result)

    take_interface = take


LIBRARIES: dict[str, type[Any]] = {"cupy": Cupy, "torch": Torch, "numba": Numba, "pycuda": Pycuda}


def _module(name: str) -> Any:
    return pytest.importorskip(name, reason=f"{name} is not installed", exc_type=ImportError)
