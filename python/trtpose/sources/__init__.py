# SPDX-License-Identifier: Apache-2.0
"""Where frames come from: files, folders, globs, videos, cameras, streams, arrays."""

from __future__ import annotations

from .batches import batches
from .frame import Batch, Counters, Frame
from .pictures import MAX_PIXELS, PICTURES, decode_picture, is_picture, read_picture
from .plan import VIDEOS
from .sources import Sources

__all__ = [
    "MAX_PIXELS",
    "PICTURES",
    "VIDEOS",
    "Batch",
    "Counters",
    "Frame",
    "Sources",
    "batches",
    "decode_picture",
    "is_picture",
    "read_picture",
]
