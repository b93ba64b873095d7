#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# OpenCV 5.0.0 reads the wrong elements in ONNX reductions over three axes whose first is 3 or longer.
#
# Expected: ReduceSum, ReduceMean, ReduceMax and their kin reduce any set of axes, as NumPy does; onnx.checker accepts
# the graph and ONNX Runtime 1.31.1 agrees with NumPy.
# Seen: where three axes are reduced that are not just the last ones of the tensor, such as all but the channels of a
# batch, OpenCV gives sums and maxima of other elements if the first of the three is 3 or longer. Two batches are
# right, three are not: a test with a batch of 1 or 2 does not find it. One or two axes are right, and so are the last
# three.
# What helps: two reductions, one after the other, or a Transpose that brings the axes to the end.
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

KINDS = ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceL2", "ReduceProd")
CASES = (  # shape, axes, right
    ((2, 3, 4, 5), (0, 2, 3), True),
    ((3, 3, 4, 5), (0, 2, 3), False),
    ((8, 3, 4, 5), (0, 1, 2), False),
    ((8, 3, 4, 5), (0, 2), True),
    ((8, 3, 4, 5), (1, 2, 3), True),
    ((1, 2, 17, 3, 4), (1, 2, 4), True),
    ((1, 3, 17, 3, 4), (1, 2, 4), False),
    ((1, 3, 8, 17, 4), (1, 2, 3), False),
)
rng = np.random.default_rng(0)


def by_opencv(file, feeds):
    net = cv2.dnn.readNetFromONNX(np.frombuffer(file, np.uint8))
    for name, array in feeds.items():
        net.setInput(array, name)
    return net.forward()


def by_onnxruntime(file, feeds):
    return onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"]).run(None, feeds)[0]


def model(kind, shape, axes):
    graph = helper.make_graph(
        [helper.make_node(kind, ["x", "axes"], ["y"], keepdims=1)],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * len(shape))],
        [numpy_helper.from_array(np.array(axes, np.int64), "axes")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(made, full_check=True)
    return made.SerializeToString()


print(f"OpenCV {cv2.__version__}, onnxruntime {onnxruntime.__version__}, onnx {onnx.__version__}")
as_described = True
for shape, axes, right in CASES:
    x = rng.uniform(0.9, 1.1, shape).astype(np.float32)
    off = {}
    for kind in KINDS:
        file = model(kind, shape, axes)
        expected, found = by_onnxruntime(file, {"x": x}), by_opencv(file, {"x": x})
        if kind == "ReduceSum":
            assert np.allclose(expected, x.sum(axes, keepdims=True), rtol=1e-5)
        same = found.shape == expected.shape and np.allclose(found, expected, rtol=1e-5)
        if not same:
            off[kind] = float(np.abs(found - expected).max())
        as_described &= same == right
    seen = ", ".join(f"{kind} off by {most:.3g}" for kind, most in off.items()) or "right"
    print(f"    {list(shape)} over {list(axes)}: {seen}")
print("    as described" if as_described else "    not as described")
sys.exit(not as_described)
PYTHON
