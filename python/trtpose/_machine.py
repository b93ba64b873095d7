# SPDX-License-Identifier: Apache-2.0
"""What the machine is, for figures and reports."""

from __future__ import annotations

import contextlib
import os
import platform
from pathlib import Path

__all__ = ["cpu_name", "usable_cores"]


def cpu_name() -> str:
    """The processor as the system names it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.lower().startswith(("model name", "hardware")):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def usable_cores() -> int:
    """Cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
