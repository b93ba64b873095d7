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

VERSIONS = {"8": "8.6.1.6", "10": "10.13.3.9", "11": "11.1.0.106"}

_LAYERS = {
    "Conv": "CONVOLUTION",
    "MatMul": "MATRIX_MULTIPLY",
    "QuantizeLinear": "QUANTIZE",
    "DequantizeLinear": "DEQUANTIZE",
    "Cast": "CAST",
    "Concat": "CONCATENATION",
    "MaxPool": "POOLING",
    "Resize": "RESIZE",
    "Reshape": "SHUFFLE",
    "Transpose": "SHUFFLE",
    "Shape": "SHAPE",
    "Slice": "SLICE",
    "Sigmoid": "ACTIVATION",
    "Relu": "ACTIVATION",
}


class DataType(enum.Enum):
    FLOAT = 0
    HALF = 1
    INT8 = 2
    INT32 = 3
    BOOL = 4
    INT64 = 8


_TYPES = {
    1: DataType.FLOAT,
    3: DataType.INT8,
    6: DataType.INT32,
    7: DataType.INT64,
    9: DataType.BOOL,
    10: DataType.HALF,
}


class _Closed:
    """Attributes are those of ``FIELDS`` and no others."""

    FIELDS: frozenset[str] = frozenset()

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_") and name not in self.FIELDS:
            raise AttributeError(f"{type(self).__name__} has no attribute {name}")
        object.__setattr__(self, name, value)


class Tensor:
    def __init__(self, name: str, dtype: DataType, shape: tuple[int, ...]) -> None:
        self.name, self.dtype, self.shape = name, dtype, shape


class Layer:
    def __init__(self, name: str, kind: str, inputs: list[Tensor], outputs: list[Tensor]) -> None:
        self.name = name
        self.type = types.SimpleNamespace(name=kind)
        self._inputs, self._outputs = inputs, outputs
        self.num_inputs, self.num_outputs = len(inputs), len(outputs)
        self.pinned: DataType | None = None
        self.output_types: dict[int, DataType] = {}

    def get_input(self, index: int) -> Tensor:
        return self._inputs[index]

    def get_output(self, index: int) -> Tensor:
        return self._outputs[index]


class WeakLayer(Layer):
    """Before TensorRT 11 a layer can be held to a precision."""

    @property
    def precision(self) -> DataType | None:
        return self.pinned

    @precision.setter
    def precision(self, value: DataType) -> None:
        self.pinned = value

    def set_output_type(self, index: int, dtype: DataType) -> None:
        self.output_types[index] = dtype


class Network:
    def __init__(self, flags: int) -> None:
        self.flags = flags
        self.layers: list[Layer] = []
        self.inputs: list[Tensor] = []
        self.outputs: list[Tensor] = []

    @property
    def num_layers(self) -> int:
        return len(self.layers)

    @property
    def num_inputs(self) -> int:
        return len(self.inputs)

    @property
    def num_outputs(self) -> int:
        return len(self.outputs)

    def get_layer(self, index: int) -> Layer:
        return self.layers[index]

    def get_input(self, index: int) -> Tensor:
        return self.inputs[index]

    def get_output(self, index: int) -> Tensor:
        return self.outputs[index]


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


