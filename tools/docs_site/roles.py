# SPDX-License-Identifier: Apache-2.0
"""Docstrings for the site: what is marked as a class, function or the like becomes a link, or code."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

from griffe import Extension

_PACKAGE = Path(__file__).resolve().parents[2] / "python" / "trtpose" / "__init__.py"
_ROLE = re.compile(r":(class|meth|func|attr|data|mod):`~?([^`]+)`")


def public_names() -> set[str]:
    """``__all__`` of the package, without importing it."""
    for node in ast.parse(_PACKAGE.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            return set(ast.literal_eval(node.value))
    raise SystemExit(f"{_PACKAGE}: has no __all__")


_NAMES = public_names() - {"__version__", "build"}


def _shown(match: re.Match[str]) -> str:
    role, text = match.groups()
    name = text.removeprefix("trtpose.")
    # Attributes stand in the docstrings of their classes and have no place of their own.
    if name.partition(".")[0] in _NAMES and role != "attr":
        return f"[`{text}`][trtpose.{name}]"
    return f"`{text}`"


class Roles(Extension):
    """Asked by mkdocstrings, object by object."""

    def on_object(self, *, obj: Any, **_: Any) -> None:
        """Change the docstring in place."""
        if obj.docstring:
            obj.docstring.value = _ROLE.sub(_shown, obj.docstring.value)
