# SPDX-License-Identifier: Apache-2.0
"""The first step of a build: which runtime, on which GPU, for which shapes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .. import _files, _run
from .._kinds import ENGINE
from ..errors import InputError, ModelError
from . import driver as drivers
from . import onnx_model, tensorrt_api
from .options import Options
from .timing_cache import TimingCache, default_path

__all__ = ["Resolved", "resolve"]


@dataclass(frozen=True)
class Resolved:
    """Everything that a build depends on, looked up and checked.

    Attributes:
        model: the ONNX.
        target: the engine file to write.
        driver: of NVIDIA, where there is one.
        library: what builds.
        gpu: what the engine is built on, None without one.
        capabilities: RTX: compute capabilities it is for.
        runs_here: whether this machine has a GPU for it.
        shapes: the input shapes it will take, written into the ONNX as far as they are fixed.
        timing_cache: timings of earlier builds, None without.
    """

    model: onnx_model.OnnxModel
    target: Path
    driver: drivers.Driver
    library: tensorrt_api.Library
    gpu: drivers.Device | None
    capabilities: tuple[str, ...]
    runs_here: bool
    shapes: onnx_model.Shapes
    timing_cache: TimingCache | None


def resolve(source: Path, target: Path, options: Options, say: Callable[[str], None]) -> Resolved:
    """Find what an ONNX is built with and for; what can be refused without building is refused here.

    Raises:
        ModelError: the ONNX cannot be used.
        InputError: it does not take the shapes asked for, or ``target`` cannot be written.
        DeviceError: a package, the driver or the GPU is missing.
    """
    model = onnx_model.load(source, options.spec)
    _files.check_writable(target, ENGINE)
    driver = drivers.query()
    runtime, why = tensorrt_api.choose(options.runtime, driver)
    if why:
        say(why)
    gpu = drivers.select(driver, options.device)
    library = tensorrt_api.open_library(runtime, driver)
    if options.nms_in_engine:
        from .graft import load_plugin

        load_plugin(library)  # what is refused is refused before a long quantisation
    if library.runtime == "rtx":
        _refuse_nms(model)
    capabilities, runs_here = _capabilities(library, gpu, options, say)
    return Resolved(
        model=model,
        target=target,
        driver=driver,
        library=library,
        gpu=gpu,
        capabilities=capabilities,
        runs_here=runs_here,
        shapes=onnx_model.fix_shapes(model, options.batch, options.imgsz),
        timing_cache=_timing_cache(options.timing_cache, library, gpu),
    )


def _refuse_nms(model: onnx_model.OnnxModel) -> None:
    """TensorRT for RTX has no NonMaxSuppression and says so by an internal error."""
    if any(node.op_type == "NonMaxSuppression" for node in model.proto.graph.node):
        raise ModelError(
            f"{model.path}: has an NMS of its own (NonMaxSuppression), which TensorRT for RTX cannot build; export it "
            "without (Ultralytics: nms=False), trtpose does NMS behind the network"
        )


def _capabilities(
    library: tensorrt_api.Library, gpu: drivers.Device | None, options: Options, say: Callable[[str], None]
) -> tuple[tuple[str, ...], bool]:
    """Compute capabilities to build for, and whether the GPU here is among them."""
    if library.runtime != "rtx":
        return options.compute_capability, True
    capabilities = options.compute_capability or tensorrt_api.default_capabilities(library)
    runs_here = gpu is not None and gpu.compute_capability in capabilities
    if gpu is not None and not runs_here:
        say(
            f"the engine will not run here: {gpu.name} has compute capability {gpu.compute_capability}, it is for "
            f"{', '.join(capabilities)}"
        )
    return capabilities, runs_here


def _timing_cache(choice: str | None, library: tensorrt_api.Library, gpu: drivers.Device | None) -> TimingCache | None:
    if library.runtime == "rtx":
        if choice is not None and choice != "none":
            raise InputError("TensorRT for RTX times nothing when it builds; leave --timing-cache out")
        return None
    if choice == "none":
        return None
    if choice is not None:
        _run.refuse(Path(choice))
        return TimingCache(Path(choice))
    assert gpu is not None  # open_library refuses TensorRT without one
    return TimingCache(default_path(library.version, gpu.name, gpu.compute_capability))
