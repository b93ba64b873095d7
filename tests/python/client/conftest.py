# SPDX-License-Identifier: Apache-2.0
"""What the tests of the client share."""

from __future__ import annotations

from server_support import engine, start

__all__ = ["engine", "start"]
