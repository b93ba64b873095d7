# SPDX-License-Identifier: Apache-2.0
"""No test of sources leaves a thread behind."""

from __future__ import annotations

import gc
import time

import pytest

from source_support import threads
from trtpose.sources import ahead


@pytest.fixture(autouse=True)
def _no_thread_is_left():
    yield
    gc.collect()
    deadline = time.monotonic() + 120
    while threads() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threads() == 0


@pytest.fixture
def one_core(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which nobody helps the thread that reads."""
    monkeypatch.setattr(ahead, "usable_cores", lambda: 1)
