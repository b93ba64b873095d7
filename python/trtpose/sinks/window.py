# SPDX-License-Identifier: Apache-2.0
"""Annotated frames in a window."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._window import Window
from ..draw import draw

if TYPE_CHECKING:
    from ..results import Poses
    from ..sources import Frame

__all__ = ["Show", "WindowClosedError"]


class WindowClosedError(Exception):
    """The user has closed the window: the run is to end as if its sources had."""


class Show:
    """The window of ``infer --show``: a picture stays until a key is pressed, a video runs; q, Esc or closing the
    window ends the run.

    Raises:
        DeviceError: there is no window to be had; the message says why.
        WindowClosedError: the user has ended it, in :meth:`add`.
    """

    def __init__(self) -> None:
        self._window = Window("trtpose", "--show")

    def add(self, frame: Frame, poses: Poses) -> None:
        """Show a frame."""
        if frame.image is not None and not self._window.show(draw(frame.image, poses), wait=not frame.is_video):
            raise WindowClosedError

    def __enter__(self) -> Show:
        return self

    def __exit__(self, *_: object) -> None:
        self._window.close()
