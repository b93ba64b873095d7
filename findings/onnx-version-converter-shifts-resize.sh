#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# onnx 1.23.2's version converter shifts linear Resize and Upsample nodes of opset 9 and 10 by up to half a pixel.
#
# Expected: convert_version keeps what a graph computes. Upsample and Resize-10 sample at x / scale, which opset 11
# calls "asymmetric", and opset 11's default is "half_pixel" (https://onnx.ai/onnx/operators/onnx__Resize.html).
# Seen: from opset 9 or 10 to 11 and up, the converter makes a Resize without coordinate_transformation_mode, so it
# becomes half_pixel. The file is valid, the shapes are the same, and what was sampled at 0, 0.5, 1 is sampled at
# -0.25, 0.25, 0.75: a head that enlarges its heatmaps moves every joint. ONNX Runtime 1.31.1 and OpenVINO 2026.4.1
# agree on all of it.
# What helps: set coordinate_transformation_mode to "asymmetric" (and nearest_mode to "floor") in the nodes that came
# of it.
# Known: https://github.com/onnx/onnx/issues/8480 (Resize)
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
from onnx import TensorProto, helper, numpy_helper, version_converter

X = np.arange(4, dtype=np.float32).reshape(1, 1, 1, 4)
ASYMMETRIC = [0, 0.5, 1, 1.5, 2, 2.5, 3, 3]
HALF_PIXEL = [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3]


def model(kind, opset):
    graph = helper.make_graph(
        [helper.make_node(kind, ["x", "scales"], ["y"], mode="linear")],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, X.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, 1, 8])],
        [numpy_helper.from_array(np.array([1, 1, 1, 2], np.float32), "scales")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def run(made):
    """What both runtimes compute."""
    onnx.checker.check_model(made, full_check=True)
    file = made.SerializeToString()
    answer = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"]).run(None, {"x": X})[0]
    core = openvino.Core()
    assert np.allclose(core.compile_model(core.read_model(file), "CPU")(X)[0], answer, atol=1e-5)
    return answer.ravel()


print(f"onnx {onnx.__version__}, onnxruntime {onnxruntime.__version__}, openvino {openvino.__version__}")
as_described = True
for kind, opset in (("Upsample", 9), ("Resize", 10)):
    made = model(kind, opset)
    before = run(made)
    print(f"    {kind}, opset {opset}: {before.tolist()}")
    as_described &= np.allclose(before, ASYMMETRIC)
    for target in (11, 13, 18, 22):
        converted = version_converter.convert_version(made, target)
        resize = next(node for node in converted.graph.node if node.op_type == "Resize")
        after = run(converted)
        print(f"        converted to {target}: {after.tolist()}, attributes {[a.name for a in resize.attribute]}")
        as_described &= np.allclose(after, HALF_PIXEL)
        resize.attribute.append(helper.make_attribute("coordinate_transformation_mode", "asymmetric"))
        as_described &= np.allclose(run(converted), ASYMMETRIC)
print("    as described" if as_described else "    not as described")
sys.exit(not as_described)
PYTHON
