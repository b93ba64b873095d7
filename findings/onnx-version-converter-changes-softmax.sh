#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# onnx 1.23.2's version converter changes what Softmax (13 to 12) and Hardmax (12 to 13) compute along an inner axis.
#
# Expected: up to opset 12 Softmax, LogSoftmax and Hardmax flatten the input at the axis and work over all that
# follows; from 13 on they work along that one axis (https://onnx.ai/onnx/operators/onnx__Softmax.html).
# convert_version keeps what a graph computes, as it does for Softmax from 12 to 13, which it wraps in Flatten and
# Reshape, or says that it cannot.
# Seen: down from 13 to 12 it keeps the axis: a Softmax over the channels of a map becomes one over channels, rows and
# columns together. Up from 12 to 13 it keeps the axis of Hardmax. The files are valid, nothing is said, and the
# numbers differ wherever the axis is not the last one (or the axes behind it are not 1).
# What helps: convert only graphs whose axis is the last one, or put Transpose nodes around it first.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" --quiet --disable-pip-version-check install onnx==1.23.2 onnxruntime==1.31.1 numpy==2.4.6
"$work/venv/bin/python" - <<'PYTHON'
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, version_converter

x = np.random.default_rng(0).standard_normal((1, 17, 4, 4)).astype(np.float32)


def model(kind, opset, axis):
    graph = helper.make_graph(
        [helper.make_node(kind, ["x"], ["y"], axis=axis)],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, x.shape)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=7)


def run(made):
    onnx.checker.check_model(made, full_check=True)
    session = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


# The meaning from 13 on, by hand.
over_channels = np.exp(x) / np.exp(x).sum(axis=1, keepdims=True)
assert np.allclose(run(model("Softmax", 13, 1)), over_channels, atol=1e-5)
print(f"onnx {onnx.__version__}, onnxruntime {onnxruntime.__version__}")
as_described = True
for kind, source, target, axis, kept in (
    ("Softmax", 12, 13, 1, True),
    ("LogSoftmax", 12, 13, 1, True),
    ("Softmax", 13, 12, 3, True),
    ("Softmax", 13, 12, 1, False),
    ("LogSoftmax", 13, 12, 1, False),
    ("Hardmax", 12, 13, 3, True),
    ("Hardmax", 12, 13, 1, False),
):
    made = model(kind, source, axis)
    before = run(made)
    converted = version_converter.convert_version(made, target)
    after = run(converted)
    off = float(np.abs(after - before).max())
    print(
        f"    {kind}, axis {axis}, {source} to {target}: off by up to {off:.3g}, sum over all {before.sum():.3f} before,"
        f" {after.sum():.3f} after, {[node.op_type for node in converted.graph.node]}"
    )
    as_described &= (off < 1e-4) == kept
print("    as described" if as_described else "    not as described")
sys.exit(not as_described)
PYTHON
