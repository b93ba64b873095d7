# SPDX-License-Identifier: Apache-2.0
"""Stand-ins for the Python module ``tensorrt`` of versions 8.6, 10 and 11, which cannot be called without a GPU.

They have what ``trtpose.build`` uses, with the differences between the versions: what a version lacks is not there, and
an attribute that a version does not know cannot be set, as with the real bindings. The parser reads ONNX; the "plan" is
a JSON text of what was asked for, behind the first bytes of a real one.
"""

from __future__ import annotations

import enum
import json
import struct
import types
from typing import Any

import onnx

from fake_tensorrt_network import LAYERS, TYPES, DataType, Layer, Network, Tensor, WeakLayer

VERSIONS = {"8": "8.6.1.6", "10": "10.13.3.9", "11": "11.1.0.106"}


class _Closed:
    """Attributes are those of ``FIELDS`` and no others."""

    FIELDS: frozenset[str] = frozenset()

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_") and name not in self.FIELDS:
            raise AttributeError(f"{type(self).__name__} has no attribute {name}")
        object.__setattr__(self, name, value)


class Cache:
    """Timings: lines of text behind a first line that names the version."""

    def __init__(self, version: str, data: bytes) -> None:
        self.version = version
        self.lines = set(data.split(b"\n")[1:])

    def combine(self, other: Cache, ignore_mismatch: bool) -> bool:
        assert not ignore_mismatch
        self.lines |= other.lines
        return self.version == other.version

    def serialize(self) -> memoryview:
        return memoryview(b"\n".join([self.version.encode(), *sorted(self.lines)]))


def enumeration(name: str, *members: str) -> Any:
    return enum.IntEnum(name, {member: index for index, member in enumerate(members)})


class Version:
    """One version: its enumerations, and what the test tells it."""

    def __init__(self, version: str) -> None:
        self.major = major = int(version)
        self.full = VERSIONS[version]
        self.told: dict[str, Any] = {
            "refuse": None, "fail": None, "works": True, "run": None, "convolutions": None, "activations": 50 << 20,
            "plugins": [],
        }  # fmt: skip
        weak = ("FP16", "INT8", "OBEY_PRECISION_CONSTRAINTS", "PREFER_PRECISION_CONSTRAINTS") if major < 11 else ()
        streaming = ("WEIGHT_STREAMING",) if major >= 10 else ()
        self.flags = enumeration("BuilderFlag", *weak, "TF32", "VERSION_COMPATIBLE", *streaming)
        batch = ("EXPLICIT_BATCH",) if major < 11 else ()
        strong = ("STRONGLY_TYPED",) if major >= 10 else ()
        self.network_flags = enumeration("NetworkDefinitionCreationFlag", *batch, *strong)
        shared = ("TACTIC_SHARED_MEMORY",) if major >= 10 else ()
        self.pools = enumeration("MemoryPoolType", "WORKSPACE", "TACTIC_DRAM", *shared)
        foreign = ("CUBLAS", "CUBLAS_LT", "CUDNN") if major < 11 else ()
        self.sources = enumeration("TacticSource", *foreign, "EDGE_MASK_CONVOLUTIONS", "JIT_CONVOLUTIONS")
        same = ("SAME_COMPUTE_CAPABILITY",) if major >= 10 else ()
        self.levels = enumeration("HardwareCompatibilityLevel", "NONE", "AMPERE_PLUS", *same)
        self.previews = enumeration("PreviewFeature", "PROFILE_SHARING_0806")
        self.verbosity = enumeration("ProfilingVerbosity", "LAYER_NAMES_ONLY", "NONE", "DETAILED")
        self.forms = enumeration("LayerInformationFormat", "ONELINE", "JSON")
        self.stats = enumeration("EngineStat", "TOTAL_WEIGHTS_SIZE")

    def of(self, kind: type, name: str) -> Any:
        """A class of this version."""
        return type(name, (kind,), {"lib": self})


class ILogger:
    Severity = enumeration("Severity", "INTERNAL_ERROR", "ERROR", "WARNING", "INFO", "VERBOSE")


class IProgressMonitor:
    pass


