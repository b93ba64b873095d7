# SPDX-License-Identifier: Apache-2.0
"""TensorRT through its own Python package, for engines that no native module serves.

The session is the native one (``cpp/src/backends/tensorrt``): it decides, checks and words every error, and calls what
is here for what it would call in TensorRT's headers. One code for ``tensorrt`` 8.6, 10 and 11 and for
``tensorrt_rtx_bindings``: what differs between them is asked of the objects, in the small functions below. Tensors,
memory and streams are the caller's, by their addresses.

Nothing but :func:`find` may be called before CUDA has found a GPU: without a driver TensorRT crashes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["Context", "Engine", "Runtime", "find"]


def _package(runtime: str) -> Any:
    if runtime == "rtx":
        import tensorrt_rtx_bindings as package  # pyright: ignore[reportMissingImports]
    else:
        import tensorrt as package  # pyright: ignore[reportMissingImports]
    return package


def find(runtime: str) -> tuple[str, str, str]:
    """The installed package of a runtime, ``tensorrt`` or ``rtx``.

    Returns:
        Version and path, empty where it is not installed or cannot be loaded, and why it cannot be loaded.
    """
    try:
        package = _package(runtime)
        return str(package.__version__), str(getattr(package, "__file__", None) or package.__name__), ""
    except ModuleNotFoundError as error:
        ours = error.name in ("tensorrt", "tensorrt_rtx_bindings")
        return "", "", "" if ours else str(error)
    except (ImportError, OSError, AttributeError, RuntimeError) as error:
        return "", "", f"{type(error).__name__}: {error}"


def _shape(dims: Any) -> list[int]:
    """Sizes of a ``Dims``; one that says nothing has a negative length, which Python does not take."""
    try:
        return [int(size) for size in dims]
    except ValueError:
        return []


class Runtime:
    """A started runtime.

    Args:
        runtime: ``tensorrt`` or ``rtx``.
        note: is told what TensorRT logs, and whether it is an error.
    """

    def __init__(self, runtime: str, note: Callable[[str, bool], None]) -> None:
        self._trt: Any = _package(runtime)
        self._logger = _logger(self._trt, note)
        self._runtime: Any = self._trt.Runtime(self._logger)

    def allow_engine_code(self) -> None:
        """Let plans bring code for the host's processor."""
        self._runtime.engine_host_code_allowed = True

    def load_plugins(self, path: str) -> bool:
        """Load a library of plugins."""
        return self._runtime.get_plugin_registry().load_library(path) is not None

    def deserialize(self, plan: memoryview) -> Engine | None:
        """Read a plan; None where TensorRT refuses it."""
        engine = self._runtime.deserialize_cuda_engine(plan)
        return None if engine is None else Engine(self._trt, engine)


