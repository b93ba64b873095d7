# SPDX-License-Identifier: Apache-2.0
"""YOLOv7-pose, YOLO-Pose, yolov7-face and what decodes to the same rows: anchors on a grid of cells."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from ...spec import ModelSpec
from ..family import Exported, Family, Heads, PoseNetwork, Published
from . import layouts

if TYPE_CHECKING:
    import onnx

    from ...formats.onnx_writer import Shape
    from .network import Network

__all__ = ["AnchorGrid"]


class AnchorGrid(Family):
    """What this folder offers; each part is imported when it is used."""

    name = "anchor_grid"
    export_layouts = ("heads", "decoded")

    def heads(self, spec: ModelSpec) -> Heads:
        return layouts.heads(spec)

    @property
    def catalogue(self) -> Mapping[str, Published]:
        from .catalogue import CATALOGUE

        return CATALOGUE

    def load(self, path: Path, arch: str | None = None) -> PoseNetwork:
        from .network import load

        return load(path, arch)

    def random(self, name: str, seed: int) -> PoseNetwork:
        from .network import random_network

        return random_network(name, seed)

    def write(self, network: PoseNetwork, shape: Shape, layout: str) -> tuple[onnx.ModelProto, ModelSpec]:
        from .write_onnx import write_graph

        return write_graph(cast("Network", network), shape, layout)

    def verify(
        self, file: Path, network: PoseNetwork, written: ModelSpec, shape: tuple[int, int, int, int], source: str
    ) -> list[str]:
        from ...networks.compare import compare_file
        from .verify import decode

        module = cast("Network", network)
        decoded = partial(decode, spec=module.spec) if written.layout == "decoded" else None
        return compare_file(file, module.arrays, written.outputs, shape, written.max_stride, source, decoded)

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
