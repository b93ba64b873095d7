# SPDX-License-Identifier: Apache-2.0
"""What the tests of ``trtpose.build`` share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

import trtpose
from trtpose.build import driver as drivers
from trtpose.build import engine_file
from trtpose.spec import ModelSpec

DEMO = Path(trtpose.__file__).parent / "data" / "demo.onnx"
_DEMO = onnx.load(str(DEMO))
_SPEC = ModelSpec.from_json({e.key: e.value for e in _DEMO.metadata_props}["trtpose"], source=str(DEMO))
SIDE = _SPEC.imgsz[0]
CHANNELS = _SPEC.anchors_per_cell * _SPEC.fields
CONVOLUTIONS = sum(node.op_type == "Conv" for node in _DEMO.graph.node)
RECIPES = Path(__file__).resolve().parents[2] / "engines"
W6 = "yolov7-w6-pose"


def nothing_but(folder: Path, *names: str) -> bool:
    return {entry.name for entry in folder.iterdir()} == set(names)


def with_pairs(model: onnx.ModelProto) -> onnx.ModelProto:
    """Q/DQ pairs where trtpose quantize puts them, with a range that was not calibrated."""
    from trtpose.formats.onnx_graph import Graph
    from trtpose.quantize.insert import insert
    from trtpose.quantize.placement import place

    graph = Graph(model)
    placement = place(graph, ())
    return insert(graph, placement, dict.fromkeys(placement.scales, 6.0))


GPU = drivers.Device(0, "NVIDIA RTX A2000", "8.6", 6 << 30)
SECOND = drivers.Device(1, "NVIDIA T4", "7.5", 16 << 30)
MODERN = ("10", "11")
EVERY = ("8", "10", "11")


def quantised(model: Path, target: Path, scale_type: Any = np.float32, zero: bool = True) -> Path:
    """The first two convolutions between Q/DQ pairs."""
    net = onnx.load(str(model))
    graph = net.graph
    nodes: list[Any] = []
    graph.initializer.append(numpy_helper.from_array(np.array(0.02, scale_type), "scale"))
    graph.initializer.append(numpy_helper.from_array(np.array(0, np.int8), "zero"))
    tail = ["scale", "zero"] if zero else ["scale"]
    for node in graph.node:
        if node.op_type == "Conv" and not node.name.startswith("head."):
            for at in (0, 1):
                source = node.input[at]
                for kind, suffix in (("QuantizeLinear", "_q"), ("DequantizeLinear", "_dq")):
                    nodes.append(
                        helper.make_node(kind, [source, *tail], [node.input[at] + suffix], name=source + suffix)
                    )
                    source = node.input[at] + suffix
                node.input[at] = source
        nodes.append(node)
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(kept)
    net.opset_import[0].version = 19
    onnx.save(net, str(target))
    return target


def asked_of(path: Path) -> dict[str, Any]:
    """What the stand-in was asked for, from its "plan"."""
    return json.loads(engine_file.read(path).plan()[28:])
