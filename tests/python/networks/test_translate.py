# SPDX-License-Identifier: Apache-2.0
"""From a PyTorch module to ONNX: each operation alone gives what the module gives, in the nodes that it should take."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

import export_support as support
import trtpose
from trtpose.formats import onnx_file
from trtpose.formats.onnx_runner import Runner
from trtpose.formats.onnx_writer import GraphWriter, Shape
from trtpose.networks import layers, translate

OPEN = Shape(None, None, None)


class _Alone(nn.Module):
    """A network of the given modules in a row, for translating one thing at a time."""

    def __init__(self, *modules: nn.Module) -> None:
        super().__init__()
        self.model = nn.ModuleList([nn.Sequential(*modules), nn.Identity()])

    def forward(self, x: Any) -> Any:
        return [self.model[0](x)]


def _alone(frames: Any, *modules: nn.Module) -> tuple[Any, Any, Counter[str]]:
    built: Any = _Alone(*modules).eval().requires_grad_(False)
    writer = GraphWriter()
    model = translate.model_of(
        writer, translate.Translator(built, writer).run(), {"out": ["n", "any", "h", "w"]}, OPEN, "alone"
    )
    onnx.checker.check_model(model, full_check=True)
    (found,) = Runner(onnx_file.checked(model, "test"))(frames)
    (expected,) = support.run(built, frames)
    return found, expected, Counter(node.op_type for node in model.graph.node)


def _random(module: nn.Module, seed: int = 0) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in module.state_dict().items():
            if value.is_floating_point():
                value.uniform_(0.2 if name.endswith("var") else -1, 1, generator=generator)
    return module


@pytest.mark.parametrize(
    ("modules", "kinds"),
    [
        ([_random(nn.Conv2d(3, 4, 3, bias=False)), _random(nn.BatchNorm2d(4))], {"Conv": 1}),
        ([_random(layers.ImplicitAdd(3)), _random(nn.Conv2d(3, 4, 1))], {"Conv": 1}),
        ([_random(layers.ImplicitAdd(3)), _random(nn.Conv2d(3, 4, 3, padding=1))], {"Conv": 1, "Add": 1}),
        ([_random(nn.Conv2d(3, 4, 3)), _random(layers.ImplicitMultiply(4))], {"Conv": 1}),
        ([_random(layers.ImplicitMultiply(3))], {"Mul": 1}),
        ([_random(layers.ImplicitAdd(3))], {"Add": 1}),
        ([layers.SpaceToDepth(), _random(nn.Conv2d(12, 4, 3, padding=1))], {"Conv": 1}),
        ([layers.SpaceToDepth(layers.SpaceToDepth.ROWS_FIRST), _random(nn.Conv2d(12, 4, 1))], {"Conv": 1}),
        ([layers.SpaceToDepth(), _random(nn.Conv2d(12, 12, 3, groups=12))], {"Slice": 4, "Concat": 1, "Conv": 1}),
        ([layers.SpaceToDepth()], {"Slice": 4, "Concat": 1}),
        (
            [_random(nn.Conv2d(3, 8, 1)), layers.ChannelShuffle(8, 2)],
            {"Conv": 1, "Reshape": 2, "Transpose": 1, "Shape": 1},
        ),
        ([nn.SiLU()], {"Sigmoid": 1, "Mul": 1}),
        ([nn.ReLU()], {"Relu": 1}),
        ([nn.ReLU6()], {"Clip": 1}),
        ([nn.LeakyReLU(0.1)], {"LeakyRelu": 1}),
        ([nn.Hardswish()], {"HardSigmoid": 1, "Mul": 1}),
        ([nn.ELU(0.7)], {"Elu": 1}),
        ([_random(nn.Conv2d(3, 6, 3, padding=2, dilation=2, groups=3))], {"Conv": 1}),
        ([nn.Upsample(scale_factor=2)], {"Resize": 1}),
        ([nn.MaxPool2d(2, 2)], {"MaxPool": 1}),
        ([layers.ConvPool(3, 4)], {"Conv": 1, "Sigmoid": 1, "Mul": 1, "MaxPool": 1}),
        ([nn.Conv2d(3, 4, 1), layers.SpatialPyramid(4, 4, (3, 9, 5))], None),
        ([layers.Bottleneck(3, 3, True, 1, 1.0, None)], None),
    ],
    ids=lambda value: "-".join(type(m).__name__ for m in value) if isinstance(value, list) else "",
)
def test_one_at_a_time(modules: list[nn.Module], kinds: dict[str, int] | None) -> None:
    frames = support.pictures(3, 2, 3, 12, 20) * 8 - 4
    found, expected, made = _alone(frames, *modules)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    if kinds is not None:
        assert made == kinds


def test_unsupported_operations_are_named() -> None:
    with pytest.raises(trtpose.ModelError, match="Tanh"):
        _alone(support.pictures(0, 1, 3, 8, 8), nn.Tanh())
    with pytest.raises(trtpose.ModelError, match="batch norm"):
        _alone(support.pictures(0, 1, 3, 8, 8), _random(nn.BatchNorm2d(3)))
