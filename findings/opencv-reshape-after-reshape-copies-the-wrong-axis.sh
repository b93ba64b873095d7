#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# OpenCV 5.0.0 fuses two Reshapes in a row, and a 0 in the second one's shape then copies an axis of the first one's input.
#
# Expected: a 0 in the shape of Reshape means the length of that axis of its own input
# (https://onnx.ai/onnx/operators/onnx__Reshape.html). ONNX Runtime 1.31.1 and onnx's reference evaluator do so.
# Seen: where the input of a Reshape comes straight from another Reshape, the new engine, which is the default, leaves
# the first one out and keeps the zeros of the second one's shape, which now mean axes of another tensor: [2, 4, 6] to
# [8, 3, 2] to [0, -1] gives [2, 24], not [8, 6]. Where the graph goes on with a reduction over an axis, or reshapes
# back, it gives wrong numbers and says nothing: GroupNormalization written out as onnx's own function for it does
# (split the groups, then [0, 0, -1]) normalises the wrong groups.
# What helps: numbers in place of the zeros, any operator between the two, or engine=ENGINE_CLASSIC (for a file).
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" --quiet --disable-pip-version-check install \
    opencv-python-headless==5.0.0.93 onnx==1.23.2 onnxruntime==1.31.1 numpy==2.4.6
"$work/venv/bin/python" - <<'PYTHON'
import sys

import cv2
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

X = np.random.default_rng(0).uniform(0, 1, (2, 4, 6)).astype(np.float32)


def by_opencv(file, feeds):
    net = cv2.dnn.readNetFromONNX(np.frombuffer(file, np.uint8))
    for name, array in feeds.items():
        net.setInput(array, name)
    return net.forward()


def by_onnxruntime(file, feeds):
    return onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"]).run(None, feeds)[0]


def model(nodes, rank, **shapes):
    graph = helper.make_graph(
        [helper.make_node(*node[:3], **(node[3] if len(node) > 3 else {})) for node in nodes],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, X.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * rank)],
        [numpy_helper.from_array(np.array(shape, np.int64), name) for name, shape in shapes.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(made, full_check=True)
    return made


FIRST, MEAN = ("Reshape", ["x", "a"], ["m"]), {"axes": [2], "keepdims": 1}
GROUPS = {"a": [2, 2, 2, 6], "b": [0, 0, -1], "c": [2, 4, 6]}
CASES = (  # name, graph, right
    ("[8, 3, 2], then [0, -1]", model([FIRST, ("Reshape", ["m", "b"], ["y"])], 2, a=[8, 3, 2], b=[0, -1]), False),
    ("[8, 3, 2], then [8, -1]", model([FIRST, ("Reshape", ["m", "b"], ["y"])], 2, a=[8, 3, 2], b=[8, -1]), True),
    (
        "[8, 3, 2], Relu, then [0, -1]",
        model([FIRST, ("Relu", ["m"], ["r"]), ("Reshape", ["r", "b"], ["y"])], 2, a=[8, 3, 2], b=[0, -1]),
        True,
    ),
    (
        "less the mean of its group of 2 channels",
        model(
            [
                FIRST,
                ("Reshape", ["m", "b"], ["g"]),
                ("ReduceMean", ["g"], ["mean"], MEAN),
                ("Sub", ["g", "mean"], ["d"]),
                ("Reshape", ["d", "c"], ["y"]),
            ],
            3,
            **GROUPS,
        ),
        False,
    ),
)
print(f"OpenCV {cv2.__version__}, onnxruntime {onnxruntime.__version__}, onnx {onnx.__version__}")
as_described = True
for name, made, right in CASES:
    file = made.SerializeToString()
    expected = by_onnxruntime(file, {"x": X})
    assert np.allclose(ReferenceEvaluator(made).run(None, {"x": X})[0], expected, atol=1e-6)
    found = by_opencv(file, {"x": X})
    same = found.shape == expected.shape and np.allclose(found, expected, atol=1e-5)
    print(f"    {name}: {list(found.shape)} for {list(expected.shape)}, the numbers are {'right' if same else 'wrong'}")
    as_described &= same == right
print("    as described" if as_described else "    not as described")
sys.exit(not as_described)
PYTHON
