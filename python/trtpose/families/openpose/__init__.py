# SPDX-License-Identifier: Apache-2.0
"""Lightweight OpenPose: heatmaps of keypoints and part affinity fields."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from ...errors import ModelError
from ...formats.source_file import SourceFile
from ...spec import ModelSpec
from ..family import Exported, Family, Heads, PoseNetwork, Published

if TYPE_CHECKING:
    import onnx

    from ...formats.onnx_writer import Shape
    from .network import Network

__all__ = ["OpenPose"]

# Of the largest value of a map. Shortcuts around unnormalised convolutions let rounding grow: with random weights
# PyTorch's own float32 is up to 5e-5 from float64.
_TOLERANCE = 3e-4


class OpenPose(Family):
    """What this folder offers; each part is imported when it is used."""

    name = "openpose"

    def heads(self, spec: ModelSpec) -> Heads:
        raise ModelError(
            f"{spec.name or 'the model'}: maps of the family {self.name} are read by no plugin; build it without "
            "--nms-in-engine"
        )

    @property
    def catalogue(self) -> Mapping[str, Published]:
        from .catalogue import CATALOGUE

        return CATALOGUE

    def claims(self, file: SourceFile) -> bool:
        if file.is_onnx:
            from ...formats.metadata import find_spec

            return find_spec(file.path).spec.family == self.name
        from .network import is_openpose

        return is_openpose(file.checkpoint)

    def load(self, path: Path, arch: str | None = None) -> PoseNetwork:
        from .network import load

        return load(path, arch)

    def load_published(self, entry: Published, weights: Path, arch: str | None = None) -> PoseNetwork:
        # The size stays: pictures are scaled to its height, and its width leaves room for wide ones.
        network = self.load(weights, arch or entry.name)
        network.spec = replace(network.spec, name=entry.name)
        network.license = entry.license
        return network

    def random(self, name: str, seed: int) -> PoseNetwork:
        from .network import random_network

        return random_network(name, seed)

    def write(self, network: PoseNetwork, shape: Shape, layout: str) -> tuple[onnx.ModelProto, ModelSpec]:
        from .write_onnx import write_graph

        del layout
        return write_graph(cast("Network", network), shape)

    def verify(
        self, file: Path, network: PoseNetwork, written: ModelSpec, shape: tuple[int, int, int, int], source: str
    ) -> list[str]:
        from ...networks.compare import compare_file
        from ...networks.network import arrays

        reference = partial(arrays, cast("Network", network))
        stride = written.max_stride
        return compare_file(file, reference, written.outputs, shape, stride, source, tolerance=_TOLERANCE)

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
