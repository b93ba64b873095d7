# SPDX-License-Identifier: Apache-2.0
"""What is left in floating point, and the reports of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import quantize_models as models
from trtpose.errors import InputError
from trtpose.quantize import quantize, quantizer, search
from trtpose.quantize.judge import Judge, Measurement


class _Fake(Judge):
    """Takes points off for each group that is in INT8, by the names of its convolutions."""

    kind = "agreement"

    def __init__(self, cost: dict[str, float], paths: list[Path]) -> None:
        self.cost = cost
        self.paths = paths
        self.measured = 0

    def measure(self, model: Path) -> Measurement:
        self.measured += 1
        quantised = set()
        graph = onnx.load(str(model)).graph
        made = {name: node for node in graph.node for name in node.output}
        for node in graph.node:
            if node.op_type == "Conv" and made.get(node.input[1], node).op_type == "DequantizeLinear":
                quantised.add(node.name.split(".")[0])
        details = {"poses": 5.0, "found": 5.0, "extra": 0.0, "keypoint_px_median": 0.5, "keypoint_px_p95": 1.0}
        return Measurement(90 - sum(self.cost.get(name, 0.0) for name in quantised), 2.0, details)


def _search(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cost: dict[str, float], **options: Any
) -> Any:
    judge = _Fake(cost, sorted((folder / "pictures").iterdir()))
    monkeypatch.setattr(search, "MAX_GROUPS", 8)
    monkeypatch.setattr(quantizer, "judge_for", lambda *_: (judge, "5 pictures"))
    options = {"output": tmp_path / "o.onnx", "cache": False, "max_drop": 1.0, **options}
    result = quantize(folder / "small.onnx", folder / "pictures", **options)
    return result, judge


def _floating(result: Any) -> set[str]:
    return {name.split(".")[0] for name in result.report.kept} - {"head"}


def test_all_in_int8_where_little_is_lost(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result, judge = _search(folder, tmp_path, monkeypatch, {"stem": 0.4, "elan": 0.5})
    assert _floating(result) == set()
    assert judge.measured == 2
    assert result.report.within
    assert result.report.final.loss == pytest.approx(0.9)
    assert result.report.final.share == 1.0


def test_the_worst_groups_are_left_floating(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cost = {"stem": 0.4, "elan": 0.7, "spp": 3.0, "res": 1.5}
    result, judge = _search(folder, tmp_path, monkeypatch, cost)
    assert _floating(result) == {"spp", "res", "elan"}
    assert [step.floating for step in result.report.steps] == [(), ("spp",), ("spp", "res"), ("spp", "res", "elan")]
    assert result.report.final.loss == pytest.approx(0.4)
    losses = {group.name: group.loss for group in result.report.groups}
    assert losses == pytest.approx({"stem": 0.4, "elan": 0.7, "res": 1.5, "spp": 3.0, "down": 0, "neck": 0, "deep": 0})
    assert {group.name for group in result.report.groups if group.floating} == {"spp", "res", "elan"}
    assert judge.measured == 2 + 7 + 3
    assert 0 < result.report.final.share < 1 < result.report.final.speed < 2
    metadata = {p.key: p.value for p in result.model.metadata_props}
    assert set(json.loads(metadata["trtpose_int8"])["floating"]) == set(result.report.kept) - {"head.0", "head.1"}


def test_a_loss_that_cannot_be_met_is_told(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result, _ = _search(
        folder, tmp_path, monkeypatch, dict.fromkeys(("stem", "elan", "res", "spp", "down", "neck", "deep"), 2.0)
    )
    assert not result.report.within
    assert "No choice of layers" in result.report.note
    assert result.report.final.loss == min(step.loss for step in result.report.steps) == pytest.approx(2.0)
    assert len(_floating(result)) == 6


def test_reports(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result, _ = _search(folder, tmp_path, monkeypatch, {"elan": 0.7, "spp": 3.0})
    report = result.report
    for suffix in ("md", "json", "png"):
        report.write(tmp_path / f"r.{suffix}")
    page = (tmp_path / "r.md").read_text()
    for text in ("90.00", "| all in INT8 | 86.30 | 3.70 | 100% | 2.00 |", "| spp |", "- head.0", "without spp"):
        assert text in page, text
    data = json.loads((tmp_path / "r.json").read_text())
    assert data["within"] is True
    assert data["steps"][0]["speed"] == 2.0
    image = cv2.imread(str(tmp_path / "r.png"))
    assert image.shape[2] == 3
    assert len(np.unique(image.reshape(-1, 3), axis=0)) > 20
    with pytest.raises(InputError, match=r"ends in \.json, \.md, \.png"):
        report.write(tmp_path / "r.pdf")


def test_a_network_that_finds_nobody_is_told(folder: Path, tmp_path: Path) -> None:
    model = models.small()
    for tensor in model.graph.initializer:
        if tensor.name in ("head.0.b", "head.1.b"):
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) - 40, tensor.name))
    path = tmp_path / "x.onnx"
    onnx.save(model, str(path))
    made = quantize(path, folder / "pictures", cache=False)
    assert "finds nobody" in made.report.note
    assert made.report.within is None
    made.report.write(tmp_path / "r.md")
    made.report.write(tmp_path / "r.png")
