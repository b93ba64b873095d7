# SPDX-License-Identifier: Apache-2.0
"""The engine: a network and everything around it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import starmap
from typing import TYPE_CHECKING, Any, Literal, cast, overload

import numpy as np
import numpy.typing as npt

from . import _core, _run
from ._checks import callbacks, choice, file_name, flag, instance, shown, text, whole
from ._frames import frames_of, native
from ._sizes import parse_bytes, parse_imgsz
from .device import DevicePoses
from .errors import Error, InputError
from .formats.metadata import GivenSpec, reads_spec, spec_text
from .results import Poses, poses_of
from .spec import ModelSpec
from .thresholds import Thresholds, checked

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .sources import Frame
    from .thresholds import ThresholdChanges
    from .tracking.methods import Method

__all__ = ["Engine", "Ticket", "letterbox"]


Precision = Literal["f32", "fp16", "bf16", "auto"]
Color = Literal["bgr", "rgb"]


@dataclass(frozen=True)
class Ticket:
    """A call that was submitted: what :meth:`Engine.submit` gives and :meth:`Engine.collect` takes."""

    number: int
    """No two of a process are alike."""


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
        streams: how many batches the CPU computes at the same time, each with a part of its cores: of clones, of calls
            that were submitted, and of one call with more frames than a batch.
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
        precision: Precision = "f32",
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
        color: Color = "bgr",
        output: Literal["poses"] = "poses",
        **changes: Unpack[ThresholdChanges],
    ) -> list[Poses]: ...

    @overload
    def infer(
        self,
        batch: Any,
        *,
        thresholds: Thresholds | None = None,
        color: Color = "bgr",
        output: Literal["device"],
        **changes: Unpack[ThresholdChanges],
    ) -> DevicePoses: ...

    def infer(
        self,
        batch: Any,
        *,
        thresholds: Thresholds | None = None,
        color: Color = "bgr",
        output: Literal["poses", "device"] = "poses",
        **changes: Unpack[ThresholdChanges],
    ) -> list[Poses] | DevicePoses:
        """Find the people in frames.

        Args:
            batch: one height×width×3 uint8 frame, a list of them (sizes may differ) or an N×height×width×3 array;
                numpy, or anything with ``__dlpack__`` in host memory. Also the path of a picture, a picture of Pillow,
                lists of these, or an iterator, which is read to its end (:meth:`stream` does not). A float32 array
                N×3×height×width is taken as letterboxed and normalised already; the results are then in its pixels. An
                engine on a GPU also takes arrays there, through ``__dlpack__`` or ``__cuda_array_interface__``, and
                reads them in place. A frame of decoded video is given as :class:`Nv12`.
            thresholds: in place of the engine's own, for this call alone.
            changes: fields of :class:`Thresholds` as keyword arguments, for this call alone.
            color: channel order of the arrays, ``bgr`` or ``rgb``; of no matter for the rest.
            output: ``poses``, or ``device`` for arrays left on the engine's device.

        Returns:
            One :class:`Poses` per frame, in order; coordinates in that frame's pixels. With ``output="device"`` one
            :class:`DevicePoses` for all frames.

        Raises:
            InputError: a frame has the wrong shape or dtype or no pixels, or a picture cannot be read; the message says
                which. None was run then.
        """
        limits = self._limits(thresholds, changes)
        choice(output, "output", ("poses", "device"))
        frames = _frames(batch, color)
        letterboxed = _are_letterboxed(frames)
        if output == "device":
            if letterboxed:
                return DevicePoses(self._core.infer_tensor_device(_letterboxed(frames), thresholds=limits), self.spec)
            return DevicePoses(self._core.infer_device(frames, color=color, thresholds=limits), self.spec)
        if letterboxed:
            results = self._core.infer_tensor(_letterboxed(frames), thresholds=limits)
        else:
            results = self._core.infer(frames, color=color, thresholds=limits)
        return self._poses(results)

    __call__ = infer

    def submit(
        self,
        batch: Any,
        *,
        thresholds: Thresholds | None = None,
        color: Color = "bgr",
        **changes: Unpack[ThresholdChanges],
    ) -> Ticket:
        """Begin what :meth:`infer` does; :meth:`collect` gives its results.

        The network is at work on one call while Python reads the next frames or uses the results of the one before. The
        frames have been read when this returns, those on a GPU too, and may be changed.

        Args:
            batch, thresholds, color, changes: as of :meth:`infer`.

        Raises:
            InputError: as :meth:`infer`; or :attr:`max_in_flight` calls have been submitted and not collected. Those
                are in flight as before.
        """
        limits = self._limits(thresholds, changes)
        frames = _frames(batch, color)
        if _are_letterboxed(frames):
            return self._submitted(partial(self._core.submit_tensor, _letterboxed(frames), thresholds=limits))
        return self._submitted(partial(self._core.submit, frames, color=color, thresholds=limits))

    def _submitted(self, work: Callable[[], int]) -> Ticket:
        """The ticket of what ``work`` begins. An interrupt that came meanwhile is raised as soon as Python runs again:
        by then the number must be held, as nobody could collect a call whose number is lost, and its place were gone.
        """
        held: list[int] = []
        try:
            held.extend(starmap(work, ((),)))  # by C alone
            return Ticket(held[0])
        except BaseException:
            for number in held:
                with contextlib.suppress(Error):
                    self._core.collect(number)
            raise

    def collect(self, ticket: Ticket) -> list[Poses]:
        """Wait for a call that was submitted; its results, which are those of :meth:`infer`.

        Tickets may be collected in any order, each once. What went wrong with a call is raised here and is about that
        one alone. An engine that is deleted waits for its calls and forgets them.

        Raises:
            InputError: the ticket is another engine's, or was collected before.
        """
        instance(ticket, "ticket", Ticket, "what submit returned")
        number: Any = ticket.number
        if type(number) is not int or not 0 <= number < 1 << 64:
            raise InputError(f"ticket is {shown(ticket)}; give what submit returned")
        return self._poses(self._core.collect(number))

    @property
    def max_in_flight(self) -> int:
        """How many calls may be submitted before one must be collected: 2, and on the CPU one more than its streams."""
        return self._core.max_in_flight

    def _limits(self, thresholds: Thresholds | None, changes: ThresholdChanges) -> Any:
        kept = self.thresholds if thresholds is None else checked(thresholds)
        return (kept.changed(changes) if changes else kept).native

    def _poses(self, results: list[Any]) -> list[Poses]:
        return [poses_of(arrays, self.spec) for arrays in results]

    def stream(
        self,
        sources: Any,
        *,
        track: bool | Method = False,
        smooth: bool = False,
        thresholds: Thresholds | None = None,
        on_error: Callable[[InputError], None] | None = None,
        **changes: Unpack[ThresholdChanges],
    ) -> Iterator[tuple[Frame, Poses]]:
        """Frames of pictures, videos, cameras and streams with the people in them, read as they are asked for.

        Args:
            sources: what :class:`trtpose.Sources` takes, or one of these.
            track: give people ids that stay from frame to frame, by keypoints or by the :class:`trtpose.Tracker` method
                that is named.
            smooth: as of :class:`trtpose.Tracker`; goes with ``track``.
            thresholds, changes: as of :meth:`infer`.
            on_error: called for what cannot be read, which is passed over; without it the error is raised.

        Returns:
            An iterator over pairs of :class:`trtpose.Frame` (``image``, ``source``, ``index``, ``time``) and
            :class:`Poses`. Leaving it early stops the reading. While it runs it has calls in flight, all that
            :attr:`max_in_flight` allows; :meth:`infer` works beside them. Of cameras and streams it has as many as the
            engine computes at a time (``streams``), while further frames wait, and one on a GPU; of :class:`Sources`
            that were given no frame is read before the results of the one before are out.

        Raises:
            InputError: as :class:`trtpose.Sources` and :meth:`infer`.
            DeviceError: what tracking needs is not installed.
        """
        from ._stream import stream

        callbacks(on_error=on_error)
        kept = (self.thresholds if thresholds is None else checked(thresholds)).changed(changes)

        return stream(self, kept, sources, track=track, smooth=smooth, on_error=on_error)

    @classmethod
    def on_network(
        cls,
        run: Callable[[npt.NDArray[np.float32]], list[npt.NDArray[np.float32]]],
        *,
        backend: str,
        source: tuple[str, Sequence[int]],
        profile: Sequence[Sequence[int]],
        outputs: Sequence[tuple[str, Sequence[int]]],
        spec: ModelSpec,
        batch: int,
        thresholds: Thresholds,
    ) -> Engine:
        """An engine on the CPU around a network that somebody else runs.

        Args:
            run: gives the outputs, N first, for an input of N×3×height×width, which is valid during the call alone. It
                is called once for each size with zeros. What it raises comes out of :meth:`infer`.
            backend: what :attr:`backend` says.
            source: name and shape of the input, -1 where a side is open.
            profile: smallest, best and largest shape that it takes; empty: all that fit its shape.
            outputs: name and shape of each output, in the order in which ``run`` gives them.
            spec, batch, thresholds: as of the constructor.

        Raises:
            ModelError, InputError: as the constructor.
        """
        made = object.__new__(cls)
        made.model, made.spec, made.thresholds = spec.name, spec, thresholds
        made._core = _core.Engine.on_network(
            run=run,
            backend=backend,
            input=source[0],
            shape=list(source[1]),
            profile=[list(shape) for shape in profile],
            outputs=[(name, list(shape)) for name, shape in outputs],
            spec=spec.to_json(),
            batch=batch,
            thresholds=thresholds.native,
            threads=0,
        )
        return made

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


def _frames(batch: Any, color: str) -> list[Any]:
    color = cast("Color", text(color, "color", "bgr or rgb"))
    return [native(frame, color) for frame in frames_of(batch)]


def _are_letterboxed(frames: list[Any]) -> bool:
    return (
        len(frames) > 0
        and not _core.is_device_array(frames[0])
        and getattr(frames[0], "ndim", 0) == 3
        and getattr(frames[0], "dtype", None) == np.float32
    )


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
    frame: Any, size: int | Sequence[int], *, color: Color = "bgr", spec: ModelSpec | None = None
) -> npt.NDArray[np.float32]:
    """The network's input for a frame, made by the engine's own letterbox.

    Before normalisation the bytes equal ``cv2.resize(INTER_LINEAR)`` followed by ``cv2.copyMakeBorder``.

    Args:
        frame: height×width×3 uint8, or :class:`Nv12`.
        size: height and width of the input in pixels, or one number for both.
        color: channel order of the frame.
        spec: form, colour order, mean, std and pad of the network's input; by default RGB divided by 255, in the
            middle of a border of 114.

    Returns:
        3×height×width float32.

    Raises:
        InputError: the frame or the size cannot be used.
    """
    fields = spec_text(spec)
    color = cast("Color", text(color, "color", "bgr or rgb"))
    return _core.letterbox(native(frame, color), parse_imgsz(size), color, fields)[0]
