# SPDX-License-Identifier: Apache-2.0
"""What every reader of a picture's head shares."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["TRUNCATED", "BadPictureError", "Head", "Turn", "unpack"]

TRUNCATED = "the file is cut off"


class BadPictureError(Exception):
    """What is wrong with a picture, without its name."""


@dataclass(frozen=True)
class Turn:
    """How a container says that a decoded picture is to be shown.

    Attributes:
        quarters: turns by 90° against the clock.
        mirror: None, 0 to exchange top and bottom, 1 to exchange left and right; after the turn.
    """

    quarters: int = 0
    mirror: int | None = None

    def applied(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The picture as it is to be shown, (height, width, 3), contiguous."""
        turned = np.rot90(image, self.quarters)
        return np.ascontiguousarray(turned if self.mirror is None else np.flip(turned, self.mirror))


@dataclass(frozen=True)
class Head:
    """What a picture file says of itself.

    Attributes:
        width, height: pixels as they are stored, before any turn.
        readings: the file as a decoder takes it; where there are two, only a whole picture is the same in both.
        turn: how the container turns it; None where that is left to EXIF.
        coded: bytes of the pixels' Huffman codes; None where the format has none, or others.
    """

    width: int
    height: int
    readings: tuple[bytes, ...]
    turn: Turn | None = None
    coded: int | None = None


def unpack(layout: str, data: bytes, at: int) -> tuple[Any, ...]:
    """``struct.unpack_from``; what lies beyond the end is a picture cut off."""
    try:
        return struct.unpack_from(layout, data, at)
    except (struct.error, OverflowError):  # the second for places beyond 2^63
        raise BadPictureError(TRUNCATED) from None
