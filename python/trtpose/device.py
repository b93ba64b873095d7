# SPDX-License-Identifier: Apache-2.0
"""Results left in the memory of the device that found them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ._optional import require
from .errors import InputError

if TYPE_CHECKING:
    from . import _core
    from .spec import ModelSpec

__all__ = ["DevicePoses", "PoseArrays"]


class PoseArrays(NamedTuple):
    """The arrays of a :class:`DevicePoses` as another library's, N frames with room for M poses of K keypoints each."""

    counts: Any
    boxes: Any
    scores: Any
    class_ids: Any
    keypoints: Any


class DevicePoses:
    """The people in N frames, in arrays of a fixed size on the engine's device.

    Frame i has ``counts[i]`` poses, best score first; what stands behind them is unspecified. Coordinates are pixels of
    the frame, as in :class:`~trtpose.Poses`.

    The arrays speak ``__dlpack__``, and on a GPU also ``__cuda_array_interface__`` (version 3): ``torch.from_dlpack``,
    ``cupy.from_dlpack``, ``numba.cuda.as_cuda_array`` or, on a CPU, ``numpy.from_dlpack`` take them without a copy.
    They belong to this object and to everything made of them, not to the engine: later calls leave them alone. On a GPU
    they may still be being written; both protocols make the reader's stream wait.
    """

    def __init__(self, native: _core.DevicePoses, spec: ModelSpec) -> None:
        self._native = native
        self.spec = spec

    def __len__(self) -> int:
        """Number of frames, N."""
        return len(self._native)

    @property
    def counts(self) -> _core.DeviceArray:
        """(N,) int32: poses in each frame."""
        return self._native.counts

    @property
    def boxes(self) -> _core.DeviceArray:
        """(N, M, 4) float32: x1, y1, x2, y2, clipped to the frame."""
        return self._native.boxes

    @property
    def scores(self) -> _core.DeviceArray:
        """(N, M) float32."""
        return self._native.scores

    @property
    def class_ids(self) -> _core.DeviceArray:
        """(N, M) int32."""
        return self._native.class_ids

    @property
    def keypoints(self) -> _core.DeviceArray:
        """(N, M, K, 3) float32: x, y, confidence."""
        return self._native.keypoints

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """Height and width of each frame."""
        return self._native.shapes

    @property
    def max_det(self) -> int:
        """Room for poses in each frame, M."""
        return self._native.max_det

    @property
    def device(self) -> str:
        """Where the arrays are: ``cpu`` or ``cuda:N``."""
        return self._native.device

    @property
    def stream(self) -> int:
        """The CUDA stream that writes the arrays, as a number; 0 on the CPU. It lives as long as this object."""
        return self._native.stream

    def synchronize(self) -> None:
        """Return when the arrays are written.

        Raises:
            DeviceError: the GPU stopped before.
        """
        self._native.synchronize()

    def cupy(self) -> PoseArrays:
        """The arrays as cupy's, without a copy.

        Raises:
            InputError: they are on the CPU.
            DeviceError: cupy is not installed.
        """
        if not self.device.startswith("cuda"):
            raise InputError("these poses are on the CPU, where cupy has no arrays; use numpy.from_dlpack")
        cupy = require("cupy", package="cupy-cuda13x", extra="cuda", purpose="DevicePoses.cupy")
        native = self._native
        return PoseArrays(
            *(
                cupy.from_dlpack(array)
                for array in (native.counts, native.boxes, native.scores, native.class_ids, native.keypoints)
            )
        )

    def __repr__(self) -> str:
        return f"DevicePoses({len(self)} frames, room for {self.max_det} poses each, {self.device})"
