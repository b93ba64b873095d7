# SPDX-License-Identifier: Apache-2.0
"""What a build asks of TensorRT's builder, and how each version is told."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import InputError
from ..formats.onnx_file import OnnxBytes
from .options import Options
from .tensorrt_api import Library, known_capabilities
from .timing_cache import TimingCache

__all__ = ["Request", "configure"]


@dataclass(frozen=True)
class Request:
    """What to build, as far as the library is concerned.

    Attributes:
        name: of the ONNX file, for messages.
        onnx: the serialised graph.
        nodes: names of its nodes, in order.
        keep: names of nodes to compute in FP32; only of weight with weakly typed networks.
        shapes: ``min``, ``opt``, ``max`` of each input with open dimensions.
        workspace, tactic_memory: limits in bytes, 0 for the library's own.
        capabilities: RTX: compute capabilities the plan is for.
        cache: timings of earlier builds, None without.
        device: index of the GPU, None without.
        options: what the user asked, for the rest.
    """

    name: str
    onnx: OnnxBytes = field(repr=False)
    nodes: Sequence[str] = field(repr=False)
    keep: Collection[str]
    shapes: Mapping[str, Mapping[str, Sequence[int]]]
    workspace: int
    tactic_memory: int
    capabilities: Sequence[str]
    cache: TimingCache | None
    device: int | None
    options: Options


def configure(library: Library, builder: Any, config: Any, request: Request) -> None:
    """Tell the builder's configuration everything but the precision.

    Raises:
        InputError: an option that this library does not have.
    """
    trt = library.trt
    _limit_memory(library, config, request)
    _limit_tactics(library, config)
    _make_compatible(library, config, request)
    _stream_weights(library, config, request)
    _target(library, config, request)
    _share_profiles(library, config)
    if request.options.opt_level is not None:
        config.builder_optimization_level = request.options.opt_level
    if not request.options.tf32:
        # TF32 keeps no more digits than FP16: what is left in FP32 is left there for its digits.
        config.clear_flag(trt.BuilderFlag.TF32)
    # One stream: less memory, and one chain of kernels in a captured graph.
    config.max_aux_streams = 0
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if request.shapes:
        profile = builder.create_optimization_profile()
        for name, dims in request.shapes.items():
            profile.set_shape(name, tuple(dims["min"]), tuple(dims["opt"]), tuple(dims["max"]))
        config.add_optimization_profile(profile)
    _use_cache(library, config, request.cache)


def _limit_memory(library: Library, config: Any, request: Request) -> None:
    pools = library.trt.MemoryPoolType
    for pool, limit in ((pools.WORKSPACE, request.workspace), (pools.TACTIC_DRAM, request.tactic_memory)):
        if limit:
            config.set_memory_pool_limit(pool, limit)


def _limit_tactics(library: Library, config: Any) -> None:
    """Only TensorRT's own kernels: cuBLAS and cuDNN cost hundreds of megabytes of device memory once loaded."""
    sources: Any = library.trt.TacticSource
    own, foreign = ("EDGE_MASK_CONVOLUTIONS", "JIT_CONVOLUTIONS"), ("CUBLAS", "CUBLAS_LT", "CUDNN")
    if any(hasattr(sources, name) for name in foreign):
        config.set_tactic_sources(sum(1 << int(getattr(sources, name)) for name in own if hasattr(sources, name)))


def _make_compatible(library: Library, config: Any, request: Request) -> None:
    trt, wanted = library.trt, request.options.hardware_compatible
    if wanted != "none":
        level = getattr(trt.HardwareCompatibilityLevel, wanted.upper(), None)
        if library.runtime == "rtx":
            raise InputError(
                "hardware compatibility is a matter of TensorRT; engines for RTX are portable over the cards named by "
                "--compute-capability"
            )
        if level is None:
            raise InputError(
                f"hardware compatibility {wanted}: {library.title} does not have it; use ampere_plus or TensorRT 10.9"
            )
        config.hardware_compatibility_level = level
    if request.options.version_compatible:
        if library.runtime == "rtx":
            raise InputError("TensorRT for RTX builds no version-compatible engines; leave --version-compatible out")
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)


def _stream_weights(library: Library, config: Any, request: Request) -> None:
    if request.options.weight_streaming:
        if not hasattr(library.trt.BuilderFlag, "WEIGHT_STREAMING"):
            raise InputError(f"weight streaming needs TensorRT 10 or newer, this is {library.version}; leave it out")
        config.set_flag(library.trt.BuilderFlag.WEIGHT_STREAMING)


def _share_profiles(library: Library, config: Any) -> None:
    """Let several contexts use one profile at a time, as clones of an engine do. From TensorRT 10 on they may."""
    if library.runtime == "tensorrt" and library.release < (10,):
        config.set_preview_feature(library.trt.PreviewFeature.PROFILE_SHARING_0806, True)


def _target(library: Library, config: Any, request: Request) -> None:
    if not request.capabilities:
        return
    known = known_capabilities(library)
    if library.runtime != "rtx":
        raise InputError(
            "compute capabilities are for --runtime rtx; a TensorRT engine is for the GPU it is built on, and "
            "--hardware-compatible widens that"
        )
    for name in request.capabilities:
        if name not in known:
            raise InputError(f"compute capability {name}: {library.title} builds for {', '.join(known)}")
    config.num_compute_capabilities = len(request.capabilities)
    for index, name in enumerate(request.capabilities):
        config.set_compute_capability(known[name], index)


def _use_cache(library: Library, config: Any, cache: TimingCache | None) -> None:
    """RTX times nothing when it builds and keeps no timings."""
    if cache is not None and library.runtime != "rtx":
        cache.attach(config)
