# SPDX-License-Identifier: Apache-2.0
"""PyAV, which reads and writes videos, imported when the first is opened."""

from __future__ import annotations

from typing import Any

from ._optional import require

__all__ = ["require_av"]


def require_av(purpose: str) -> Any:
    """The module av.

    Raises:
        DeviceError: it is not installed or does not load; begins with ``purpose`` and holds the command for it.
    """
    return require("av", package="av", extra="video", purpose=purpose, how="pip install av")
