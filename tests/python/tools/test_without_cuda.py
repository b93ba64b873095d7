# SPDX-License-Identifier: Apache-2.0
"""The Python module beside a library without CUDA, as a machine without nvcc builds it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from trtpose import _core

ROOT = Path(__file__).resolve().parents[3]
LIBRARY = ROOT / "build/cpu-dev/cpp/libtrtpose.so"
"""Of the tests of C++, which are built without CUDA."""


def _symbols(file: str | Path, *which: str) -> set[str]:
    done = subprocess.run(["nm", "--dynamic", *which, str(file)], capture_output=True, text=True, check=True)
    return {line.split()[-1].split("@")[0] for line in done.stdout.splitlines()}


def _newest_source() -> float:
    """When the library's sources were last changed; what CUDA alone compiles is in neither."""
    files = [*(ROOT / "cpp/src").rglob("*.cpp"), *(ROOT / "cpp/include").rglob("*.hpp")]
    return max(file.stat().st_mtime for file in files if "cuda" not in file.name and "cuda" not in file.parent.name)


def test_the_module_asks_the_library_for_nothing_that_only_cuda_brings():
    """Python modules are linked with names left open; the first import on such a machine would find out."""
    if not LIBRARY.exists():
        pytest.skip("the tests of C++ are not built; run: make test-cpp")
    if LIBRARY.stat().st_mtime < _newest_source():
        pytest.skip("the tests of C++ were built before its sources were last changed; run: make test-cpp")
    if shutil.which("nm") is None:
        pytest.skip("there is no nm; install binutils")
    left_open = _symbols(_core.__file__, "--undefined-only")
    wanted = {name for name in left_open if name.startswith("_ZN") and "trtpose" in name}
    assert len(wanted) > 20
    assert wanted - _symbols(LIBRARY, "--defined-only") == set()
