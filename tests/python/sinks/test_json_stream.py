# SPDX-License-Identifier: Apache-2.0
"""The file of ``infer --json``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from command_support import Run, error_lines


def test_a_full_disk(run: Run, photos: Path):
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system")
    status, _, err = run("infer", "m.onnx", photos, "--json", "/dev/full")
    assert status == 1
    assert error_lines(err) == [
        "error: /dev/full: cannot be written (No space left on device); free some space or choose another place"
    ]


def test_a_link_is_written_through(run: Run, photos: Path, tmp_path: Path):
    (tmp_path / "real.json").write_text("{}")
    (tmp_path / "link.json").symlink_to(tmp_path / "real.json")
    assert run("infer", "m.onnx", photos, "--json", tmp_path / "link.json")[0] == 0
    assert (tmp_path / "link.json").is_symlink()
    assert len(json.loads((tmp_path / "real.json").read_text())["images"]) == 3
