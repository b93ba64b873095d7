# SPDX-License-Identifier: Apache-2.0
"""Writing into a model repository of Triton: whole versions, beside what is there.

https://github.com/triton-inference-server/server/blob/main/docs/user_guide/model_repository.md
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import secrets
import shutil
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .. import _files, _parts
from ..errors import InputError

__all__ = ["Model", "write_models"]

_CONFIG = "config.pbtxt"
_MARK = "# Written by trtpose triton. Its next run replaces this file only where nobody has changed it: "
_PROGRAM = 'backend: "python"'
"""The line by which a program's configuration differs from that of a network."""

_STAGED = re.compile(r"new-[0-9a-f]{16}")
_PART = re.compile(r"\.(config|trtpose)\.[0-9a-f-]{17}\.part(\.pbtxt)?")
_VERSION = re.compile(r"[1-9][0-9]{0,8}")
_LOCK = ".trtpose-triton"
_MOST_CONFIG = 16 << 20


@dataclass(frozen=True)
class Model:
    """A model to write: its name, the text of its configuration, and the files of its new version."""

    name: str
    config: str
    files: Mapping[str, bytes] = field(repr=False)


def write_models(repository: Path, models: Sequence[Model]) -> int:
    """Write a version of each of some models, all of the same number, one above the highest that is there.

    A version's folder appears whole, and configurations that are there are replaced when all of them have; where
    anything fails, what was there before is there again.

    Args:
        repository: the folder, made where it is missing.
        models: in the order in which they appear: those that others need first.

    Returns:
        The number.

    Raises:
        InputError: a model of that name is somebody else's, or was changed, or the folder cannot be written. Nothing is
            left then.
    """
    made = _files.make_folder(repository)
    try:
        with _alone(repository):
            _parts.remove_stale(repository)
            for model in models:
                _check(repository / model.name, model)
            number = 1 + max(_highest(repository / model.name) for model in models)
            with contextlib.ExitStack() as undo:
                _write(repository, models, number, undo)
                undo.pop_all()
    except BaseException:
        _files.remove_empty(made)
        raise
    return number


@contextlib.contextmanager
def _alone(repository: Path) -> Generator[None]:
    """One that writes at a time."""
    lock = repository / _LOCK
    try:
        with _parts.locked(lock) as descriptor:
            if descriptor is None:
                raise InputError(f"{repository}: another trtpose triton writes there; try again when it has ended")
            try:
                yield
            finally:
                lock.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"{repository}: cannot be written ({_files.describe(error)}); check the folder") from error


def _check(folder: Path, model: Model) -> None:
    """See that a model's folder is not there, or one of its kind that was written here."""
    if not folder.exists() and not folder.is_symlink():
        return
    other = f"{folder}: is not of trtpose triton; give another --name, or another --repository"
    if folder.is_symlink() or not folder.is_dir():
        raise InputError(other)
    try:
        text = _files.read_bounded(folder / _CONFIG, _MOST_CONFIG).decode()
    except (OSError, ValueError):
        # What a run that was killed left, before there was a configuration.
        if all(_STAGED.fullmatch(entry.name) or _PART.fullmatch(entry.name) for entry in folder.iterdir()):
            return
        raise InputError(other) from None
    first, _, body = text.partition("\n")
    if not first.startswith(_MARK):
        raise InputError(other)
    if first.removeprefix(_MARK) != _hash(body):
        raise InputError(
            f"{folder / _CONFIG}: was changed since trtpose triton wrote it; move it away to have it written anew, or "
            "give another --name"
        )
    if _takes_pictures(body) != _takes_pictures(model.config):
        what = "takes pictures itself" if _takes_pictures(body) else "is the network behind another model"
        raise InputError(f"{folder}: {what}; give another --name")


def _takes_pictures(config: str) -> bool:
    return _PROGRAM in config.splitlines()


def _hash(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()[:32]


def _highest(folder: Path) -> int:
    names = (entry.name for entry in folder.iterdir()) if folder.is_dir() else ()
    return max((int(name) for name in names if _VERSION.fullmatch(name)), default=0)


def _write(repository: Path, models: Sequence[Model], number: int, undo: contextlib.ExitStack) -> None:
    staged: list[tuple[Path, Path]] = []
    for model in models:
        folder = repository / model.name
        undo.callback(_files.remove_empty, _files.make_folder(folder))
        _parts.remove_stale(folder)
        for leftover in folder.iterdir():
            if _STAGED.fullmatch(leftover.name):
                shutil.rmtree(leftover, ignore_errors=True)
        place = folder / f"new-{secrets.token_hex(8)}"
        undo.callback(shutil.rmtree, place, ignore_errors=True)
        try:
            place.mkdir()
            for name, content in model.files.items():
                with (place / name).open("xb") as file:
                    file.write(content)
        except OSError as error:
            raise _files.cannot_write(place / "", error) from error
        staged.append((place, folder / str(number)))
    # Of a new model first, so that what a killed run leaves can be told from what is somebody's own.
    new = [model for model in models if not (repository / model.name / _CONFIG).exists()]
    for model in new:
        _replace(repository / model.name / _CONFIG, model.config, undo)
    for place, version in staged:
        undo.callback(shutil.rmtree, version, ignore_errors=True)
        try:
            place.rename(version)
        except OSError as error:
            raise _files.cannot_write(version, error) from error
    for model in models:
        if model not in new:
            _replace(repository / model.name / _CONFIG, model.config, undo)


def _replace(path: Path, body: str, undo: contextlib.ExitStack) -> None:
    """A configuration in place of the one that is there."""
    if path.exists():
        undo.callback(_restore, path, path.read_bytes())
    else:
        undo.callback(path.unlink, missing_ok=True)
    with _files.atomic_path(path, follow=False) as temporary:
        try:
            temporary.write_text(f"{_MARK}{_hash(body)}\n{body}", encoding="utf-8")
        except OSError as error:
            raise _files.cannot_write(path, error) from error


def _restore(path: Path, content: bytes) -> None:
    with contextlib.suppress(InputError), _files.atomic_path(path, follow=False) as temporary:
        temporary.write_bytes(content)
