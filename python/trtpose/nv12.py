# SPDX-License-Identifier: Apache-2.0
"""Frames of decoded video."""

from __future__ import annotations

from typing import Any

from ._checks import choice, flag

__all__ = ["Nv12"]


class Nv12:
    """A frame as video decoders give it: brightness of every pixel, and colour at half the width and height.

    Goes wherever a frame goes: :meth:`trtpose.Engine.infer` and :func:`trtpose.letterbox`, alone or in a list with
    others. Nothing is copied or looked at before.

    Args:
        luma: height×width uint8; or, without ``chroma``, both planes in one (height·3/2)×width array, which needs even
            sides. Numpy or anything with ``__dlpack__`` in host memory; for an engine on a GPU also arrays there,
            through ``__dlpack__`` or ``__cuda_array_interface__``. Rows may be padded.
        chroma: pairs of U and V, ⌈height/2⌉×2⌈width/2⌉ or ⌈height/2⌉×⌈width/2⌉×2 uint8, on the same side.
        matrix: ``bt709`` as HD video has it, or ``bt601``: SD video, and what ``cv2.cvtColor`` takes everything for.
        full_range: luma from 0 to 255 instead of 16 to 235.

    Raises:
        InputError: no such matrix, or ``full_range`` is neither True nor False. What is wrong with the arrays is said
            where they are used.
    """

    __slots__ = ("chroma", "full_range", "luma", "matrix")

    def __init__(self, luma: Any, chroma: Any = None, *, matrix: str = "bt709", full_range: bool = False) -> None:
        self.luma = luma
        self.chroma = chroma
        self.matrix = choice(matrix, "matrix", ("bt709", "bt601"))
        self.full_range = flag(full_range, "full_range")

    def __repr__(self) -> str:
        shape = "×".join(str(side) for side in getattr(self.luma, "shape", ()))
        return f"Nv12({shape}, {self.matrix}{', full range' if self.full_range else ''})"
