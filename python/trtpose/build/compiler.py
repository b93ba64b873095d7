# SPDX-License-Identifier: Apache-2.0
"""From a serialised graph to a plan, through the parser and the builder of TensorRT."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from ..errors import DeviceError, ModelError
from ..formats.onnx_file import parse_with_tensorrt
from . import driver as drivers
from . import precision
from .builder_config import Request, configure
from .messages import failure, reason, refusal
from .monitor import Cancelled, Progress, in_thread, log_class, monitor_class
from .tensorrt_api import Library, activation_bytes, network_flags, parser_errors, pin_to_fp32, weight_bytes

__all__ = ["Compiled", "compile_plan"]


@dataclass(frozen=True)
class Compiled:
    """A built plan.

    Attributes:
        plan: the plan, anything with a buffer.
        network: precision read from the network.
        engine: precision read from the engine, None where it cannot be opened here.
        inputs, outputs: name, dtype and shape of the network's tensors, -1 where open.
        weights, activations: bytes the engine says it needs, None where it cannot be opened here.
        warnings: what the library warned of.
    """

    plan: Any = field(repr=False)
    network: precision.Shares
    engine: precision.Shares | None
    inputs: list[dict[str, Any]]
    outputs: list[dict[str, Any]]
    weights: int | None
    activations: int | None
    warnings: tuple[str, ...]


def compile_plan(
    library: Library,
    request: Request,
    driver: drivers.Driver,
    *,
    report: Callable[[str], None],
    progress: Progress | None = None,
    inspect: bool = False,
) -> Compiled:
    """Parse a graph and build a plan.

    Args:
        library: from :func:`open_library`.
        request: what to build.
        driver: where the device is made current.
        report: called with a line of text as the work goes on.
        progress: called with the phase and the share of the work that is done, from another thread.
        inspect: whether to open the engine and read it back, for which a GPU that it runs on is needed.

    Raises:
        ModelError: TensorRT refuses the network, or it is not of the precision asked for.
        InputError: an option that this library does not have.
        BudgetError: the GPU has not enough memory for building.
        DeviceError: the library does not start.
        KeyboardInterrupt: Ctrl-C; the library was stopped before.
    """

    def wait() -> None:
        if not hasattr(library.trt, "IProgressMonitor"):
            report(f"{library.title} cannot be interrupted; stopping when it comes back")

    def work(cancel: threading.Event) -> Compiled:
        if request.device is not None:
            driver.make_current(request.device)
        return _compile(library, request, cancel, progress, inspect=inspect)

    return in_thread(work, wait)


def _compile(
    library: Library, request: Request, cancel: threading.Event, progress: Progress | None, *, inspect: bool
) -> Compiled:
    trt = library.trt
    log = log_class(trt)()
    try:
        builder = trt.Builder(log)
    except TypeError:  # the binding's way to say that there is none
        raise DeviceError(f"{library.title} does not start ({reason(log.errors)}); see trtpose info") from None
    network = builder.create_network(network_flags(library))
    parser = trt.OnnxParser(network, log)
    log.errors.clear()
    if not parse_with_tensorrt(parser, request.onnx):
        raise refusal(library, request, parser_errors(parser, request.nodes), log.errors)
    config = builder.create_builder_config()
    asked = request.options.precision
    pinned = pin_to_fp32(library, network, config, asked, request.keep)
    default = None if library.strongly_typed else "fp16" if asked == "int8" else asked
    shares = precision.of_network(network, default=default, pinned=pinned)
    precision.verify(asked, shares, request.name)
    configure(library, builder, config, request)
    monitor: Any = None
    if hasattr(trt, "IProgressMonitor"):
        monitor = monitor_class(trt)(cancel, progress)
        config.progress_monitor = monitor
    log.errors.clear()
    plan = None if cancel.is_set() else builder.build_serialized_network(network, config)
    if monitor is not None and monitor.failure is not None:
        raise monitor.failure
    if cancel.is_set():
        raise Cancelled
    if plan is None:
        raise failure(library, request, log.errors)
    if request.cache is not None and library.runtime != "rtx":
        request.cache.keep(config)
    compiled = Compiled(
        plan=plan,
        network=shares,
        engine=None,
        inputs=[_describe(network.get_input(index)) for index in range(network.num_inputs)],
        outputs=[_describe(network.get_output(index)) for index in range(network.num_outputs)],
        weights=None,
        activations=None,
        warnings=tuple(dict.fromkeys(log.warnings)),
    )
    return _inspected(library, request, compiled, log) if inspect else compiled


def _inspected(library: Library, request: Request, compiled: Compiled, log: Any) -> Compiled:
    trt = library.trt
    runtime = trt.Runtime(log)
    if request.options.version_compatible:
        runtime.engine_host_code_allowed = True
    log.errors.clear()
    engine = runtime.deserialize_cuda_engine(compiled.plan)
    if engine is None:
        raise ModelError(f"{request.name}: {library.title} does not open the engine it built ({reason(log.errors)})")
    inspector = engine.create_engine_inspector()
    json = trt.LayerInformationFormat.JSON
    shares = precision.of_engine(inspector.get_engine_information(json)) if inspector is not None else None
    if shares is not None and shares.convolutions:
        precision.verify(request.options.precision, shares, request.name)
    return replace(
        compiled,
        engine=shares,
        weights=weight_bytes(library, engine),
        activations=activation_bytes(engine),
        warnings=tuple(dict.fromkeys(log.warnings)),
    )


_DTYPES = {"FLOAT": "float32", "HALF": "float16", "BF16": "bfloat16"}


def _describe(tensor: Any) -> dict[str, Any]:
    kind = tensor.dtype.name
    return {
        "name": tensor.name,
        "dtype": _DTYPES.get(kind, kind.lower()),
        "shape": [int(side) for side in tensor.shape],
    }
