# SPDX-License-Identifier: Apache-2.0
"""The TensorRT libraries: ``tensorrt`` 8.6, 10 and 11, and TensorRT for RTX.

One Python API with few differences, which all are in the small functions of this file. Nothing here calls into
``tensorrt`` before the driver was asked for a device: without one the library crashes.
"""

from __future__ import annotations

import importlib.util
import re
import sys
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from .._optional import require
from ..errors import BudgetError, DeviceError, InputError, ModelError
from . import driver as drivers
from . import precision
from .timing_cache import TimingCache

__all__ = ["Compiled", "Library", "Request", "choose", "compile_plan", "default_capabilities", "open_library"]

T = TypeVar("T")
Progress = Callable[[str, float], None]

_OLDEST = (8, 6)
_TITLES = {"tensorrt": "TensorRT", "rtx": "TensorRT for RTX"}


@dataclass(frozen=True)
class Library:
    """An opened library.

    Attributes:
        runtime: ``tensorrt`` or ``rtx``.
        trt: its Python module.
        version: as it says itself.
    """

    runtime: str
    trt: Any = field(repr=False)
    version: str

    @property
    def release(self) -> tuple[int, ...]:
        """The version in numbers."""
        return tuple(int(part) for part in re.findall(r"\d+", self.version))

    @property
    def strongly_typed(self) -> bool:
        """Whether networks compute in the types of the graph; before TensorRT 10 precision is a flag."""
        return self.runtime == "rtx" or self.release >= (9,)

    @property
    def title(self) -> str:
        """For people."""
        return f"{_TITLES[self.runtime]} {self.version}"


@dataclass(frozen=True)
class Request:
    """What to build, as far as the library is concerned.

    Attributes:
        name: of the ONNX file, for messages.
        onnx: the serialised graph.
        nodes: names of its nodes, in order.
        asked: ``fp32``, ``fp16`` or ``int8``.
        keep: names of nodes to compute in FP32; only of weight with weakly typed networks.
        shapes: ``min``, ``opt``, ``max`` of each input with open dimensions.
        workspace, tactic_memory: limits in bytes, 0 for the library's own.
        opt_level: 0 to 5, None for the library's own.
        hardware: ``none``, ``ampere_plus`` or ``same_compute_capability``.
        capabilities: RTX: compute capabilities the plan is for.
        cache: timings of earlier builds, None without.
        device: index of the GPU, None without.
    """

    name: str
    onnx: bytes = field(repr=False)
    nodes: Sequence[str] = field(repr=False)
    asked: str
    keep: Collection[str]
    shapes: Mapping[str, Mapping[str, Sequence[int]]]
    workspace: int
    tactic_memory: int
    opt_level: int | None
    hardware: str
    version_compatible: bool
    weight_streaming: bool
    tf32: bool
    capabilities: Sequence[str]
    cache: TimingCache | None
    device: int | None


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


# --- Finding them -----------------------------------------------------------------------------------------------------


def _installed(module: str) -> bool:
    if module in sys.modules:
        return cast("Any", sys.modules[module]) is not None
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def choose(asked: str | None, driver: drivers.Driver) -> tuple[str, str]:
    """The runtime to build for: what was asked, else ``tensorrt`` where a GPU and the package are, else ``rtx``.

    Returns:
        The runtime, and why where it was not asked for.
    """
    if asked is not None:
        return asked, ""
    if not driver.devices:
        return "rtx", f"building for TensorRT for RTX: {driver.problem}"
    if not _installed("tensorrt"):
        return "rtx", "building for TensorRT for RTX: the package tensorrt is not installed"
    return "tensorrt", ""


def open_library(runtime: str, driver: drivers.Driver) -> Library:
    """Import a runtime's package.

    Raises:
        DeviceError: no driver for ``tensorrt``, the package is missing or too old.
    """
    if runtime == "rtx":
        trt = require(
            "tensorrt_rtx_bindings",
            package="tensorrt_rtx_cu13_bindings",
            extra="rtx",
            purpose="building for TensorRT for RTX",
        )
        return Library(runtime, trt, str(trt.__version__))
    if not driver.devices:
        raise DeviceError(
            f"building for TensorRT needs the GPU that the engine is for, and here {driver.problem}; build on that "
            "machine, or build for GeForce and RTX cards with --runtime rtx, which needs no GPU"
        )
    trt = require("tensorrt", package="tensorrt", extra="tensorrt", purpose="building for TensorRT")
    library = Library(runtime, trt, str(trt.__version__))
    if library.release < _OLDEST:
        raise DeviceError(
            f"TensorRT {library.version} is too old, 8.6 is the oldest that trtpose builds with; update it"
        )
    return library


# --- The differences --------------------------------------------------------------------------------------------------


