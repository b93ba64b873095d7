# SPDX-License-Identifier: Apache-2.0
"""Writing the network as ONNX."""

from __future__ import annotations

from dataclasses import replace

import onnx

from ...formats.onnx_writer import GraphWriter, Shape
from ...networks.translate import Translator, cells, model_of
from ...spec import ModelSpec
from . import topology
from .network import Network

__all__ = ["write_graph"]


def write_graph(network: Network, shape: Shape) -> tuple[onnx.ModelProto, ModelSpec]:
    """Translate a network.

    Args:
        network: with weights, in evaluation mode.
        shape: of the input ``images``.

    Returns:
        The model with the two maps of the last stage, without metadata, and its spec.

    Raises:
        ModelError: an operation of the network has no translation.
    """
    spec, writer = network.spec, GraphWriter()
    results = Translator(network, writer).run()
    channels = (topology.MAPS + 1, 2 * len(topology.LIMBS))
    sides = cells(shape, topology.STRIDE)
    outputs = {name: [shape.dims[0], count, *sides] for name, count in zip(spec.outputs, channels, strict=True)}
    if shape.width is None and spec.imgsz == topology.IMGSZ:
        # The width follows the frame, and the reference's demo asks for no more than the height.
        spec = replace(spec, imgsz=(spec.imgsz[0], spec.imgsz[0]))
    return model_of(writer, results, outputs, shape, spec.name), spec
