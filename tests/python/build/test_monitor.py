# SPDX-License-Identifier: Apache-2.0
"""Progress, Ctrl-C and termination, with stand-ins for TensorRT 8.6, 10 and 11."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import trtpose
from build_support import EVERY
from trtpose import cli
from trtpose.build import monitor


@pytest.mark.parametrize("version", EVERY)
def test_interrupted(version: str, use: Any, model: Path, tmp_path: Path, ctrl_c: Callable[[], None]) -> None:
    """Ctrl-C reaches the main thread while the builder runs in another."""
    module = use(version)
    lines: list[str] = []
    steps: list[int] = []

    def run() -> None:
        steps.append(1)
        if len(steps) == 1:
            ctrl_c()
            time.sleep(0.1)  # for the main thread to see it

    module.told["run"] = run
    with pytest.raises(KeyboardInterrupt):
        trtpose.build(model, tmp_path / "x.engine", precision="fp32", report=lines.append)
    assert list(tmp_path.glob("*engine*")) == []
    assert not [thread for thread in threading.enumerate() if thread.name == "trtpose-build"]
    # 8.6 has no way to be stopped: it goes on to its end, and what it built is dropped.
    assert len(steps) == (3 if version == "8" else 1)
    assert lines == (["TensorRT 8.6.1.6 cannot be interrupted; stopping when it comes back"] if version == "8" else [])


def test_leaving_at_once(use: Any, model: Path, tmp_path: Path, ctrl_c: Callable[[], None]) -> None:
    """A second Ctrl-C does not wait for a library that cannot be stopped."""
    module = use("8")
    go_on = threading.Event()
    lines: list[str] = []

    def run() -> None:
        if not go_on.is_set():
            for _ in range(2):
                ctrl_c()
                time.sleep(0.1)  # for the main thread to see it
            assert go_on.wait(60)

    module.told["run"] = run
    with pytest.raises(KeyboardInterrupt):
        trtpose.build(model, tmp_path / "x.engine", precision="fp32", report=lines.append)
    (thread,) = (thread for thread in threading.enumerate() if thread.name == "trtpose-build")
    go_on.set()
    thread.join(60)
    assert len(lines) == 1
    assert list(tmp_path.glob("*engine*")) == []


def test_terminated(use: Any, model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    module = use("10")
    main = threading.main_thread().ident
    assert main is not None

    def run() -> None:
        module.told["run"] = None
        signal.pthread_kill(main, signal.SIGTERM)
        time.sleep(0.1)  # for the main thread to see it

    module.told["run"] = run
    with pytest.raises(SystemExit) as stop:
        cli.main(["build", str(model), "-o", str(tmp_path / "x.engine"), "--fp32"])
    assert stop.value.code == 143
    assert "wrote" not in capfd.readouterr().out
    assert list(tmp_path.glob("*engine*")) == []


def test_progress(use: Any, model: Path, tmp_path: Path) -> None:
    use("10")
    seen: list[tuple[str, float]] = []
    trtpose.build(model, tmp_path / "x.engine", precision="fp32", progress=lambda *entry: seen.append(entry))
    assert [name for name, _ in seen] == ["Building engine"] * 3
    assert [round(done, 3) for _, done in seen] == [0.333, 0.667, 1.0]


def test_phases_within_phases() -> None:
    phases = monitor.Phases()
    phases.start("all", None, 2)
    phases.start("part", "all", 4)
    phases.step("part", 1)
    assert phases.done() == 0.25
    phases.finish("part")
    phases.step("all", 0)
    assert phases.done() == 0.5
    phases.step("unknown", 3)
    phases.start("all", "all", 0)  # its own parent, and no steps: as good as none
    assert phases.done() == 0.0


def test_progress_that_fails(use: Any, model: Path, tmp_path: Path) -> None:
    use("10")

    def report(_: str, __: float) -> None:
        raise OSError("the terminal has gone")

    with pytest.raises(OSError, match="the terminal has gone"):
        trtpose.build(model, tmp_path / "x.engine", precision="fp32", progress=report)
    assert list(tmp_path.glob("*engine*")) == []
