# SPDX-License-Identifier: Apache-2.0
"""What results in a folder are called."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..sources import PICTURES, VIDEOS

if TYPE_CHECKING:
    from ..sources import Sources

__all__ = ["result_names"]


def result_names(sources: Sources, endings: Callable[[str], tuple[str, str]]) -> list[tuple[str, str]]:
    """Of each source the name of a picture's result and of a video's, which no other source's result has.

    Args:
        sources: all of them, also those that this run leaves out.
        endings: from a source's suffix, what a picture's result and a video's end in.
    """
    chosen: list[tuple[str, str]] = []
    taken: set[str] = set()
    videos = set(VIDEOS)
    for number, name in enumerate(sources.names):
        path = Path(name.replace("://", "_").rstrip("/")) if "://" in name else Path(name)
        suffix = path.suffix.lower()
        video = sources.is_video(number)
        stem = path.stem if suffix in videos or video is False or suffix in PICTURES else path.name
        still, moving = endings(path.suffix)
        both = {True: (moving, moving), False: (still, still), None: (still, moving)}[video]
        stem = "".join(c if c.isalnum() or c in " ._-+()" else "_" for c in stem)[:150] or "frame"
        # Compared without case: some file systems do not tell a.jpg and A.jpg apart.
        own, count = stem, 0
        while any((own + ending).lower() in taken for ending in both):
            count += 1
            own = f"{stem}_{count}"
        taken |= {(own + ending).lower() for ending in both}
        chosen.append((own + both[0], own + both[1]))
    return chosen
