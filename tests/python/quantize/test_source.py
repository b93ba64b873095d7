# SPDX-License-Identifier: Apache-2.0
"""Networks that cannot be quantised."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import quantize_models as models
import trtpose
from trtpose.errors import Error, ModelError
from trtpose.quantize import quantize


def _half(model: onnx.ModelProto) -> onnx.ModelProto:
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and tensor.name != "scales":
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT16
    for output in model.graph.output:
        output.type.tensor_type.elem_type = TensorProto.FLOAT16
    return model


def _without_convolutions(model: onnx.ModelProto) -> onnx.ModelProto:
    del model.graph.node[:]
    for output in model.graph.output:
        model.graph.node.append(helper.make_node("Identity", ["images"], [output.name]))
    return model


def _old(model: onnx.ModelProto) -> onnx.ModelProto:
    model.opset_import[0].version = 11
    return model


def _old_with_a_stranger(model: onnx.ModelProto) -> onnx.ModelProto:
    next(node for node in model.graph.node if node.op_type == "Relu").op_type = "Unheard"
    return _old(model)


def _loop(model: onnx.ModelProto) -> onnx.ModelProto:
    model.graph.node[0].input[0] = "nothing makes this"
    return model


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_half, "computes in FP16 already"),
        (_without_convolutions, "has no convolution"),
        (_old_with_a_stranger, r"a scale per channel needs opset 13.* of opset 11 .*opset_version=13"),
    ],
)
def test_networks_that_cannot_be_quantised(spoil: Any, message: str, folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.onnx"
    onnx.save(spoil(models.small()), str(path))
    with pytest.raises(ModelError, match=message):
        quantize(path, folder / "pictures", cache=False)
    assert list(tmp_path.iterdir()) == [path]


def test_an_old_operator_set_is_raised(folder: Path, tmp_path: Path) -> None:
    """As PyTorch before 1.13 wrote by default, and fire717's MoveNet is published."""
    onnx.save(_old(models.small()), tmp_path / "x.onnx")
    made = quantize(tmp_path / "x.onnx", folder / "pictures", cache=False, measure=False)
    onnx.checker.check_model(made.model, full_check=True)
    assert made.model.opset_import[0].version == 13
    newer = quantize(folder / "small.onnx", folder / "pictures", output=tmp_path / "y.onnx", cache=False, measure=False)
    expected, found = (
        trtpose.Engine(path, device="cpu", conf=0.0).infer(np.full((64, 64, 3), 90, np.uint8))[0]
        for path in (newer.path, made.path)
    )
    np.testing.assert_array_equal(found.keypoints, expected.keypoints)


def test_weights_that_are_whole_numbers_are_named(folder: Path, tmp_path: Path) -> None:
    model = models.small()
    conv = next(node for node in model.graph.node if node.op_type == "Conv")
    weights = next(value for value in model.graph.initializer if value.name == conv.input[1])
    whole = numpy_helper.from_array(np.ones(weights.dims, np.int8), "whole")
    scale = numpy_helper.from_array(np.float32(0.01), "scale of whole")
    model.graph.initializer.extend([whole, scale])
    node = helper.make_node("DequantizeLinear", ["whole", "scale of whole"], ["plain"])
    model.graph.node.insert(0, node)
    conv.input[1] = "plain"
    onnx.save(model, tmp_path / "x.onnx")
    with pytest.raises(ModelError, match=r"its weights are whole numbers already.*trtpose export"):
        quantize(tmp_path / "x.onnx", folder / "pictures", cache=False)


def test_quantising_twice_is_refused(folder: Path, tmp_path: Path) -> None:
    once = quantize(folder / "small.onnx", folder / "pictures", output=tmp_path / "1.onnx", cache=False, measure=False)
    with pytest.raises(ModelError, match="is quantised already"):
        quantize(once.path, folder / "pictures", cache=False)


def test_hostile_files(folder: Path, tmp_path: Path, seed: int) -> None:
    """Whatever is in the file, it is a sentence and no file is left."""
    random = np.random.default_rng(seed)
    good = (folder / "small.onnx").read_bytes()
    path = tmp_path / "x.onnx"
    cases = [b"", b"ONNX", bytes(100), good[: len(good) // 2], good[:-1]]
    for _ in range(24):
        data = bytearray(good)
        for at in random.integers(0, len(good), 8):
            data[at] = random.integers(0, 256)
        cases.append(bytes(data))
    onnx.save(_loop(models.small()), str(path))
    cases.append(path.read_bytes())
    passed = 0
    told: list[str] = []
    for data in cases:
        path.write_bytes(data)
        try:
            quantize(path, folder / "pictures", cache=False, measure=False)
            passed += 1  # a changed weight is none of our business
            (tmp_path / "x.int8.onnx").unlink()
        except Error as error:
            told.append(str(error))
        assert list(tmp_path.iterdir()) == [path]
    assert passed < len(cases) - 4
    assert [line for line in told if str(path) not in line and "ONNX" not in line] == []


def test_a_network_without_a_spec_needs_one(folder: Path, tmp_path: Path) -> None:
    model = models.small()
    del model.metadata_props[:]
    path = tmp_path / "x.onnx"
    onnx.save(model, str(path))
    with pytest.raises(ModelError, match="--spec"):
        quantize(path, folder / "pictures", cache=False)
    spec = tmp_path / "other.json"
    spec.write_text(models.SPEC.to_json())
    made = quantize(path, folder / "pictures", spec=spec, cache=False, measure=False)
    assert made.report.pictures == 6