def _network_flags(library: Library) -> int:
    """TensorRT 11 and RTX know strongly typed networks only, 9 and 10 on request, 8 not at all."""
    flags, mask = library.trt.NetworkDefinitionCreationFlag, 0
    if library.runtime == "rtx" or library.release >= (11,):
        return mask
    if library.release < (10,):
        mask |= 1 << int(flags.EXPLICIT_BATCH)
    if library.strongly_typed:
        mask |= 1 << int(flags.STRONGLY_TYPED)
    return mask


def _pin(library: Library, network: Any, config: Any, asked: str, keep: Collection[str]) -> set[int]:
    """TensorRT 8: allow FP16 and INT8, and hold the layers of some nodes to FP32. Returns the indices of those."""
    pinned: set[int] = set()
    if library.strongly_typed or asked == "fp32":
        return pinned
    trt = library.trt
    config.set_flag(trt.BuilderFlag.FP16)
    if asked == "int8":
        config.set_flag(trt.BuilderFlag.INT8)
    config.set_flag(trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS)
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        # A second layer of one name gets a number behind it.
        name = layer.name if layer.name in keep else re.sub(r"_\d+$", "", layer.name)
        if name not in keep or layer.type.name in ("CONSTANT", "SHAPE", "QUANTIZE", "DEQUANTIZE"):
            continue
        if all(layer.get_output(at).dtype == trt.DataType.FLOAT for at in range(layer.num_outputs)):
            layer.precision = trt.DataType.FLOAT
            for at in range(layer.num_outputs):
                layer.set_output_type(at, trt.DataType.FLOAT)
            pinned.add(index)
    return pinned


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
    trt = library.trt
    if request.hardware != "none":
        level = getattr(trt.HardwareCompatibilityLevel, request.hardware.upper(), None)
        if library.runtime == "rtx":
            raise InputError(
                "hardware compatibility is a matter of TensorRT; engines for RTX are portable over the cards named by "
                "--compute-capability"
            )
        if level is None:
            raise InputError(
                f"hardware compatibility {request.hardware}: {library.title} does not have it; use ampere_plus or "
                "TensorRT 10.9"
            )
        config.hardware_compatibility_level = level
    if request.version_compatible:
        if library.runtime == "rtx":
            raise InputError("TensorRT for RTX builds no version-compatible engines; leave --version-compatible out")
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)


def _stream_weights(library: Library, config: Any, request: Request) -> None:
    if request.weight_streaming:
        if not hasattr(library.trt.BuilderFlag, "WEIGHT_STREAMING"):
            raise InputError(f"weight streaming needs TensorRT 10 or newer, this is {library.version}; leave it out")
        config.set_flag(library.trt.BuilderFlag.WEIGHT_STREAMING)


def _share_profiles(library: Library, config: Any) -> None:
    """Let several contexts use one profile at a time, as clones of an engine do. From TensorRT 10 on they may."""
    if library.runtime == "tensorrt" and library.release < (10,):
        config.set_preview_feature(library.trt.PreviewFeature.PROFILE_SHARING_0806, True)


def _known_capabilities(library: Library) -> dict[str, Any]:
    """The compute capabilities RTX can build for."""
    members = getattr(getattr(library.trt, "ComputeCapability", None), "__members__", {})
    found = {f"{name[2:-1]}.{name[-1]}": member for name, member in members.items() if re.fullmatch(r"SM\d{2,3}", name)}
    return dict(sorted(found.items(), key=lambda entry: float(entry[0])))


def default_capabilities(library: Library) -> tuple[str, ...]:
    """RTX: all it can build for from Ampere (8.0) on; Turing kernels leave out operations. TensorRT: none."""
    return tuple(name for name in _known_capabilities(library) if float(name) >= 8.0)


def _target(library: Library, config: Any, request: Request) -> None:
    if not request.capabilities:
        return
    known = _known_capabilities(library)
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


def _activation_bytes(engine: Any) -> int:
    return int(engine.device_memory_size_v2 if hasattr(engine, "device_memory_size_v2") else engine.device_memory_size)


def _weights_in(library: Library, engine: Any) -> int | None:
    if hasattr(engine, "get_engine_stat"):
        size = int(engine.get_engine_stat(library.trt.EngineStat.TOTAL_WEIGHTS_SIZE))
        return size if size > 0 else None
    return None


def _parser_errors(parser: Any, nodes: Sequence[str]) -> list[tuple[str, str, str]]:
    """Node name, operator and what is wrong, of each error; before TensorRT 10 only the node's number is told."""
    found: list[tuple[str, str, str]] = []
    for index in range(parser.num_errors):
        error = parser.get_error(index)
        name = str(error.node_name()) if hasattr(error, "node_name") else ""
        kind = str(error.node_operator()) if hasattr(error, "node_operator") else ""
        number = int(error.node())
        if not name and 0 <= number < len(nodes):
            name = nodes[number]
        found.append((name, kind, str(error.desc())))
    return found


