# SPDX-License-Identifier: Apache-2.0
"""Output files: written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Generator, Sequence
from pathlib import Path

from .errors import InputError

__all__ = [
    "atomic_path",
    "cache_folder",
    "cannot_write",
    "check_writable",
    "describe",
    "identity",
    "make_folder",
    "refuse_overwrite",
    "remove_empty",
    "write_bytes",
    "write_text",
]


def describe(error: OSError) -> str:
    """What the system says of an error, without the file name (which our messages begin with)."""
    return error.strerror or type(error).__name__


def cache_folder() -> Path:
    """Where trtpose keeps what it can make or fetch again.

    ``$TRTPOSE_CACHE``, else ``$XDG_CACHE_HOME/trtpose``, else ``~/.cache/trtpose``. Need not exist.
    """
    own = os.environ.get("TRTPOSE_CACHE", "")
    if own:
        return Path(own).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base and Path(base).is_absolute() else Path.home() / ".cache") / "trtpose"


def _is_special(path: Path) -> bool:
    """Whether ``path`` is a pipe or a device: written straight through, since renaming would replace it."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def _temporary(target: Path) -> Path:
    """Create an empty hidden file beside ``target`` with the same suffix (encoders choose a format by it)."""
    for _ in range(100):
        path = target.parent / f".{target.stem[:100]}.{secrets.token_hex(4)}.part{target.suffix}"
        try:
            # 0o666 less the umask, as for any new file; tempfile would make it unreadable to others.
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        except FileExistsError:
            continue
        return path
    raise FileExistsError(f"no free temporary name beside {target}")


def _no_place(target: Path, error: OSError) -> InputError:
    if not target.parent.exists():
        return InputError(f"{target}: the folder {target.parent} does not exist; create it or choose another place")
    if not target.parent.is_dir():
        return InputError(f"{target}: {target.parent} is a file, not a folder; choose another place")
    return InputError(
        f"{target}: cannot write there ({describe(error)}); choose another place or change its permissions"
    )


def cannot_write(target: str | Path, error: OSError) -> InputError:
    """The error for a file that could be opened but not written to its end."""
    return InputError(f"{target}: cannot be written ({describe(error)}); free some space or choose another place")


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Generator[Path]:
    """A temporary file to write; it takes the name ``path`` when the block ends well and vanishes when it does not.

    The temporary file lies in the folder of ``path``, so that the renaming is atomic. A symbolic link is followed, a
    pipe or device is written to directly.

    Raises:
        InputError: ``path`` is a folder, its folder does not exist or is not writable, or renaming failed. What the
            block raises passes unchanged.
    """
    target = Path(path)
    if target.is_dir():
        raise InputError(f"{target}: is a folder; give the name of a file")
    if _is_special(target):
        yield target
        return
    target = target.resolve()
    try:
        temporary = _temporary(target)
    except OSError as error:
        raise _no_place(target, error) from None
    try:
        yield temporary
        try:
            temporary.replace(target)
        except OSError as error:
            raise cannot_write(target, error) from error
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write a file whole or not at all; errors as :func:`atomic_path`."""
    with atomic_path(path) as temporary:
        try:
            temporary.write_bytes(data)
        except OSError as error:
            raise cannot_write(path, error) from error


def write_text(path: str | Path, text: str) -> None:
    """Write a text file (UTF-8) whole or not at all; errors as :func:`atomic_path`."""
    write_bytes(path, text.encode())


def check_writable(path: str | Path) -> None:
    """Find out before long work whether ``path`` can be written at its end; leaves nothing behind.

    Raises:
        InputError: as :func:`atomic_path`.
    """
    target = Path(path)
    if target.is_dir():
        raise InputError(f"{target}: is a folder; give the name of a file")
    if _is_special(target):
        return
    target = target.resolve()
    try:
        _temporary(target).unlink()
    except OSError as error:
        raise _no_place(target, error) from None


def make_folder(path: str | Path) -> list[Path]:
    """Make a folder for results, with its parents, and see that it can be written.

    Returns:
        The folders that were made here, the deepest first.

    Raises:
        InputError: a file has that name, or it cannot be made or written. Nothing is left then.
    """
    folder = Path(path)
    made: list[Path] = []
    try:
        made = [parent for parent in (folder, *folder.parents) if not parent.exists()]
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise InputError(f"{folder}: is a file; give the name of a folder for the results") from None
    except OSError as error:
        remove_empty(made)
        raise InputError(f"{folder}: the folder cannot be made ({describe(error)}); choose another place") from None
    try:
        _temporary(folder / "trtpose").unlink()
    except OSError as error:
        remove_empty(made)
        raise InputError(f"{folder}: the folder cannot be written ({describe(error)}); choose another place") from None
    return made


def remove_empty(folders: list[Path]) -> None:
    """Remove those of the folders, deepest first, that are empty."""
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()


def identity(path: Path) -> tuple[int, int] | None:
    """What a file is on this machine, whatever name it is reached by; None where there is none."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


def refuse_overwrite(target: Path, inputs: Sequence[Path]) -> None:
    """Raise InputError where ``target`` is one of the files that are read."""
    mine = identity(target)
    if mine is not None and any(identity(path) == mine for path in inputs):
        raise InputError(
            f"{target}: is one of the inputs and would be overwritten; choose another place for the results"
        )
