# SPDX-License-Identifier: Apache-2.0
"""Quantised networks in OpenVINO, on processors that cannot add 8-bit products up without cutting them off."""

from __future__ import annotations

from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import openvino
import pytest

import quantize_models as models
from trtpose.quantize import quantize

FLOATING = {"LP_TRANSFORMS_MODE": "NO"}
"""What the native side sets on such processors; OpenVINO's headers do not declare it, so a release may drop it."""


@pytest.fixture(scope="module")
def quantised(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("int8")
    model = models.write_small(folder / "small.onnx")
    pictures = models.write_pictures(folder / "pictures", 4)
    return quantize(model, pictures, output=folder / "small.int8.onnx", measure=False, cache=False).path


@cache
def core() -> openvino.Core:
    """One that stays: closing it takes the signals' stack of a thread with it (docs/how-to/debug.md)."""
    return openvino.Core()


def precisions(path: Path, options: dict[str, Any]) -> Counter[str]:
    """What each convolution computes in."""
    compiled = core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32", **options})
    found: Counter[str] = Counter()
    for node in compiled.get_runtime_model().get_ops():
        facts = node.get_rt_info()
        if facts["layerType"].value == "Convolution":
            found[facts["runtimePrecision"].value] += 1
    return found


def test_openvino_can_be_told_to_compute_them_in_floating_point(quantised: Path) -> None:
    usual, floating = precisions(quantised, {}), precisions(quantised, FLOATING)
    assert usual["u8"] + usual["i8"] > 0
    assert set(floating) == {"f32"}
    assert floating.total() == usual.total()
