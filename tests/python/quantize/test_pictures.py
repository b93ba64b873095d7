# SPDX-License-Identifier: Apache-2.0
"""Which pictures a network is calibrated on."""

from __future__ import annotations

from pathlib import Path

import pytest

import quantize_models as models
from trtpose.errors import InputError
from trtpose.quantize import calibrate, quantize
from trtpose.quantize.pictures import spread


def test_spread_takes_from_all_over() -> None:
    assert spread(10, 20) == list(range(10))
    assert spread(10, 4) == [0, 3, 6, 9]
    assert len(spread(1000, 128)) == 128


@pytest.mark.parametrize(
    ("count", "asked", "message"),
    [
        (0, None, "holds no pictures"),
        (2, None, r"2 readable picture\(s\), and calibration needs at least 4"),
        (6, 9, "9 pictures were asked for"),
        (6, 2, "count is 2; calibration needs at least 4"),
    ],
)
def test_too_few_pictures(count: int, asked: int | None, message: str, folder: Path, tmp_path: Path) -> None:
    pictures = models.write_pictures(tmp_path / "p", count)
    (pictures / "notes.txt").write_text("not a picture")
    with pytest.raises(InputError, match=message):
        quantize(folder / "small.onnx", pictures, output=tmp_path / "o.onnx", count=asked, cache=False)
    assert not (tmp_path / "o.onnx").exists()


def test_no_folder_of_pictures(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder of calibration pictures"):
        quantize(folder / "small.onnx", tmp_path / "nowhere")


def test_unreadable_pictures_are_named(folder: Path, tmp_path: Path) -> None:
    pictures = models.write_pictures(tmp_path / "p", 6)
    (pictures / "002.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    (pictures / "004.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"002\.png"):
        calibrate(folder / "small.onnx", pictures, cache=False)
    seen: list[str] = []
    found = calibrate(folder / "small.onnx", pictures, cache=False, on_error=lambda e: seen.append(str(e)))
    assert ["002.png" in seen[0], "004.png" in seen[1], len(seen)] == [True, True, 2]
    assert found["images"].seen == 4 * 3 * 64 * 96
    for number in (0, 1):
        (pictures / f"{number:03}.png").write_bytes(b"GIF89a")
    with pytest.raises(InputError, match=r"2 readable picture\(s\)"):
        calibrate(folder / "small.onnx", pictures, cache=False, on_error=lambda _: None)
