# SPDX-License-Identifier: Apache-2.0
"""A window to look at frames in, where OpenCV has one."""

from __future__ import annotations

import os
import sys
from typing import Any

from numpy.typing import NDArray

from ._opencv import require_opencv
from .errors import DeviceError

__all__ = ["Window"]

_STOP = (27, ord("q"), ord("Q"))


class Window:
    """A window of OpenCV.

    Args:
        title: of the window.
        purpose: what needs it; begins the message of an error.

    Raises:
        DeviceError: there is no OpenCV, it has no windows, or there is no screen.
    """

    def __init__(self, title: str, purpose: str) -> None:
        cv2 = require_opencv(purpose)
        # Some of OpenCV's builds end the process where there is no screen, instead of saying so.
        if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            raise DeviceError(
                f"{purpose}: there is no screen (DISPLAY is not set); run it where there is one, or write the "
                "annotated frames to a folder with --out"
            )
        self._cv2: Any = cv2
        self._title = title
        try:
            cv2.namedWindow(title, cv2.WINDOW_AUTOSIZE)
        except cv2.error as error:
            raise DeviceError(
                f"{purpose}: this OpenCV has no windows; a build with them is opencv-python (pip uninstall "
                "opencv-python-headless, then pip install opencv-python)"
            ) from error

    def show(self, image: NDArray[Any], *, wait: bool = False) -> bool:
        """Show a frame, (height, width, 3) uint8, BGR; False where the user has closed the window or pressed q or Esc.

        Args:
            image: the frame.
            wait: until a key is pressed.
        """
        cv2 = self._cv2
        if cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) < 1:
            return False
        cv2.imshow(self._title, image)
        # While it waits for a key a closed window must be noticed too.
        while True:
            key = cv2.waitKey(50 if wait else 1) & 0xFF
            if key in _STOP or cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) < 1:
                return False
            if not wait or key != 0xFF:
                return True

    def close(self) -> None:
        """Take the window away."""
        cv2 = self._cv2
        try:
            cv2.destroyWindow(self._title)
            cv2.waitKey(1)
        except cv2.error:
            pass  # the user was faster
