# SPDX-License-Identifier: Apache-2.0
"""The pictures a network is calibrated on, as it sees them: through the engine's own letterbox."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .. import _run
from .._checks import file_path
from .._files import describe
from ..engine import letterbox
from ..errors import InputError
from ..sources import is_picture, read_picture
from ..spec import ModelSpec

__all__ = ["COUNT", "LEAST", "Pictures", "open_pictures", "spread"]

COUNT = 128
"""Pictures used by default where the folder has more."""

LEAST = 4
"""Fewer than these say nothing of the ranges."""


@dataclass(frozen=True)
class Pictures:
    """Readable pictures of a folder.

    Attributes:
        paths: the files.
        digests: SHA-256 of each file.
        spec: the network's, whose colour order, normalisation and padding the letterbox takes.
        size: height and width of the network's input.
    """

    paths: tuple[Path, ...]
    digests: tuple[str, ...]
    spec: ModelSpec
    size: tuple[int, int]

    def __len__(self) -> int:
        return len(self.paths)

    def batches(self, count: int = 1) -> Iterator[NDArray[np.float32]]:
        """The network's input, n x 3 x height x width, n up to ``count``; one batch is in memory at a time."""
        for start in range(0, len(self.paths), count):
            paths = self.paths[start : start + count]
            yield np.stack([letterbox(read_picture(path), self.size, spec=self.spec) for path in paths])


def spread(total: int, count: int) -> list[int]:
    """``count`` of the numbers 0 to ``total`` - 1, evenly spread, for folders that are in order of something."""
    if total <= count:
        return list(range(total))
    return [int(i) for i in np.unique(np.linspace(0, total - 1, count).round())]


def open_pictures(
    folder: str | Path,
    spec: ModelSpec,
    size: tuple[int, int],
    *,
    count: int | None = None,
    on_error: Callable[[InputError], None] | None = None,
) -> Pictures:
    """Find the pictures of a folder and see that they can be read.

    Args:
        folder: of pictures; subfolders are not searched.
        spec: of the network.
        size: height and width of its input.
        count: how many to take, evenly spread over the names in order; by default all, at most :data:`COUNT`.
        on_error: called for a picture that cannot be read, which is then left out; without it the error is raised.

    Raises:
        InputError: no such folder, no pictures, or too few that can be read.
    """
    where = file_path(folder, "calib", "a folder of pictures")
    if not where.is_dir():
        raise InputError(f"{where}: no such folder of calibration pictures; give a folder with --calib")
    try:
        found = sorted(p for p in where.iterdir() if not p.name.startswith(".") and is_picture(p))
    except OSError as error:
        raise InputError(f"{where}: cannot be read ({describe(error)}); check its permissions") from None
    if not found:
        raise InputError(f"{where}: holds no pictures; give a folder with pictures like those the network will see")
    if count is not None and count < LEAST:
        raise InputError(f"count is {count}; calibration needs at least {LEAST} pictures")
    if count is not None and count > len(found):
        raise InputError(
            f"{where}: {count} pictures were asked for and it holds {len(found)}; add some or ask for less"
        )
    _run.reads(*found)
    paths: list[Path] = []
    digests: list[str] = []
    for index in spread(len(found), count or COUNT):
        try:
            read_picture(found[index])
            data = found[index].read_bytes()
        except InputError as error:
            if on_error is None:
                raise
            on_error(error)
            continue
        except OSError as error:
            raise InputError(f"{found[index]}: cannot be read ({describe(error)}); check its permissions") from None
        paths.append(found[index])
        digests.append(hashlib.sha256(data).hexdigest())
    if len(paths) < LEAST:
        raise InputError(
            f"{where}: {len(paths)} readable picture(s), and calibration needs at least {LEAST}; add pictures like "
            "those the network will see, a hundred or more if there are"
        )
    return Pictures(tuple(paths), tuple(digests), spec, size)
