# SPDX-License-Identifier: Apache-2.0
"""tools/soak.py: a short run, and that it sees what grows and what differs."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytest.importorskip("trtpose._core", reason="the native part is not built")

TOOL = Path(__file__).resolve().parents[3] / "tools" / "soak.py"


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    return importlib.import_module("soak")


def test_a_short_run(tmp_path: Path) -> None:
    command = [sys.executable, TOOL, "--inferences", "2000", "--engines", "10", "--json", tmp_path / "s.json"]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads((tmp_path / "s.json").read_text())
    assert figures["inferences"]["times"] == 2000
    assert figures["engines"]["times"] == 10
    assert figures["differing_shared"] == figures["differing_clones"] == 0


def test_growth_is_seen(tool: ModuleType) -> None:
    kept: list[bytearray] = []
    grown = tool.growth(lambda _: kept.append(bytearray(b"x" * 20_000)), 200)
    assert 3_000_000 < grown < 6_000_000
    assert grown > tool.allowed(200, tool.INFERENCES_PER_MB)
    assert tool.growth(lambda _: bytearray(b"x" * 20_000), 200) < tool.MB
    assert tool.allowed(200_000, tool.INFERENCES_PER_MB) == 2 * tool.MB


@pytest.mark.parametrize(
    ("change", "passes"),
    [
        ({}, True),
        ({"differing_shared": 1}, False),
        ({"differing_clones": 1}, False),
        ({"inferences": {"bytes": 11, "allowed": 10}}, False),
        ({"engines": {"bytes": 11, "allowed": 10}}, False),
    ],
)
def test_what_fails(tool: ModuleType, change: dict[str, Any], passes: bool) -> None:
    good = {"bytes": 10, "allowed": 10}
    result = {"differing_shared": 0, "differing_clones": 0, "inferences": good, "engines": good, **change}
    assert tool.passed(result) == passes


def test_what_differs_is_counted(tool: ModuleType) -> None:
    """Engines that find nothing in every second call."""
    from support import FakeEngine, make_poses

    calls = iter(range(10**6))
    engine: Any = FakeEngine(answer=lambda frame: make_poses(next(calls) % 2, frame.shape[:2]))
    steady: Any = FakeEngine()
    pictures = tool.frames(6)
    assert tool.differing([steady] * 2, pictures, 2) == 0
    assert tool.differing([engine] * 2, pictures, 2) > 0
