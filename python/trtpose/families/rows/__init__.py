# SPDX-License-Identifier: Apache-2.0
"""RTMO as it is deployed, and what gives the same two tensors, or is made to: boxes with scores, and keypoints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ...spec import ModelSpec
from ..family import Exported, Family, Heads
from .rfdetr import is_rfdetr

if TYPE_CHECKING:
    from ...formats.source_file import SourceFile

__all__ = ["Rows"]

OUTPUTS = ("dets", "keypoints")
"""What mmdeploy calls the outputs of RTMO."""


class Rows(Family):
    """What this folder offers; each part is imported when it is used."""

    name = "rows"

    def heads(self, spec: ModelSpec) -> Heads:
        shapes = ((-1, -1, 5), (-1, -1, spec.keypoints, 3))
        return Heads(count=2, rank=3, axis=2, width=5, sized=False, shapes=shapes)

    def claims(self, file: SourceFile) -> bool:
        if not file.is_onnx:
            return False
        outputs = {output["name"]: output["shape"] for output in file.facts["outputs"]}
        if is_rfdetr(outputs):
            return True
        if set(outputs) != set(OUTPUTS):
            return False
        boxes, points = (outputs[name] for name in OUTPUTS)
        # The exporter leaves sizes open.
        return len(boxes) == 3 and boxes[2] in (5, -1) and len(points) == 4 and points[3] in (3, -1)

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

        del arch
        return adopt(path, output, spec=spec, report=report)
