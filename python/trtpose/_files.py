# SPDX-License-Identifier: Apache-2.0
"""Output files: written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Generator
from pathlib import Path
from typing import BinaryIO

from . import _parts, _run
from ._kinds import Kind, refuse_foreign
from .errors import InputError

__all__ = [
    "atomic_path",
    "cache_folder",
    "cannot_write",
    "check_kind",
    "check_writable",
    "describe",
    "discard",
    "kind_of",
    "make_folder",
    "make_private_folder",
    "open_growing",
    "open_regular",
    "read_bounded",
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


def open_regular(path: str | Path) -> BinaryIO:
    """Open an ordinary file for reading. A pipe or a device is refused at once, neither opened nor waited for.

    Raises:
        OSError: as of ``open``, or with a text that says what it is instead.
    """
    _require_regular(Path(path).stat().st_mode)
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
    descriptor = os.open(path, flags)
    try:
        _require_regular(os.fstat(descriptor).st_mode)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def _require_regular(mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, f"it is not a regular file but {kind_of(mode)}; write its content into one")


def kind_of(mode: int) -> str:
    """What stands under a name, by the mode that ``stat`` gives: ``a folder``."""
    kinds = (
        (stat.S_ISDIR, "a folder"),
        (stat.S_ISFIFO, "a pipe"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISREG, "a file"),
    )
    return next((name for fits, name in kinds if fits(mode)), "a device")


def read_bounded(path: str | Path, most: int) -> bytes:
    """The content of an ordinary file of at most ``most`` bytes.

    Raises:
        OSError: as :func:`open_regular`, or where it has more.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        content = file.read(most + 1) if size <= most else b""
        if size > most or len(content) > most:
            raise OSError(errno.EFBIG, f"it has more than {most} bytes")
        return content


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


def _own_name(target: Path, *, follow: bool) -> Path:
    """The name a file takes: where links are followed, that of what it leads to.

    Raises:
        InputError: it is a link in a folder that everybody may write, put there by somebody else.
    """
    if not follow or not target.is_symlink():
        return target
    folder, link = target.parent.stat(), target.lstat()
    shared = folder.st_mode & stat.S_ISVTX and folder.st_mode & stat.S_IWOTH
    if shared and link.st_uid not in (os.geteuid(), folder.st_uid):
        raise InputError(
            f"{target}: is a link that another user put there; name the file itself or choose another place"
        )
    return target.resolve()


def _checked(path: str | Path, *, follow: bool) -> Path:
    """The file to write, which is no folder and no input; errors as :func:`atomic_path`."""
    target = Path(path)
    if target.is_dir():
        raise InputError(f"{target}: is a folder; give the name of a file")
    _run.refuse(target, follow=follow)
    return target


def discard(stack: contextlib.ExitStack) -> None:
    """Close a file that :func:`atomic_path` was entered for in ``stack``, and leave nothing of it; whatever else goes
    wrong now, the error that led here is the one to report."""
    problem = InputError("discarded")
    with contextlib.suppress(InputError, OSError):
        stack.__exit__(InputError, problem, None)


@contextlib.contextmanager
def atomic_path(path: str | Path, *, follow: bool = True) -> Generator[Path]:
    """A temporary file to write; it takes the name ``path`` when the block ends well and vanishes when it does not.

    The temporary file lies in the folder of ``path``, so that the renaming is atomic. A pipe or device is written to
    directly. Every result is written through here, and none replaces a file that the run reads (:mod:`._run`).

    Args:
        path: the file.
        follow: whether a link of that name is the file it leads to, as where a user named it; else it is replaced, as
            where only its folder was named.

    Raises:
        InputError: ``path`` is a folder or one of the inputs, its folder does not exist or is not writable, or renaming
            failed. What the block raises passes unchanged.
    """
    target = _checked(path, follow=follow)
    if _run.is_special(target):
        yield target
        return
    own = _own_name(target, follow=follow)
    if _run.first_visit(own.parent):
        _parts.remove_stale(own.parent)
    with contextlib.ExitStack() as stack:
        try:
            temporary = stack.enter_context(_parts.create(own))
        except OSError as error:
            raise _no_place(own, error) from None
        try:
            yield temporary
            _run.refuse(target, follow=follow)
            try:
                temporary.replace(own)
            except OSError as error:
                raise cannot_write(own, error) from error
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
    _run.written(target)


