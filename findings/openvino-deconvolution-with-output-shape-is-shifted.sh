#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# OpenVINO 2026.4.1 shifts a ConvTranspose that has the attribute output_shape, above all a grouped one, by a pixel.
#
# Expected: with output_shape the padding follows from it: total = stride * (size - 1) + kernel - output_shape, half
# of it on each side, and where it is odd the larger half at the end for SAME_UPPER, at the beginning otherwise
# (https://onnx.ai/onnx/operators/onnx__ConvTranspose.html). ONNX Runtime 1.31.1 does so. tf2onnx writes TensorFlow's
# and Keras' layers in that form where the size of the input is not known.
# Seen: where group is more than 1 (depthwise upsampling), OpenVINO's CPU plugin takes no padding at the beginning and
# all at the end: the map has the right size and its content is one pixel lower and further right. Where group is 1,
# the odd pixel of SAME_UPPER is taken at the wrong end (kernel 3, stride 2, as Keras' "same"). The same layers with
# pads in place of output_shape are right. In a heatmap head that moves every joint by the stride of the map.
# What helps: write pads (and output_padding) instead of output_shape before OpenVINO reads the graph.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" --quiet --disable-pip-version-check install \
    openvino==2026.4.1 onnx==1.23.2 onnxruntime==1.31.1 numpy==2.4.6
"$work/venv/bin/python" - <<'PYTHON'
import sys

import numpy as np
import onnx
import onnxruntime
import openvino
from onnx import TensorProto, helper, numpy_helper

SIZE, CHANNELS, STRIDE = 8, 4, 2
WANTED = SIZE * STRIDE
rng = np.random.default_rng(0)


def model(group, kernel, attributes):
    """One ConvTranspose that doubles the map."""
    weights = rng.uniform(0.5, 1, (CHANNELS, CHANNELS // group, kernel, kernel)).astype(np.float32)
    node = helper.make_node(
        "ConvTranspose",
        ["x", "w"],
        ["y"],
        group=group,
        kernel_shape=[kernel, kernel],
        strides=[STRIDE, STRIDE],
        **attributes,
    )
    graph = helper.make_graph(
        [node],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, CHANNELS, SIZE, SIZE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, CHANNELS, WANTED, WANTED])],
        [numpy_helper.from_array(weights, "w")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=8)
    onnx.checker.check_model(made, full_check=True)
    return made.SerializeToString()


def shift(found, expected):
    """By how many pixels, down and to the right, `found` lies off `expected`; None where it is something else."""
    if np.allclose(found, expected, atol=1e-4):
        return 0
    for pixels in (-1, 1):
        a, b = (found, expected) if pixels > 0 else (expected, found)
        if np.allclose(a[..., 1:, 1:], b[..., :-1, :-1], atol=1e-4):
            return pixels
    return None


SHAPE = {"output_shape": [WANTED, WANTED]}
CASES = (
    # group, kernel, attributes, the shift that is seen
    (1, 4, {"pads": [1, 1, 1, 1]}, 0),
    (1, 4, SHAPE, 0),
    (1, 3, {"pads": [0, 0, 1, 1]}, 0),
    (1, 3, SHAPE | {"auto_pad": "SAME_UPPER"}, -1),
    (1, 3, SHAPE | {"auto_pad": "SAME_LOWER"}, 0),
    (CHANNELS, 4, {"pads": [1, 1, 1, 1]}, 0),
    (CHANNELS, 4, SHAPE, 1),
    (CHANNELS, 4, SHAPE | {"auto_pad": "SAME_UPPER"}, 1),
    (CHANNELS, 4, SHAPE | {"auto_pad": "SAME_LOWER"}, 1),
    (2, 4, SHAPE, 1),
)
x = rng.uniform(0.5, 1, (1, CHANNELS, SIZE, SIZE)).astype(np.float32)
print(f"openvino {openvino.__version__}, onnxruntime {onnxruntime.__version__}, onnx {onnx.__version__}")
core, as_described = openvino.Core(), True
for group, kernel, attributes, seen in CASES:
    file = model(group, kernel, attributes)
    expected = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
    found = core.compile_model(core.read_model(file), "CPU")(x)[0]
    assert found.shape == expected.shape
    moved = shift(found, expected)
    print(f"    group {group}, kernel {kernel}, {attributes}: shifted by {moved}")
    as_described &= moved == seen
print("    as described" if as_described else "    not as described")
sys.exit(not as_described)
PYTHON
