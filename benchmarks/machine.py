# SPDX-License-Identifier: Apache-2.0
"""What a benchmark's result says of the machine that it was taken on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any


def machine() -> dict[str, Any]:
    """The processor's name as Linux has it, and how many threads it runs at once."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    cpu = next((line.split(":")[1].strip() for line in lines if "model name" in line), "")
    return {"cpu": cpu, "threads": os.cpu_count()}
