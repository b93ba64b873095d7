#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# OpenCV 5.0.0's readNetFromONNX ignores its argument engine where the graph comes from memory.
#
# Expected: engine=ENGINE_CLASSIC selects the classic engine, for a buffer as for a file: both are documented with the
# same words. It is the one with GPU and OpenVINO back-ends, and the way around what the new engine has wrong.
# Seen: a file is read by the engine that was asked for, which the names of the layers show and here the numbers too
# (kernel 3, stride 2, SAME_UPPER); from the same bytes in memory comes the new engine always, and so it does from
# readNet("onnx", buffer). Nothing is said.
# What helps: write the graph to a file, or set OPENCV_FORCE_DNN_ENGINE=1 in the environment.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" --quiet --disable-pip-version-check install \
    opencv-python-headless==5.0.0.93 onnx==1.23.2 onnxruntime==1.31.1 numpy==2.4.6
cat >"$work/engines.py" <<'PYTHON'
import os
import sys

import cv2
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

PATH = sys.argv[1]
ENGINES = {"ENGINE_CLASSIC": cv2.dnn.ENGINE_CLASSIC, "ENGINE_NEW": cv2.dnn.ENGINE_NEW, "ENGINE_AUTO": cv2.dnn.ENGINE_AUTO}
x = np.random.default_rng(0).uniform(0, 1, (1, 2, 8, 8)).astype(np.float32)
graph = helper.make_graph(
    [helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER")],
    "graph",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2, 4, 4])],
)
made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
onnx.checker.check_model(made, full_check=True)
file = made.SerializeToString()
with open(PATH, "wb") as stream:
    stream.write(file)
expected = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]


def look(net):
    """The first layer's name, and whether the numbers are right."""
    net.setInput(x, "x")
    right = np.allclose(net.forward(), expected, atol=1e-5)
    return net.getLayerNames()[0], "right" if right else "wrong"


forced = os.environ.get("OPENCV_FORCE_DNN_ENGINE")
print(f"OpenCV {cv2.__version__}, onnxruntime {onnxruntime.__version__}, OPENCV_FORCE_DNN_ENGINE {forced}")
buffer = np.frombuffer(file, np.uint8)
seen = {}
for name, engine in ENGINES.items():
    seen[name] = {
        "file": look(cv2.dnn.readNetFromONNX(PATH, engine=engine)),
        "buffer": look(cv2.dnn.readNetFromONNX(buffer, engine=engine)),
        "readNet of the buffer": look(cv2.dnn.readNet("onnx", buffer, engine=engine)),
    }
    print(f"    {name}: " + ", ".join(f"{source} {answer}" for source, answer in seen[name].items()))
classic, new = seen["ENGINE_CLASSIC"], seen["ENGINE_NEW"]
if forced:
    as_described = classic["buffer"] == classic["file"] and classic["buffer"][1] == "right"
else:
    as_described = classic["file"] != new["file"] and classic["file"][1] == "right"
    as_described &= classic["buffer"] == classic["readNet of the buffer"] == new["buffer"] == new["file"]
print("    as described" if as_described else "    not as described")
sys.exit(not as_described)
PYTHON
status=0
"$work/venv/bin/python" "$work/engines.py" "$work/graph.onnx" || status=1
OPENCV_FORCE_DNN_ENGINE=1 "$work/venv/bin/python" "$work/engines.py" "$work/graph.onnx" || status=1
exit $status
