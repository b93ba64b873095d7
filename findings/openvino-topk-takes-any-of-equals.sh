#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# OpenVINO 2026.4.1's TopK and Hardmax from an ONNX graph do not take the first of equal values, as ONNX says; ArgMax does.
#
# Expected: "Given two equivalent values, this operator uses the indices along the axis as a tiebreaker", the lower
# index first (https://onnx.ai/onnx/operators/onnx__TopK.html), and Hardmax marks the first maximum. ONNX Runtime
# 1.31.1 and onnx's reference evaluator do so. OpenVINO's own TopK leaves the order open unless it is told to be
# stable; a reader of ONNX has to tell it.
# Seen: on the CPU the indices of equal values come in some other order. With k = 1 over 200 values of 4 levels, which
# is how int8 heatmaps and saturated scores look, TopK and Hardmax point at another place than ArgMax of the same
# graph does, and with k = 50 at other elements. The values are right, so that nothing shows until the indices gather
# boxes or keypoints.
# What helps: ArgMax for k = 1; else compare values and what was gathered, not indices, or add a small ramp to the
# scores.
# Known in part: https://github.com/openvinotoolkit/openvino/pull/33410 (Hardmax), and pull/33199 (TopK, merged
# before)
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
from onnx.reference import ReferenceEvaluator

LENGTH, LEVELS, ROWS = 200, 4, 17
x = np.random.default_rng(0).integers(0, LEVELS, (ROWS, LENGTH)).astype(np.float32)


def model(opset, k):
    graph = helper.make_graph(
        [
            helper.make_node("TopK", ["x", "k"], ["values", "indices"], axis=1),
            helper.make_node("ArgMax", ["x"], ["first"], axis=1, keepdims=0),
            helper.make_node("Hardmax", ["x"], ["marks"], axis=1),
        ],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
        [
            helper.make_tensor_value_info("values", TensorProto.FLOAT, [ROWS, k]),
            helper.make_tensor_value_info("indices", TensorProto.INT64, [ROWS, k]),
            helper.make_tensor_value_info("first", TensorProto.INT64, [ROWS]),
            helper.make_tensor_value_info("marks", TensorProto.FLOAT, x.shape),
        ],
        [numpy_helper.from_array(np.array([k], np.int64), "k")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    onnx.checker.check_model(made, full_check=True)
    return made


print(f"openvino {openvino.__version__}, onnxruntime {onnxruntime.__version__}, onnx {onnx.__version__}")
core, as_described = openvino.Core(), True
for opset, k in ((13, 1), (13, 50), (21, 1), (21, 50)):
    made = model(opset, k)
    file = made.SerializeToString()
    values, indices, first, marks = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"]).run(
        None, {"x": x}
    )
    by_numpy = np.argsort(-x, axis=1, kind="stable")[:, :k]
    assert np.array_equal(indices, by_numpy) and np.array_equal(first, by_numpy[:, 0])
    assert np.array_equal(ReferenceEvaluator(made).run(None, {"x": x})[1], by_numpy)
    answers = core.compile_model(core.read_model(file), "CPU")(x)
    found = {name: np.array(answers[name]) for name in ("values", "indices", "first", "marks")}
    moved = np.count_nonzero((found["indices"] != indices).any(axis=1))
    missing = sum(len(set(a) - set(b)) for a, b in zip(indices.tolist(), found["indices"].tolist()))
    marked = np.count_nonzero((found["marks"] != marks).any(axis=1))
    print(
        f"    opset {opset}, k {k}: {moved} of {ROWS} rows have other indices ({missing} elements of {indices.size} are"
        f" other ones), {marked} other marks; ArgMax {'right' if np.array_equal(found['first'], first) else 'wrong'}"
    )
    as_described &= np.array_equal(found["values"], values) and np.array_equal(found["first"], first)
    as_described &= moved > 0 and missing > 0 and marked > 0
print("    as described" if as_described else "    not as described")
sys.exit(not as_described)
PYTHON
