# SPDX-License-Identifier: Apache-2.0
"""Writing an ONNX graph node by node.

Opset 17: read by TensorRT 8.6 to 11, OpenVINO and ONNX Runtime.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from .onnx_graph import unique_name

__all__ = ["IR_VERSION", "OPSET", "GraphWriter", "Shape"]

OPSET = 17
IR_VERSION = 8  # the one of opset 17; newer ones are refused by older runtimes

Array = NDArray[Any]


@dataclass(frozen=True)
class Shape:
    """The input shape of the graph; None where any is accepted.

    Attributes:
        batch: pictures.
        height, width: pixels.
    """

    batch: int | None
    height: int | None
    width: int | None

    @property
    def dims(self) -> list[int | str]:
        """The dimensions of N x 3 x H x W with names for the open ones."""
        given = (("batch", self.batch), ("", 3), ("height", self.height), ("width", self.width))
        return [name if value is None else value for name, value in given]


class GraphWriter:
    """Collects ONNX nodes. Every method that adds a node returns the name of its output."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}
        self._known: dict[tuple[Any, ...], str] = {}
        self._names: set[str] = set()

    def constant(self, name: str, value: Array) -> str:
        """Add a constant; an equal one of the same values is shared when small."""
        key = ("constant", value.dtype.str, value.shape, value.tobytes()) if value.size <= 1024 else None
        if key is not None and key in self._known:
            return self._known[key]
        unique = unique_name(name, self._names)
        self.constants[unique] = numpy_helper.from_array(np.ascontiguousarray(value), unique)
        if key is not None:
            self._known[key] = unique
        return unique

    def node(self, kind: str, inputs: Sequence[str], name: str, *, outputs: int = 1, **attributes: Any) -> str:
        """Add a node; an equal one on the same inputs is not added twice."""
        return self.nodes_of(kind, inputs, name, outputs, **attributes)[0]

    def nodes_of(self, kind: str, inputs: Sequence[str], name: str, outputs: int, **attributes: Any) -> list[str]:
        """As :meth:`node` for nodes of several outputs."""
        key = (kind, tuple(inputs), outputs, repr(sorted(attributes.items())))
        if key in self._known:
            first = self._known[key]
        else:
            first = unique_name(f"{name}/{kind}", self._names)
            self._known[key] = first
            names = [first] + [f"{first}:{i}" for i in range(1, outputs)]
            self.nodes.append(helper.make_node(kind, list(inputs), names, name=first, **attributes))
        return [first] + [f"{first}:{i}" for i in range(1, outputs)]
