# SPDX-License-Identifier: Apache-2.0
"""What a network is measured on."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from trtpose import InputError
from trtpose.quantize.judge import ApJudge, beside_float
from trtpose.quantize.source import Source, open_source

DATA = Path(__file__).resolve().parents[3] / "python" / "trtpose" / "data"


@pytest.fixture(scope="module")
def source() -> Source:
    return open_source(DATA / "demo.onnx", None, None)


def judge(source: Source, folder: Path, annotations: Any, limit: int = 200) -> ApJudge:
    (folder / "people.json").write_text(json.dumps(annotations))
    return ApJudge(source.spec, source.size, DATA / "demo", folder / "people.json", limit, folder)


def test_names_that_repeat_the_folder_of_the_set(source: Source, tmp_path: Path) -> None:
    """As COCO's may: evaluating finds such pictures, and so do the clock and the comparison with the float network."""
    pytest.importorskip("faster_coco_eval", reason="the extra eval is not installed")
    annotations = json.loads((DATA / "demo" / "annotations.json").read_text())
    for entry in annotations["images"]:
        entry["file_name"] = f"val2017/{entry['file_name']}"
    made = judge(source, tmp_path, annotations, limit=3)
    assert made.pictures == 3
    measured = made.measure(source.path)
    assert measured.points > 50
    assert math.isfinite(measured.milliseconds)
    found, problems = beside_float(source, made, source.path)
    assert found["poses"] == found["found"] > 0
    assert problems == ()


@pytest.mark.parametrize(
    "annotations",
    [
        {"images": [1]},
        {"images": None},
        {"images": {"a": 1}},
        {"images": [1, 2, 3]},
        {"images": [{"id": []}, {"id": 1}], "annotations": []},
        {"images": [{"id": 1}, {"id": 2}], "annotations": [3]},
        {"images": [{"id": 1}, {"id": 2}], "annotations": 3},
    ],
)
def test_what_is_no_annotation_file_is_said(source: Source, tmp_path: Path, annotations: Any) -> None:
    with pytest.raises(InputError, match="expected COCO keypoint annotations"):
        judge(source, tmp_path, annotations, limit=1)
