# SPDX-License-Identifier: Apache-2.0
"""Pictures by the batch, for what goes over a set of them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path

from ..errors import InputError
from .frame import Frame
from .pictures import MAX_PIXELS
from .sources import Sources

__all__ = ["batches"]


@contextlib.contextmanager
def batches(
    paths: Sequence[Path],
    size: int,
    *,
    on_error: Callable[[InputError], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
    max_pixels: int = MAX_PIXELS,
) -> Generator[Iterator[list[Frame]], None, None]:
    """Read pictures in their order, ``size`` at a time; the last batch may be smaller, none is empty.

    Args:
        paths: the files; a name is taken as it is.
        size: pictures in a batch.
        on_error: called for a picture that is missing or cannot be read, which is then left out; without it the error
            is raised.
        progress: called with the number of pictures done and their total.
        max_pixels: larger pictures are refused.

    Returns:
        Lists of frames, each emptied when the next is asked for: no more than one batch is in memory.
    """
    with Sources.of_files(paths, max_pixels=max_pixels) as frames:
        yield _batches(frames, len(paths), size, on_error, progress)


def _batches(
    frames: Sources,
    total: int,
    size: int,
    on_error: Callable[[InputError], None] | None,
    progress: Callable[[int, int], None] | None,
) -> Iterator[list[Frame]]:
    batch: list[Frame] = []
    for done, frame in enumerate(frames, 1):
        if frame.error is None:
            batch.append(frame)
        elif on_error is None:
            raise frame.error
        else:
            on_error(frame.error)
        if batch and (len(batch) == size or done == total):
            yield batch
            batch.clear()
        if progress is not None:
            progress(done, total)
