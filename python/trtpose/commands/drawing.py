# SPDX-License-Identifier: Apache-2.0
"""Annotated results, pictures by several threads where there are cores for it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

from .._machine import helping_threads, usable_cores

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..results import Poses
    from ..sinks.pictures import Pictures
    from ..sources import Frame

__all__ = ["Drawing"]


class Drawing(contextlib.AbstractContextManager["Drawing"]):
    """Draws and encodes while the run goes on, and writes in the order in which the results are asked for.

    Args:
        pictures: where the results go; None draws nothing.
        looked_at: whether the frames themselves are shown, too, so that they must stay as they are.

    Attributes:
        room: pictures that may be begun before the first is waited for; 0 where there is no core for them.
    """

    def __init__(self, pictures: Pictures | None, *, looked_at: bool) -> None:
        self._pictures = pictures
        self._looked_at = looked_at
        helpers = 0 if pictures is None else helping_threads(usable_cores())
        self._pool = ThreadPoolExecutor(helpers, thread_name_prefix="trtpose-drawing") if helpers else None
        self.room = 2 * helpers

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def begin(self, frame: Frame, poses: Poses) -> Callable[[], None]:
        """Begin with a frame; what is returned waits until its result is written.

        Raises:
            FormatError, InputError: what was returned does, as of :class:`trtpose.sinks.pictures.Pictures`.
        """
        if self._pictures is None or frame.image is None:
            return _nothing
        if frame.is_video:
            return partial(self._add_to_video, self._pictures, frame, poses)
        if self._pool is None:
            return partial(self._write, self._pictures, frame, partial(self._encoded, self._pictures, frame, poses))
        data = self._pool.submit(self._encoded, self._pictures, frame, poses)
        return partial(self._write, self._pictures, frame, data.result)

    def _drawn(self, frame: Frame, poses: Poses) -> NDArray[Any]:
        from ..draw import draw

        assert frame.image is not None
        return draw(frame.image, poses, in_place=frame.image.flags.writeable and not self._looked_at)

    def _add_to_video(self, pictures: Pictures, frame: Frame, poses: Poses) -> None:
        pictures.add_to_video(frame, self._drawn(frame, poses))

    def _encoded(self, pictures: Pictures, frame: Frame, poses: Poses) -> bytes:
        return pictures.encoded(frame, self._drawn(frame, poses))

    @staticmethod
    def _write(pictures: Pictures, frame: Frame, data: Callable[[], bytes]) -> None:
        pictures.write(frame, data())


def _nothing() -> None:
    pass
