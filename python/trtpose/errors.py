# SPDX-License-Identifier: Apache-2.0
"""The exceptions of trtpose: one family, so that ``except trtpose.Error`` catches whatever a user can cause."""

from __future__ import annotations

__all__ = ["BudgetError", "DeviceError", "Error", "InputError", "ModelError", "ServerError"]


class Error(Exception):
    """Base of every error trtpose raises on purpose. The message names the item, what is wrong and what to do."""


class ModelError(Error):
    """A model, checkpoint, engine file or model spec that cannot be read or is not what was asked."""


class InputError(Error):
    """A picture, array, video, folder, annotation file or option value that cannot be used."""


class DeviceError(Error):
    """No such device, driver or vendor library, or one that does not fit."""


class BudgetError(Error):
    """More memory would be needed than was allowed."""


class ServerError(Error):
    """A server that is not reached, refuses, or answers what it should not.

    Attributes:
        status: HTTP status of its answer; None where there was none.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status
