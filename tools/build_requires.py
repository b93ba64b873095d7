#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Print the build requirements of pyproject.toml, so that they stand in one place. Python 3.10 has no TOML reader."""

import re
from pathlib import Path

text = (Path(__file__).resolve().parent.parent / "pyproject.toml").read_text(encoding="utf-8")
requires = re.search(r"^requires = \[(.*?)\]", text, re.MULTILINE | re.DOTALL)
assert requires, "pyproject.toml has no build requirements"
print(*re.findall(r'"([^"]+)"', requires.group(1)))
