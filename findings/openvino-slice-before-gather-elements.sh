#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# OpenVINO 2026.4.1 refuses a Slice from 0 on one axis before a GatherElements on another.
#
# Expected: y = GatherElements(x[:, :, 0:4], indices, axis=1) runs: data and indices, 1x5x4 and 1x2x4, agree in every axis but
# the gathered one. ONNX Runtime 1.31.1 runs it.
# Seen: the CPU plugin takes the Slice for useless and gives GatherElements the whole x, 1x5x8, then complains that its
# shape does not fit the indices. Slices that do not begin at 0, or are on the gathered axis, stay and run.
# What helps: cut with Split. That is what the tail of networks with NMS inside needs: boxes are columns 0 to 4 of a row.
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

SHAPE = [1, 5, 8]


def numbers(name, values):
    return numpy_helper.from_array(np.array(values, np.int64), name)


def model(cut, begin, end, sliced, gathered):
    """The rows 1 and 0 (or columns, of ``gathered``) of x, of which ``sliced`` keeps begin to end, cut by ``cut``."""
    part = list(SHAPE)
    part[sliced] = end - begin
    shape = list(part)
    shape[gathered] = 2
    indices = np.zeros(shape, np.int64) + np.array([1, 0]).reshape([2 if axis == gathered else 1 for axis in range(3)])
    if cut == "Slice":
        first = helper.make_node("Slice", ["x", "begin", "end", "axis"], ["part"])
        constants = [numbers("begin", [begin]), numbers("end", [end]), numbers("axis", [sliced])]
    else:
        first = helper.make_node("Split", ["x", "sizes"], ["part", "rest"], axis=sliced)
        constants = [numbers("sizes", [end, SHAPE[sliced] - end])]
    graph = helper.make_graph(
        [first, helper.make_node("GatherElements", ["part", "indices"], ["y"], axis=gathered)],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, SHAPE)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [*constants, numbers("indices", indices)],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(made, full_check=True)
    return made.SerializeToString()


def answer(file, x):
    core = openvino.Core()
    try:
        compiled = core.compile_model(core.read_model(file), "CPU")
    except RuntimeError as error:
        return next((line for line in str(error).splitlines() if "not consistent" in line), str(error))
    return compiled([x])[0]


CASES = [
    ("Slice", 0, 4, 2, 1, "refused"),
    ("Slice", 0, 4, 1, 2, "refused"),
    ("Slice", 4, 8, 2, 1, "runs"),
    ("Slice", 0, 4, 1, 1, "runs"),
    ("Split", 0, 4, 2, 1, "runs"),
]
x = np.arange(np.prod(SHAPE), dtype=np.float32).reshape(SHAPE)
print(f"OpenVINO {openvino.__version__}, ONNX Runtime {onnxruntime.__version__}, onnx {onnx.__version__}")
changed = 0
for cut, begin, end, sliced, gathered, expected in CASES:
    file = model(cut, begin, end, sliced, gathered)
    right = onnxruntime.InferenceSession(file).run(None, {"x": x})[0]
    got = answer(file, x)
    seen = "refused" if isinstance(got, str) else "runs" if np.array_equal(got, right) else "is wrong"
    print(f"{cut} {begin}:{end} on axis {sliced}, GatherElements on axis {gathered}: {seen}")
    if isinstance(got, str):
        print(f"    {got}")
    changed += seen != expected
print("seen as described" if not changed else f"{changed} of {len(CASES)} cases are not as described")
sys.exit(1 if changed else 0)
PYTHON
