# SPDX-License-Identifier: Apache-2.0
"""The command ``trtpose build`` with stand-ins for TensorRT and a GPU."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from build_support import asked_of
from trtpose import cli


def test_the_command(use: Any, model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    use("10")
    target = tmp_path / "x.engine"
    status = cli.main(["build", str(model), "-o", str(target), "--fp16", "--hardware-compatible", "--opt-level", "2"])
    out, err = capfd.readouterr()
    assert (status, err) == (0, "")  # no progress bar where there is no terminal
    assert out.splitlines()[:5] == [
        "TensorRT 10.13.3.9, for NVIDIA RTX A2000 (compute capability 8.6)",
        "fp16, batch 1, 64x96 pixels",
        "network: convolutions 1 fp32 (33%), 2 fp16 (67%); all layers 1 fp32 (20%), 4 fp16 (80%)",
        "engine: convolutions 1 fp32 (33%), 2 fp16 (67%); all layers 1 fp32 (33%), 2 fp16 (67%)",
        "device memory: weights 0 MiB, intermediate tensors 50 MiB",
    ]
    assert out.splitlines()[5].startswith(f"wrote {target} (0.0 MB) in ")
    assert asked_of(target)["hardware"] == "AMPERE_PLUS"


def test_check_runs_the_engine(
    use: Any, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    import trtpose.check

    use("10")
    calls: list[tuple[Any, ...]] = []

    class Agreement:
        passed = False

    def check(*args: Any, **options: Any) -> Any:
        calls.append((*args, options))
        return Agreement

    monkeypatch.setattr(trtpose.check, "check", check)
    monkeypatch.setattr(trtpose.check, "table", lambda _: "the table")
    target = tmp_path / "x.engine"
    arguments = ["build", str(model), "-o", str(target), "--fp32", "--check", "--images", str(tmp_path)]
    assert cli.main(arguments) == 1
    assert calls == [(str(model), target, str(tmp_path), {"spec": None, "device": "auto"})]
    assert capfd.readouterr().out.splitlines()[-1] == "the table"
    Agreement.passed = True
    assert cli.main(arguments[:-2]) == 0
    assert Path(calls[1][2]).name == "demo"  # the packaged pictures


def test_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    from trtpose.commands.console import Progress

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    progress = Progress()
    progress.share("Timing", 0.5)
    progress.share("Timing", 0.25)
    assert (progress._bar.n, progress._bar.desc) == (0.5, "Timing")
    progress.close()
    progress.share("late", 1.0)
    assert terminal.getvalue()
