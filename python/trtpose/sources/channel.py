# SPDX-License-Identifier: Apache-2.0
"""Between the decoder thread and the run."""

from __future__ import annotations

import threading
from collections import deque

from .frame import Frame

__all__ = ["Channel", "ClosedError"]


class ClosedError(Exception):
    pass


class Channel:
    """A queue bounded in frames and in bytes, that either side can close."""

    def __init__(self, depth: int, max_bytes: int) -> None:
        self._frames: deque[Frame] = deque()
        self._depth = depth
        self._max_bytes = max_bytes
        self._bytes = 0
        self._finished = False
        self._failure: BaseException | None = None
        self._changed = threading.Condition()

    def _full(self, size: int) -> bool:
        # A frame above the byte bound still passes when it is alone.
        return len(self._frames) >= self._depth or (bool(self._frames) and self._bytes + size > self._max_bytes)

    def put(self, frame: Frame, *, replace: bool = False) -> None:
        """Append a frame, waiting for room; with ``replace`` unread frames of the same source give way to it."""
        size = 0 if frame.image is None else frame.image.nbytes
        with self._changed:
            while not self._finished:
                if replace:
                    kept = [old for old in self._frames if old.position != frame.position or old.error is not None]
                    self._frames = deque(kept)
                    self._bytes = sum(0 if old.image is None else old.image.nbytes for old in kept)
                if not self._full(size):
                    self._frames.append(frame)
                    self._bytes += size
                    self._changed.notify_all()
                    return
                self._changed.wait()
        raise ClosedError

    def get(self) -> Frame | None:
        """The next frame, waiting for it; None at the end."""
        with self._changed:
            while not self._frames and not self._finished:
                self._changed.wait()
            if self._frames:
                frame = self._frames.popleft()
                self._bytes -= 0 if frame.image is None else frame.image.nbytes
                self._changed.notify_all()
                return frame
            if self._failure is not None:
                failure, self._failure = self._failure, None
                raise failure
            return None

    def finish(self, failure: BaseException | None = None) -> None:
        """No more frames will come; those waiting are still given out."""
        with self._changed:
            self._finished = True
            self._failure = failure
            self._changed.notify_all()

    def close(self) -> None:
        """Nobody will read any more."""
        with self._changed:
            self._finished = True
            self._frames.clear()
            self._bytes = 0
            self._changed.notify_all()

    def wait_closed(self, seconds: float) -> bool:
        """Sleep, but not longer than until the channel is closed; whether it is."""
        with self._changed:
            self._changed.wait_for(lambda: self._finished, seconds)
            return self._finished
