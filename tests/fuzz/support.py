# SPDX-License-Identifier: Apache-2.0
"""What the targets in Python share."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import atheris

FORBIDDEN = frozenset({"import", "exec", "compile", "os.system", "os.exec", "os.posix_spawn", "subprocess.Popen"})
"""Audit events that no reader of a file may cause."""

_caused: list[str] = []


def _note(event: str, arguments: tuple[object, ...]) -> None:
    if event in FORBIDDEN or event == "pickle.find_class":
        _caused.append(f"{event} {arguments!r:.200}")


def scratch_file(name: str) -> Path:
    """A path in a folder that goes with the program; in memory, where the system has it."""
    folder = tempfile.mkdtemp(prefix="trtpose-fuzz-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder) / name


def _functions(value: Any, module: str, seen: set[int]) -> Iterator[types.FunctionType]:
    """Those that a module defines, also in its classes and tables."""
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, (staticmethod, classmethod)):
        value = value.__func__
    if isinstance(value, types.FunctionType):
        if value.__module__ == module:
            yield value
    elif isinstance(value, type):
        if value.__module__ == module:
            yield from _functions(dict(vars(value)), module, seen)
    elif isinstance(value, property):
        yield from _functions(value.fget, module, seen)
    elif isinstance(value, (dict, tuple)):
        for one in list(value.values()) if isinstance(value, dict) else value:
            yield from _functions(one, module, seen)


def instrument(*modules: types.ModuleType) -> None:
    """Have the coverage of these modules counted, and of no others.

    Not by ``atheris.instrument_imports``: the loader of an editable installation hides the code from it.
    """
    for module in modules:
        for function in _functions(dict(vars(module)), module.__name__, set()):
            atheris.instrument_func(function)


def run(one: Callable[[bytes], None], warm: list[bytes]) -> None:
    """Fuzz with ``one``, which fails by raising, or by causing a forbidden event.

    Args:
        one: takes an input.
        warm: inputs after which everything that is imported late has been.
    """
    for data in warm:
        one(data)
    sys.addaudithook(_note)

    def watched(data: bytes) -> None:
        _caused.clear()
        one(data)
        assert not _caused, f"reading it caused {_caused}"

    atheris.Setup(sys.argv, watched)
    atheris.Fuzz()
