# SPDX-License-Identifier: Apache-2.0
"""Counting layers by precision, and what counts as what was asked."""

from __future__ import annotations

import json
from typing import Any

import pytest

from trtpose.build import precision
from trtpose.errors import ModelError

pytestmark = pytest.mark.usefixtures("no_gpu")


def test_shares_of_an_engine() -> None:
    """What inspectors of TensorRT 8 and 10 print, and what tells nothing."""

    def layer(kind: str, form: str, **more: Any) -> dict[str, Any]:
        return {
            "Name": kind,
            "LayerType": kind,
            "Inputs": [{"Name": "x", "Format/Datatype": form}],
            "Outputs": [],
            **more,
        }

    eight = [
        layer("Reformat", "Row major linear FP32"),
        layer("CaskConvolution", "Thirty-two wide channel vectorized row major Int8 format", Weights={"Type": "Int8"}),
        layer("CaskConvolution", "Channel major FP16 format where channel % 8 == 0", Weights={"Type": "Half"}),
        layer("PointWiseV2", "Row major linear FP16 format"),
        layer("CaskPooling", "Row major linear FP32"),
    ]
    shares = precision.of_engine(json.dumps({"Layers": eight}))
    assert shares is not None
    assert shares.convolutions == {"fp16": 1, "int8": 1}
    assert shares.layers == {"fp32": 1, "fp16": 2, "int8": 1}
    ten = [layer("conv", "Half"), layer("kgen", "Float"), layer("gemm", "Int8"), layer("kgen", "Int64"), "a name"]
    shares = precision.of_engine(json.dumps({"Layers": ten}))
    assert shares is not None
    assert (shares.convolutions, shares.source) == ({"fp16": 1, "int8": 1}, "engine")
    for text in ("", "[]", "{}", '{"Layers": ["conv1", "conv2"]}', '{"Layers": []}'):
        assert precision.of_engine(text) is None


@pytest.mark.parametrize(
    ("asked", "counts", "good"),
    [
        ("fp32", {"fp32": 5}, True),
        ("fp32", {"fp32": 5, "fp16": 1}, False),
        ("fp16", {"fp32": 3, "fp16": 3}, True),
        ("fp16", {"fp32": 4, "fp16": 3}, False),
        ("fp16", {"fp16": 8, "int8": 1}, False),
        ("int8", {"fp32": 3, "fp16": 3, "int8": 1}, True),
        ("int8", {"fp32": 3, "fp16": 3}, False),
        ("fp16", {}, True),
    ],
)
def test_what_counts_as_asked(asked: str, counts: dict[str, int], good: bool) -> None:
    shares = precision.Shares(counts, counts)
    if good:
        precision.verify(asked, shares, "x.onnx")
    else:
        with pytest.raises(ModelError, match=f"x.onnx: {asked} was asked, but"):
            precision.verify(asked, shares, "x.onnx")
