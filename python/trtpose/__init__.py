# SPDX-License-Identifier: Apache-2.0
"""Multi-person pose estimation: frames in, people with keypoints out."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ._core import version as _version
from .device import DevicePoses
from .engine import Engine, letterbox
from .errors import BudgetError, DeviceError, Error, InputError, ModelError
from .info import model_info, system_info
from .nv12 import Nv12
from .results import Poses
from .spec import ModelSpec
from .thresholds import Thresholds

if TYPE_CHECKING:
    from .build import build

__all__ = [
    "BudgetError",
    "DeviceError",
    "DevicePoses",
    "Engine",
    "Error",
    "InputError",
    "ModelError",
    "ModelSpec",
    "Nv12",
    "Poses",
    "Thresholds",
    "__version__",
    "build",
    "letterbox",
    "model_info",
    "system_info",
]

__version__: str = _version()


def __getattr__(name: str) -> Any:
    # Imported when first used; the module is called like the function that it stands for.
    if name == "build":
        return importlib.import_module(".build", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
