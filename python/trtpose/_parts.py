# SPDX-License-Identifier: Apache-2.0
"""Temporary files beside the results they become, and the removal of those whose process is dead.

A process holds a lock on each of its own for as long as it lives; that is what tells them apart, not the number of a
process, which means nothing in another container that shares the folder. The lock is on a byte far behind the end: some
network file systems make it mandatory, and the file is written through other descriptors. A file system that has no
such locks keeps its leftovers.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import re
import secrets
import stat
import struct
from collections.abc import Generator
from pathlib import Path

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None

__all__ = ["create", "locked", "remove_stale"]

_PART = re.compile(r"\..*\.(?P<boot>[0-9a-f]{8})-[0-9a-f]{8}\.part(\.[^.]{1,15})?", re.DOTALL)
_UNKNOWN = "0" * 8
_FAR = 1 << 62
_LOCAL = frozenset({"ext2", "ext3", "ext4", "f2fs", "overlay", "tmpfs", "xfs"})
"""File systems that belong to one running system: what another boot left there is dead."""


@functools.cache
def _boot() -> str:
    """Eight hexadecimal digits that tell this system, since it was started, from others."""
    try:
        text = Path("/proc/sys/kernel/random/boot_id").read_bytes().strip()
    except OSError:
        return _UNKNOWN
    return hashlib.sha256(text).hexdigest()[:8]


def _lock(descriptor: int) -> bool | None:
    """Lock a file for as long as it is open here; False where another holds it, None where there are no such locks."""
    if fcntl is None or not hasattr(fcntl, "F_OFD_SETLK"):
        return None
    request = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, _FAR, 1, 0)
    try:
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, request)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        return None
    return True


def _is_still(descriptor: int, path: Path) -> bool:
    """Whether ``path`` still names the open file."""
    try:
        found = path.stat(follow_symlinks=False)
    except OSError:
        return False
    return os.path.samestat(found, os.fstat(descriptor))


@contextlib.contextmanager
def locked(path: Path) -> Generator[int | None]:
    """A file that one process works on at a time, made where it is missing: its descriptor, None where another has it.

    Raises:
        OSError: it cannot be opened, is a link, or no ordinary file.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(0, "not an ordinary file")
        yield None if _lock(descriptor) is False or not _is_still(descriptor, path) else descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def create(target: Path) -> Generator[Path]:
    """An empty hidden file beside ``target`` with the same suffix (encoders choose a format by it); not removed here.

    Raises:
        OSError: there is no such folder, or it cannot be written.
    """
    stem = target.stem.encode(errors="replace")[:100].decode(errors="ignore")
    suffix = target.suffix if len(target.suffix) <= 16 else ""
    for _ in range(100):
        path = target.parent / f".{stem}.{_boot()}-{secrets.token_hex(4)}.part{suffix}"
        try:
            # 0o666 less the umask, as for any new file; tempfile would make it unreadable to others.
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o666)
        except FileExistsError:
            continue
        try:
            # Another process may have found it in the moment before it was locked, and taken it for a leftover.
            if _lock(descriptor) is False or not _is_still(descriptor, path):
                continue
            yield path
            return
        finally:
            os.close(descriptor)
    raise FileExistsError(f"no free temporary name beside {target}")


def remove_stale(folder: Path) -> None:
    """Remove the temporary files of dead processes from a folder; whatever may be alive is left."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            found = _PART.fullmatch(entry.name)
            if found is not None and (found["boot"] == _boot() != _UNKNOWN or _is_local(folder)):
                with contextlib.suppress(OSError):
                    _remove_unlocked(Path(entry.path))


def _remove_unlocked(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        if stat.S_ISREG(os.fstat(descriptor).st_mode) and _lock(descriptor) and _is_still(descriptor, path):
            path.unlink()
    finally:
        os.close(descriptor)


def _is_local(folder: Path) -> bool:
    """Whether a folder is on a file system that no other running system can have open."""
    try:
        device = folder.stat().st_dev
        lines = Path("/proc/self/mountinfo").read_text(errors="replace").splitlines()
    except OSError:
        return False
    number = f"{os.major(device)}:{os.minor(device)}"
    kinds = {line.partition(" - ")[2].split(" ")[0] for line in lines if line.split(" ")[2:3] == [number]}
    return bool(kinds) and kinds <= _LOCAL
