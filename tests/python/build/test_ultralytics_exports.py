# SPDX-License-Identifier: Apache-2.0
"""Ends of Ultralytics' pose exports of every kind in the real builder of TensorRT for RTX."""

from __future__ import annotations

from pathlib import Path

import pytest

import trtpose
from build_support import nothing_but
from trtpose.build import onnx_model
from trtpose.build.options import Range
from trtpose.errors import InputError, ModelError

pytestmark = pytest.mark.usefixtures("no_gpu", "builder")

DATA = Path(__file__).resolve().parents[2] / "data" / "ultralytics"
BUILT = [
    "v8-plain",
    "26-plain",
    "v8-dynamic",
    "26-dynamic",
    "11-half",
    "v8-end2end",
    "26-end2end",
    "11-batch",
    "26-rectangular",
    "v8-opset",
    "26-dynamic-end2end",
    "26-half-end2end",
]


@pytest.mark.parametrize("name", BUILT)
def test_rtx_builds_them(name: str, tmp_path: Path) -> None:
    batch = "1:2:4" if "dynamic" in name else None
    precision = "fp16" if "half" in name else "fp32"
    built = trtpose.build(
        DATA / f"{name}.onnx", tmp_path / "x.engine", precision=precision, runtime="rtx", batch=batch, opt_level=0
    )
    assert built.path.stat().st_size > 1000


@pytest.mark.parametrize("name", ["11-nms", "26-nms", "v8-dynamic-nms"])
def test_rtx_refuses_an_nms_inside_before_it_builds(name: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"NonMaxSuppression\), which TensorRT for RTX cannot build"):
        trtpose.build(DATA / f"{name}.onnx", tmp_path / "x.engine", precision="fp32", runtime="rtx")
    assert nothing_but(tmp_path)


def test_an_nms_inside_is_built_for_the_pictures_it_looks_at() -> None:
    model = onnx_model.load(DATA / "v8-dynamic-nms-batch.onnx", None)
    assert onnx_model.fix_shapes(model, Range(1, 2, 4), None).batch == Range(1, 2, 4)
    with pytest.raises(InputError, match=r"its own NMS looks at 4 frame\(s\) per call, batch 1:2:8 was asked"):
        onnx_model.fix_shapes(onnx_model.load(model.path, None), Range(1, 2, 8), None)
