# SPDX-License-Identifier: Apache-2.0
"""The versions of ONNX that trtpose lets through (cpp/src/model/onnx_limits.hpp), held against what the installed
libraries say of themselves and do."""

from __future__ import annotations

import re

import numpy as np
import onnx
import openvino
import pytest
from onnx import TensorProto, defs, helper

from trtpose import ModelError, _core

ort = pytest.importorskip("onnxruntime")

_DOMAINS = ("", "ai.onnx.ml", "ai.onnx.preview.training", "com.microsoft")


def _model(opsets: dict[str, int], ir_version: int) -> bytes:
    shape = [1, 3, 8, 8]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", values[:1], values[1:])
    imports = [helper.make_opsetid(domain, version) for domain, version in opsets.items()]
    return helper.make_model(graph, opset_imports=imports, ir_version=ir_version).SerializeToString()


def _passes(content: bytes) -> bool:
    try:
        _core.check_onnx(content, "test")
    except ModelError:
        return False
    return True


def _highest_opset(domain: str) -> int:
    return max(v for v in range(1, 200) if _passes(_model({"": 13, domain: v}, 8)))


def _highest_ir() -> int:
    return max(v for v in range(1, 200) if _passes(_model({"": 13}, v)))


def _load(content: bytes) -> None:
    ort.InferenceSession(content, providers=["CPUExecutionProvider"])


def _runtime_states() -> int:
    """The highest opset ONNX Runtime says it supports."""
    with pytest.raises(Exception, match=r"till opset (\d+)") as refusal:
        _load(_model({"": defs.onnx_opset_version() + 1}, 8))
    found = re.search(r"ai\.onnx is till opset (\d+)", str(refusal.value))
    assert found is not None
    return int(found.group(1))


@pytest.fixture(scope="module", autouse=True)
def _made_for() -> None:
    versions = [tuple(map(int, v.split(".")[:2])) for v in (onnx.__version__, ort.__version__)]
    if versions[0] < (1, 22) or versions[1] < (1, 31):
        pytest.skip(f"the table is for ONNX 1.22 and ONNX Runtime 1.31; {versions} refuse newer files themselves")


def test_opsets_are_known_to_all() -> None:
    assert _highest_opset("") <= _runtime_states()
    assert _highest_opset("") <= defs.onnx_opset_version()
    for domain in ("ai.onnx.ml", "ai.onnx.preview.training"):
        history = defs.get_all_schemas_with_history()
        assert _highest_opset(domain) == max(s.since_version for s in history if s.domain == domain)


def test_ir_versions_are_known_to_all() -> None:
    assert _highest_ir() <= onnx.IR_VERSION
    _load(_model({"": 13}, _highest_ir()))


def test_what_passes_is_taken() -> None:
    picture = np.linspace(-1, 1, 192, dtype=np.float32).reshape(1, 3, 8, 8)
    for content in (
        _model({domain: _highest_opset(domain) for domain in _DOMAINS}, _highest_ir()),
        _model({"": 7}, 3),
    ):
        session = ort.InferenceSession(content, providers=["CPUExecutionProvider"])
        np.testing.assert_array_equal(session.run(None, {"x": picture})[0], picture.clip(0))
        compiled = openvino.Core().compile_model(openvino.Core().read_model(content), "CPU")
        np.testing.assert_array_equal(compiled(picture)[0], picture.clip(0))
