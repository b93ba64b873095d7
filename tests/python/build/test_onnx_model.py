# SPDX-License-Identifier: Apache-2.0
"""Which ONNX files can be built, and the forms of Q/DQ pairs that a TensorRT reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import rtx
import trtpose
from build_support import DEMO, nothing_but
from onnx_models import spec_fields, write_model
from trtpose import cli
from trtpose.errors import InputError, ModelError
from trtpose.spec import ModelSpec

pytestmark = pytest.mark.usefixtures("no_gpu")


@pytest.mark.shared
@pytest.mark.parametrize("kind", ["int8", "fp16", "fp32"])
def test_asymmetric_pairs_are_refused(
    kind: str, shared: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rtx.load()
    source = shared / "models" / "yolo26n-pose-256-qdq.onnx"
    assert cli.main(["build", str(source), "-o", str(tmp_path / "x.engine"), f"--{kind}"]) == 1
    out, err = capfd.readouterr()
    assert len(err.splitlines()) == 1
    if kind == "int8":
        assert "node /model.10/m/m.0/attn/Constant_1_output_0_DequantizeLinear (DequantizeLinear)" in err
        assert "quantise the original network with: trtpose quantize" in err
    else:
        assert f"its Q/DQ pairs make it INT8, and {kind} was asked" in err
    assert "wrote" not in out
    assert nothing_but(tmp_path)


def test_weights_that_alone_are_whole_numbers_are_sent_to_export(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """As Open Model Zoo's Lightweight OpenPose has them."""
    rtx.load()
    stated = {"trtpose": json.dumps(spec_fields(keypoints=3))}
    model = onnx.load(write_model(tmp_path / "my net.onnx", metadata=stated))
    conv = next(node for node in model.graph.node if node.op_type == "Conv")
    weights = next(value for value in model.graph.initializer if value.name == conv.input[1])
    whole = onnx.numpy_helper.from_array(np.ones(weights.dims, np.int8), "whole")
    model.graph.initializer.extend([whole, onnx.numpy_helper.from_array(np.float32(0.01), "scale")])
    model.graph.node.insert(0, onnx.helper.make_node("DequantizeLinear", ["whole", "scale"], ["plain"]))
    conv.input[1] = "plain"
    onnx.save(model, tmp_path / "my net.onnx")
    assert cli.main(["build", str(tmp_path / "my net.onnx"), "-o", str(tmp_path / "x.engine"), "--fp16"]) == 1
    err = capfd.readouterr()[1]
    assert len(err.splitlines()) == 1
    assert "its weights are whole numbers" in err
    assert f"trtpose export '{tmp_path}/my net.onnx'" in err


