# SPDX-License-Identifier: Apache-2.0
"""Tests marked ``gpu`` run where there is a GPU and the engines made for them (make gpu-test builds both)."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import trtpose
from trtpose import _machine
from trtpose.spec import ModelSpec

_FOLDER = os.environ.get("TRTPOSE_GPU_TEST_MODULES")
_NOT_BUILT = "the engines of tests/gpu are not built here; make gpu-test builds them"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if not marked:
        return
    problem = _machine.gpus().problem
    if problem:
        for item in marked:
            item.add_marker(pytest.mark.skip(reason=f"no GPU: {problem}"))


@pytest.fixture(scope="session")
def make_engine() -> Callable[..., trtpose.Engine]:
    """``make_engine(device="cuda", half=False, imgsz=(64, 96), batch=1, conf=0.25)``: an engine without TensorRT."""
    if _FOLDER:
        sys.path.insert(0, _FOLDER)
    try:
        native: Any = importlib.import_module("trtpose_gpu_engines")
    except ImportError as error:
        if _FOLDER:
            raise  # it was promised
        pytest.skip(f"{_NOT_BUILT} ({error})")

    def make(device: str = "cuda", **options: Any) -> trtpose.Engine:
        engine: Any = object.__new__(trtpose.Engine)
        engine._core = native.engine(device=device, **{"imgsz": (64, 96), **options})
        engine.model = "sampling"
        engine.spec = ModelSpec.from_json(engine._core.spec_json, source="sampling")
        return engine

    return make


@pytest.fixture
def frames() -> list[np.ndarray]:
    """Pictures in which the sampling network finds some people, of sizes that are all different."""
    rng = np.random.default_rng(5)
    return [
        rng.integers(0, 256, (height, width, 3), dtype=np.uint8) for height, width in ((64, 96), (97, 131), (40, 33))
    ]
