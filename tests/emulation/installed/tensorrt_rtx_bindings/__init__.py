# SPDX-License-Identifier: Apache-2.0
"""The double of TensorRT for RTX in the place of its Python package, for an installed trtpose on emulated CUDA.

``TRTPOSE_DOUBLE`` names a JSON file: the ``version`` to be, an ``onnx`` file, the ``shape`` of its input, and where to
write the ``report``. Only TensorRT can read its plans, so every plan is taken for that network, run by OpenVINO. What
was done with it, and what TensorRT would have forbidden, is written to the report when Python ends.
"""

from __future__ import annotations

import atexit
import ctypes
import json
import math
import os
from pathlib import Path

import numpy as np
import openvino
import tensorrt_double
from tensorrt_double import *  # noqa: F403

_settings = json.loads(Path(os.environ["TRTPOSE_DOUBLE"]).read_text())
__version__ = _settings["version"]
# A card that TensorRT for RTX builds for.
tensorrt_double.set_capability(8, 9)


def _network():
    core = openvino.Core()
    core.set_property("CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    model = core.read_model(_settings["onnx"])
    model.reshape(_settings["shape"])
    return core.compile_model(model, "CPU")


def _tensors(ports):
    return [(port.get_any_name(), list(port.shape)) for port in ports]


class Runtime(tensorrt_double.Runtime):
    def deserialize_cuda_engine(self, plan):
        if bytes(plan[:4]) != b"vtrt":
            raise ValueError("a plan of another runtime")
        network = _network()
        shape = tuple(network.inputs[0].shape)

        def answer(source: int, targets: list[int]) -> None:
            # What is GPU memory to trtpose lies in the process.
            images = (ctypes.c_float * math.prod(shape)).from_address(source)
            found = network([np.ctypeslib.as_array(images).reshape(shape)])
            for tensor, target in zip(found.values(), targets, strict=True):
                numbers = np.ascontiguousarray(tensor, np.float32)
                ctypes.memmove(target, numbers.ctypes.data, numbers.nbytes)

        weights = Path(_settings["onnx"]).stat().st_size
        tensors = _tensors(network.inputs), _tensors(network.outputs)
        tensorrt_double.add_network(bytes(plan), *tensors, weights, answer)
        return super().deserialize_cuda_engine(plan)


def _report() -> None:
    Path(_settings["report"]).write_text(json.dumps(tensorrt_double.report()))


atexit.register(_report)
