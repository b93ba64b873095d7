# SPDX-License-Identifier: Apache-2.0
"""The command ``trtpose`` until the package is there.

Importing trtpose takes some tenths of a second, in which Ctrl-C would end in a traceback. This module stands outside of
the package, whose own ``__init__`` would come first.
"""

from __future__ import annotations

import os
import signal

TYPE_CHECKING = False  # as of typing, whose import takes longer than all of this
if TYPE_CHECKING:
    from typing import NoReturn

__all__ = ["main"]

_INTERRUPTED = 130


def _leave(*_: object) -> NoReturn:
    # Nothing has been begun, so nothing has to be tidied up, and imports turn some exceptions into others.
    try:
        os.write(2, b"interrupted\n")
    finally:
        os._exit(_INTERRUPTED)


def main() -> int:
    """Run the command; returns its exit status."""
    python = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if python:
        signal.signal(signal.SIGINT, _leave)
    from trtpose.cli import main as run

    try:
        if python:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        return run()
    except KeyboardInterrupt:
        _leave()
