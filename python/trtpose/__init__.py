# SPDX-License-Identifier: Apache-2.0
"""Multi-person pose estimation: frames in, people with keypoints out."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

try:
    from ._core import version as _version
except ImportError as error:
    # From Python 3.13 on it sees to that itself, in words that say nothing of what to do.
    if "subinterpreter" not in str(error):
        raise
    raise ImportError(
        "trtpose: a subinterpreter cannot import it; import it in the main interpreter, and use threads or processes "
        "there"
    ) from None
from .device import DevicePoses
from .engine import Engine, Ticket, letterbox
from .errors import BudgetError, DeviceError, Error, InputError, ModelError, ServerError
from .info import model_info, system_info
from .nv12 import Nv12
from .results import Poses
from .spec import ModelSpec
from .thresholds import Thresholds

if TYPE_CHECKING:
    from .build import build
    from .sources import Frame, Sources
    from .tracking.one_euro import OneEuro
    from .tracking.tracker import Tracker

__all__ = [
    "BudgetError",
    "DeviceError",
    "DevicePoses",
    "Engine",
    "Error",
    "Frame",
    "InputError",
    "ModelError",
    "ModelSpec",
    "Nv12",
    "OneEuro",
    "Poses",
    "ServerError",
    "Sources",
    "Thresholds",
    "Ticket",
    "Tracker",
    "__version__",
    "build",
    "letterbox",
    "model_info",
    "system_info",
]

__version__: str = _version()


def __getattr__(name: str) -> Any:
    # The module is called like the function that it stands for.
    if name == "build":
        return importlib.import_module(".build", __name__)
    # So that who only runs engines does not wait for them.
    if name in ("Frame", "Sources"):
        return getattr(importlib.import_module(".sources", __name__), name)
    if name == "OneEuro":
        return importlib.import_module(".tracking.one_euro", __name__).OneEuro
    if name == "Tracker":
        return importlib.import_module(".tracking.tracker", __name__).Tracker
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
