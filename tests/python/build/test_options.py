# SPDX-License-Identifier: Apache-2.0
"""Options that cannot be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import trtpose
from build_support import DEMO, nothing_but
from trtpose.errors import DeviceError, InputError

pytestmark = pytest.mark.usefixtures("no_gpu")


@pytest.mark.parametrize(
    ("options_", "kind", "words"),
    [
        ({"precision": "fp8"}, InputError, "precision 'fp8' is not one of fp32, fp16, int8"),
        ({"runtime": "cuda"}, InputError, "runtime 'cuda' is not one of"),
        ({"precision": "int8"}, InputError, r"needs ranges.*--calib.*trtpose quantize"),
        ({"calib": "pictures"}, InputError, "--calib is for --int8, and fp16 was asked"),
        ({"batch": 0}, InputError, "batch 0: write a number from 1"),
        ({"batch": "4:1:8"}, InputError, "batch 4:1:8"),
        ({"batch": True}, InputError, "batch True"),
        ({"imgsz": "big"}, InputError, "imgsz big"),
        ({"imgsz": "320:160:640"}, InputError, "imgsz 320:160:640"),
        ({"imgsz": 100}, InputError, "multiples of its largest stride 32, such as 128x128"),
        ({"imgsz": (64, 64, 100)}, InputError, "multiples of its largest stride"),
        ({"opt_level": 6}, InputError, "opt_level 6"),
        ({"workspace": "much"}, InputError, "workspace 'much' is not a size"),
        ({"compute_capability": "86"}, InputError, "compute capability '86'"),
        ({"hardware_compatible": "all"}, InputError, "hardware_compatible 'all'"),
        ({"device": "cuda:0"}, DeviceError, "cuda:0: no NVIDIA driver"),
        ({"device": "gpu"}, InputError, "device 'gpu'"),
        ({"runtime": "tensorrt"}, DeviceError, "here no NVIDIA driver is installed"),
        ({"conf": 0.5}, InputError, "conf: thresholds are no part of an engine"),
        ({"nms_in_engine": True}, InputError, "has no plugins"),
        ({"vram_budget": "1MiB"}, trtpose.BudgetError, "weights alone take"),
    ],
    ids=str,
)
def test_impossible_options(
    options_: dict[str, Any], kind: type[Exception], words: str, builder: Any, tmp_path: Path
) -> None:
    del builder
    with pytest.raises(kind, match=words):
        trtpose.build(DEMO, tmp_path / "x.engine", **{"precision": "fp16", **options_})
    assert nothing_but(tmp_path)


@pytest.mark.parametrize("nothing", [1, None])
def test_an_option_that_is_none(nothing: Any, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'half'"):
        trtpose.build(DEMO, tmp_path / "a.engine", precision="fp32", half=nothing)
    assert nothing_but(tmp_path)
