# SPDX-License-Identifier: Apache-2.0
"""From ONNX to an engine: TensorRT 8.6, 10 and 11 on the card it is for, or TensorRT for RTX on any machine.

The module is called: ``trtpose.build("model.onnx", precision="fp16")``. Needs ``pip install "trtpose[build]"`` and one
of the extras ``tensorrt`` and ``rtx``; nothing here is imported by the rest of the package.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

from .._checks import file_name, file_path
from .._run import one_run
from ..errors import InputError
from ..spec import ModelSpec
from . import budget, compiler, engine_file, onnx_model
from .budget import mib
from .builder_config import Request
from .description import describe
from .onnx_precision import TypedNetwork, put_precision_in
from .options import Options, OptionValues
from .precision import Shares
from .resolve import Resolved, resolve

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["Built", "Options", "build", "build_engine"]


@dataclass(frozen=True)
class Built:
    """An engine that was built.

    Attributes:
        path: the engine file.
        spec: how to read its outputs.
        runtime: ``tensorrt`` or ``rtx``.
        version: of the library that built it.
        precision: ``fp32``, ``fp16`` or ``int8``.
        network: layers by precision, as the network says.
        engine: the same as the engine says, None where it cannot be opened here.
        shapes: the input shapes it takes.
        size: bytes of the file.
        seconds: that parsing and building took.
        header: the description in the file.
        warnings: what the library warned of.
        runs_here: whether this machine has a GPU for it.
    """

    path: Path
    spec: ModelSpec
    runtime: str
    version: str
    precision: str
    network: Shares
    engine: Shares | None
    shapes: onnx_model.Shapes
    size: int
    seconds: float
    header: Mapping[str, Any] = field(repr=False)
    warnings: tuple[str, ...] = field(repr=False)
    runs_here: bool

    def report(self) -> list[str]:
        """Lines for people."""
        engine = cast("dict[str, Any]", self.header[engine_file.ENGINE_KEY])
        title = "TensorRT" if self.runtime == "tensorrt" else "TensorRT for RTX"
        if engine["device"] is not None:
            where = f"{engine['device']['name']} (compute capability {engine['device']['compute_capability']})"
        else:
            where = f"compute capabilities {', '.join(engine['compute_capabilities'])}"
        lines = [
            f"{title} {self.version}, for {where}",
            f"{self.precision}, {self.shapes}",
            f"network: {self.network}",
        ]
        if self.engine is not None:
            lines.append(f"engine: {self.engine}")
        elif self.runs_here:
            lines.append("engine: the library does not tell its precision")
        memory = cast("dict[str, int | None]", engine["memory"])
        if memory["activations"] is not None:
            lines.append(
                f"device memory: weights {mib(memory['weights'] or 0)}, intermediate tensors "
                f"{mib(memory['activations'])}"
            )
        lines.append(f"wrote {self.path} ({self.size / 1e6:.1f} MB) in {self.seconds:.1f} s")
        return lines


def _quiet(line: str) -> None:
    del line


@one_run
def build_engine(
    model: str | os.PathLike[str],
    output: str | os.PathLike[str] | None,
    options: Options,
    *,
    report: Callable[[str], None] | None = None,
    progress: Callable[[str, float], None] | None = None,
) -> Built:
    """Build an engine file from ONNX as ``options`` say; arguments and errors as of :func:`build`."""
    say = report or _quiet
    source = Path(file_name(model, "model", "the path of an ONNX model"))
    if not source.name:
        raise InputError(f"{source}: is no file; give the path of an ONNX model")
    target = file_path(output, "output") if output is not None else source.with_suffix(".engine")
    resolved = resolve(source, target, options, say)
    network = put_precision_in(resolved, options, report=say, progress=progress)
    budget.refuse_weights(source, network.weights, options)
    request = _request(resolved, network, options)
    began = time.perf_counter()
    compiled = compiler.compile_plan(
        resolved.library, request, resolved.driver, report=say, progress=progress, inspect=resolved.runs_here
    )
    seconds = time.perf_counter() - began
    if request.cache is not None and request.cache.problem:
        say(request.cache.problem)
    budget.refuse_engine(source, compiled.weights or network.weights, compiled.activations, options)
    size = engine_file.write(target, describe(resolved, network, compiled, options), compiled.plan)
    return Built(
        path=target,
        spec=ModelSpec.from_dict(network.fields, source=str(target)),
        runtime=resolved.library.runtime,
        version=resolved.library.version,
        precision=options.precision,
        network=compiled.network,
        engine=compiled.engine,
        shapes=resolved.shapes,
        size=size,
        seconds=seconds,
        header=engine_file.read(target, check=False).header,
        warnings=compiled.warnings,
        runs_here=resolved.runs_here,
    )


def _request(resolved: Resolved, network: TypedNetwork, options: Options) -> Request:
    """What the library is asked."""
    return Request(
        name=str(resolved.model.path),
        onnx=network.onnx,
        nodes=network.nodes,
        keep=network.keep,
        shapes={} if resolved.shapes.fixed else {resolved.model.input: resolved.shapes.dims()},
        workspace=budget.workspace_limit(options),
        tactic_memory=budget.tactic_limit(options),
        capabilities=resolved.capabilities,
        cache=resolved.timing_cache,
        device=resolved.gpu.index if resolved.gpu is not None else None,
        options=options,
    )


def build(
    model: str | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
    *,
    precision: str,
    report: Callable[[str], None] | None = None,
    progress: Callable[[str, float], None] | None = None,
    **values: Unpack[OptionValues],
) -> Built:
    """Build an engine file from ONNX.

    Args:
        model: the ONNX file: one of ours, or another exporter's with its metadata or a ``spec``.
        output: the engine file; by default the ONNX file's name with the ending ``.engine``.
        precision: ``fp32``, ``fp16`` (raw heads stay FP32) or ``int8`` (Q/DQ pairs in the ONNX, FP16 for the rest).
        calib: folder of pictures to quantise with, for ``int8`` from an ONNX without Q/DQ pairs.
        runtime: ``tensorrt`` or ``rtx``; by default ``tensorrt`` where a GPU and the package are present, else ``rtx``.
        batch: frames per call, a number, or smallest, best and largest as ``"1:4:8"``; default the ONNX's, or 1.
        imgsz: side, (height, width), or smallest, best and largest as ``"320:640:960"`` or three of these; default
            the ONNX's, or the spec's.
        vram_budget: memory of the card the engine is for, bytes or ``"2GiB"``; limits what building and the engine use.
        workspace: scratch memory a layer may use; by default a quarter of the budget, without one the library's.
        tactic_memory: device memory the library may use while it tries kernels; by default what the budget leaves.
        opt_level: 0 (fast to build) to 5 (slow to build); default the library's, 3.
        hardware_compatible: ``none``, ``ampere_plus`` or ``same_compute_capability``: GPUs a TensorRT engine runs on.
        version_compatible: whether a TensorRT engine also runs in later versions.
        compute_capability: RTX: what to build for, ``"8.6,8.9"``; default all from 8.0 on.
        weight_streaming: let the engine keep weights in host memory (TensorRT 10 and newer, RTX).
        timing_cache: file of kernel timings, ``"none"`` for no such file; default one in the user's cache folder.
        tf32: let what is in FP32 compute in TF32, which has FP16's digits.
        keep: names of ONNX nodes to leave in FP32 besides the heads, ``*`` and ``?`` allowed.
        nms_in_engine: put decode and NMS into the engine, as a TensorRT plugin; for programs other than trtpose.
        conf, iou, max_det, nms: what is frozen into it then, as of :class:`trtpose.Engine`.
        spec: model spec for an ONNX that carries none: a :class:`ModelSpec`, a dict of its fields or a JSON file.
        device: ``cuda:N`` to build on; default the first.
        report: called with a line of text as the work goes on.
        progress: called with the name of a phase and the share of the work that is done, 0 to 1, from another thread.

    Raises:
        ModelError: the ONNX cannot be used or TensorRT refuses it, or the engine is not what was asked.
        InputError: an option that cannot be, or a place that cannot be written.
        DeviceError: a package, the driver or the GPU is missing.
        BudgetError: building, or the engine, takes more memory than there is or was allowed.

    Nothing is left of an engine that is not whole.
    """
    return build_engine(model, output, Options.parse(precision, values), report=report, progress=progress)


class _Callable(ModuleType):
    """``trtpose.build`` is the folder of this code and, for its users, the function in it."""

    __call__ = staticmethod(build)


sys.modules[__name__].__class__ = _Callable
