# SPDX-License-Identifier: Apache-2.0
"""What the tests of the server share."""

from __future__ import annotations

from pathlib import Path

import pytest

from server_support import Start, engine, running, start

__all__ = ["Start", "engine", "running", "start"]


@pytest.fixture
def jpeg() -> bytes:
    from support import encoded, picture

    return encoded(".jpg", picture(60, 80, seed=2))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path
