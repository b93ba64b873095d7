# SPDX-License-Identifier: Apache-2.0
"""How people can be followed."""

from __future__ import annotations

from typing import Literal, get_args

__all__ = ["METHODS", "Method"]

Method = Literal["oks", "sort", "bytetrack", "ocsort", "botsort"]
METHODS: tuple[str, ...] = get_args(Method)
