#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Check that no function is longer than 60 lines and no file longer than 500, in C++, CUDA, Python and shell.

    python tools/check_sizes.py [ROOT]

A function counts from the line that begins its signature to the one that ends it, with comments, documentation and what
is nested in it. What may be longer stands in tools/excused_sizes.txt, one line each::

    path[::function] lines - reason

``lines`` is the size of today. The list can only shrink: one that grew fails, and so does a line that has become too
generous or useless.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import lizard

LONGEST_FUNCTION = 60
LONGEST_FILE = 500
FOLDERS = ("cpp", "plugins", "python", "tests", "tools", "benchmarks", "examples", "findings", ".ci")
CPP = (".hpp", ".cpp", ".cu", ".cuh", ".h")
EXCUSED = "tools/excused_sizes.txt"
EXCUSE = re.compile(r"(?P<item>\S+) (?P<lines>\d+) - \S.*")
SHELL_FUNCTION = re.compile(r"^(?P<indent>\s*)(?:function\s+)?(?P<name>[\w-]+)\s*\(\)\s*\{(?P<rest>.*)$")
GTEST = re.compile(r"^(?:TYPED_)?TEST(?:_[FP])?$")


class Function(NamedTuple):
    name: str
    """Of a method ``Class.method``, of a test in C++ ``Suite.Name``."""
    line: int
    lines: int


def python_functions(text: str) -> Iterator[Function]:
    def walk(node: ast.AST, outer: str) -> Iterator[Function]:
        for child in ast.iter_child_nodes(node):
            inner = outer
            if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                inner = f"{outer}{child.name}."
                if not isinstance(child, ast.ClassDef):
                    yield Function(inner[:-1], child.lineno, (child.end_lineno or child.lineno) - child.lineno + 1)
            yield from walk(child, inner)

    return walk(ast.parse(text), "")


def cpp_functions(path: Path, text: str) -> Iterator[Function]:
    # A name that lizard knows: it reads a file as C++ by its ending.
    for found in lizard.analyze_file.analyze_source_code(path.with_suffix(".cpp").name, text).function_list:
        name = found.name.rpartition("trtpose::")[2]
        if GTEST.match(name.rpartition("::")[2]):
            name = ".".join(re.findall(r"\w+", found.long_name.partition("(")[2])[:2])
        yield Function(name.replace(" ", ""), found.start_line, found.end_line - found.start_line + 1)


def shell_functions(text: str) -> Iterator[Function]:
    """Functions as they are written here: ``name() {`` alone, and a brace under it where it ends."""
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        begin = SHELL_FUNCTION.match(line)
        if not begin or begin["rest"].rstrip().endswith("}"):
            continue
        end = f"{begin['indent']}}}"
        last = next((k for k in range(number, len(lines)) if lines[k].rstrip() == end), len(lines) - 1)
        yield Function(begin["name"], number, last + 2 - number)


def functions(path: Path, text: str) -> list[Function]:
    if path.suffix == ".py":
        return list(python_functions(text))
    return list(cpp_functions(path, text) if path.suffix in CPP else shell_functions(text))


def sources(root: Path) -> list[Path]:
    return [
        path
        for folder in FOLDERS
        for path in sorted((root / folder).rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts and is_source(path)
    ]


def is_source(path: Path) -> bool:
    if path.suffix in (*CPP, ".py", ".sh"):
        return True
    return not path.suffix and path.open("rb").readline().startswith(b"#!/usr/bin/env bash")


def measure(root: Path) -> Iterator[tuple[str, int, int, int]]:
    """Every file (``path``) and function (``path::name``): its line, its lines, and how many it may have."""
    for path in sources(root):
        text = path.read_text(encoding="utf-8")
        name = path.relative_to(root).as_posix()
        yield name, 1, len(text.splitlines()), LONGEST_FILE
        for function in functions(path, text):
            yield f"{name}::{function.name}", function.line, function.lines, LONGEST_FUNCTION


def read_excuses(path: Path) -> tuple[dict[str, tuple[int, int]], list[str]]:
    """What is excused, as item: (line of the list, lines recorded); and what is wrong with the list."""
    excuses: dict[str, tuple[int, int]] = {}
    wrong: list[str] = []
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = EXCUSE.fullmatch(line.rstrip())
        if not match:
            wrong.append(f"{EXCUSED}:{number}: {line!r} is not 'path[::function] lines - reason'")
        elif match["item"] in excuses:
            wrong.append(f"{EXCUSED}:{number}: {match['item']} stands twice; take one line out")
        else:
            excuses[match["item"]] = (number, int(match["lines"]))
    return excuses, wrong


def problems(root: Path) -> list[str]:
    excuses, found = read_excuses(root / EXCUSED)
    longest: dict[str, int] = {}
    for item, line, lines, limit in measure(root):
        longest[item] = max(lines, longest.get(item, 0))  # overloads share a name
        where, _, function = item.partition("::")
        what = f"{where}:{line}: {f'function {function}' if function else 'the file'} has {lines} lines"
        if item in excuses:
            if lines > excuses[item][1]:
                found.append(f"{what}, {excuses[item][1]} are excused in {EXCUSED}: divide it, the list only shrinks")
        elif lines > limit:
            found.append(f"{what}, {lines - limit} over the limit of {limit}: divide it")
    for item, (number, recorded) in excuses.items():
        limit = LONGEST_FUNCTION if "::" in item else LONGEST_FILE
        where = f"{EXCUSED}:{number}: {item}"
        if item not in longest:
            found.append(f"{where} does not exist: take the line out")
        elif longest[item] <= limit:
            found.append(f"{where} has {longest[item]} lines, no longer over the limit of {limit}: take the line out")
        elif longest[item] < recorded:
            found.append(f"{where} has {longest[item]} lines, {recorded} are written: write {longest[item]}")
    return found


def main() -> int:
    root = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else Path(__file__).resolve().parent.parent
    bad = problems(root)
    excused = len(read_excuses(root / EXCUSED)[0])
    print("\n".join(bad) if bad else f"sizes: {len(sources(root))} files, {excused} excused")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
