#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# OpenVINO 2026.4.1 reads some ONNX reductions of opset 13 to 17 without their axes, and says nothing.
#
# Expected: ReduceLogSumExp, ReduceLogSum and ReduceL1 with the attribute axes=[2] reduce that axis, as the specification of
# opset 13 says and as ONNX Runtime 1.31.1 does. Of opset 13, only ReduceSum takes its axes as an input; the others do from
# 18 on.
# Seen: at opset 13 and 17 the three of them give one number, the reduction over all axes. Where the graph goes on with it, it
# is broadcast, and every answer is wrong. The same nodes at opset 11 and 18, and ReduceL2, ReduceMax, ReduceMean, ReduceMin,
# ReduceProd and ReduceSumSquare at all of them, are right.
# What helps: write Log(ReduceSum(Exp(x))), or convert the graph to opset 18.
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

LOSE = ("ReduceL1", "ReduceLogSum", "ReduceLogSumExp")
KINDS = (*LOSE, "ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSumSquare")
OPSETS = (11, 13, 17, 18)
x = np.random.default_rng(0).uniform(0.5, 2, (2, 3, 4)).astype(np.float32)


def model(kind, opset):
    """One reduction over the last axis."""
    constants = [numpy_helper.from_array(np.array([2], np.int64), "axes")] if opset >= 18 else []
    names = ["x"] + [constant.name for constant in constants]
    node = helper.make_node(kind, names, ["y"], keepdims=0, **({} if constants else {"axes": [2]}))
    graph = helper.make_graph(
        [node],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 3])],
        constants,
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(made, full_check=True)
    return made.SerializeToString()


print(f"openvino {openvino.__version__}, onnxruntime {onnxruntime.__version__}, onnx {onnx.__version__}")
core, as_said = openvino.Core(), True
for kind in KINDS:
    shapes = []
    for opset in OPSETS:
        file = model(kind, opset)
        expected = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
        found = core.compile_model(core.read_model(file), "CPU")(x)[0]
        right = found.shape == expected.shape and np.allclose(found, expected, rtol=1e-5)
        shapes.append(f"opset {opset} {'right' if right else f'gives {list(found.shape)} for {list(expected.shape)}'}")
        as_said &= right == (kind not in LOSE or opset not in (13, 17))
    print(f"{kind}: {', '.join(shapes)}")
print("as this file says" if as_said else "otherwise than this file says")
sys.exit(not as_said)
PYTHON
