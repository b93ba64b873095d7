# SPDX-License-Identifier: Apache-2.0
"""The layers of the package, read from its sources: the command line on top, and no circle.

An import is an ``import`` or ``from`` statement anywhere in a module, also within a function, and a call of
``importlib.import_module`` or ``__import__`` with a name. What stands under ``if TYPE_CHECKING`` is never run and does
not count. An import leads to the module that is named, not also to the packages that hold it. No module is let off.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import trtpose

PACKAGE = Path(trtpose.__file__).parent
ON_TOP = ("trtpose.cli", "trtpose.commands", "trtpose.__main__")
DYNAMIC = {"trtpose._optional"}
"""Imports other people's packages by names it is given."""


def module_name(path: Path, root: Path) -> str:
    parts = [root.name, *path.relative_to(root).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def sources(root: Path) -> dict[str, Path]:
    """Every module below ``root`` by its name."""
    return {module_name(path, root): path for path in sorted(root.rglob("*.py"))}


def is_type_checking(test: ast.expr) -> bool:
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


def running(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes that can be run."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and is_type_checking(child.test):
            for other in child.orelse:
                yield other
                yield from running(other)
            continue
        yield child
        yield from running(child)


def absolute(name: str, level: int, package: str) -> str:
    """A relative name (``level`` dots) as seen from ``package``."""
    if level == 0:
        return name
    base = package.split(".")[: len(package.split(".")) - level + 1]
    return ".".join([*base, *([name] if name else [])])


def imported(path: Path, name: str, known: Mapping[str, Path]) -> set[str]:
    """What a module imports: full names, of ours that of the module that is reached."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    found: set[str] = set()
    for node in running(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = absolute(node.module or "", node.level, package)
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                # ``from . import x``: the module x where there is one, and the package itself only for its own names.
                found.add(inner if inner in known or inner == "trtpose._core" else base)
        elif isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called not in ("import_module", "__import__"):
                continue
            argument = node.args[0] if node.args else None
            if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                text = argument.value.lstrip(".")
                found.add(absolute(text, len(argument.value) - len(text), package))
            else:
                found.add("a name made at run time")
    return found


def graph(root: Path) -> dict[str, set[str]]:
    known = sources(root)
    return {name: imported(path, name, known) for name, path in known.items()}


def circles(edges: Mapping[str, set[str]]) -> list[list[str]]:
    """The sets of modules that reach each other, and modules that import themselves (Tarjan)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for other in sorted(edges[name]):
            if other not in edges:
                continue
            if other not in index:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], index[other])
        if low[name] == index[name]:
            at = stack.index(name)
            members = stack[at:]
            del stack[at:]
            if len(members) > 1 or name in edges[name]:
                found.append(sorted(members))

    for name in edges:
        if name not in index:
            visit(name)
    return found


def is_on_top(name: str) -> bool:
    return any(name == top or name.startswith(f"{top}.") for top in ON_TOP)


def upward(edges: Mapping[str, set[str]]) -> list[str]:
    """Imports that a module of the library must not make."""
    return [
        f"{name} imports {other}"
        for name, others in edges.items()
        if not is_on_top(name)
        for other in sorted(others)
        if is_on_top(other)
        or other.partition(".")[0] == "argparse"
        or (other == "a name made at run time" and name not in DYNAMIC)
    ]


@pytest.fixture(scope="module")
def edges() -> dict[str, set[str]]:
    return graph(PACKAGE)


def test_the_walk_sees_the_package(edges: dict[str, set[str]]):
    assert {"trtpose", "trtpose.cli", "trtpose.commands.infer", "trtpose.sources.reader"} <= set(edges)
    assert "trtpose.commands.infer" in edges["trtpose.cli"]
    assert "trtpose.draw" in edges["trtpose.results"]  # within a function
    assert "trtpose.sources.reader" in edges["trtpose.sources.sources"]


def test_the_library_knows_no_command_line(edges: dict[str, set[str]]):
    assert upward(edges) == []


def test_no_circle(edges: dict[str, set[str]]):
    assert circles(edges) == []


def package(folder: Path, **modules: str) -> dict[str, set[str]]:
    root = folder / "trtpose"
    for name, text in modules.items():
        path = root / f"{name.replace('__in__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return graph(root)


@pytest.mark.parametrize(
    "text",
    [
        "import argparse",
        "def f():\n    from argparse import Namespace",
        "from .cli import main",
        "from . import cli",
        "import trtpose.commands.infer",
        "def f():\n    from .commands import infer",
        "import importlib\nimportlib.import_module('.commands.infer', __package__)",
        "__import__('trtpose.cli')",
        "import importlib\nimportlib.import_module(f'.{name}', __package__)",
    ],
)
def test_an_upward_import_is_found(tmp_path: Path, text: str):
    assert len(upward(package(tmp_path, cli="", commands__in__infer="", check=text))) == 1


def test_what_is_no_upward_import(tmp_path: Path):
    text = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import argparse\n    from .cli import main\n"
    assert (
        upward(package(tmp_path, cli="import argparse\nfrom .check import x", check=text + "from .errors import y"))
        == []
    )


@pytest.mark.parametrize(
    "back",
    [
        "from .a import x",
        "from . import a",
        "def f():\n    import trtpose.a",
        "import importlib\ndef f():\n    importlib.import_module('.a', __package__)",
    ],
)
def test_a_circle_is_found(tmp_path: Path, back: str):
    assert circles(package(tmp_path, a="from .b import y", b="from .c import z", c=back)) == [
        ["trtpose.a", "trtpose.b", "trtpose.c"]
    ]
    assert circles(package(tmp_path, c="")) == []