class ParserError:
    def __init__(self, number: int, node: onnx.NodeProto) -> None:
        self._number, self._node = number, node

    def desc(self) -> str:
        return f"No importer registered for op: {self._node.op_type}. Attempting to import as plugin."

    def node(self) -> int:
        return self._number


class NamingParserError(ParserError):
    """From TensorRT 10 on."""

    def node_name(self) -> str:
        return str(self._node.name)

    def node_operator(self) -> str:
        return str(self._node.op_type)


class OnnxParser:
    lib: Version

    def __init__(self, network: Network, logger: Any) -> None:
        assert isinstance(logger, ILogger)
        self._network = network
        self._errors: list[ParserError] = []

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> ParserError:
        return self._errors[index]

    def parse(self, data: bytes) -> bool:
        graph = onnx.shape_inference.infer_shapes(onnx.load_model_from_string(data)).graph
        tensors = {
            info.name: Tensor(
                info.name,
                TYPES[info.type.tensor_type.elem_type],
                tuple(dim.dim_value or -1 for dim in info.type.tensor_type.shape.dim),
            )
            for info in (*graph.input, *graph.value_info, *graph.output)
        }
        for weight in graph.initializer:
            tensors[weight.name] = Tensor(weight.name, TYPES[weight.data_type], tuple(weight.dims))
        make_layer = WeakLayer if self.lib.major < 11 else Layer
        make_error = ParserError if self.lib.major < 10 else NamingParserError
        for number, node in enumerate(graph.node):
            if node.op_type == self.lib.told["refuse"]:
                self._errors.append(make_error(number, node))
                return False
            inputs = [tensors[name] for name in node.input if name in tensors]
            outputs = [tensors[name] for name in node.output]
            kind = LAYERS.get(node.op_type, "ELEMENTWISE")
            self._network.layers.append(make_layer(node.name, kind, inputs, outputs))
        self._network.inputs = [tensors[info.name] for info in graph.input]
        self._network.outputs = [tensors[info.name] for info in graph.output]
        return True


class Profile:
    def __init__(self) -> None:
        self.shapes: dict[str, list[list[int]]] = {}

    def set_shape(self, name: str, low: tuple[int, ...], best: tuple[int, ...], high: tuple[int, ...]) -> None:
        self.shapes[name] = [list(low), list(best), list(high)]


class Config(_Closed):
    FIELDS = frozenset(
        {"builder_optimization_level", "max_aux_streams", "profiling_verbosity", "hardware_compatibility_level"}
    )
    lib: Version

    def __init__(self) -> None:
        self.builder_optimization_level = 3
        self.max_aux_streams = -1
        self.profiling_verbosity = self.lib.verbosity.LAYER_NAMES_ONLY
        self.hardware_compatibility_level = self.lib.levels.NONE
        self._flags = {"TF32"}
        self._pools: dict[str, int] = {}
        self._profiles: list[Profile] = []
        self._previews: list[str] = []
        self._sources: int | None = None
        self._cache: Cache | None = None

    def set_flag(self, flag: Any) -> None:
        self._flags.add(self.lib.flags(flag).name)

    def clear_flag(self, flag: Any) -> None:
        self._flags.discard(self.lib.flags(flag).name)

    def set_memory_pool_limit(self, pool: Any, size: int) -> None:
        self._pools[self.lib.pools(pool).name] = size

    def set_tactic_sources(self, mask: int) -> bool:
        self._sources = mask
        return True

    def set_preview_feature(self, feature: Any, enable: bool) -> None:
        assert self.lib.major < 10, "given without asking from TensorRT 10 on"
        assert enable
        self._previews.append(self.lib.previews(feature).name)

    def add_optimization_profile(self, profile: Profile) -> int:
        self._profiles.append(profile)
        return len(self._profiles) - 1

    def create_timing_cache(self, data: bytes) -> Cache | None:
        if data and not data.startswith(self.lib.full.encode()):
            return None
        return Cache(self.lib.full, data)

    def set_timing_cache(self, cache: Cache, ignore_mismatch: bool) -> bool:
        assert not ignore_mismatch
        self._cache = cache
        return True

    def get_timing_cache(self) -> Cache | None:
        return self._cache

    def asked(self) -> dict[str, Any]:
        """For the plan."""
        return {
            "flags": sorted(self._flags),
            "pools": self._pools,
            "sources": self._sources,
            "profiles": [profile.shapes for profile in self._profiles],
            "previews": self._previews,
            "opt_level": self.builder_optimization_level,
            "hardware": self.lib.levels(self.hardware_compatibility_level).name,
            "verbosity": self.lib.verbosity(self.profiling_verbosity).name,
            "aux_streams": self.max_aux_streams,
        }


