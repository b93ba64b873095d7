# SPDX-License-Identifier: Apache-2.0
"""How a video's container says that its frames are to be shown: the display matrix, which phones write."""

from __future__ import annotations

import math
import struct
from typing import Any

from ..errors import InputError
from .picture_head import Turn

__all__ = ["display_turn", "turn_of_matrix"]


def display_turn(frame: Any) -> Turn | None:
    """The turn that a decoded frame is to be shown with; None where it is shown as it is stored.

    Raises:
        InputError: it is turned by no multiple of a quarter.
    """
    data = frame.side_data.get("DISPLAYMATRIX")
    return None if data is None else turn_of_matrix(bytes(data))


def turn_of_matrix(data: bytes) -> Turn | None:
    """The turn of a display matrix: 9 numbers of 32 bits, 16 of them behind the point, by rows, as FFmpeg keeps it.

    A point (x, y) is shown at (a x + c y, b x + d y) with a, b, c, d the numbers 0, 1, 3, 4; y points down.
    """
    a, b, _, c, d = (number / 65536 for number in struct.unpack_from("=5i", data))
    for quarters in range(4):
        # Of a turn by that much against the clock.
        cosine, sine = round(math.cos(quarters * math.pi / 2)), round(math.sin(quarters * math.pi / 2))
        for mirror, sign in ((None, 1), (1, -1)):
            # The turn, then left and right exchanged.
            if _near((a, b, c, d), (sign * cosine, -sine, sign * sine, cosine)):
                return Turn(quarters, mirror) if quarters or mirror is not None else None
    angle = math.degrees(math.atan2(-b, a))
    raise InputError(
        f"its frames are to be shown turned by {angle:.0f} degrees, and only quarter turns are followed; encode it "
        "again without the turn"
    )


def _near(found: tuple[float, ...], wanted: tuple[int, ...]) -> bool:
    """Whether two matrices turn alike; a scale beside the turn changes only how large a player draws."""
    size = math.sqrt(abs(found[0] * found[3] - found[1] * found[2]))
    return size > 0 and all(abs(f / size - w) < 0.01 for f, w in zip(found, wanted, strict=True))
