# SPDX-License-Identifier: Apache-2.0
"""KAPAO: people and their single keypoints as objects, fused (McNally et al., ECCV 2022)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from ...formats.source_file import SourceFile
from ...spec import ModelSpec
from ..family import Exported, Family, Heads, PoseNetwork, Published
from . import forms

if TYPE_CHECKING:
    import onnx

    from ...formats.onnx_writer import Shape
    from .network import Network

__all__ = ["Kapao"]


class Kapao(Family):
    """What this folder offers; each part is imported when it is used."""

    name = "kapao"
    export_layouts = ("heads", "decoded")

    def heads(self, spec: ModelSpec) -> Heads:
        return forms.heads(spec)

    @property
    def catalogue(self) -> Mapping[str, Published]:
        from .catalogue import CATALOGUE

        return CATALOGUE

    def claims(self, file: SourceFile) -> bool:
        """A checkpoint that has coordinates beside its classes; an ONNX whose list one run shows to be KAPAO's, or the
        formulas in its graph."""
        if not file.is_onnx:
            from .catalogue import is_kapao

            return is_kapao(file.checkpoint.network())
        shape = file.facts["outputs"][0]["shape"]
        if len(shape) != 3 or forms.keypoints_of(shape[2]) is None:
            return False
        from ...errors import ModelError
        from ...formats.metadata import find_spec

        try:
            return find_spec(file.path).spec.family == self.name
        except ModelError:
            from .adopt import has_its_decoding

            return has_its_decoding(file.path)

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
        from .reference import decode

        module = cast("Network", network)
        decoded = partial(decode, spec=module.spec) if written.extra["form"] == "decoded" else None
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
