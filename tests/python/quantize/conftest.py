# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the tests of ``trtpose.quantize``."""

from __future__ import annotations

from pathlib import Path

import pytest

import quantize_models as models


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("quantize")
    models.write_small(base / "small.onnx")
    models.write_pictures(base / "pictures", 6)
    return base
