# SPDX-License-Identifier: Apache-2.0
"""The command ``trtpose build`` where there is no GPU."""

from __future__ import annotations

from pathlib import Path

import pytest

from build_support import DEMO
from trtpose import cli

pytestmark = pytest.mark.usefixtures("no_gpu")


@pytest.mark.usefixtures("builder")
def test_check_without_a_gpu(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["build", str(DEMO), "-o", str(tmp_path / "x.engine"), "--fp32", "--check"]) == 0
    assert "not compared: no GPU here can run the engine" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--fp16"], 1, "no ONNX is named"),
        ([str(DEMO)], 1, "name the precision: --fp32, --fp16 or --int8"),
        ([str(DEMO), "--fp16", "--int8"], 2, "not allowed with"),
        ([str(DEMO), "--fp16", "--batch", "x"], 2, "batch x: write a number"),
        ([str(DEMO), "--fp16", "--images", "x"], 1, "--images is for --check"),
        ([str(DEMO), "--fp16", "--opt-level", "7"], 2, "invalid choice"),
    ],
)
def test_wrong_usage(arguments: list[str], status: int, words: str, capfd: pytest.CaptureFixture[str]) -> None:
    if status == 2:
        with pytest.raises(SystemExit) as stop:
            cli.main(["build", *arguments])
        assert stop.value.code == 2
    else:
        assert cli.main(["build", *arguments]) == status
    assert words in capfd.readouterr().err
