# SPDX-License-Identifier: Apache-2.0
"""A small network that finds many, pictures for it, and the same network with other weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import onnx_models
from support import picture, write_picture


def changed(source: Path, target: Path, change: Callable[[str, np.ndarray], np.ndarray]) -> Path:
    """A copy of an ONNX file with other weights."""
    model = onnx.load(str(source))
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32:
            tensor.CopyFrom(numpy_helper.from_array(change(tensor.name, values.copy()), tensor.name))
    onnx.save(model, str(target))
    return target


@pytest.fixture(scope="module", name="small")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A network that finds many, and pictures."""
    folder = tmp_path_factory.mktemp("check")
    spec = onnx_models.spec_fields(keypoints=3, size=(64, 96))
    model = onnx_models.write_model(
        folder / "a.onnx", keypoints=3, metadata={"trtpose": json.dumps(spec)}, objectness=2.0
    )
    pictures = folder / "pictures"
    pictures.mkdir()
    for number in range(3):
        write_picture(pictures / f"{number}.png", picture(128, 192, seed=number))
    return model, pictures
