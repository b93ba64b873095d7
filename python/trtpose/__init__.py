# SPDX-License-Identifier: Apache-2.0
"""Multi-person pose estimation: frames in, people with keypoints out."""

from __future__ import annotations

from ._core import version as _version
from .device import DevicePoses
from .engine import Engine, letterbox
from .errors import BudgetError, DeviceError, Error, InputError, ModelError
from .info import model_info, system_info
from .results import Poses
from .spec import ModelSpec

__all__ = [
    "BudgetError",
    "DeviceError",
    "DevicePoses",
    "Engine",
    "Error",
    "InputError",
    "ModelError",
    "ModelSpec",
    "Poses",
    "__version__",
    "letterbox",
    "model_info",
    "system_info",
]

__version__: str = _version()
