# SPDX-License-Identifier: Apache-2.0
"""Options that do not fit."""

from __future__ import annotations

from pathlib import Path

import pytest

import quantize_models as models
from trtpose.errors import InputError
from trtpose.quantize import quantize


def test_options_that_do_not_fit(folder: Path, tmp_path: Path) -> None:
    model, pictures = folder / "small.onnx", folder / "pictures"
    for options, message in (
        ({"method": "mean"}, "method 'mean' is not known"),
        ({"max_drop": -1.0}, "max_drop is -1"),
        ({"batch": 0}, "batch 0 must lie between 1 and"),
        ({"imgsz": 128}, "made for 64x96 pixels"),
        ({"keep": ["*"]}, "leaves no convolution"),
        ({"output": model}, "would be overwritten"),
        ({"output": tmp_path / "no" / "o.onnx"}, "does not exist"),
        ({"images": tmp_path / "no"}, "no such folder of pictures to measure on"),
        ({"annotations": tmp_path / "no.json"}, "cannot be read"),
    ):
        given = {"output": tmp_path / "o.onnx", "cache": False, **options}
        with pytest.raises(InputError, match=message):
            quantize(model, pictures, **given)
    with pytest.raises(TypeError, match=r"^unexpected keyword argument 'bogus'$"):
        quantize(model, pictures, bogus=1)
    dynamic = models.write_small(tmp_path / "d.onnx", batch="n", dynamic=True)
    with pytest.raises(InputError, match="multiples of 16"):
        quantize(dynamic, pictures, imgsz=100, cache=False)
    assert quantize(dynamic, pictures, imgsz=(32, 64), cache=False, measure=False).report.size == (32, 64)
