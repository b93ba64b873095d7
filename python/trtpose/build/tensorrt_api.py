# SPDX-License-Identifier: Apache-2.0
"""The TensorRT libraries: ``tensorrt`` 8.6, 10 and 11, and TensorRT for RTX.

One Python API with few differences, which all are in the small functions of this file and of
:mod:`trtpose.build.builder_config`. Nothing here calls into ``tensorrt`` before the driver was asked for a device:
without one the library crashes.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from .._abilities import get_tensorrt
from .._machine import gpus
from .._optional import require
from ..errors import DeviceError
from . import driver as drivers

__all__ = [
    "Library",
    "activation_bytes",
    "choose",
    "default_capabilities",
    "known_capabilities",
    "network_flags",
    "open_library",
    "parser_errors",
    "pin_to_fp32",
    "weight_bytes",
]

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
    trt = require(
        "tensorrt",
        package="tensorrt",
        extra="tensorrt",
        purpose="building for TensorRT",
        how=get_tensorrt(gpus(), "tensorrt"),
    )
    library = Library(runtime, trt, str(trt.__version__))
    if library.release < _OLDEST:
        raise DeviceError(
            f"TensorRT {library.version} is too old, 8.6 is the oldest that trtpose builds with; update it"
        )
    return library


# --- The differences --------------------------------------------------------------------------------------------------


def network_flags(library: Library) -> int:
    """TensorRT 11 and RTX know strongly typed networks only, 9 and 10 on request, 8 not at all."""
    flags, mask = library.trt.NetworkDefinitionCreationFlag, 0
    if library.runtime == "rtx" or library.release >= (11,):
        return mask
    if library.release < (10,):
        mask |= 1 << int(flags.EXPLICIT_BATCH)
    if library.strongly_typed:
        mask |= 1 << int(flags.STRONGLY_TYPED)
    return mask


def pin_to_fp32(library: Library, network: Any, config: Any, asked: str, keep: Collection[str]) -> set[int]:
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


def known_capabilities(library: Library) -> dict[str, Any]:
    """The compute capabilities RTX can build for."""
    members = getattr(getattr(library.trt, "ComputeCapability", None), "__members__", {})
    found = {f"{name[2:-1]}.{name[-1]}": member for name, member in members.items() if re.fullmatch(r"SM\d{2,3}", name)}
    return dict(sorted(found.items(), key=lambda entry: float(entry[0])))


def default_capabilities(library: Library) -> tuple[str, ...]:
    """RTX: all it can build for from Ampere (8.0) on; Turing kernels leave out operations. TensorRT: none."""
    return tuple(name for name in known_capabilities(library) if float(name) >= 8.0)


def activation_bytes(engine: Any) -> int:
    return int(engine.device_memory_size_v2 if hasattr(engine, "device_memory_size_v2") else engine.device_memory_size)


def weight_bytes(library: Library, engine: Any) -> int | None:
    if hasattr(engine, "get_engine_stat"):
        size = int(engine.get_engine_stat(library.trt.EngineStat.TOTAL_WEIGHTS_SIZE))
        return size if size > 0 else None
    return None


def parser_errors(parser: Any, nodes: Sequence[str]) -> list[tuple[str, str, str]]:
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