@pytest.mark.shared
def test_what_the_parser_says_of_asymmetric_pairs(
    shared: Path, builder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were they not refused before: the parser's own words in one sentence."""
    from trtpose.build import onnx_model

    del builder
    monkeypatch.setattr(onnx_model, "refuse_unfit_pairs", lambda *_, **__: None)
    monkeypatch.setattr(onnx_model, "store_weights", lambda *_, **__: None)
    with pytest.raises(ModelError) as caught:
        trtpose.build(
            shared / "models" / "yolo26n-pose-256-qdq.onnx", tmp_path / "x.engine", precision="int8", keep=["*"]
        )
    text = str(caught.value)
    assert "refuses node /model.10/m/m.0/attn/Constant_1_output_0_DequantizeLinear (DequantizeLinear)" in text
    assert text.endswith("quantise the original network with: trtpose quantize")
    assert "\n" not in text


@pytest.mark.usefixtures("builder")
def test_biases_in_32_bits(tmp_path: Path) -> None:
    """As ONNX Runtime's quantisation writes them; TensorRT's parser refuses them."""
    from trtpose.build import onnx_model

    net = onnx.load(str(write_model(tmp_path / "net.onnx", batch=1)))
    made, tensor = onnx.helper.make_node, onnx.numpy_helper.from_array
    pairs: list[Any] = [
        made("QuantizeLinear", ["images", "s", "z"], ["iq"], name="iq"),
        made("DequantizeLinear", ["iq", "s", "z"], ["id"], name="id"),
    ]
    net.graph.initializer.extend([tensor(np.float32(1 / 127), "s"), tensor(np.int8(0), "z"), tensor(np.int32(0), "zb")])
    for stride in (8, 16):
        (bias,) = (t for t in net.graph.initializer if t.name == f"b{stride}")
        values = onnx.numpy_helper.to_array(bias)
        bias.CopyFrom(tensor(np.rint(values * 1000).astype(np.int32), bias.name))
        net.graph.initializer.append(tensor(np.float32(0.001), f"sb{stride}"))
        pairs += [
            made("QuantizeLinear", [f"w{stride}", "s", "z"], [f"wq{stride}"], name=f"wq{stride}"),
            made("DequantizeLinear", [f"wq{stride}", "s", "z"], [f"wd{stride}"], name=f"wd{stride}"),
            made("DequantizeLinear", [bias.name, f"sb{stride}", "zb"], [f"bd{stride}"], name=f"bd{stride}"),
        ]
    for node in net.graph.node:
        stride = node.output[0].removeprefix("head_")
        node.input[:] = ["id", f"wd{stride}", f"bd{stride}"]
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in (*pairs, *net.graph.node)]
    del net.graph.node[:]
    net.graph.node.extend(nodes)
    onnx.checker.check_model(net, full_check=True)
    with pytest.raises(AssertionError, match="type Int32 but must have type"):
        rtx.build(net.SerializeToString())
    onnx_model.store_weights(net, as_int8=True)
    assert len(rtx.build(net.SerializeToString())) > 1000
    (bias,) = (tensor for tensor in net.graph.initializer if tensor.name == "bd8")
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(bias), np.rint(values * 1000) * np.float32(0.001))


@pytest.mark.usefixtures("builder")
def test_a_fixed_network_stays_as_it_is(tmp_path: Path) -> None:
    source = write_model(tmp_path / "net.onnx", batch=2, metadata={"trtpose": json.dumps(spec_fields())})
    with pytest.raises(InputError, match=r"takes 2 frames per call and no other number, batch 1:2:4 .*--dynamic-batch"):
        trtpose.build(source, precision="fp32", batch="1:2:4")
    with pytest.raises(InputError, match=r"takes pictures of 64x96 pixels .* only, imgsz 128x128 .*--dynamic"):
        trtpose.build(source, precision="fp32", imgsz=128)
    built = trtpose.build(source, precision="fp32", batch=2, imgsz="64x96")
    assert built.header["trtpose_engine"]["inputs"][0]["shape"] == [2, 3, 64, 96]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"absent\.onnx"):
        trtpose.build(tmp_path / "absent.onnx", precision="fp32")
    (tmp_path / "text.onnx").write_text("no model at all")
    with pytest.raises(ModelError, match=r"text\.onnx: not a readable ONNX"):
        trtpose.build(tmp_path / "text.onnx", precision="fp32")
    whole = DEMO.read_bytes()
    (tmp_path / "short.onnx").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match=r"short\.onnx"):
        trtpose.build(tmp_path / "short.onnx", precision="fp32")
    write_model(tmp_path / "bare.onnx", batch=1)
    with pytest.raises(ModelError, match=r"bare\.onnx.*--spec"):
        trtpose.build(tmp_path / "bare.onnx", precision="fp32")
    assert nothing_but(tmp_path, "text.onnx", "short.onnx", "bare.onnx")


@pytest.mark.usefixtures("builder")
def test_a_spec_by_hand(tmp_path: Path) -> None:
    source = write_model(tmp_path / "bare.onnx", batch=1)
    (tmp_path / "spec.json").write_text(json.dumps(spec_fields(name="by hand")))
    for spec in (tmp_path / "spec.json", spec_fields(name="by hand"), ModelSpec.from_dict(spec_fields(name="by hand"))):
        assert trtpose.build(source, precision="fp32", spec=spec).spec.name == "by hand"
