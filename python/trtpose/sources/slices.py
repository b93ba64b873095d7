# SPDX-License-Identifier: Apache-2.0
"""Pictures that a stream sends in parts, made whole before they are decoded.

GStreamer's ``rtph264pay config-interval=-1`` and its like send the parameter sets before each slice of a key picture.
FFmpeg takes such a set for the beginning of a picture and hands on each slice as one: as many parts of a picture are
decoded, and the next pictures are built on the last of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

__all__ = ["WholePictures"]

_START = b"\0\0\1"

_HEAD = 4096
"""Bytes of a packet in which its first slice begins; parameter sets and the like stand before it."""

_MOST = 600
"""Slices of a picture at most, as HEVC's highest level has it."""


class WholePictures:
    """Joins the packets of one picture.

    A picture is known to be whole when the next packet is there. So the first key picture waits for that one, and where
    pictures come in parts all key pictures do; the others come whole in any case.

    Args:
        av: the module.
        codec: what the stream is, as FFmpeg names it; of others than ``h264`` and ``hevc`` nothing waits.
    """

    def __init__(self, av: Any, codec: str) -> None:
        self._av = av
        self._codec = codec
        self._held: list[Any] = []
        self._waits = codec in ("h264", "hevc")
        self._in_parts = False

    def take(self, packet: Any) -> Iterator[Any]:
        """What can be decoded now that this packet is there; an empty one ends the stream."""
        part = _is_later_part(self._codec, packet)
        if part:
            self._waits = self._in_parts = True
            if self._belongs(packet):
                self._held.append(packet)
                return
        yield from self.rest()
        if self._waits and packet.size and packet.is_keyframe:
            self._held = [packet]
        else:
            yield packet

    def _belongs(self, part: Any) -> bool:
        """Whether a part is of the picture that is held, not of a later one whose beginning was lost."""
        if not self._held or len(self._held) >= _MOST:
            return False
        # The clock of a stream may be set anew between two parts of a key picture.
        return part.is_keyframe or None in (part.pts, self._held[-1].pts) or part.pts == self._held[-1].pts

    def rest(self) -> Iterator[Any]:
        """What still waits."""
        held, self._held = self._held, []
        if len(held) == 1:
            self._waits = self._in_parts
            yield held[0]
        elif held:
            whole = self._av.Packet(b"".join(bytes(part) for part in held))
            # The first part of a stream may have no time yet.
            whole.time_base, whole.pts, whole.dts = held[-1].time_base, held[-1].pts, held[-1].dts
            yield whole


def _is_later_part(codec: str, packet: Any) -> bool:
    """Whether the first slice of a packet is not the first of its picture."""
    if codec not in ("h264", "hevc"):
        return False
    data = bytes(memoryview(packet)[:_HEAD]) if packet.size else b""
    at = data.find(_START)
    while 0 <= at < len(data) - 5:
        kind = data[at + 3] & 31 if codec == "h264" else (data[at + 3] >> 1) & 63
        # One bit says so: H.264's first_mb_in_slice is 0 as one bit 1, HEVC has first_slice_segment_in_pic_flag.
        if codec == "h264" and kind in (1, 2, 5):
            return data[at + 4] < 0x80
        if codec == "hevc" and kind < 32:
            return data[at + 5] < 0x80
        at = data.find(_START, at + 3)
    return False
