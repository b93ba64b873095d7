# SPDX-License-Identifier: Apache-2.0
"""How much work a file may cause."""

from __future__ import annotations

from ..errors import ModelError

__all__ = ["Work"]

_FLOOR = 1_000_000
_PER_BYTE = 4
_MAX_BYTES = 64 << 20


class Work:
    """What a file that names a part of itself many times may have done with it: a few steps for each of its bytes.

    A checkpoint touches each of its values once or twice. One that was made to keep a reader busy names a long list or
    a full dictionary again and again, at two bytes a time.

    Args:
        source: the file, for the refusal.
        size: its bytes; weights hardly cause work, so no more than 64 MiB count.
    """

    def __init__(self, source: str, size: int) -> None:
        self._source = source
        self._left = _FLOOR + _PER_BYTE * min(size, _MAX_BYTES)

    def spend(self, steps: int) -> None:
        """Count steps, each the handling of a value.

        Raises:
            ModelError: there are more than the file warrants.
        """
        self._left -= steps
        if self._left < 0:
            raise ModelError(
                f"{self._source}: reading it takes far more work than a file of its size warrants; the checkpoint is "
                "refused"
            )
