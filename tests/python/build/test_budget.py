# SPDX-License-Identifier: Apache-2.0
"""Budgets of GPU memory, with a stand-in for TensorRT."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import trtpose
from trtpose.errors import BudgetError


def test_an_engine_over_the_budget(use: Any, model: Path, tmp_path: Path) -> None:
    use("10").told["activations"] = 3 << 30
    with pytest.raises(BudgetError, match="3072 MiB for intermediate tensors, the budget is 2048 MiB"):
        trtpose.build(model, tmp_path / "x.engine", precision="fp32", vram_budget="2GiB")
    with pytest.raises(BudgetError, match="weights alone"):
        trtpose.build(model, tmp_path / "x.engine", precision="fp32", vram_budget=100)
    assert list(tmp_path.glob("*engine*")) == []