class WatchedConfig(Config):
    """From TensorRT 10 on."""

    FIELDS = Config.FIELDS | {"progress_monitor"}

    def __init__(self) -> None:
        super().__init__()
        self.progress_monitor: Any = None


class Builder:
    lib: Version

    def __init__(self, logger: Any) -> None:
        assert isinstance(logger, ILogger)
        self._logger = logger
        if not self.lib.told["works"]:
            logger.log(ILogger.Severity.ERROR, "CUDA initialization failure with error: 35")
            raise TypeError("pybind11::init(): factory function returned nullptr")

    def create_network(self, mask: int) -> Network:
        if self.lib.major < 10:
            assert mask == 1 << self.lib.network_flags.EXPLICIT_BATCH
        elif self.lib.major == 10:
            assert mask == 1 << self.lib.network_flags.STRONGLY_TYPED
        else:
            assert mask == 0
        return Network(mask)

    def create_builder_config(self) -> Config:
        return self.lib.of(Config if self.lib.major < 10 else WatchedConfig, "Config")()

    def create_optimization_profile(self) -> Profile:
        return Profile()

    def build_serialized_network(self, network: Network, config: Config) -> memoryview | None:
        if not self._run_steps(config):
            return None
        if self.lib.told["fail"]:
            self._logger.log(ILogger.Severity.ERROR, self.lib.told["fail"])
            return None
        dynamic = [tensor.name for tensor in network.inputs if -1 in tensor.shape]
        assert bool(dynamic) == bool(config._profiles), "a profile where, and only where, a dimension is open"
        assert not config._profiles or list(config._profiles[0].shapes) == dynamic
        if config._cache is not None:
            config._cache.lines.add(b"timing of %d layers" % len(network.layers))
        self._logger.log(ILogger.Severity.WARNING, "a warning")
        parts = [int(part) for part in self.lib.full.split(".")]
        start = b"ftrt" + bytes(20) + struct.pack("4B", *(part & 255 for part in parts))
        return memoryview(start + json.dumps({**config.asked(), **_told_of(network)}).encode())

    def _run_steps(self, config: Config) -> bool:
        """Whether nobody stopped it."""
        monitor = config.progress_monitor if isinstance(config, WatchedConfig) else None
        if monitor is not None:
            monitor.phase_start("Building engine", None, 3)
            monitor.phase_start("Timing", "Building engine", 2)
        for step in range(3):
            if self.lib.told["run"] is not None:
                self.lib.told["run"]()
            if monitor is not None and not monitor.step_complete("Building engine", step):
                return False
        if monitor is not None:
            monitor.phase_finish("Timing")
            monitor.phase_finish("Building engine")
        return True


def _told_of(network: Network) -> dict[str, Any]:
    """What the plan says of the layers."""
    layers = network.layers
    return {
        "pinned": [layer.name for layer in layers if layer.pinned is DataType.FLOAT],
        "convolutions": [
            [layer.get_input(0).dtype.name, layer.get_output(0).dtype.name, layer.get_input(0).name]
            for layer in layers
            if layer.type.name == "CONVOLUTION"
        ],
        "quantized": [layer.get_input(0).name for layer in layers if layer.type.name == "QUANTIZE"],
        "dequantized": [layer.get_output(0).name for layer in layers if layer.type.name == "DEQUANTIZE"],
    }


