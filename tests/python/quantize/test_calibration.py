# SPDX-License-Identifier: Apache-2.0
"""Ranges that are kept for the next run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import quantize_models as models
from trtpose.quantize import quantize, ranges


def test_the_cache_spares_running_the_network(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRTPOSE_CACHE", str(tmp_path / "cache"))
    options: dict[str, Any] = {"output": tmp_path / "o.onnx", "measure": False}
    first = quantize(folder / "small.onnx", folder / "pictures", **options)
    assert not first.report.cached
    assert len(list((tmp_path / "cache" / "calibration").iterdir())) == 1

    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("the network was run again")

    monkeypatch.setattr(ranges, "collect", never)
    second = quantize(folder / "small.onnx", folder / "pictures", **options)
    assert second.report.cached
    assert second.model.SerializeToString(deterministic=True) == first.model.SerializeToString(deterministic=True)
    third = quantize(folder / "small.onnx", folder / "pictures", method="max", **options)  # the same histograms
    assert third.report.cached
    with pytest.raises(AssertionError, match="run again"):
        quantize(folder / "small.onnx", folder / "pictures", cache=False, **options)


@pytest.mark.parametrize("change", ["model", "picture", "count", "letterbox"])
def test_the_cache_knows_what_it_is_of(change: str, tmp_path: Path) -> None:
    model = models.write_small(tmp_path / "m.onnx")
    pictures = models.write_pictures(tmp_path / "p", 5)
    options: dict[str, Any] = {"cache": tmp_path / "cache", "measure": False, "output": tmp_path / "o.onnx"}
    assert not quantize(model, pictures, **options).report.cached
    assert quantize(model, pictures, **options).report.cached
    if change == "model":
        models.write_small(model, seed=1)
    elif change == "picture":
        models.write_pictures(tmp_path / "q", 1, seed=5)
        (tmp_path / "q" / "000.png").replace(pictures / "003.png")
    elif change == "count":
        options["count"] = 4
    else:
        options["spec"] = {**models.SPEC.to_dict(), "mean": [10.0, 0.0, 0.0]}
    assert not quantize(model, pictures, **options).report.cached


def test_a_damaged_cache_is_made_again(folder: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"cache": tmp_path / "cache", "measure": False, "output": tmp_path / "o.onnx"}
    whole = quantize(folder / "small.onnx", folder / "pictures", **options).path.read_bytes()
    (file,) = (tmp_path / "cache").iterdir()
    good = file.read_bytes()
    for damaged in (b"", good[:1000], b"PK\x03\x04" + good[4:500], good[:-200] + bytes(200)):
        file.write_bytes(damaged)
        again = quantize(folder / "small.onnx", folder / "pictures", **options)
        assert not again.report.cached
        assert again.path.read_bytes() == whole
        assert file.read_bytes() != damaged


def test_a_cache_that_cannot_be_written_is_no_error(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    lines: list[str] = []
    quantize(
        folder / "small.onnx",
        folder / "pictures",
        output=tmp_path / "o.onnx",
        cache=tmp_path / "file" / "cache",
        measure=False,
        report=lines.append,
    )
    assert any("could not be kept" in line for line in lines)
