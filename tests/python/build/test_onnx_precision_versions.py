# SPDX-License-Identifier: Apache-2.0
"""How each version of TensorRT is given a precision, by stand-ins for 8.6, 10 and 11."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import trtpose
from build_support import EVERY, MODERN, asked_of, quantised
from trtpose.errors import ModelError


@pytest.mark.parametrize("version", MODERN)
def test_fp16_is_in_the_graph(version: str, use: Any, model: Path, tmp_path: Path) -> None:
    use(version)
    built = trtpose.build(model, tmp_path / "x.engine", precision="fp16")
    asked = asked_of(built.path)
    assert asked["flags"] == []
    assert [entry[:2] for entry in asked["convolutions"]] == [["HALF", "HALF"]] * 2 + [["FLOAT", "FLOAT"]]
    assert built.network.convolutions == built.engine.convolutions == {"fp32": 1, "fp16": 2}
    engine = built.header["trtpose_engine"]
    assert [entry["dtype"] for entry in engine["inputs"] + engine["outputs"]] == ["float32", "float32"]


def test_fp16_by_flags_on_8(use: Any, model: Path, tmp_path: Path) -> None:
    use("8")
    built = trtpose.build(model, tmp_path / "x.engine", precision="fp16")
    asked = asked_of(built.path)
    assert asked["flags"] == ["FP16", "OBEY_PRECISION_CONSTRAINTS"]
    assert asked["pinned"] == ["head.0/Conv"]
    assert {tuple(entry[:2]) for entry in asked["convolutions"]} == {("FLOAT", "FLOAT")}  # an FP32 graph
    assert built.network.convolutions == {"fp32": 1, "fp16": 2}


def test_keep_on_8(use: Any, model: Path, tmp_path: Path) -> None:
    use("8")
    built = trtpose.build(model, tmp_path / "x.engine", precision="fp16", keep=["model.0/R*"])
    assert asked_of(built.path)["pinned"] == ["model.0/Relu", "head.0/Conv"]


@pytest.mark.parametrize("version", EVERY)
def test_int8(version: str, use: Any, model: Path, tmp_path: Path) -> None:
    use(version)
    source = quantised(model, tmp_path / "qdq.onnx")
    built = trtpose.build(source, tmp_path / "x.engine", precision="int8")
    asked = asked_of(built.path)
    assert built.network.convolutions["int8"] == built.engine.convolutions["int8"] == 2
    if version == "8":
        assert asked["flags"] == ["FP16", "INT8", "OBEY_PRECISION_CONSTRAINTS"]
        assert asked["pinned"] == ["head.0/Conv"]
    else:
        assert asked["flags"] == []
        assert [entry[:2] for entry in asked["convolutions"]][:2] == [["HALF", "HALF"]] * 2  # FP16 scales


def test_8_is_given_weights_as_floats(use: Any, model: Path, tmp_path: Path) -> None:
    """Stored as INT8, as trtpose quantize does, they get back a pair of their own."""
    from trtpose.build import onnx_model

    use("8")
    net = onnx.load(str(quantised(model, tmp_path / "qdq.onnx")))
    onnx_model.store_weights(net, as_int8=True)
    assert len([node for node in net.graph.node if node.op_type == "QuantizeLinear"]) == 2
    onnx.save(net, str(tmp_path / "stored.onnx"))
    asked = asked_of(trtpose.build(tmp_path / "stored.onnx", tmp_path / "x.engine", precision="int8").path)
    assert len(asked["quantized"]) == 4
    use("10")
    asked = asked_of(trtpose.build(tmp_path / "qdq.onnx", tmp_path / "x.engine", precision="int8").path)
    assert len(asked["quantized"]) == 2


@pytest.mark.parametrize(
    ("scale", "zero", "words"), [(np.float16, True, "FP16 scale"), (np.float32, False, "no zero point")]
)
def test_pairs_that_8_misreads(scale: Any, zero: bool, words: str, use: Any, model: Path, tmp_path: Path) -> None:
    use("8")
    source = quantised(model, tmp_path / "qdq.onnx", scale, zero)
    with pytest.raises(ModelError, match=words) as caught:
        trtpose.build(source, tmp_path / "x.engine", precision="int8")
    assert "trtpose quantize" in str(caught.value)
    assert not (tmp_path / "x.engine").exists()
