# SPDX-License-Identifier: Apache-2.0
"""One C++ test by its name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    "name", ["NoSuchSuite", "NoSuchSuite.NoSuchTest", "Device/NoSuchSuite.NoSuchTest/0", "NoSuch*.A"]
)
def test_a_name_that_no_suite_has_fails_with_a_sentence_before_anything_is_built(name: str) -> None:
    done = subprocess.run(
        [str(ROOT / "tools/cpp_tests.sh"), "no-such-preset", sys.prefix, name],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith(f"error: no C++ test is called {name};")
    assert len(done.stderr.splitlines()) == 1
