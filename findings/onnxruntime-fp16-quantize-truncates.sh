#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# ONNX Runtime's CPU provider before 1.30 truncates where QuantizeLinear in FP16 has to round.
#
# Expected: QuantizeLinear is saturate(round(x / scale) + zero point), rounding half to even, for every type of x
# (https://onnx.ai/onnx/operators/onnx__QuantizeLinear.html). With float32 x and scale it does so.
# Seen: with float16 x and scale (opset 19), 1.29.0 cuts the fraction off: 0.9 / 0.5 becomes 1 and -0.9 / 0.5 becomes -1, so
# that every value comes out up to one step nearer to zero. 1.30.0 rounds.
# What helps: 1.30 or newer, or float32 scales. There is no 1.30 for Python 3.10.
# Mended by: https://github.com/microsoft/onnxruntime/pull/32452
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat >"$work/quantize.py" <<'PYTHON'
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

VALUES = [0.2, 0.4, 0.9, 1.1, -0.4, -0.9, -1.1]
SCALE = 0.5  # exact in both types, and no value is near the middle between two steps


def quantize(dtype):
    graph = helper.make_graph(
        [helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["y"])],
        "graph",
        [helper.make_tensor_value_info("x", helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), [len(VALUES)])],
        [helper.make_tensor_value_info("y", TensorProto.INT8, [len(VALUES)])],
        [numpy_helper.from_array(np.array(SCALE, dtype), "scale"), numpy_helper.from_array(np.int8(0), "zero")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": np.array(VALUES, dtype)})[0]


exact = np.array(VALUES) / SCALE
rounded, truncated = np.rint(exact).astype(np.int8), np.trunc(exact).astype(np.int8)
expected = {np.float32: rounded, np.float16: truncated if sys.argv[1] == "truncates" else rounded}
print(f"ONNX Runtime {onnxruntime.__version__}: {VALUES} / {SCALE}")
changed = False
for dtype, numbers in expected.items():
    got = quantize(dtype)
    print(f"    {dtype.__name__}: {got.tolist()}")
    changed |= not np.array_equal(got, numbers)
print("    as described" if not changed else "    not as described")
sys.exit(changed)
PYTHON
status=0
for case in "1.29.0 truncates" "1.30.0 rounds"; do
    read -r version behaviour <<<"$case"
    python3 -m venv "$work/$version"
    "$work/$version/bin/pip" --quiet --disable-pip-version-check install \
        "onnxruntime==$version" onnx==1.23.2 numpy==2.4.6
    "$work/$version/bin/python" "$work/quantize.py" "$behaviour" || status=1
done
exit $status
