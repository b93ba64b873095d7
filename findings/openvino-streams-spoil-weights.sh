#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# OpenVINO 2026.4.1, CPU: one compilation with NUM_STREAMS=2 now and then has wrong weights where the file has them as int8
# with a scale, and says nothing.
#
# Expected: the answers of the same file compiled with one stream, in every bit, as the documentation calls streams a matter of
# speed. With one stream any number of compilations agree.
# Seen: of eighty compilations for two streams of a network of depthwise and pointwise convolutions, whose int8 weights go through
# DequantizeLinear, 6 (in another run with a Cast and a Mul in its place, 25) answer otherwise, each with the same wrong numbers until it is
# thrown away. The same weights in float32 (and, tried by hand, in float16 behind a Cast) are right each time. It looks as if both streams' graphs computed the
# same constants at the same time.
# What helps: a compilation for each stream, NUM_STREAMS=1 each, with INFERENCE_NUM_THREADS divided among them.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" --quiet --disable-pip-version-check install openvino==2026.4.1 onnx==1.23.2 numpy==2.4.6
"$work/venv/bin/python" - <<'PYTHON'
import sys

import numpy as np
import onnx
import openvino
from onnx import TensorProto, helper, numpy_helper

WIDTH, BLOCKS, SIDE, TIMES = 128, 20, 64, 80
random = np.random.default_rng(0)


def network(whole):
    """Depthwise and pointwise convolutions in turn; weights as int8 with a scale, or the same numbers in float32."""
    nodes, constants = [], []

    def convolution(source, name, inputs, outputs, side, groups=1):
        shape = (outputs, inputs // groups, side, side)
        values = random.normal(0, (2 / (inputs // groups * side * side)) ** 0.5, shape).astype(np.float32)
        scale = np.float32(np.abs(values).max() / 127)
        rounded = np.round(values / scale).astype(np.int8)
        if whole:
            constants.extend([numpy_helper.from_array(rounded, f"{name}_q"), numpy_helper.from_array(scale, f"{name}_s")])
            nodes.append(helper.make_node("DequantizeLinear", [f"{name}_q", f"{name}_s"], [f"{name}_w"]))
        else:
            constants.append(numpy_helper.from_array(rounded.astype(np.float32) * scale, f"{name}_w"))
        nodes.append(helper.make_node("Conv", [source, f"{name}_w"], [name], pads=[side // 2] * 4, group=groups))
        nodes.append(helper.make_node("Relu", [name], [f"{name}_r"]))
        return f"{name}_r"

    last = convolution("x", "first", 3, WIDTH, 3)
    for block in range(BLOCKS):
        last = convolution(last, f"depth{block}", WIDTH, WIDTH, 3, WIDTH)
        last = convolution(last, f"point{block}", WIDTH, WIDTH, 1)
    nodes.append(helper.make_node("Identity", [last], ["y"]))
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, WIDTH, SIDE, SIDE])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


core = openvino.Core()
x = random.random((1, 3, SIDE, SIDE), np.float32)


def wrong(file, streams):
    """How many of TIMES compilations answer otherwise than the first with one stream."""
    found = []
    for _ in range(TIMES + 1):
        settings = {"NUM_STREAMS": 1 if not found else streams, "INFERENCE_PRECISION_HINT": "f32"}
        compiled = core.compile_model(core.read_model(file), "CPU", settings)
        requests = [compiled.create_infer_request() for _ in range(streams)]
        for request in requests:
            request.start_async([x])
        for request in requests:
            request.wait()
        found.append([request.output_tensors[0].data.copy() for request in requests])
    return sum(not all(np.array_equal(one, found[0][0]) for one in answers) for answers in found[1:])


print(f"openvino {openvino.__version__}, onnx {onnx.__version__}")
counts = {(kind, streams): wrong(network(kind == "int8"), streams) for kind in ("int8", "float32") for streams in (1, 2)}
for (kind, streams), count in counts.items():
    print(f"{kind} weights, {streams} stream(s): {count} of {TIMES} compilations answer otherwise")
if counts.pop(("int8", 2)) and not any(counts.values()):
    print("as described")
else:
    print("not as described")
    sys.exit(1)
PYTHON
