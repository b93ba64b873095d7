#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# OpenCV 5.0.0 resizes by the ratio of the sizes where an ONNX Resize gives scales, and samples Resize-10 at half pixels.
#
# Expected: with scales, Resize's output has floor(size * scale) pixels and each samples the input by the scale that
# was given, x_original = (x + 0.5) / scale - 0.5 for half_pixel (https://onnx.ai/onnx/operators/onnx__Resize.html);
# Resize of opset 10 samples at x / scale. ONNX Runtime 1.31.1 and OpenVINO 2026.4.1 do so; PyTorch's interpolate with
# a scale_factor too.
# Seen: OpenCV takes floor(size * scale) / size instead, for nearest, linear and cubic alike. Wherever size * scale is
# not whole (20 pixels by 0.33: 6 pixels, and 0.3) every number is another one, and what lies at the far end is
# sampled up to two pixels off. A linear Resize of opset 10 is computed as half_pixel.
# What helps: give sizes in place of scales if the ratio is meant, or scales that divide; convert Resize-10 by hand.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" --quiet --disable-pip-version-check install \
    openvino==2026.4.1 opencv-python-headless==5.0.0.93 onnx==1.23.2 onnxruntime==1.31.1 numpy==2.4.6
"$work/venv/bin/python" - <<'PYTHON'
import sys

import cv2
import numpy as np
import onnx
import onnxruntime
import openvino
from onnx import TensorProto, helper, numpy_helper

SIZE = 20
# A ramp: each number is the place where it was sampled.
X = np.broadcast_to(np.arange(SIZE, dtype=np.float32), (1, 1, SIZE, SIZE)).copy()


def model(opset, scale, **attributes):
    scales = numpy_helper.from_array(np.array([1, 1, scale, scale], np.float32), "scales")
    names = ["x", "scales"] if opset == 10 else ["x", "", "scales"]
    graph = helper.make_graph(
        [helper.make_node("Resize", names, ["y"], **attributes)],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, X.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, None, None])],
        [scales],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(made, full_check=True)
    return made.SerializeToString()


def by_opencv(file):
    net = cv2.dnn.readNetFromONNX(np.frombuffer(file, np.uint8))
    net.setInput(X, "x")
    return net.forward()


print(f"OpenCV {cv2.__version__}, onnxruntime {onnxruntime.__version__}, openvino {openvino.__version__}")
as_described = True
for opset, scale, attributes, right in (
    (18, 0.3, {"mode": "linear"}, True),
    (18, 0.33, {"mode": "linear"}, False),
    (18, 0.33, {"mode": "linear", "coordinate_transformation_mode": "asymmetric"}, False),
    (18, 0.33, {"mode": "nearest"}, False),
    (18, 0.33, {"mode": "cubic"}, False),
    (18, 1.28, {"mode": "linear"}, False),
    (10, 2.0, {"mode": "linear"}, False),
):
    file = model(opset, scale, **attributes)
    expected = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"]).run(None, {"x": X})[0]
    core = openvino.Core()
    assert np.allclose(core.compile_model(core.read_model(file), "CPU")(X)[0], expected, atol=1e-3)
    found = by_opencv(file)
    as_described &= found.shape == expected.shape
    off = float(np.abs(found - expected).max())
    print(f"    opset {opset}, scale {scale}, {attributes}: {expected.shape[3]} pixels, the last is sampled at ", end="")
    print(f"{found[0, 0, 0, -1]:.2f} for {expected[0, 0, 0, -1]:.2f}, off by up to {off:.2g}")
    as_described &= (off < 0.01) == right
print("    as described" if as_described else "    not as described")
sys.exit(not as_described)
PYTHON
