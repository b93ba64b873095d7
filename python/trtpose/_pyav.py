# SPDX-License-Identifier: Apache-2.0
"""PyAV, which reads and writes videos, imported when the first is opened."""

from __future__ import annotations

from typing import Any

from ._optional import require

__all__ = ["DECODERS", "open_input", "require_av"]

DECODERS = ("cpu", "cuda", "vaapi", "videotoolbox", "d3d11va")
"""What can decode: the processor, or a kind of device as FFmpeg names it. Of others PyAV takes no decoder by itself."""


def require_av(purpose: str) -> Any:
    """The module av.

    Raises:
        DeviceError: it is not installed or does not load; begins with ``purpose`` and holds the command for it.
    """
    return require("av", package="av", extra="video", purpose=purpose, how="pip install av")


def open_input(av: Any, address: str, **options: Any) -> Any:
    """``av.open`` for reading; titles and the like need not be text. Errors are PyAV's."""
    # PyAV 19 has no such argument any more.
    lenient = {"metadata_errors": "replace"} if int(av.__version__.partition(".")[0]) < 19 else {}
    return av.open(address, **lenient, **options)