def make(version: str) -> types.ModuleType:
    """A module like ``tensorrt`` of that version (8, 10 or 11).

    Its attribute ``told`` is a dictionary for the test: ``refuse`` is the operator that the parser refuses, ``fail``
    what the builder logs before it gives up, ``works`` whether a builder can be had, ``run`` what to call in each step
    of a build, ``convolutions`` the format the inspector reports for them, and ``activations`` the bytes of the engine.
    """
    major = int(version)
    module: Any = types.ModuleType("tensorrt")
    module.__version__ = VERSIONS[version]
    module.told = told = {
        "refuse": None, "fail": None, "works": True, "run": None, "convolutions": None, "activations": 50 << 20,
    }  # fmt: skip

    def enumeration(name: str, *members: str) -> Any:
        return enum.IntEnum(name, {member: index for index, member in enumerate(members)})

    weak = ("FP16", "INT8", "OBEY_PRECISION_CONSTRAINTS", "PREFER_PRECISION_CONSTRAINTS") if major < 11 else ()
    streaming = ("WEIGHT_STREAMING",) if major >= 10 else ()
    flags = enumeration("BuilderFlag", *weak, "TF32", "VERSION_COMPATIBLE", *streaming)
    batch = ("EXPLICIT_BATCH",) if major < 11 else ()
    strong = ("STRONGLY_TYPED",) if major >= 10 else ()
    network_flags = enumeration("NetworkDefinitionCreationFlag", *batch, *strong)
    shared = ("TACTIC_SHARED_MEMORY",) if major >= 10 else ()
    pools = enumeration("MemoryPoolType", "WORKSPACE", "TACTIC_DRAM", *shared)
    foreign = ("CUBLAS", "CUBLAS_LT", "CUDNN") if major < 11 else ()
    sources = enumeration("TacticSource", *foreign, "EDGE_MASK_CONVOLUTIONS", "JIT_CONVOLUTIONS")
    same = ("SAME_COMPUTE_CAPABILITY",) if major >= 10 else ()
    levels = enumeration("HardwareCompatibilityLevel", "NONE", "AMPERE_PLUS", *same)
    previews = enumeration("PreviewFeature", "PROFILE_SHARING_0806")
    verbosity = enumeration("ProfilingVerbosity", "LAYER_NAMES_ONLY", "NONE", "DETAILED")

    class ILogger:
        Severity = enumeration("Severity", "INTERNAL_ERROR", "ERROR", "WARNING", "INFO", "VERBOSE")

    class ParserError:
        def __init__(self, number: int, node: onnx.NodeProto) -> None:
            self._number, self._node = number, node

        def desc(self) -> str:
            return f"No importer registered for op: {self._node.op_type}. Attempting to import as plugin."

        def node(self) -> int:
            return self._number

    if major >= 10:

        def node_name(self: ParserError) -> str:
            return str(self._node.name)

        def node_operator(self: ParserError) -> str:
            return str(self._node.op_type)

        ParserError.node_name = node_name  # type: ignore[attr-defined]
        ParserError.node_operator = node_operator  # type: ignore[attr-defined]

    class OnnxParser:
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
                    _TYPES[info.type.tensor_type.elem_type],
                    tuple(dim.dim_value or -1 for dim in info.type.tensor_type.shape.dim),
                )
                for info in (*graph.input, *graph.value_info, *graph.output)
            }
            for weight in graph.initializer:
                tensors[weight.name] = Tensor(weight.name, _TYPES[weight.data_type], tuple(weight.dims))
            make_layer = WeakLayer if major < 11 else Layer
            for number, node in enumerate(graph.node):
                if node.op_type == told["refuse"]:
                    self._errors.append(ParserError(number, node))
                    return False
                inputs = [tensors[name] for name in node.input if name in tensors]
                outputs = [tensors[name] for name in node.output]
                kind = _LAYERS.get(node.op_type, "ELEMENTWISE")
                self._network.layers.append(make_layer(node.name, kind, inputs, outputs))
            self._network.inputs = [tensors[info.name] for info in graph.input]
            self._network.outputs = [tensors[info.name] for info in graph.output]
            return True

    class Profile:
        def __init__(self) -> None:
            self.shapes: dict[str, list[list[int]]] = {}

        def set_shape(self, name: str, low: tuple[int, ...], best: tuple[int, ...], high: tuple[int, ...]) -> None:
            self.shapes[name] = [list(low), list(best), list(high)]

    common = {
        "builder_optimization_level", "max_aux_streams", "profiling_verbosity", "hardware_compatibility_level",
    }  # fmt: skip

    class Config(_Closed):
        FIELDS = frozenset(common | ({"progress_monitor"} if major >= 10 else set()))

        def __init__(self) -> None:
            self.builder_optimization_level = 3
            self.max_aux_streams = -1
            self.profiling_verbosity = verbosity.LAYER_NAMES_ONLY
            self.hardware_compatibility_level = levels.NONE
            self._flags = {"TF32"}
            self._pools: dict[str, int] = {}
            self._profiles: list[Profile] = []
            self._previews: list[str] = []
            self._sources: int | None = None
            self._cache: Cache | None = None
            if major >= 10:
                self.progress_monitor: Any = None

        def set_flag(self, flag: Any) -> None:
            self._flags.add(flags(flag).name)

        def clear_flag(self, flag: Any) -> None:
            self._flags.discard(flags(flag).name)

        def set_memory_pool_limit(self, pool: Any, size: int) -> None:
            self._pools[pools(pool).name] = size

        def set_tactic_sources(self, mask: int) -> bool:
            self._sources = mask
            return True

        def set_preview_feature(self, feature: Any, enable: bool) -> None:
            assert major < 10, "given without asking from TensorRT 10 on"
            assert enable
            self._previews.append(previews(feature).name)

        def add_optimization_profile(self, profile: Profile) -> int:
            self._profiles.append(profile)
            return len(self._profiles) - 1

        def create_timing_cache(self, data: bytes) -> Cache | None:
            if data and not data.startswith(module.__version__.encode()):
                return None
            return Cache(module.__version__, data)

        def set_timing_cache(self, cache: Cache, ignore_mismatch: bool) -> bool:
            assert not ignore_mismatch
            self._cache = cache
            return True

        def get_timing_cache(self) -> Cache | None:
            return self._cache

    class Builder:
        def __init__(self, logger: Any) -> None:
            assert isinstance(logger, ILogger)
            self._logger = logger
            if not told["works"]:
                logger.log(ILogger.Severity.ERROR, "CUDA initialization failure with error: 35")
                raise TypeError("pybind11::init(): factory function returned nullptr")

        def create_network(self, mask: int) -> Network:
            if major < 10:
                assert mask == 1 << network_flags.EXPLICIT_BATCH
            elif major == 10:
                assert mask == 1 << network_flags.STRONGLY_TYPED
            else:
                assert mask == 0
            return Network(mask)

        def create_builder_config(self) -> Config:
            return Config()

        def create_optimization_profile(self) -> Profile:
            return Profile()

        def build_serialized_network(self, network: Network, config: Config) -> memoryview | None:
            monitor = config.progress_monitor if major >= 10 else None
            if monitor is not None:
                monitor.phase_start("Building engine", None, 3)
                monitor.phase_start("Timing", "Building engine", 2)
            for step in range(3):
                if told["run"] is not None:
                    told["run"]()
                if monitor is not None and not monitor.step_complete("Building engine", step):
                    return None
            if monitor is not None:
                monitor.phase_finish("Timing")
                monitor.phase_finish("Building engine")
            if told["fail"]:
                self._logger.log(ILogger.Severity.ERROR, told["fail"])
                return None
            dynamic = [tensor.name for tensor in network.inputs if -1 in tensor.shape]
            assert bool(dynamic) == bool(config._profiles), "a profile where, and only where, a dimension is open"
            assert not config._profiles or list(config._profiles[0].shapes) == dynamic
            if config._cache is not None:
                config._cache.lines.add(b"timing of %d layers" % len(network.layers))
            self._logger.log(ILogger.Severity.WARNING, "a warning")
            built = {
                "flags": sorted(config._flags),
                "pools": config._pools,
                "sources": config._sources,
                "profiles": [profile.shapes for profile in config._profiles],
                "previews": config._previews,
                "opt_level": config.builder_optimization_level,
                "hardware": levels(config.hardware_compatibility_level).name,
                "verbosity": verbosity(config.profiling_verbosity).name,
                "aux_streams": config.max_aux_streams,
                "pinned": [layer.name for layer in network.layers if layer.pinned is DataType.FLOAT],
                "convolutions": [
                    [layer.get_input(0).dtype.name, layer.get_output(0).dtype.name, layer.get_input(0).name]
                    for layer in network.layers
                    if layer.type.name == "CONVOLUTION"
                ],
                "quantized": [layer.get_input(0).name for layer in network.layers if layer.type.name == "QUANTIZE"],
                "dequantized": [
                    layer.get_output(0).name for layer in network.layers if layer.type.name == "DEQUANTIZE"
                ],
            }
            parts = [int(part) for part in module.__version__.split(".")]
            start = b"ftrt" + bytes(20) + struct.pack("4B", *(part & 255 for part in parts))
            return memoryview(start + json.dumps(built).encode())

    class Inspector:
        def __init__(self, built: dict[str, Any]) -> None:
            self._built = built

        def get_engine_information(self, form: Any) -> str:
            assert form == module.LayerInformationFormat.JSON
            assert self._built["verbosity"] == "DETAILED"
            layers: list[dict[str, Any]] = [{"Name": "reformat", "LayerType": "Reformat", "Inputs": []}]
            for source, result, name in self._built["convolutions"]:
                weak_half = major < 10 and "FP16" in self._built["flags"]
                form_ = "Half" if weak_half or source == result == "HALF" else "Float"
                if name in self._built["dequantized"]:
                    form_ = "Int8"
                form_ = told["convolutions"] or form_
                long = {
                    "Half": "Row major linear FP16 format",
                    "Float": "Row major linear FP32",
                    "Int8": "Row major Int8 format",
                }
                tensor = {"Name": name, "Dimensions": [1], "Format/Datatype": long[form_] if major < 10 else form_}
                layers.append({
                    "Name": name, "LayerType": "CaskConvolution" if major < 10 else "conv", "Inputs": [tensor],
                    "Outputs": [tensor], "ParameterType": "Convolution", "Weights": {"Type": form_, "Count": 9},
                })  # fmt: skip
            return json.dumps({"Layers": layers, "Bindings": []})

    class Engine:
        def __init__(self, built: dict[str, Any]) -> None:
            self._built = built
            if major < 10:
                self.device_memory_size = told["activations"]
            else:
                self.device_memory_size_v2 = told["activations"]

        def create_engine_inspector(self) -> Inspector:
            return Inspector(self._built)

    if major >= 11:

        def get_engine_stat(self: Engine, stat: Any) -> int:
            assert stat == module.EngineStat.TOTAL_WEIGHTS_SIZE
            assert self is not None
            return 12345

        Engine.get_engine_stat = get_engine_stat  # type: ignore[attr-defined]
        module.EngineStat = enumeration("EngineStat", "TOTAL_WEIGHTS_SIZE")

    class Runtime(_Closed):
        FIELDS = frozenset({"engine_host_code_allowed"})

        def __init__(self, logger: Any) -> None:
            assert isinstance(logger, ILogger)
            self.engine_host_code_allowed = False

        def deserialize_cuda_engine(self, plan: Any) -> Engine | None:
            data = bytes(plan)
            assert data[:4] == b"ftrt"
            built = json.loads(data[28:])
            if "VERSION_COMPATIBLE" in built["flags"]:
                assert self.engine_host_code_allowed
            return Engine(built)

    if major >= 10:

        class IProgressMonitor:
            pass

        module.IProgressMonitor = IProgressMonitor

    told["plugins"] = []
    creators: list[Any] = []

    def load_library(path: str) -> str:
        told["plugins"].append(path)
        creators.append(types.SimpleNamespace(name="trtpose_decode_nms", plugin_version="1"))
        return path

    registry = types.SimpleNamespace(all_creators=creators, load_library=load_library)
    module.get_plugin_registry = lambda: registry
    module.ILogger, module.OnnxParser, module.Builder, module.Runtime = ILogger, OnnxParser, Builder, Runtime
    module.BuilderFlag, module.NetworkDefinitionCreationFlag = flags, network_flags
    module.PreviewFeature = previews
    module.MemoryPoolType, module.TacticSource, module.DataType = pools, sources, DataType
    module.HardwareCompatibilityLevel, module.ProfilingVerbosity = levels, verbosity
    module.LayerInformationFormat = enumeration("LayerInformationFormat", "ONELINE", "JSON")
    return module
