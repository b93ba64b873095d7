# SPDX-License-Identifier: Apache-2.0
"""Packages that only some functions need, imported when first used."""

from __future__ import annotations

import importlib
from types import ModuleType

from .errors import DeviceError

__all__ = ["require"]


def require(module: str, *, package: str, extra: str, purpose: str, how: str = "") -> ModuleType:
    """Import ``module`` or say how to install it.

    Args:
        module: what to import, for example ``faster_coco_eval``.
        package: its name on PyPI.
        extra: the extra of trtpose that brings it.
        purpose: what needs it; begins the message.
        how: the command that installs it here, where the extra is not the right one for every machine.

    Raises:
        DeviceError: it is not installed or does not load; the message holds the command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        if isinstance(error, ModuleNotFoundError) and error.name == module.partition(".")[0]:
            why = f"the package {package}, which is not installed"
        else:
            why = f"the package {package}, which does not load ({error})"
        command = how or f'pip install "trtpose[{extra}]"'
        raise DeviceError(f"{purpose} needs {why}; install it with: {command}") from error
