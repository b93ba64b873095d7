# SPDX-License-Identifier: Apache-2.0
"""The command ``trtpose quantize``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import trtpose
from trtpose.cli import main
from trtpose.quantize import search

DATA = Path(trtpose.__file__).parent / "data"


def test_command(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output, report = tmp_path / "o.onnx", tmp_path / "r.md"
    status = main(
        [
            "quantize",
            str(folder / "small.onnx"),
            "--calib",
            str(folder / "pictures"),
            "-o",
            str(output),
            "--report",
            str(report),
            "--report",
            str(tmp_path / "r.json"),
            "--max-drop",
            "100",
            "--no-cache",
        ]
    )
    printed = capsys.readouterr()
    assert status == 0, printed.err
    assert printed.err == ""
    assert f"wrote {output}" in printed.out
    assert "15 of 17 convolutions in INT8, ranges by percentile" in printed.out
    assert "# small.onnx in INT8" in report.read_text()
    assert json.loads((tmp_path / "r.json").read_text())["kind"] == "agreement"
    assert main(["info", str(output)]) == 0


def test_command_that_loses_too_much(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status = main(
        [
            "quantize",
            str(folder / "small.onnx"),
            "--calib",
            str(folder / "pictures"),
            "-o",
            str(tmp_path / "o.onnx"),
            "--max-drop",
            "0",
            "--keep",
            "elan.*",
            "res.*",
            "spp.*",
            "neck.*",
            "down",
            "deep.*",
            "--no-cache",
        ]
    )
    printed = capsys.readouterr()
    assert status == 1
    assert "error: " in printed.err
    assert "more than 0" in printed.err


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        ([], 2, "--calib"),
        (["--calib", "nowhere"], 1, "no such folder"),
        (["--calib", "{pictures}", "--method", "mean"], 2, "mean"),
        (["--calib", "{pictures}", "--max-drop", "many"], 2, "not a number of points"),
        (["--calib", "{pictures}", "--report", "r.pdf"], 1, "a report ends in"),
        (["--calib", "{pictures}", "--no-int8"], 1, "leaves nothing to do"),
        (["--calib", "{pictures}", "--imgsz", "0"], 2, "not a size"),
        (["--calib", "{pictures}", "--count", "0"], 2, "whole number"),
    ],
)
def test_command_errors(
    options: list[str], status: int, message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [option.format(pictures=folder / "pictures") for option in options]
    try:
        found = main(["quantize", str(folder / "small.onnx"), *given])
    except SystemExit as error:
        found = int(error.code or 0)
    assert found == status
    assert message in capsys.readouterr().err


def test_command_with_annotations(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """AP of the demo network, and the table of its groups, fewer than usual to save time."""
    monkeypatch.setattr(search, "MAX_GROUPS", 12)
    annotations = json.loads((DATA / "demo" / "annotations.json").read_text())
    for entry in annotations["annotations"]:
        del entry["area"]
    (tmp_path / "people.json").write_text(json.dumps(annotations))
    status = main(
        [
            "quantize",
            str(DATA / "demo.onnx"),
            "--calib",
            str(DATA / "demo"),
            "-o",
            str(tmp_path / "o.onnx"),
            "--annotations",
            str(tmp_path / "people.json"),
            "--max-drop",
            "100",
            "--no-cache",
            "--limit",
            "4",
            "--report",
            str(tmp_path / "r.json"),
        ]
    )
    err = capsys.readouterr().err
    assert status == 0, err
    # The network is measured many times on the same annotations.
    assert err.count("annotated persons, the first annotations[0], without `area`") == 1
    data = json.loads((tmp_path / "r.json").read_text())
    assert data["kind"] == "AP"
    assert data["measured_on"] == "4 annotated pictures"
    assert len(data["groups"]) > 3
    assert all(group["loss"] is not None for group in data["groups"])
    assert all(step["milliseconds"] > 0 for step in [data["reference"], *data["steps"]])
    assert data["beside_float"]["found"] == data["beside_float"]["poses"] > 3
