# SPDX-License-Identifier: Apache-2.0
"""From ONNX to an engine: TensorRT 8.6, 10 and 11 on the card it is for, or TensorRT for RTX on any machine.

The module is called: ``trtpose.build("model.onnx", precision="fp16")``. Needs ``pip install "trtpose[build]"`` and one
of the extras ``tensorrt`` and ``rtx``; nothing here is imported by the rest of the package.
"""

from __future__ import annotations

import ast
import datetime as dt
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

from .. import _core, _files
from ..errors import BudgetError, InputError, ModelError
from ..spec import METADATA_KEY, ModelSpec
from . import compiler, engine_file, onnx_model, options, tensorrt_api
from . import driver as drivers
from .builder_config import Request
from .precision import Shares
from .timing_cache import TimingCache, default_path

if TYPE_CHECKING:
    import onnx

__all__ = ["Built", "build"]

_WORKSPACE_SHARE = 4
"""The part of a memory budget that one layer may take as scratch: the rest is for weights, tensors and CUDA itself."""

_CONTEXT_BYTES = 512 << 20
"""What a CUDA context and loaded kernels may take of a card, as a rule; the builder's trials get the rest."""


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
                f"device memory: weights {_mib(memory['weights'] or 0)}, intermediate tensors "
                f"{_mib(memory['activations'])}"
            )
        lines.append(f"wrote {self.path} ({self.size / 1e6:.1f} MB) in {self.seconds:.1f} s")
        return lines


def _mib(size: int) -> str:
    return f"{size / 2**20:.0f} MiB"


def _quiet(line: str) -> None:
    del line


@dataclass(frozen=True)
class _Graph:
    """A graph of the precision asked for, ready for the parser."""

    proto: onnx.ModelProto
    keep: tuple[str, ...]


def _prepare(
    model: onnx_model.OnnxModel,
    asked: str,
    calib: Path | None,
    keep: Sequence[str],
    *,
    strongly_typed: bool,
    report: Callable[[str], None],
    shapes: onnx_model.Shapes | None = None,
    progress: Callable[[str, float], None] | None = None,
) -> _Graph:
    """Put the precision into the graph, or, for TensorRT 8, find the nodes that keep FP32."""
    proto = model.proto
    quantised = onnx_model.is_quantised(proto)
    if quantised:
        if calib is not None:
            raise InputError(f"{model.path}: has Q/DQ pairs and needs no calibration; leave --calib out")
        if asked != "int8":
            raise ModelError(
                f"{model.path}: its Q/DQ pairs make it INT8, and {asked} was asked; use --int8, or give the ONNX it "
                "was quantised from"
            )
        onnx_model.refuse_unfit_pairs(model.path, proto, float_scales=not strongly_typed)
    elif asked == "int8":
        if calib is None:
            raise InputError(
                f"{model.path}: INT8 needs ranges, and it has no Q/DQ pairs; give a folder of pictures with --calib, "
                "or quantise it with: trtpose quantize"
            )
        proto = _quantise(model, calib, keep, shapes, report, progress)
        onnx_model.refuse_unfit_pairs(model.path, proto, float_scales=not strongly_typed)
    elif calib is not None:
        raise InputError(f"{model.path}: --calib is for --int8, and {asked} was asked")
    if asked == "int8":
        onnx_model.store_weights(proto, as_int8=strongly_typed)
    for node in proto.graph.node:
        # Layers are known by the names of their nodes, in what is kept in FP32 as in errors.
        if not node.name and node.output:
            node.name = f"{node.op_type}/{node.output[0]}"
    if asked == "fp32":
        return _Graph(proto, ())
    if onnx_model.is_half(proto):
        if not strongly_typed:
            report(f"{model.path}: is FP16 already; TensorRT 8 decides by itself which layers keep FP32")
        return _Graph(proto, ())
    from ..quantize.fp16 import to_fp16

    half = to_fp16(proto, keep=keep)
    return _Graph(half.model if strongly_typed else proto, tuple(half.kept))


def _quantise(
    model: onnx_model.OnnxModel,
    calib: Path,
    keep: Sequence[str],
    shapes: onnx_model.Shapes | None,
    say: Callable[[str], None],
    progress: Callable[[str, float], None] | None,
) -> onnx.ModelProto:
    from ..quantize import quantize

    def step(stage: str, done: int, total: int) -> None:
        if progress is not None:
            progress(stage, done / max(total, 1))

    with tempfile.TemporaryDirectory(prefix="trtpose-") as folder:
        proto = quantize(
            model.path,
            calib,
            output=Path(folder) / "int8.onnx",
            spec=model.spec,
            imgsz=None if shapes is None or min(model.shape[2:]) > 0 else shapes.imgsz.best,
            keep=keep,
            report=say,
            progress=step,
            on_error=lambda error: say(f"left out: {error}"),
        ).model
    if shapes is not None:
        onnx_model.write_shapes(proto, model.input, shapes)
    return proto


