# SPDX-License-Identifier: Apache-2.0
"""The engine: a network and everything around it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, cast, overload

import numpy as np
import numpy.typing as npt

from . import _core, _run
from ._checks import choice, file_name, flag, text, whole
from ._sizes import parse_bytes, parse_imgsz
from .device import DevicePoses
from .errors import InputError
from .formats.metadata import GivenSpec, reads_spec, spec_text
from .nv12 import Nv12
from .results import Poses
from .spec import ModelSpec
from .thresholds import Thresholds, checked

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .thresholds import ThresholdChanges

__all__ = ["Engine", "letterbox"]


def _frames(batch: Any) -> list[Any]:
    """One frame, a batch in one array, or a sequence of frames as a list of frames."""
    if isinstance(batch, (list, tuple)):
        return list(cast("Sequence[Any]", batch))
    if _core.is_device_array(batch):
        return [batch]  # the native side takes it apart
    if not isinstance(batch, np.ndarray) and hasattr(batch, "__dlpack__"):
        try:
            batch = np.from_dlpack(batch)
        except (BufferError, RuntimeError, TypeError, ValueError, AttributeError):
            return [batch]  # the native side says what is wrong with it
    shape = getattr(batch, "shape", ())
    return list(batch) if len(shape) == 4 else [batch]


def _native(frame: Any) -> Any:
    """A frame as the native side takes it."""
    if not isinstance(frame, Nv12):
        return frame
    return _core.Nv12(frame.luma, frame.chroma, bt709=frame.matrix == "bt709", full_range=frame.full_range)


class Engine:
    """A pose network and everything around it: frames in, people out.

    Args:
        model: path of an ONNX model (runs on the CPU through OpenVINO) or of an engine file (runs on the GPU it was
            built for through TensorRT).
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``. What is asked for is what runs: there is no silent fallback.
        precision: what the network may compute in: ``f32``, ``fp16``, ``bf16`` or ``auto`` (the backend's choice).
        spec: model spec for models that carry none: a :class:`ModelSpec`, a dict of its fields or a JSON file's path.
        imgsz: input height and width in pixels, or one number for both, for models with a dynamic size.
        batch: frames per run of the network at most; larger calls are split. By default the model's own or the one it
            is fastest at, 1 if it leaves that open; on a GPU with a ``vram_budget`` the largest that fits.
        rect: pad each frame only to the next multiple of the largest stride instead of the whole ``imgsz``.
        thresholds: which poses are kept, the defaults of every call.
        changes: fields of :class:`Thresholds` as keyword arguments, such as ``conf=0.3``.
        threads: CPU threads; 0 takes all.
        streams: how many clones may run at the same time on the CPU.
        vram_budget: bytes the engine may plan for, a number or a text such as ``"2GiB"``. Where not even the smallest
            batch fits, weights stay in the host's memory if the engine was built to stream them.
        stage_times: on a GPU, clock decode and NMS apart from the network, for :attr:`timings`. It costs a little.

    Raises:
        ModelError: the model cannot be read, or its spec is missing or does not fit.
        DeviceError: no such device, or a vendor library is missing.
        BudgetError: the plan exceeds ``vram_budget``; the message has the numbers and what would fit.
        InputError: an option has no valid value, or the model takes no such batch or size.

    An engine may be called from several threads; the calls are serialised. Use :meth:`clone` to run in parallel.
    """

    def __init__(
        self,
        model: str | os.PathLike[str],
        *,
        device: str = "auto",
        precision: str = "f32",
        spec: GivenSpec = None,
        imgsz: int | Sequence[int] | None = None,
        batch: int | None = None,
        rect: bool = False,
        thresholds: Thresholds | None = None,
        threads: int = 0,
        streams: int = 1,
        vram_budget: int | str | None = None,
        stage_times: bool = False,
        **changes: Unpack[ThresholdChanges],
    ) -> None:
        self.model = file_name(model, "model", "the path of an ONNX model or an engine file")
        _run.reads_model(self.model)
        self.thresholds = (Thresholds() if thresholds is None else checked(thresholds)).changed(changes)
        self._core = _core.Engine(
            path=self.model,
            spec=spec_text(spec),
            device=text(device, "device", "auto, cpu, cuda or cuda:N"),
            precision=text(precision, "precision", "f32, fp16, bf16 or auto"),
            imgsz=parse_imgsz(imgsz),
            batch=0 if batch is None else whole(batch, "batch", 1),
            rect=flag(rect, "rect"),
            thresholds=self.thresholds.native,
            threads=whole(threads, "threads"),
            streams=whole(streams, "streams", 1),
            vram_budget=parse_bytes(vram_budget),
            stage_times=flag(stage_times, "stage_times"),
        )
        reads_spec(self._core.spec_origin)
        self.spec = ModelSpec.from_json(self._core.spec_json, source=self.model)

    @overload
    def infer(
        self,
        batch: Any,
        *,
        thresholds: Thresholds | None = None,
        color: str = "bgr",
        output: Literal["poses"] = "poses",
        **changes: Unpack[ThresholdChanges],
    ) -> list[Poses]: ...

    @overload
    def infer(
        self,
        batch: Any,
        *,
        thresholds: Thresholds | None = None,
        color: str = "bgr",
        output: Literal["device"],
        **changes: Unpack[ThresholdChanges],
    ) -> DevicePoses: ...

    def infer(
        self,
        batch: Any,
        *,
        thresholds: Thresholds | None = None,
        color: str = "bgr",
        output: Literal["poses", "device"] = "poses",
        **changes: Unpack[ThresholdChanges],
    ) -> list[Poses] | DevicePoses:
        """Find the people in frames.

        Args:
            batch: one height×width×3 uint8 frame, a list of them (sizes may differ) or an N×height×width×3 array;
                numpy, or anything with ``__dlpack__`` in host memory. A float32 array N×3×height×width is taken as
                letterboxed and normalised already; the results are then in its pixels. An engine on a GPU also takes
                arrays there, through ``__dlpack__`` or ``__cuda_array_interface__``, and reads them in place. A frame
                of decoded video is given as :class:`Nv12`.
            thresholds: in place of the engine's own, for this call alone.
            changes: fields of :class:`Thresholds` as keyword arguments, for this call alone.
            color: channel order of the frames, ``bgr`` or ``rgb``; of no matter for :class:`Nv12`.
            output: ``poses``, or ``device`` for arrays left on the engine's device.

        Returns:
            One :class:`Poses` per frame, in order; coordinates in that frame's pixels. With ``output="device"`` one
            :class:`DevicePoses` for all frames.

        Raises:
            InputError: a frame has the wrong shape or dtype or no pixels; the message says which. None was run then.
        """
        kept = self.thresholds if thresholds is None else checked(thresholds)
        color = text(color, "color", "bgr or rgb")
        if changes:
            kept = kept.changed(changes)
        native = kept.native
        choice(output, "output", ("poses", "device"))
        frames = [_native(frame) for frame in _frames(batch)]
        letterboxed = (
            len(frames) > 0
            and not _core.is_device_array(frames[0])
            and getattr(frames[0], "ndim", 0) == 3
            and getattr(frames[0], "dtype", None) == np.float32
        )
        if output == "device":
            if letterboxed:
                return DevicePoses(self._core.infer_tensor_device(_letterboxed(frames), thresholds=native), self.spec)
            return DevicePoses(self._core.infer_device(frames, color=color, thresholds=native), self.spec)
        if letterboxed:
            results = self._core.infer_tensor(_letterboxed(frames), thresholds=native)
        else:
            results = self._core.infer(frames, color=color, thresholds=native)
        return [
            Poses(boxes=boxes, scores=scores, class_ids=ids, keypoints=points, shape=shape, spec=self.spec)
            for boxes, scores, ids, points, shape in results
        ]

    def clone(self) -> Engine:
        """A second engine on the same weights with buffers of its own, to run in parallel."""
        copy = object.__new__(Engine)
        copy._core = self._core.clone()
        copy.model = self.model
        copy.spec = self.spec
        copy.thresholds = self.thresholds
        return copy

    @property
    def device(self) -> str:
        """The device in use: ``cpu`` or ``cuda:N``."""
        return self._core.device

    @property
    def backend(self) -> str:
        """The library that runs the network: ``openvino``, ``tensorrt`` or ``tensorrt-rtx``."""
        return self._core.backend

    @property
    def backend_version(self) -> str:
        """Version of that library."""
        return self._core.backend_version

    @property
    def precision(self) -> str:
        """The precision in use, as the backend reports it."""
        return self._core.precision

    @property
    def batch(self) -> int:
        """Frames per run of the network at most."""
        return self._core.batch

    @property
    def imgsz(self) -> tuple[int, int]:
        """Input height and width in pixels."""
        return self._core.imgsz

    @property
    def spec_origin(self) -> str:
        """Where the model spec came from."""
        return self._core.spec_origin

    @property
    def memory(self) -> dict[str, int]:
        """Planned bytes: ``weights, activations, io, staging, workspace, total``."""
        return self._core.memory

    @property
    def timings(self) -> dict[str, float]:
        """Milliseconds of the last :meth:`infer`: ``letterbox, network, decode, nms, total``.

        On a GPU its own clock, and of calls that bring the results to the host alone. ``network`` holds decode and NMS
        too, unless the engine was opened with ``stage_times``; ``letterbox`` the wait for the upload, ``nms`` the way
        of the results to the host. ``total`` is the host's clock; as batches overlap, the stages may add up to more.
        """
        return self._core.timings

    def __repr__(self) -> str:
        height, width = self.imgsz
        where = f"{self.backend} on {self.device}"
        return f"Engine({self.model!r}, {where}, {self.precision}, batch {self.batch}, {height}×{width})"


def _letterboxed(frames: list[Any]) -> npt.NDArray[np.float32]:
    shapes = {np.shape(frame) for frame in frames}
    if len(shapes) != 1 or next(iter(shapes))[0] != 3:
        raise InputError(
            "float32 frames are taken as letterboxed inputs and must all be 3×height×width, "
            f"these are {sorted(shapes)}; pass pictures as uint8"
        )
    stacked = np.ascontiguousarray(np.stack(frames), dtype=np.float32)
    if not np.isfinite(stacked).all():
        raise InputError("the letterboxed input holds NaN or infinity; normalise it to finite numbers")
    return stacked


def letterbox(
    frame: Any, size: int | Sequence[int], *, color: str = "bgr", spec: ModelSpec | None = None
) -> npt.NDArray[np.float32]:
    """The network's input for a frame, made by the engine's own letterbox.

    Before normalisation the bytes equal ``cv2.resize(INTER_LINEAR)`` followed by ``cv2.copyMakeBorder``.

    Args:
        frame: height×width×3 uint8, or :class:`Nv12`.
        size: height and width of the input in pixels, or one number for both.
        color: channel order of the frame.
        spec: colour order, mean, std and pad of the network; by default RGB divided by 255, pad 114.

    Returns:
        3×height×width float32.

    Raises:
        InputError: the frame or the size cannot be used.
    """
    fields = spec_text(spec)
    return _core.letterbox(_native(frame), parse_imgsz(size), text(color, "color", "bgr or rgb"), fields)[0]