class Inspector:
    def __init__(self, lib: Version, built: dict[str, Any]) -> None:
        self._lib, self._built = lib, built

    def get_engine_information(self, form: Any) -> str:
        assert form == self._lib.forms.JSON
        assert self._built["verbosity"] == "DETAILED"
        layers: list[dict[str, Any]] = [{"Name": "reformat", "LayerType": "Reformat", "Inputs": []}]
        layers += [self._convolution(*entry) for entry in self._built["convolutions"]]
        return json.dumps({"Layers": layers, "Bindings": []})

    def _convolution(self, source: str, result: str, name: str) -> dict[str, Any]:
        old = self._lib.major < 10
        weak_half = old and "FP16" in self._built["flags"]
        form = "Half" if weak_half or source == result == "HALF" else "Float"
        if name in self._built["dequantized"]:
            form = "Int8"
        form = self._lib.told["convolutions"] or form
        long = {
            "Half": "Row major linear FP16 format",
            "Float": "Row major linear FP32",
            "Int8": "Row major Int8 format",
        }
        tensor = {"Name": name, "Dimensions": [1], "Format/Datatype": long[form] if old else form}
        return {
            "Name": name, "LayerType": "CaskConvolution" if old else "conv", "Inputs": [tensor],
            "Outputs": [tensor], "ParameterType": "Convolution", "Weights": {"Type": form, "Count": 9},
        }  # fmt: skip


class Engine:
    def __init__(self, lib: Version, built: dict[str, Any]) -> None:
        self._lib, self._built = lib, built
        if lib.major < 10:
            self.device_memory_size = lib.told["activations"]
        else:
            self.device_memory_size_v2 = lib.told["activations"]

    def create_engine_inspector(self) -> Inspector:
        return Inspector(self._lib, self._built)


class CountingEngine(Engine):
    """From TensorRT 11 on."""

    def get_engine_stat(self, stat: Any) -> int:
        assert stat == self._lib.stats.TOTAL_WEIGHTS_SIZE
        return 12345


class Runtime(_Closed):
    FIELDS = frozenset({"engine_host_code_allowed"})
    lib: Version

    def __init__(self, logger: Any) -> None:
        assert isinstance(logger, ILogger)
        self.engine_host_code_allowed = False

    def deserialize_cuda_engine(self, plan: Any) -> Engine | None:
        data = bytes(plan)
        assert data[:4] == b"ftrt"
        built = json.loads(data[28:])
        if "VERSION_COMPATIBLE" in built["flags"]:
            assert self.engine_host_code_allowed
        return (CountingEngine if self.lib.major >= 11 else Engine)(self.lib, built)


def _plugin_registry(lib: Version) -> Any:
    creators: list[Any] = []

    def load_library(path: str) -> str:
        lib.told["plugins"].append(path)
        creators.append(types.SimpleNamespace(name="trtpose_decode_nms", plugin_version="1"))
        return path

    return types.SimpleNamespace(all_creators=creators, load_library=load_library)


def make(version: str) -> types.ModuleType:
    """A module like ``tensorrt`` of that version (8, 10 or 11).

    Its attribute ``told`` is a dictionary for the test: ``refuse`` is the operator that the parser refuses, ``fail``
    what the builder logs before it gives up, ``works`` whether a builder can be had, ``run`` what to call in each step
    of a build, ``convolutions`` the format the inspector reports for them, ``activations`` the bytes of the engine, and
    ``plugins`` the libraries that were loaded.
    """
    lib = Version(version)
    module: Any = types.ModuleType("tensorrt")
    module.__version__, module.told = lib.full, lib.told
    if lib.major >= 10:
        module.IProgressMonitor = IProgressMonitor
    if lib.major >= 11:
        module.EngineStat = lib.stats
    registry = _plugin_registry(lib)
    module.get_plugin_registry = lambda: registry
    module.ILogger = ILogger
    module.OnnxParser, module.Builder = lib.of(OnnxParser, "OnnxParser"), lib.of(Builder, "Builder")
    module.Runtime = lib.of(Runtime, "Runtime")
    module.BuilderFlag, module.NetworkDefinitionCreationFlag = lib.flags, lib.network_flags
    module.PreviewFeature = lib.previews
    module.MemoryPoolType, module.TacticSource, module.DataType = lib.pools, lib.sources, DataType
    module.HardwareCompatibilityLevel, module.ProfilingVerbosity = lib.levels, lib.verbosity
    module.LayerInformationFormat = lib.forms
    return module