def _literals(values: Mapping[str, str]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in values.items():
        try:
            result[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            result[key] = value
    return result


def _description(
    model: onnx_model.OnnxModel, spec: Mapping[str, Any], shapes: onnx_model.Shapes, asked: str
) -> dict[str, Any]:
    """The keys that readers of Ultralytics' engine files look for: those of the ONNX, completed from the spec."""
    from ..export import metadata

    height, width = shapes.imgsz.best
    plain = metadata(model.spec, (shapes.batch.high, height, width), str(model.metadata.get("license", "")))
    plain.pop(METADATA_KEY)
    values = {**_literals(plain), **model.metadata}
    values["description"] = str(model.metadata.get("description") or f"{model.spec.name or 'pose network'}")
    values["date"] = dt.datetime.now().isoformat()
    values.setdefault("docs", "")
    values["batch"], values["imgsz"] = shapes.batch.high, [height, width]
    given: Any = values.get("args")
    args: dict[str, Any] = cast("dict[str, Any]", given) if isinstance(given, dict) else {}
    changed = {
        "batch": shapes.batch.high,
        "dynamic": not shapes.fixed,
        "half": asked != "fp32",
        "int8": asked == "int8",
    }
    values["args"] = {**args, **changed}
    values["end2end"] = spec.get("layout") == "final"
    return values


def _timing_cache(choice: str | os.PathLike[str] | None, lib: tensorrt_api.Library, device: Any) -> TimingCache | None:
    if lib.runtime == "rtx":
        if choice is not None and os.fspath(choice) != "none":
            raise InputError("TensorRT for RTX times nothing when it builds; leave --timing-cache out")
        return None
    if choice is not None and os.fspath(choice) == "none":
        return None
    if choice is not None:
        return TimingCache(Path(choice))
    return TimingCache(default_path(lib.version, device.name, device.compute_capability))


def build(
    model: str | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
    *,
    precision: str,
    calib: str | os.PathLike[str] | None = None,
    runtime: str | None = None,
    batch: int | str | Sequence[int] | None = None,
    imgsz: int | str | Sequence[Any] | None = None,
    vram_budget: int | str | None = None,
    workspace: int | str | None = None,
    tactic_memory: int | str | None = None,
    opt_level: int | None = None,
    hardware_compatible: str = "none",
    version_compatible: bool = False,
    compute_capability: str | Sequence[str] | None = None,
    weight_streaming: bool = False,
    timing_cache: str | os.PathLike[str] | None = None,
    tf32: bool = False,
    keep: Sequence[str] = (),
    nms_in_engine: bool = False,
    conf: float | None = None,
    iou: float | None = None,
    max_det: int | None = None,
    nms: str | None = None,
    spec: ModelSpec | Mapping[str, Any] | str | os.PathLike[str] | None = None,
    device: str | None = None,
    report: Callable[[str], None] | None = None,
    progress: Callable[[str, float], None] | None = None,
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
    say = report or _quiet
    if precision not in options.PRECISIONS:
        raise InputError(f"precision {precision!r} is not one of {', '.join(options.PRECISIONS)}")
    if runtime is not None and runtime not in options.RUNTIMES:
        raise InputError(f"runtime {runtime!r} is not one of {', '.join(options.RUNTIMES)}")
    if hardware_compatible not in options.COMPATIBILITY:
        raise InputError(
            f"hardware_compatible {hardware_compatible!r} is not one of {', '.join(options.COMPATIBILITY)}"
        )
    if opt_level is not None and not 0 <= opt_level <= 5:
        raise InputError(f"opt_level {opt_level}: expected 0 to 5")
    given = {"conf": conf, "iou": iou, "max_det": max_det, "nms": nms}
    frozen: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    if frozen and not nms_in_engine:
        raise InputError(
            f"{', '.join(frozen)}: thresholds are no part of an engine without nms_in_engine; give them where it is run"
        )
    batches, sizes = options.parse_batch(batch), options.parse_imgsz(imgsz)
    capabilities = options.parse_capabilities(compute_capability)
    budget = options.parse_size(vram_budget, "vram_budget")
    scratch = options.parse_size(workspace, "workspace")
    trials = options.parse_size(tactic_memory, "tactic_memory")
    source = Path(model)
    target = Path(output) if output is not None else source.with_suffix(".engine")
    loaded = onnx_model.load(source, spec)
    _files.check_writable(target)
    if target.exists() and target.samefile(source):
        raise InputError(f"{target}: is the ONNX itself and would be overwritten; choose another place for the engine")
    driver = drivers.query()
    kind, why = tensorrt_api.choose(runtime, driver)
    if why:
        say(why)
    gpu = drivers.select(driver, device)
    lib = tensorrt_api.open_library(kind, driver)
    if nms_in_engine:
        from .graft import load_plugin

        load_plugin(lib)  # what is refused is refused before a long quantisation
    if kind == "rtx":
        capabilities = capabilities or tensorrt_api.default_capabilities(lib)
        runs_here = gpu is not None and gpu.compute_capability in capabilities
        if gpu is not None and not runs_here:
            say(
                f"the engine will not run here: {gpu.name} has compute capability {gpu.compute_capability}, it is for "
                f"{', '.join(capabilities)}"
            )
    else:
        runs_here = True
    shapes = onnx_model.fix_shapes(loaded, batches, sizes)
    graph = _prepare(
        loaded,
        precision,
        Path(calib) if calib is not None else None,
        keep,
        strongly_typed=lib.strongly_typed,
        report=say,
        shapes=shapes,
        progress=progress,
    )
    fields, proto, plugins = loaded.fields, graph.proto, []
    if nms_in_engine:
        from .graft import graft

        grafted = graft(proto, loaded.spec, shapes=shapes, library=lib, **frozen)
        proto, fields, plugins = grafted.model, grafted.spec.to_dict(), list(grafted.plugins)
    weights = onnx_model.weight_bytes(proto)
    if budget and weights > budget:
        raise BudgetError(
            f"{source}: its weights alone take {_mib(weights)} in {precision}, the budget is {_mib(budget)}; use a "
            "smaller network or precision, or raise --vram-budget"
        )
    request = Request(
        name=str(source),
        onnx=proto.SerializeToString(),
        nodes=[node.name for node in proto.graph.node],
        asked=precision,
        keep=graph.keep,
        shapes={} if shapes.fixed else {loaded.input: shapes.dims()},
        workspace=scratch or budget // _WORKSPACE_SHARE,
        tactic_memory=trials or (max(budget - _CONTEXT_BYTES, budget // 2) if budget else 0),
        opt_level=opt_level,
        hardware=hardware_compatible,
        version_compatible=version_compatible,
        weight_streaming=weight_streaming,
        tf32=tf32,
        capabilities=capabilities,
        cache=_timing_cache(timing_cache, lib, gpu),
        device=gpu.index if gpu is not None else None,
    )
    del proto, graph
    began = time.perf_counter()
    compiled = compiler.compile_plan(lib, request, driver, report=say, progress=progress, inspect=runs_here)
    seconds = time.perf_counter() - began
    if request.cache is not None and request.cache.problem:
        say(request.cache.problem)
    if budget and compiled.activations is not None:
        need = (compiled.weights or weights) + compiled.activations
        if need > budget and not weight_streaming:
            raise BudgetError(
                f"{source}: the engine takes {_mib(compiled.weights or weights)} for weights and "
                f"{_mib(compiled.activations)} for intermediate tensors, the budget is {_mib(budget)}; give a smaller "
                "--batch, --imgsz or --workspace, or --weight-streaming"
            )
    dims = shapes.dims()
    shares = compiled.engine or compiled.network
    header: dict[str, Any] = {
        **_description(loaded, fields, shapes, precision),
        METADATA_KEY: fields,
        engine_file.ENGINE_KEY: {
            "format": engine_file.FORMAT,
            "runtime": kind,
            "version": lib.version,
            "precision": precision,
            "layers": dict(shares.layers),
            "convolutions": dict(shares.convolutions),
            "device": None
            if kind == "rtx" or gpu is None
            else {"name": gpu.name, "compute_capability": gpu.compute_capability},
            "compute_capabilities": list(capabilities),
            "hardware_compatibility": hardware_compatible,
            "version_compatible": version_compatible,
            "weight_streaming": weight_streaming,
            "profiles": [{loaded.input: dims}],
            "inputs": compiled.inputs,
            "outputs": compiled.outputs,
            "onnx": {"name": source.name, "sha256": loaded.sha256},
            "plan": {},
            "memory": {"weights": compiled.weights or weights, "activations": compiled.activations},
            "plugins": plugins,
            "created": dt.datetime.now(dt.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "trtpose": _core.version(),
        },
    }
    size = engine_file.write(target, header, compiled.plan)
    return Built(
        path=target,
        spec=ModelSpec.from_dict(fields, source=str(target)),
        runtime=kind,
        version=lib.version,
        precision=precision,
        network=compiled.network,
        engine=compiled.engine,
        shapes=shapes,
        size=size,
        seconds=seconds,
        header=engine_file.read(target, check=False).header,
        warnings=compiled.warnings,
        runs_here=runs_here,
    )


class _Callable(ModuleType):
    """``trtpose.build`` is the folder of this code and, for its users, the function in it."""

    __call__ = staticmethod(build)


sys.modules[__name__].__class__ = _Callable
