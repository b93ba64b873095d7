#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# OpenCV 5.0.0 pads auto_pad="SAME_UPPER" and "SAME_LOWER" by the kernel alone: strided layers come out shifted by a pixel.
#
# Expected: the padding is what ceil(size / stride) windows need beyond the size, so it depends on the size and the
# stride; where it is odd the larger half comes last for SAME_UPPER and first for SAME_LOWER
# (https://onnx.ai/onnx/operators/onnx__Conv.html). ONNX Runtime 1.31.1 does so, TensorFlow means the same by "SAME".
# Seen: readNetFromONNX puts (kernel - 1) // 2 before the picture always, for Conv, MaxPool and AveragePool. With
# kernel 3, stride 2, an even size and SAME_UPPER, as the first layers of TensorFlow's mobile networks have it,
# nothing belongs there: OpenCV's windows start one pixel too early. Odd sizes are right, so are explicit pads. With
# SAME_LOWER every even kernel is wrong. The shapes are right, nothing is said, and the shifts of such layers add up
# through a network.
# What helps: replace auto_pad by the pads that it stands for before OpenCV reads the graph. The classic engine
# (engine=ENGINE_CLASSIC, for a file) has SAME_UPPER right, SAME_LOWER not.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" --quiet --disable-pip-version-check install \
    opencv-python-headless==5.0.0.93 onnx==1.23.2 onnxruntime==1.31.1 numpy==2.4.6
"$work/venv/bin/python" - <<'PYTHON'
import sys

import cv2
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

CHANNELS = 2
rng = np.random.default_rng(0)


def by_opencv(file, feeds):
    net = cv2.dnn.readNetFromONNX(np.frombuffer(file, np.uint8))
    for name, array in feeds.items():
        net.setInput(array, name)
    return net.forward()


def by_onnxruntime(file, feeds):
    return onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"]).run(None, feeds)[0]


def padding(size, kernel, stride, upper):
    """Before and after."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return (total // 2, total - total // 2) if upper else (total - total // 2, total // 2)


def model(kind, size, kernel, stride, attributes):
    """One layer over a square picture."""
    constants = []
    if kind == "Conv":
        weights = rng.uniform(0.5, 1, (CHANNELS, CHANNELS, kernel, kernel)).astype(np.float32)
        constants.append(numpy_helper.from_array(weights, "w"))
    names = ["x"] + [constant.name for constant in constants]
    node = helper.make_node(kind, names, ["y"], kernel_shape=[kernel] * 2, strides=[stride] * 2, **attributes)
    graph = helper.make_graph(
        [node],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, CHANNELS, size, size])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, CHANNELS, -(-size // stride), -(-size // stride)])],
        constants,
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(made, full_check=True)
    return made.SerializeToString()


CASES = (  # size, kernel, stride, mode, right
    (16, 3, 1, "SAME_UPPER", True),
    (16, 3, 2, "SAME_UPPER", False),
    (17, 3, 2, "SAME_UPPER", True),
    (16, 5, 2, "SAME_UPPER", False),
    (16, 2, 1, "SAME_UPPER", True),
    (16, 2, 1, "SAME_LOWER", False),
    (16, 4, 1, "SAME_LOWER", False),
)
print(f"OpenCV {cv2.__version__}, onnxruntime {onnxruntime.__version__}, onnx {onnx.__version__}")
as_described = True
for kind in ("Conv", "MaxPool", "AveragePool"):
    for size, kernel, stride, mode, right in CASES:
        x = rng.uniform(0, 1, (1, CHANNELS, size, size)).astype(np.float32)
        before, after = padding(size, kernel, stride, mode == "SAME_UPPER")
        state = rng.bit_generator.state
        file = model(kind, size, kernel, stride, {"auto_pad": mode})
        rng.bit_generator.state = state  # the same weights again
        explicit = model(kind, size, kernel, stride, {"pads": [before, before, after, after]})
        expected = by_onnxruntime(file, {"x": x})
        assert np.allclose(by_onnxruntime(explicit, {"x": x}), expected, atol=1e-5)
        assert np.allclose(by_opencv(explicit, {"x": x}), expected, atol=1e-4)
        found = by_opencv(file, {"x": x})
        wrong = np.count_nonzero(~np.isclose(found, expected, atol=1e-4))
        print(f"    {kind}, size {size}, kernel {kernel}, stride {stride}, {mode}: {wrong} of {found.size} numbers wrong")
        as_described &= found.shape == expected.shape and (wrong == 0) == right
print("    as described" if as_described else "    not as described")
sys.exit(not as_described)
PYTHON
