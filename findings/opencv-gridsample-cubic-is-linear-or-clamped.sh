#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# OpenCV 5.0.0 computes GridSample's mode "cubic" (opset 20) bilinearly, and clamps what "bicubic" (opset 16) gives.
#
# Expected: opset 20 renamed the modes "bilinear" and "bicubic" of opset 16 to "linear" and "cubic": the same numbers
# (https://onnx.ai/onnx/operators/onnx__GridSample.html). Cubic interpolation overshoots next to an edge; no part of
# the operator clamps it. ONNX Runtime 1.31.1 and PyTorch give such numbers.
# Seen: readNetFromONNX knows "bicubic" and takes "cubic" for linear without a word, so that converting a graph to
# opset 20 changes what OpenCV computes. With "bicubic" every number outside the range of the 4 x 4 pixels around the
# point is cut to that range, so that peaks lose height.
# What helps: another mode, or another runtime for such graphs.
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
from onnx import TensorProto, helper

SIZE = 12
rng = np.random.default_rng(0)
FEEDS = {
    "x": rng.uniform(-1, 1, (1, 1, SIZE, SIZE)).astype(np.float32),
    "grid": rng.uniform(-0.5, 0.5, (1, 9, 9, 2)).astype(np.float32),  # far from the border
}


def by_opencv(file, feeds):
    net = cv2.dnn.readNetFromONNX(np.frombuffer(file, np.uint8))
    for name, array in feeds.items():
        net.setInput(array, name)
    return net.forward()


def by_onnxruntime(file, feeds):
    return onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"]).run(None, feeds)[0]


def model(opset, mode):
    graph = helper.make_graph(
        [helper.make_node("GridSample", ["x", "grid"], ["y"], mode=mode, padding_mode="zeros", align_corners=0)],
        "graph",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, array.shape) for name, array in FEEDS.items()],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, 9, 9])],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    onnx.checker.check_model(made, full_check=True)
    return made.SerializeToString()


def clamped(numbers):
    """`numbers`, each cut to the range of the 4 x 4 pixels around its point."""
    picture, result = FEEDS["x"][0, 0], numbers.copy()
    corners = np.floor((FEEDS["grid"][0] + 1) * (SIZE / 2) - 0.5).astype(int) - 1
    for (row, column), value in np.ndenumerate(numbers[0, 0]):
        x, y = corners[row, column]
        near = picture[y : y + 4, x : x + 4]
        result[0, 0, row, column] = np.clip(value, near.min(), near.max())
    return result


print(f"OpenCV {cv2.__version__}, onnxruntime {onnxruntime.__version__}, onnx {onnx.__version__}")
linear = by_onnxruntime(model(20, "linear"), FEEDS)
cubic = by_onnxruntime(model(20, "cubic"), FEEDS)
cut = clamped(cubic)
assert np.abs(linear - cubic).max() > 0.1 and np.abs(cut - cubic).max() > 0.05
as_described = True
for opset, mode, meant, seen, name in (
    (16, "bilinear", linear, linear, "linear"),
    (20, "linear", linear, linear, "linear"),
    (16, "bicubic", cubic, cut, "cubic clamped"),
    (20, "cubic", cubic, linear, "linear"),
):
    file = model(opset, mode)
    assert np.allclose(by_onnxruntime(file, FEEDS), meant, atol=1e-5)
    found = by_opencv(file, FEEDS)
    off = np.count_nonzero(~np.isclose(found, meant, atol=1e-4))
    print(f"    opset {opset}, {mode}: {off} of {found.size} wrong, by up to {np.abs(found - meant).max():.2g}", end="")
    print(f"; off {name} by {np.abs(found - seen).max():.1g}")
    as_described &= np.allclose(found, seen, atol=1e-4)
print("    as described" if as_described else "    not as described")
sys.exit(not as_described)
PYTHON