def _logger(trt: Any, note: Callable[[str, bool], None]) -> Any:
    errors = (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR)

    class Logger(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            note(message, severity in errors)

    return Logger()


class Engine:
    """A plan that has been read."""

    def __init__(self, trt: Any, engine: Any) -> None:
        self._trt = trt
        self._engine = engine
        self._config: Any = None
        self._cache: Any = None

    def tensors(self) -> list[tuple[str, str, list[int], bool, bool]]:
        """Name, type, sizes with -1 where they vary, if it is an input, and if it is plain rows on the GPU."""
        trt, engine = self._trt, self._engine
        types = {trt.DataType.FLOAT: "f32", trt.DataType.HALF: "f16", trt.DataType.INT32: "i32"}
        found: list[tuple[str, str, list[int], bool, bool]] = []
        for index in range(engine.num_io_tensors):
            name = engine.get_tensor_name(index)
            plain = (
                engine.get_tensor_format(name) == trt.TensorFormat.LINEAR
                and engine.get_tensor_location(name) == trt.TensorLocation.DEVICE
            )
            takes = engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
            dtype = types.get(engine.get_tensor_dtype(name), "")
            found.append((name, dtype, _shape(engine.get_tensor_shape(name)), takes, plain))
        return found

    def profiles(self) -> int:
        """How many profiles there are."""
        return int(self._engine.num_optimization_profiles)

    def profile(self, index: int, name: str) -> list[list[int]]:
        """Least, most likely and greatest sizes of an input."""
        return [_shape(dims) for dims in self._engine.get_tensor_profile_shape(name, index)]

    def make_context(self) -> Context | None:
        """A context without memory for its intermediate tensors; None where it cannot be made."""
        if self._config is not None:
            # By its name: pybind11 3.1 crashes where the first of two functions is given what is for the second.
            context = self._engine.create_execution_context(runtime_config=self._config)
        elif hasattr(self._trt, "ExecutionContextAllocationStrategy"):
            strategy = self._trt.ExecutionContextAllocationStrategy.USER_MANAGED
            context = self._engine.create_execution_context(strategy)
        else:
            context = self._engine.create_execution_context_without_device_memory()
        return None if context is None else Context(self._engine, context)

    def weight_bytes(self) -> int:
        """Bytes of all weights; 0: the library does not tell."""
        if not hasattr(self._trt.ICudaEngine, "get_engine_stat"):
            return 0
        return max(int(self._engine.get_engine_stat(self._trt.EngineStat.TOTAL_WEIGHTS_SIZE)), 0)

    def streamable_bytes(self) -> int:
        """Bytes of the weights that may stay on the host; 0: none."""
        # Asked of the class: the value itself is an error in an engine without streaming.
        if not hasattr(self._trt.ICudaEngine, "weight_streaming_budget_v2"):
            return 0
        return max(int(self._engine.streamable_weights_size), 0)

    def limit_streamable(self, size: int) -> bool:
        """Keep at most ``size`` bytes of the streamable weights on the GPU."""
        # Assigning raises where TensorRT does not take it.
        self._engine.weight_streaming_budget_v2 = size
        return True

    def open_kernels(self, kept: bytes) -> bool:
        """TensorRT for RTX: keep what it compiles for the card, beginning with ``kept``."""
        if not hasattr(self._engine, "create_runtime_config"):
            return False
        config = self._engine.create_runtime_config()
        if config is None or not hasattr(config, "create_runtime_cache"):
            return False
        config.set_execution_context_allocation_strategy(self._trt.ExecutionContextAllocationStrategy.USER_MANAGED)
        cache = config.create_runtime_cache()
        if cache is None:
            return False
        if kept:
            cache.deserialize(kept)
        if not config.set_runtime_cache(cache):
            return False
        self._config, self._cache = config, cache
        return True

    def kernels(self) -> bytes:
        """What was compiled."""
        content = None if self._cache is None else self._cache.serialize()
        return b"" if content is None else bytes(content)


class Context:
    """A shape made ready to run.

    Attributes:
        set_address: of a tensor's name and an address.
        enqueue: gives a run to the stream of a handle. These two are TensorRT's own functions: nothing of Python's
            stands between them and the session.
    """

    def __init__(self, engine: Any, context: Any) -> None:
        self._engine = engine
        self._context = context
        self.set_address: Callable[[str, int], bool] = context.set_tensor_address
        self.enqueue: Callable[[int], bool] = context.execute_async_v3

    def profile(self) -> int:
        """Index of the profile in use; negative: none."""
        return int(self._context.active_optimization_profile)

    def set_profile(self, index: int, stream: int) -> bool:
        """Choose a profile; it is in place when the stream gets there."""
        return bool(self._context.set_optimization_profile_async(index, stream))

    def set_input_shape(self, name: str, shape: Sequence[int]) -> bool:
        """Set an input's sizes."""
        return bool(self._context.set_input_shape(name, tuple(shape)))

    def infer_shapes(self) -> bool:
        """Work out the sizes of the outputs; raises where TensorRT cannot."""
        return not self._context.infer_shapes()

    def shape_of(self, name: str) -> list[int]:
        """Sizes of a tensor at the shape that is set."""
        return _shape(self._context.get_tensor_shape(name))

    def scratch_bytes(self, profile: int, streaming: bool) -> int:
        """Bytes it wants for its intermediate tensors, profile and shape being set."""
        engine = self._engine
        if hasattr(engine, "get_device_memory_size_for_profile_v2"):
            most = engine.get_device_memory_size_for_profile_v2(profile)
        elif hasattr(engine, "get_device_memory_size_for_profile"):
            most = engine.get_device_memory_size_for_profile(profile)
        else:
            most = engine.device_memory_size
        # A small shape of a wide profile wants less; what streaming adds is in the profile's figure alone.
        if streaming or most == 0 or not hasattr(self._context, "update_device_memory_size_for_shapes"):
            return int(most)
        now = self._context.update_device_memory_size_for_shapes()
        return int(now if 0 < now < most else most)

    def lend(self, address: int, size: int) -> bool:
        """Lend it memory for its intermediate tensors."""
        if hasattr(self._context, "set_device_memory"):
            self._context.set_device_memory(address, size)
        else:
            self._context.device_memory = address
        return True
