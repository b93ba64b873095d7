# SPDX-License-Identifier: Apache-2.0
"""What the families share, and what each of them offers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..spec import ModelSpec

__all__ = ["Exported", "quiet"]


@dataclass(frozen=True)
class Exported:
    """What an export made.

    Attributes:
        path: the ONNX file.
        spec: what it carries.
        action: in one line, what was done.
        report: lines with the largest differences from the original.
    """

    path: Path
    spec: ModelSpec
    action: str
    report: tuple[str, ...]


def quiet(line: str) -> None:
    """Where the lines of a report go that nobody asked for."""
    del line
