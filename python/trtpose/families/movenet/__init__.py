# SPDX-License-Identifier: Apache-2.0
"""MoveNet: Google's Lightning, Thunder and MultiPose, and fire717's reproduction."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ...spec import ModelSpec
from ..family import Exported, Family, Heads

if TYPE_CHECKING:
    from ...formats.source_file import SourceFile

__all__ = ["MoveNet"]


class MoveNet(Family):
    """What this folder offers; each part is imported when it is used."""

    name = "movenet"

    def heads(self, spec: ModelSpec) -> Heads:
        form, k = spec.extra.get("form"), spec.keypoints
        if form == "single":
            return Heads(1, 4, 2, k, sized=False)
        if form == "multi":
            return Heads(1, 3, 2, 3 * k + 5, sized=False)
        widths = (k, 1, 2 * k, 2 * k, 2, 2)[: 6 if form == "multi_heads" else 4]
        return Heads(len(widths), 4, 1, k, sized=True, shapes=tuple((-1, width, -1, -1) for width in widths))

    def claims(self, file: SourceFile) -> bool:
        if not file.is_onnx:
            return False
        from .graph import form_of

        return form_of(file.model) is not None

    def adopt(
        self,
        path: Path,
        output: Path,
        *,
        spec: ModelSpec | None = None,
        arch: str | None = None,
        report: Callable[[str], None] | None = None,
    ) -> Exported:
        from .adopt import adopt

        return adopt(path, output, spec=spec, arch=arch, report=report)