# --- Building ---------------------------------------------------------------------------------------------------------


class Cancelled(Exception):
    """The build was stopped on request."""


def _log_class(trt: Any) -> Any:
    class Log(trt.ILogger):
        """Keeps errors and warnings; the library calls it from several threads."""

        def __init__(self) -> None:
            super().__init__()
            self.errors: list[str] = []
            self.warnings: list[str] = []

        def log(self, severity: Any, msg: str) -> None:
            kinds = trt.ILogger.Severity
            if severity == kinds.ERROR or severity == kinds.INTERNAL_ERROR:
                self.errors.append(msg)
            elif severity == kinds.WARNING:
                self.warnings.append(msg)

    return Log


class _Phases:
    """The share of the work that is done, from the nested phases that TensorRT reports."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._phases: dict[str, list[Any]] = {}  # name: parent, steps, done

    def start(self, name: str, parent: str | None, steps: int) -> None:
        with self._lock:
            self._phases[name] = [parent, max(steps, 1), 0]

    def step(self, name: str, step: int) -> None:
        with self._lock:
            if name in self._phases:
                self._phases[name][2] = step + 1

    def finish(self, name: str) -> None:
        with self._lock:
            self._phases.pop(name, None)

    def done(self) -> float:
        """0 to 1; a phase counts as part of the next step of the phase around it."""
        with self._lock:

            def share(name: str, depth: int) -> float:
                _, steps, done = self._phases[name]
                inner = [child for child, entry in self._phases.items() if entry[0] == name and child != name]
                part = max((share(child, depth + 1) for child in inner), default=0.0) if depth < 16 else 0.0
                return min((done + part) / steps, 1.0)

            tops = [name for name, entry in self._phases.items() if entry[0] not in self._phases]
            return max((share(name, 0) for name in tops), default=0.0)


def _monitor_class(trt: Any) -> Any:
    class Monitor(trt.IProgressMonitor):
        """Reports progress, and stops the build when it is cancelled or when reporting fails."""

        def __init__(self, cancel: threading.Event, progress: Progress | None) -> None:
            super().__init__()
            self.failure: BaseException | None = None
            self._cancel = cancel
            self._progress = progress
            self._phases = _Phases()

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._phases.start(phase_name, parent_phase, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            # An exception must not pass through the library. KeyboardInterrupt arrives here where this is the main
            # thread.
            try:
                self._phases.step(phase_name, step)
                if self._progress is not None and self.failure is None:
                    self._progress(phase_name, self._phases.done())
            except BaseException as error:
                self.failure = error
                self._cancel.set()
            return not self._cancel.is_set()

        def phase_finish(self, phase_name: str) -> None:
            self._phases.finish(phase_name)

    return Monitor


def _in_thread(work: Callable[[threading.Event], T], on_wait: Callable[[], None]) -> T:
    """Run ``work`` in a thread of its own and wait for it.

    The libraries hold the calling thread for minutes, in which Python cannot act on Ctrl-C; waiting for a thread it
    can. ``work`` is given an event that tells it to stop; it is waited for then, as the library cannot be left.
    """
    cancel = threading.Event()
    done = threading.Event()
    results: list[T] = []
    failures: list[BaseException] = []

    def run() -> None:
        try:
            if cancel.is_set():
                raise Cancelled
            results.append(work(cancel))
        except BaseException as error:
            failures.append(error)
        finally:
            done.set()

    thread = threading.Thread(target=run, name="trtpose-build", daemon=True)
    try:
        thread.start()
        done.wait()
    except BaseException:
        cancel.set()
        if thread.is_alive():
            on_wait()
            done.wait()
            thread.join()
        raise
    thread.join()
    if failures:
        raise failures[0]
    return results[0]


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

    return _in_thread(work, wait)


def _compile(
    library: Library, request: Request, cancel: threading.Event, progress: Progress | None, *, inspect: bool
) -> Compiled:
    trt = library.trt
    log = _log_class(trt)()
    try:
        builder = trt.Builder(log)
    except TypeError:  # the binding's way to say that there is none
        raise DeviceError(f"{library.title} does not start ({_reason(log.errors)}); see trtpose info") from None
    network = builder.create_network(_network_flags(library))
    parser = trt.OnnxParser(network, log)
    log.errors.clear()
    if not parser.parse(request.onnx):
        raise _refusal(library, request, _parser_errors(parser, request.nodes), log.errors)
    config = builder.create_builder_config()
    pinned = _pin(library, network, config, request.asked, request.keep)
    default = None if library.strongly_typed else "fp16" if request.asked == "int8" else request.asked
    shares = precision.of_network(network, default=default, pinned=pinned)
    precision.verify(request.asked, shares, request.name)
    _limit_memory(library, config, request)
    _limit_tactics(library, config)
    _make_compatible(library, config, request)
    _stream_weights(library, config, request)
    _target(library, config, request)
    _share_profiles(library, config)
    if request.opt_level is not None:
        config.builder_optimization_level = request.opt_level
    if not request.tf32:
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
    monitor: Any = None
    if hasattr(trt, "IProgressMonitor"):
        monitor = _monitor_class(trt)(cancel, progress)
        config.progress_monitor = monitor
    log.errors.clear()
    plan = None if cancel.is_set() else builder.build_serialized_network(network, config)
    if monitor is not None and monitor.failure is not None:
        raise monitor.failure
    if cancel.is_set():
        raise Cancelled
    if plan is None:
        raise _failure(library, request, log.errors)
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
    if request.version_compatible:
        runtime.engine_host_code_allowed = True
    log.errors.clear()
    engine = runtime.deserialize_cuda_engine(compiled.plan)
    if engine is None:
        raise ModelError(f"{request.name}: {library.title} does not open the engine it built ({_reason(log.errors)})")
    inspector = engine.create_engine_inspector()
    json = trt.LayerInformationFormat.JSON
    shares = precision.of_engine(inspector.get_engine_information(json)) if inspector is not None else None
    if shares is not None and shares.convolutions:
        precision.verify(request.asked, shares, request.name)
    fields = dict(compiled.__dict__)
    fields.update(
        engine=shares,
        weights=_weights_in(library, engine),
        activations=_activation_bytes(engine),
        warnings=tuple(dict.fromkeys(log.warnings)),
    )
    return Compiled(**fields)


_DTYPES = {"FLOAT": "float32", "HALF": "float16", "BF16": "bfloat16"}


def _describe(tensor: Any) -> dict[str, Any]:
    kind = tensor.dtype.name
    return {
        "name": tensor.name,
        "dtype": _DTYPES.get(kind, kind.lower()),
        "shape": [int(side) for side in tensor.shape],
    }


# --- What went wrong --------------------------------------------------------------------------------------------------


def _clean(text: str) -> str:
    """One sentence out of a message of the library, without its source files and counters."""
    line = " ".join(text.split())
    line = re.sub(r"^.*?Error Code \d+: ", "", line)
    line = re.sub(r"^\S+\.(cpp|h|hpp):\d+:? +|\[\S+\.(cpp|h|hpp):\d+(: \w+)?\] *", "", line)
    line = re.sub(r"^.*?Assertion failed: (.*?\)|[^:]*?): ", "", line)
    line = re.sub(r"\s*In \S+ at \S+\.(cpp|h|hpp):\d+\.?\)?$", "", line)
    wrapped = re.match(r"(?:Internal [Ee]rror|API Usage Error|Myelin) \((.*)", line)
    if wrapped:
        line = wrapped[1].removesuffix(")")
    line = line.split(". ")[0].strip().rstrip(".")
    return line[:300]


def _reason(errors: Sequence[str]) -> str:
    return _clean(errors[0]) if errors else "it gives no reason"


def _refusal(
    library: Library, request: Request, errors: Sequence[tuple[str, str, str]], logged: Sequence[str]
) -> ModelError:
    name, kind, text = errors[0] if errors else ("", "", logged[0] if logged else "")
    where = f"node {name} ({kind})" if name and kind else f"node {name}" if name else "the graph"
    remedy = "export it with another opset, or use another version of TensorRT"
    lower = text.lower()
    if "zero point" in lower or kind in ("QuantizeLinear", "DequantizeLinear"):
        remedy = "quantise the original network with: trtpose quantize"
    elif "plugin" in lower:
        remedy = "TensorRT knows no such operator; export the network in standard ONNX"
    return ModelError(
        f"{request.name}: {library.title} refuses {where}: {_clean(text) or 'it gives no reason'}; {remedy}"
    )


def _failure(library: Library, request: Request, errors: Sequence[str]) -> ModelError | BudgetError:
    lower = " ".join(errors).lower()
    if "out of memory" in lower or "outofmemory" in lower:
        return BudgetError(
            f"{request.name}: the GPU has not enough free memory to build this ({_reason(errors)}); close what else "
            "uses it, or give a smaller --workspace, --tactic-memory, --batch or --imgsz"
        )
    remedy = "try another --opt-level or a larger --workspace"
    if "turing" in lower and "7.5" in request.capabilities:
        remedy = "leave 7.5 out of --compute-capability, or build in FP16"
    return ModelError(f"{request.name}: {library.title} cannot build it: {_reason(errors)}; {remedy}")
