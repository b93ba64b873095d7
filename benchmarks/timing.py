# SPDX-License-Identifier: Apache-2.0
"""Two things timed by turns."""

from __future__ import annotations

import statistics
import time
from typing import Any


def timed(run: Any) -> tuple[float, Any]:
    """Milliseconds by the clock, and what came out."""
    start = time.perf_counter()
    out = run()
    return (time.perf_counter() - start) * 1e3, out


def ratio(over: list[float], under: list[float]) -> float:
    """The median of the pairs' ratios."""
    return round(statistics.median(a / b for a, b in zip(over, under, strict=True)), 4)
