#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# ONNX Runtime's float16 converter writes graphs whose nodes are not in order.
#
# Expected: "The graph MUST use single static assignment [...] and the nodes MUST be topologically sorted"
# (https://onnx.ai/onnx/repo-docs/IR.html, Graphs): the converter's answer to a valid graph is a valid graph.
# Seen: 1.31.1's convert_float_to_float16 with keep_io_types=True appends the casts of the input and the output, and
# those around operators that it leaves in float32 (TopK), behind everything else: the first node reads what the last
# ones make. onnx.checker refuses the graph; ONNX Runtime sorts it by itself and runs it, so nobody notices until a tool
# goes through the nodes in the file's order. The exporters that use it hand that on: Ultralytics 8.4.190 with half=True.
# What helps: sort the nodes behind the converter.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat >"$work/convert.py" <<'PYTHON'
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.transformers import float16

graph = helper.make_graph(
    [
        helper.make_node("Relu", ["x"], ["positive"]),
        helper.make_node("TopK", ["positive", "k"], ["largest", "places"], axis=1),
        helper.make_node("Neg", ["largest"], ["y"]),
    ],
    "graph",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2])],
    [numpy_helper.from_array(np.array([2]), "k")],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
onnx.checker.check_model(model, full_check=True)
half = float16.convert_float_to_float16(model, keep_io_types=True)
print(f"ONNX Runtime {onnxruntime.__version__}: {[node.op_type for node in half.graph.node]}")
session = onnxruntime.InferenceSession(half.SerializeToString(), providers=["CPUExecutionProvider"])
answer = session.run(None, {"x": np.array([[1, 3, 2, 0]], np.float32)})[0]
print(f"    it runs and gives {answer.tolist()}")
try:
    onnx.checker.check_model(half)
    refused = False
except onnx.checker.ValidationError as error:
    refused = "topologically sorted" in str(error)
    print("    " + str(error).splitlines()[0])
as_described = refused and answer.tolist() == [[-3.0, -2.0]]
print("    as described" if as_described else "    not as described")
sys.exit(not as_described)
PYTHON
python3 -m venv "$work/venv"
"$work/venv/bin/pip" --quiet --disable-pip-version-check install onnxruntime==1.31.1 onnx==1.23.2 numpy==2.4.6
"$work/venv/bin/python" "$work/convert.py"