def open_growing(path: str | Path, keep: int = 0) -> int:
    """A descriptor of the file ``path``, emptied but for its first ``keep`` bytes, behind which it writes. For what
    must be there however the run ends: the results that are not whole or absent. Errors as :func:`atomic_path`."""
    target = _checked(path, follow=True)
    own = target if _run.is_special(target) else _own_name(target, follow=True)
    try:
        file = os.open(own, os.O_WRONLY | os.O_CREAT | (0 if keep else os.O_TRUNC), 0o666)
        if keep:
            os.ftruncate(file, keep)
            os.lseek(file, keep, os.SEEK_SET)
        return file
    except OSError as error:
        raise _no_place(own, error) from None


def write_bytes(path: str | Path, data: bytes, *, follow: bool = True) -> None:
    """Write a file whole or not at all; arguments and errors as :func:`atomic_path`."""
    with atomic_path(path, follow=follow) as temporary:
        try:
            temporary.write_bytes(data)
        except OSError as error:
            raise cannot_write(path, error) from error


def write_text(path: str | Path, text: str) -> None:
    """Write a text file (UTF-8) whole or not at all; errors as :func:`atomic_path`."""
    write_bytes(path, text.encode())


def check_kind(path: str | Path, kind: Kind) -> None:
    """See that a result of a kind may have this name; errors as :func:`check_writable`."""
    target = _checked(path, follow=True)
    if not _run.is_special(target):
        refuse_foreign(target, kind)


def check_writable(path: str | Path, kind: Kind | None = None) -> None:
    """Find out before long work whether a result can be written at its end; leaves nothing behind.

    From here on the run may not read a file of that name, nor have another result of it.

    Args:
        path: the file.
        kind: what it will hold.

    Raises:
        InputError: as :func:`atomic_path`, the name says that it is of another kind, or another result of this run is
            to be written there.
    """
    target = _checked(path, follow=True)
    if _run.is_special(target):
        return
    if kind is not None:
        refuse_foreign(target, kind)
    _run.promise(target)
    own = _own_name(target, follow=True)
    try:
        _try_out(own)
    except OSError as error:
        raise _no_place(own, error) from None


def _try_out(target: Path) -> None:
    if _run.first_visit(target.parent):
        _parts.remove_stale(target.parent)
    with _parts.create(target) as temporary:
        temporary.unlink()


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
        _try_out(folder / "trtpose")
    except OSError as error:
        remove_empty(made)
        raise InputError(f"{folder}: the folder cannot be written ({describe(error)}); choose another place") from None
    return made


def make_private_folder(path: Path) -> None:
    """Make a folder that only the user can change, and see that one that is there is so too.

    Raises:
        InputError: it is a link or a file, belongs to another user or may be written by others, or cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700)
        found = path.lstat()
    except OSError as error:
        raise InputError(f"{path}: the folder cannot be made ({describe(error)}); choose another place") from None
    remedy = "name a folder of your own with TRTPOSE_CACHE"
    if stat.S_ISLNK(found.st_mode) or not stat.S_ISDIR(found.st_mode):
        what = "a link" if stat.S_ISLNK(found.st_mode) else "a file"
        raise InputError(f"{path}: is {what} where a folder is needed that nobody else can change; {remedy}")
    if found.st_uid != os.geteuid():
        raise InputError(f"{path}: the folder belongs to another user, who could change what is kept there; {remedy}")
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise InputError(
            f"{path}: others may write to the folder, and so change what is kept there; run: chmod 700 {path}, or "
            f"{remedy}"
        )


def remove_empty(folders: list[Path]) -> None:
    """Remove those of the folders, deepest first, that are empty."""
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()
