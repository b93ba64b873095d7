# SPDX-License-Identifier: Apache-2.0
"""A second family, of the tests alone: one output N x M x 3K, the keypoints of M poses in input pixels."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from trtpose._core import read_model_file
from trtpose.errors import ModelError
from trtpose.families.family import Exported, Family, Heads, Published
from trtpose.formats.metadata import stated_spec
from trtpose.formats.source_file import SourceFile
from trtpose.spec import ModelSpec


@dataclass(frozen=True)
class Entry:
    name: str
    imgsz: int = 64
    license: str = "Apache-2.0"
    url: str = ""

    @property
    def file(self) -> str:
        return f"{self.name}.pt"


class TinyFamily(Family):
    name = "tiny"

    def heads(self, spec: ModelSpec) -> Heads:
        return Heads(count=1, rank=3, axis=2, width=3 * spec.keypoints, sized=False)

    @property
    def catalogue(self) -> Mapping[str, Published]:
        return {"tiny-pose": Entry("tiny-pose")}

    def claims(self, file: SourceFile) -> bool:
        if file.is_onnx:
            return [output["name"] for output in file.facts["outputs"]] == ["tiny_points"]
        return isinstance(file.checkpoint.root, dict) and "tiny" in file.checkpoint.root

    def adopt(
        self,
        path: Path,
        output: Path,
        *,
        spec: ModelSpec | None = None,
        arch: str | None = None,
        report: Callable[[str], None] | None = None,
    ) -> Exported:
        del report
        known = spec or stated_spec(read_model_file(str(path))["metadata"], str(path))
        if known is None:
            raise ModelError(f"{path}: is no {arch} that the tiny family knows")
        shutil.copyfile(path, output)
        return Exported(output, known, "took it as tiny", ())
