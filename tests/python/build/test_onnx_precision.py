# SPDX-License-Identifier: Apache-2.0
"""The precision that a build puts into the ONNX, before the real parser of TensorRT for RTX."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest

import trtpose
from build_support import CONVOLUTIONS, DEMO, SIDE, nothing_but, with_pairs
from trtpose.errors import ModelError

pytestmark = pytest.mark.usefixtures("no_gpu")


@pytest.mark.usefixtures("builder")
def test_int8_from_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed; pip install trtpose[quantize]")
    from trtpose import quantize

    real = quantize.quantize
    calls: list[dict[str, Any]] = []

    def quick(*args: Any, **more: Any) -> Any:
        calls.append(more)
        return real(*args, **more, count=4, measure=False, cache=False)

    monkeypatch.setattr(quantize, "quantize", quick)
    seen: list[float] = []
    built = trtpose.build(
        DEMO,
        tmp_path / "x.engine",
        precision="int8",
        calib=DEMO.parent / "demo",
        keep=["/stem/stem.0/*"],
        progress=lambda _, done: seen.append(done),
    )
    counts = built.network.convolutions
    assert counts["int8"] > 30
    assert sum(counts.values()) == CONVOLUTIONS
    engine = built.header["trtpose_engine"]
    assert (engine["precision"], engine["convolutions"]["int8"]) == ("int8", counts["int8"])
    assert built.header["args"]["int8"] is True
    assert engine["inputs"][0] == {"name": "images", "dtype": "float32", "shape": [1, 3, SIDE, SIDE]}
    assert (calls[0]["imgsz"], calls[0]["keep"]) == ((SIDE, SIDE), ["/stem/stem.0/*"])
    assert all(0 <= done <= 1 for done in seen)
    assert nothing_but(tmp_path, "x.engine")


@pytest.mark.usefixtures("builder")
def test_int8_of_others(tmp_path: Path) -> None:
    """Weights as floats before a pair of their own, as other tools write them, are INT8 too."""
    from trtpose.build import onnx_model

    stored = with_pairs(onnx.load(str(DEMO)))
    floats = onnx.ModelProto.FromString(stored.SerializeToString())
    onnx_model.store_weights(floats, as_int8=False)
    kinds = [node.op_type for node in floats.graph.node]
    assert kinds.count("QuantizeLinear") > [node.op_type for node in stored.graph.node].count("QuantizeLinear")
    onnx.checker.check_model(floats, full_check=True)
    counts: list[Any] = []
    for name, model in (("stored", stored), ("floats", floats)):
        onnx.save(model, str(tmp_path / f"{name}.onnx"))
        counts.append(trtpose.build(tmp_path / f"{name}.onnx", precision="int8").network)
    assert counts[0] == counts[1]
    assert counts[0].convolutions["int8"] > 30

    def integers(model: onnx.ModelProto) -> list[bytes]:
        tensors = [onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer]
        return sorted(tensor.tobytes() for tensor in tensors if tensor.dtype == "int8" and tensor.ndim == 4)

    onnx_model.store_weights(floats, as_int8=True)
    assert integers(floats) == integers(stored)  # there and back, not one number has changed


@pytest.mark.usefixtures("builder")
def test_a_graph_that_is_not_what_was_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from trtpose.quantize import fp16

    def nothing(model: Any, **_: Any) -> Any:
        return fp16.Fp16Result(model, [], {})

    monkeypatch.setattr(fp16, "to_fp16", nothing)
    every = rf"fp16 was asked, but of the {CONVOLUTIONS} convolutions of the network {CONVOLUTIONS} fp32 \(100%\)"
    with pytest.raises(ModelError, match=every):
        trtpose.build(DEMO, tmp_path / "x.engine", precision="fp16")
    assert nothing_but(tmp_path)


@pytest.mark.usefixtures("builder")
def test_a_graph_that_is_fp16_already(tmp_path: Path) -> None:
    from trtpose.quantize.fp16 import to_fp16

    half = tmp_path / "half.onnx"
    onnx.save(to_fp16(onnx.load(str(DEMO))).model, str(half))
    first = trtpose.build(DEMO, tmp_path / "x.engine", precision="fp16")
    again = trtpose.build(half, tmp_path / "y.engine", precision="fp16")
    assert first.network == again.network
    half_of_them = again.network.convolutions["fp16"]
    assert CONVOLUTIONS > half_of_them > CONVOLUTIONS / 2
    with pytest.raises(
        ModelError, match=rf"fp32 was asked, but of the {CONVOLUTIONS} convolutions .* {half_of_them} fp16"
    ):
        trtpose.build(half, tmp_path / "z.engine", precision="fp32")


@pytest.mark.usefixtures("builder")
def test_keep(tmp_path: Path) -> None:
    plain = trtpose.build(DEMO, tmp_path / "x.engine", precision="fp16")
    kept = trtpose.build(DEMO, tmp_path / "y.engine", precision="fp16", keep=["/stem/*"])
    assert kept.network.convolutions["fp32"] > plain.network.convolutions["fp32"]
