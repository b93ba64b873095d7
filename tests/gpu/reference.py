# SPDX-License-Identifier: Apache-2.0
"""Engines that run their network with ONNX Runtime and everything around it with trtpose's own CPU code.

The measure for engines on a GPU where OpenVINO is not installed.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

import trtpose
from trtpose import _core
from trtpose.spec import ModelSpec

__all__ = ["native", "onnx_runtime_engine", "session"]


def native() -> Any:
    """The compiled helper of tests/gpu. Raises ImportError where it is not built."""
    folder = os.environ.get("TRTPOSE_GPU_TEST_MODULES")
    if folder and folder not in sys.path:
        sys.path.insert(0, folder)
    return importlib.import_module("trtpose_gpu_engines")


def session(model: Path) -> Any:
    """An ONNX Runtime session on the CPU."""
    runtime: Any = importlib.import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    return runtime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


def onnx_runtime_engine(
    model: Path, *, imgsz: tuple[int, int] | None = None, spec: Path | None = None
) -> trtpose.Engine:
    """An engine over ONNX Runtime; its float32 outputs are what the network's are.

    Args:
        model: ONNX with one float32 input.
        imgsz: height and width; by default the model's own, or the spec's where it leaves them open.
        spec: model spec of a file that carries none.
    """
    running = session(model)
    (entry,) = running.get_inputs()
    names = [output.name for output in running.get_outputs()]
    text, _ = _core.find_spec(str(model), str(spec) if spec else "")
    sides = [side if isinstance(side, int) else 0 for side in entry.shape[2:]]
    if imgsz is None:
        imgsz = (sides[0], sides[1]) if all(sides) else tuple(json.loads(text)["imgsz"])
    batch = entry.shape[0] if isinstance(entry.shape[0], int) else 1

    def run(images: np.ndarray) -> list[np.ndarray]:
        return [np.ascontiguousarray(one, np.float32) for one in running.run(None, {entry.name: images})]

    engine: Any = object.__new__(trtpose.Engine)
    engine._core = native().function_engine(run, outputs=names, spec=text, imgsz=imgsz, batch=batch)
    engine.model = str(model)
    engine.spec = ModelSpec.from_json(text, source=str(model))
    return engine
