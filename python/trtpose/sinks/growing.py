# SPDX-License-Identifier: Apache-2.0
"""A result that is there as far as a run has come, however it ends."""

from __future__ import annotations

import os

from .._files import cannot_write, open_growing
from .._terminal import print_data

__all__ = ["GrowingFile"]


class GrowingFile:
    """A text file that is handed to the system piece by piece, each whole and at once.

    Args:
        path: of the file, or ``-`` for the standard output.
        keep: bytes of the file that an earlier run wrote and that stay.

    Raises:
        InputError: the file cannot be written, also in :meth:`write`.
    """

    def __init__(self, path: str, keep: int = 0) -> None:
        self._path = path
        self._file = None if path == "-" else open_growing(path, keep)

    def write(self, text: str) -> None:
        """Write a piece; names of files in it may hold bytes that are no text. What reads the standard output gets the
        bytes of a file, unless it is a terminal."""
        try:
            if self._file is None:
                print_data(text)
                return
            data = memoryview(text.encode("utf-8", "surrogateescape"))
            while data:
                data = data[os.write(self._file, data) :]
        except BrokenPipeError:
            raise
        except OSError as error:
            raise cannot_write(self._path, error) from error

    def close(self) -> None:
        """Close the file; the standard output stays."""
        if self._file is not None:
            os.close(self._file)
