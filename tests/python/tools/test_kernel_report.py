# SPDX-License-Identifier: Apache-2.0
"""tools/kernel_report.py: what it holds against kernels, without a compiler."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
USED = {"registers": 40, "static_shared": 928, "stack": 0, "spill_stores": 0, "spill_loads": 0}


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("kernel_report", ROOT / "tools" / "kernel_report.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def kernel(name: str = "a_kernel", arch: str = "90", **used: int) -> dict[str, Any]:
    return {"kernel": name, "arch": arch, "source": "a_cuda.cu", **USED, **used}


def test_no_more_than_recorded(tool: ModuleType) -> None:
    assert tool.problems([kernel(), kernel("b_kernel", registers=38)], [kernel(), kernel("b_kernel")]) == []


@pytest.mark.parametrize("what", USED)
def test_more_than_recorded(tool: ModuleType, what: str) -> None:
    more = {what: USED[what] + 1}
    found = tool.problems([kernel(), kernel("b_kernel", **more)], [kernel(), kernel("b_kernel")])
    assert any("b_kernel for sm_90" in one and what.replace("_", " ") in one for one in found)
    assert not any("a_kernel" in one for one in found)


def test_each_architecture_by_itself(tool: ModuleType) -> None:
    recorded = [kernel(arch="75", registers=60), kernel(arch="90")]
    assert tool.problems([kernel(arch="75", registers=60)], recorded) == []
    assert len(tool.problems([kernel(arch="90", registers=60)], recorded)) == 1


def test_a_kernel_that_is_not_recorded(tool: ModuleType) -> None:
    (found,) = tool.problems([kernel("b_kernel")], [kernel()])
    assert "not in the record" in found


def test_without_a_record_spills_and_stack_alone(tool: ModuleType) -> None:
    assert tool.problems([kernel(registers=255)], None) == []
    for what in ("stack", "spill_stores", "spill_loads"):
        (found,) = tool.problems([kernel(**{what: 8})], None)
        assert "spills or uses the stack" in found


def test_records_hold_every_kernel(tool: ModuleType) -> None:
    for path in (ROOT / "benchmarks" / "results").glob("kernels-nvcc-*.json"):
        rows = json.loads(path.read_text(encoding="utf-8"))
        assert tool.problems(rows, rows) == []
        assert {row["arch"] for row in rows} >= {"75", "80", "90", "100", "120"}
