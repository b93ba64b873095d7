#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Check the layers of the Python package: the command line on top, families behind their registry, and no circle.

And that one module alone calls the functions by which other people's libraries open an ONNX model.

    python tools/check_imports.py [PACKAGE]

An import is an ``import`` or ``from`` statement anywhere in a module, also within a function, and a call of
``importlib.import_module`` or ``__import__``, whatever name they were given there. What stands under ``if
TYPE_CHECKING`` is never run and does not count. An import leads to the module that is named, not also to the packages
that hold it. No module is let off.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

SHARED = ("registry", "family")
"""Modules of ``families`` that are of no one family."""
ON_TOP = ("trtpose.cli", "trtpose.commands", "trtpose.__main__")
IMPORTERS = ("import_module", "__import__")
REGISTRY = "trtpose.families.registry"
GATE = "trtpose.formats.onnx_file"
"""Gives ONNX models to libraries, checked."""
OPENERS = frozenset((
    "InferenceSession", "read_model", "load_model", "load_model_from_string", "load_from_string",
    "load_model_from_file", "load_external_data_for_model", "load_external_data_for_tensor", "infer_shapes_path",
    "parse_from_file", "parse_with_weight_descriptors", "supports_model", "supports_model_v2", "ParseFromString",
    "MergeFromString",
))  # fmt: skip
"""Functions that open a model, by names that mean nothing else."""
OWNED_OPENERS = {"load": ("onnx", "package"), "parse": ("parser",), "compile_model": ("core",)}
"""Those of a usual name, and what the thing they are asked of is called."""
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


def names_of_importers(nodes: list[ast.AST]) -> set[str]:
    """What a module calls ``import_module`` and ``__import__``."""
    renamed = [
        alias.asname
        for node in nodes
        if isinstance(node, ast.ImportFrom) and node.module in ("importlib", "builtins")
        for alias in node.names
        if alias.name in IMPORTERS and alias.asname
    ]
    return {*IMPORTERS, *renamed}


def is_importer(function: ast.expr, importers: set[str]) -> bool:
    return (function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")) in importers


def text_of(call: ast.Call, place: int, keyword: str) -> str | None:
    """An argument of a call that is a text as it stands."""
    given = [*call.args[place : place + 1], *(k.value for k in call.keywords if k.arg == keyword)]
    value = given[0].value if given and isinstance(given[0], ast.Constant) else None
    return value if isinstance(value, str) else None


def called_for(call: ast.Call, package: str) -> str:
    """The module that a call of an importer reaches."""
    name = text_of(call, 0, "name")
    if name is None:
        return "a name made at run time"
    text = name.lstrip(".")
    return absolute(text, len(name) - len(text), text_of(call, 1, "package") or package)


def imported(path: Path, name: str, known: Mapping[str, Path]) -> set[str]:
    """What a module imports: full names, of ours that of the module that is reached."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    found: set[str] = set()
    nodes = list(running(ast.parse(path.read_text(encoding="utf-8"))))
    importers = names_of_importers(nodes)
    for node in nodes:
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = absolute(node.module or "", node.level, package)
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                # ``from . import x``: the module x where there is one, and the package itself only for its own names.
                found.add(inner if inner in known or inner == "trtpose._core" else base)
        elif isinstance(node, ast.Call) and is_importer(node.func, importers):
            found.add(called_for(node, package))
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


def family_of(name: str) -> str | None:
    """The family whose folder holds a module; None of what they share."""
    parts = name.split(".")
    return parts[2] if parts[1:2] == ["families"] and len(parts) > 2 and parts[2] not in SHARED else None


def across(edges: Mapping[str, set[str]]) -> list[str]:
    """Imports of a family from outside its folder, beside the registry's."""
    return [
        f"{name} imports {other}"
        for name, others in edges.items()
        for other in sorted(others)
        if name != REGISTRY and family_of(other) not in (None, family_of(name))
    ]


def opener(node: ast.AST) -> str | None:
    """The function by which a call or an import reaches into a library to open a model."""
    if isinstance(node, ast.ImportFrom):
        return next((alias.name for alias in node.names if alias.name in OPENERS), None)
    if not isinstance(node, ast.Attribute):
        return None
    owner = node.value.id if isinstance(node.value, ast.Name) else ""
    owned = owner in OWNED_OPENERS.get(node.attr, ())
    return node.attr if node.attr in OPENERS or owned else None


def openers(root: Path) -> list[str]:
    """Modules beside the gate that open models."""
    lines: list[str] = []
    for name, path in sources(root).items():
        found = {opener(node) for node in running(ast.parse(path.read_text(encoding="utf-8")))} - {None}
        if name != GATE:
            lines += [f"{name} uses {one}: only {GATE} opens ONNX models" for one in sorted(filter(None, found))]
    return lines


def problems(edges: Mapping[str, set[str]]) -> list[str]:
    return [
        *(f"{line}: the library must not import its command line" for line in upward(edges)),
        *(f"{line}: a family is reached through the registry alone" for line in across(edges)),
        *(f"{', '.join(names)} import each other in a circle" for names in circles(edges)),
    ]


def main() -> int:
    package = Path(__file__).resolve().parent.parent / "python" / "trtpose"
    root = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else package
    edges = graph(root)
    bad = [*problems(edges), *openers(root)]
    print("\n".join(bad) if bad else f"imports: {len(edges)} modules follow the layers")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
