# SPDX-License-Identifier: Apache-2.0
"""What servers answer, in words: why an address gives nothing, and whether it may do so later."""

from __future__ import annotations

from .capture import OpenError
from .web import failure, refusal

__all__ = ["open_failure"]

_STATUS = {
    "HTTPBadRequestError": (400, "Bad Request"),
    "HTTPUnauthorizedError": (401, "Unauthorized"),
    "HTTPForbiddenError": (403, "Forbidden"),
    "HTTPNotFoundError": (404, "Not Found"),
    "HTTPTooManyRequestsError": (429, "Too Many Requests"),
}
"""The statuses that FFmpeg's errors keep, by the name of their class in PyAV."""


def open_failure(error: Exception) -> OpenError:
    """Why PyAV could not open an address."""
    kind = type(error).__name__
    if kind in _STATUS:
        answer = refusal(*_STATUS[kind])
        # A server of streams knows a camera only while it sends.
        return OpenError(str(answer), passing=True) if kind == "HTTPNotFoundError" else answer
    if kind == "HTTPServerError":
        return OpenError("the server answers with an error of its own (5xx), try again later", passing=True)
    if kind == "HTTPOtherClientError":
        return OpenError("the server refuses the request (4xx); check the address")
    if kind == "ExitError":  # interrupted by the timeout
        return failure(TimeoutError())
    if kind == "InvalidDataError":
        return OpenError("answers with nothing that can be read as a video; check the address", passing=True)
    return failure(error)
