# SPDX-License-Identifier: Apache-2.0
"""Fixtures of all Python tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from command_support import opened, photos, run  # noqa: F401

# No test leaves a large network in the user's folder; those of the cache say otherwise.
os.environ["TRTPOSE_MODEL_CACHE"] = "off"

_ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("TRTPOSE_SHARED") or _ROOT / ".." / "shared").resolve()
# Real servers, browsers, cameras and processes, by the real clock: a machine that does something else for seconds must
# not fail them. They have a second try, which pytest counts as "rerun"; what is broken fails both.
_BY_THE_CLOCK = (
    "client",
    "serving",
    "commands/test_infer_process.py",
    "commands/test_live.py",
    "commands/test_serve.py",
    "sources/test_answers.py",
    "sources/test_many.py",
    "sources/test_outages.py",
    "sources/test_reader.py",
    "sources/test_servers.py",
    "sources/test_web.py",
    "test_endings.py",
    "test_forks.py",
)
_WITHOUT_SHARED = f"no folder of models and photographs at {SHARED}; name one with TRTPOSE_SHARED"


@pytest.hookimpl(tryfirst=True)  # before -m selects
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    clocked = [here / name for name in _BY_THE_CLOCK] if config.pluginmanager.hasplugin("rerunfailures") else []
    for item in items:
        if any(item.path == one or one in item.path.parents for one in clocked):
            item.add_marker(pytest.mark.flaky(reruns=1))
        if "shared" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.shared)
        if item.get_closest_marker("shared") and not SHARED.is_dir():
            item.add_marker(pytest.mark.skip(reason=_WITHOUT_SHARED))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Count what did not run, by reason: a suite that skips much must not look like one that passes."""
    reasons: dict[str, int] = {}
    for report in terminalreporter.stats.get("skipped", []):
        text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        text = text.removeprefix("Skipped: ")
        reasons[text] = reasons.get(text, 0) + 1
    for text, count in sorted(reasons.items()):
        terminalreporter.write_line(f"not run: {count} ({text})")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of models, photographs and reference values; tests that use it are skipped without one."""
    if not SHARED.is_dir():
        pytest.skip(_WITHOUT_SHARED)
    return SHARED


@pytest.fixture(scope="session")
def seed() -> int:
    """Seed of the random tests; another one is taken from TRTPOSE_SEED. Printed where a test fails."""
    value = int(os.environ.get("TRTPOSE_SEED", "20240521"))
    print(f"seed {value}")
    return value
