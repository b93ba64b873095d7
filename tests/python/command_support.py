# SPDX-License-Identifier: Apache-2.0
"""Running the command with a stand-in engine, for tests in several folders; ``conftest.py`` hands the fixtures on."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support import FakeEngine, picture, write_picture
from trtpose import cli
from trtpose.commands import options

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def opened() -> list[FakeEngine]:
    """The engines a run has opened."""
    return []


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], opened: list[FakeEngine]) -> Run:
    """Run the command with a stand-in engine; gives the exit status, stdout and stderr."""

    def run(*arguments: Any, answer: Any = None, fail: Exception | None = None) -> tuple[int, str, str]:
        def open_engine(args: argparse.Namespace, *, frames: float = 0, **_: object) -> FakeEngine:
            if fail is not None:
                raise fail
            engine = FakeEngine(
                args.model, batch=args.batch, answer=answer, thresholds=options.thresholds(args), frames=frames
            )
            opened.append(engine)
            return engine

        monkeypatch.setattr(options, "open_engine", open_engine)
        capsys.readouterr()
        try:
            status = cli.main([str(argument) for argument in arguments])
        except SystemExit as leave:
            status = leave.code if isinstance(leave.code, int) else 1
        out, err = capsys.readouterr()
        return status, out, err

    return run


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*")) if folder.exists() else []


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for index, name in enumerate(("a.jpg", "b.png", "c.webp")):
        write_picture(folder / name, picture(seed=index))
    return folder


def error_lines(err: str) -> list[str]:
    return [line for line in err.splitlines() if line.startswith("error: ")]


def real_run(capsys: pytest.CaptureFixture[str], *arguments: Any) -> tuple[int, str, str]:
    pytest.importorskip("trtpose._core", reason="the native part is not built")
    capsys.readouterr()
    status = cli.main([str(argument) for argument in arguments])
    return status, *capsys.readouterr()
