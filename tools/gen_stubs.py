#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write python/trtpose/_core.pyi from the compiled module, or with --check say whether it still fits."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

STUB = Path(__file__).resolve().parent.parent / "python" / "trtpose" / "_core.pyi"
HEADER = "# SPDX-License-Identifier: Apache-2.0\n# Written by tools/gen_stubs.py; do not edit.\n"


def generate() -> str:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pybind11_stubgen", "trtpose._core", "--output-dir", folder, "--exit-code"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"error: pybind11-stubgen failed:\n{done.stderr}")
        text = (Path(folder) / "trtpose" / "_core.pyi").read_text(encoding="utf-8")
    formatted = subprocess.run(
        ["ruff", "format", "--stdin-filename", str(STUB), "-"],
        input=HEADER + text,
        capture_output=True,
        text=True,
        check=True,
    )
    return formatted.stdout


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing, fail if the stub is out of date")
    text = generate()
    if parser.parse_args().check:
        same = STUB.exists() and STUB.read_text(encoding="utf-8") == text
        print(f"stubs: {STUB.name} " + ("fits the module" if same else "is out of date; run make stubs"))
        return 0 if same else 1
    STUB.write_text(text, encoding="utf-8")
    print(f"wrote {STUB}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
