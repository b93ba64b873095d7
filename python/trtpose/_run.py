# SPDX-License-Identifier: Apache-2.0
"""The files of one run: what it reads, which none of its results may replace, and where its results go.

Whatever opens an input says so (:func:`reads`), and the one function that opens outputs asks (:func:`promise`). Either
may come first: whichever is second raises. Files are compared by what they are on this machine, so that links, hard
links and other spellings of a path are the same file, and by name, so that one that does not exist yet is compared too.

Outside of a run nothing is remembered: a library's user may well read what an earlier call wrote, and write it again.
"""

from __future__ import annotations

import contextlib
import functools
import os
import stat
from collections.abc import Callable, Generator
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import ParamSpec, TypeVar

from .errors import InputError
from .formats.beside import files_beside

__all__ = [
    "first_visit",
    "identity",
    "is_special",
    "one_run",
    "promise",
    "reads",
    "reads_model",
    "refuse",
    "run",
    "written",
]

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")
_Identity = tuple[int, int]


@dataclass
class _Files:
    """Paths by what the file is, and by every name it was given."""

    by_identity: dict[_Identity, Path] = field(default_factory=dict)
    by_name: dict[str, Path] = field(default_factory=dict)
    keys: dict[Path, tuple[_Identity | None, list[str]]] = field(default_factory=dict)
    folders: dict[Path, str] = field(default_factory=dict)

    def names(self, path: Path, *, follow: bool) -> list[str]:
        """The file's own name below its folder's real one; with ``follow`` also that of the file a link leads to."""
        if path.parent not in self.folders:
            self.folders[path.parent] = os.path.realpath(path.parent)
        own = str(Path(self.folders[path.parent]) / path.name)
        return [own, os.path.realpath(own)] if follow and path.is_symlink() else [own]

    def add(self, path: Path, *, follow: bool = True) -> None:
        found, names = identity(path), self.names(path, follow=follow)
        self.keys[path] = found, names
        if found is not None:
            self.by_identity.setdefault(found, path)
        for name in names:
            self.by_name.setdefault(name, path)

    def remove(self, path: Path) -> None:
        found, names = self.keys.pop(path, (None, []))
        if found is not None and self.by_identity.get(found) == path:
            del self.by_identity[found]
        for name in names:
            self.by_name.pop(name, None)

    def find(self, path: Path, *, follow: bool = True) -> Path | None:
        """The known path of the same file."""
        found = identity(path)
        known = None if found is None else self.by_identity.get(found)
        # The number of a file that is gone may have been given to another.
        if known is not None and identity(known) == found:
            return known
        return next((self.by_name[name] for name in self.names(path, follow=follow) if name in self.by_name), None)


@dataclass
class _Run:
    inputs: _Files = field(default_factory=_Files)
    outputs: _Files = field(default_factory=_Files)
    models: list[Path] = field(default_factory=list)
    visited: set[_Identity] = field(default_factory=set)


_current: ContextVar[_Run | None] = ContextVar("trtpose_run", default=None)


@contextlib.contextmanager
def run() -> Generator[None]:
    """Remember the files of what happens inside; a run within a run is part of it."""
    if _current.get() is not None:
        yield
        return
    token = _current.set(_Run())
    try:
        yield
    finally:
        _current.reset(token)


def one_run(function: Callable[_Parameters, _Result]) -> Callable[_Parameters, _Result]:
    """A function whose every call is a :func:`run`."""

    @functools.wraps(function)
    def call(*args: _Parameters.args, **kwargs: _Parameters.kwargs) -> _Result:
        with run():
            return function(*args, **kwargs)

    return call


def identity(path: Path) -> _Identity | None:
    """What a file is on this machine, whatever name it is reached by; None where there is none."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


def is_special(path: Path) -> bool:
    """Whether ``path`` is a pipe or a device: written straight through, since renaming would replace it."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def reads(*paths: str | os.PathLike[str]) -> None:
    """Say that files are inputs of this run; where there is none, nothing is remembered.

    Raises:
        InputError: a result of this run would replace one of them.
    """
    state = _current.get()
    if state is None:
        return
    for path in map(Path, paths):
        if is_special(path):
            continue
        # Known in any case: whoever takes the error for that of one picture must not replace it in the end.
        state.inputs.add(path)
        target = state.outputs.find(path)
        if target is not None:
            raise _overwritten(target, path)


def reads_model(path: str | os.PathLike[str]) -> None:
    """As :func:`reads` of an ONNX model or engine file, and of the files that an ONNX model has weights in."""
    state = _current.get()
    if state is None:
        return
    if Path(path).suffix.lower() == ".onnx":
        state.models.append(Path(path))
    reads(path)
    if state.outputs.keys:
        _read_beside(state)


def _read_beside(state: _Run) -> None:
    """Find the files beside models, which takes as long as reading these does, so only where one may be replaced."""
    models, state.models = state.models, []
    for model in models:
        reads(*files_beside(model))


def refuse(target: Path, *, follow: bool = True) -> None:
    """Raise InputError where ``target`` is one of the inputs of this run."""
    state = _current.get()
    if state is None or is_special(target):
        return
    if target.is_file():
        _read_beside(state)
    known = state.inputs.find(target, follow=follow)
    if known is not None:
        raise _overwritten(target, known)


def promise(target: Path, *, follow: bool = True) -> None:
    """Say that a result of this run will be written to ``target``; ``follow`` as of :func:`_files.atomic_path`.

    Raises:
        InputError: it is one of the inputs, or another result goes there.
    """
    refuse(target, follow=follow)
    state = _current.get()
    if state is None or is_special(target):
        return
    if any(name in state.outputs.by_name for name in state.outputs.names(target, follow=follow)):
        raise InputError(f"{target}: is named for two results, and one would replace the other; give each its own name")
    state.outputs.add(target, follow=follow)


def written(target: Path) -> None:
    """Say that a result is there: from now on it may be read."""
    state = _current.get()
    if state is not None:
        state.outputs.remove(target)


def first_visit(folder: Path) -> bool:
    """Whether this is the first time in this run that results go to ``folder``; False outside of a run."""
    state, found = _current.get(), identity(folder)
    if state is None or found is None or found in state.visited:
        return False
    state.visited.add(found)
    return True


def _overwritten(target: Path, source: Path) -> InputError:
    same = "" if target == source else f" (the same file as {source})"
    return InputError(
        f"{target}: is one of the inputs and would be overwritten{same}; choose another place for the results"
    )
