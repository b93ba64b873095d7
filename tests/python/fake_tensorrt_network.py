# SPDX-License-Identifier: Apache-2.0
"""The network of the stand-ins for ``tensorrt``: tensors and layers."""

from __future__ import annotations

import enum
import types

LAYERS = {
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


TYPES = {
    1: DataType.FLOAT,
    3: DataType.INT8,
    6: DataType.INT32,
    7: DataType.INT64,
    9: DataType.BOOL,
    10: DataType.HALF,
}


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
