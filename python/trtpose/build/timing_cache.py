# SPDX-License-Identifier: Apache-2.0
"""Kernel timings of earlier builds, which make the next build of a like network faster and the same."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Generator
from pathlib import Path
from typing import Any

from .. import _files
from ..errors import InputError

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None

__all__ = ["TimingCache", "default_path"]

_MAX_CACHE = 1 << 30  # bytes; they grow with every kernel that was tried


def default_path(version: str, device: str, capability: str) -> Path:
    """The file in the user's cache folder for a library version and a GPU: timings of others are of no use."""
    name = re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-")
    return _files.cache_folder() / "timing" / f"tensorrt-{version}-{name}-{capability}.cache"


class TimingCache:
    """A file of timings, shared by builds that may run at the same time.

    A cache that cannot be read or written costs time and nothing else, so no error is raised.

    Attributes:
        problem: why the file was not written, empty if it was.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problem = ""
        self._cache: Any = None

    def _read(self) -> bytes:
        try:
            return _files.read_bounded(self.path, _MAX_CACHE)
        except OSError:
            return b""

    def attach(self, config: Any) -> None:
        """Let a builder use the timings of the file."""
        self._cache = self._load(config, self._read())
        if self._cache is not None:
            config.set_timing_cache(self._cache, False)

    @staticmethod
    def _load(config: Any, data: bytes) -> Any:
        cache = config.create_timing_cache(data)
        # What TensorRT does not take, from a damaged file or of another version, is begun anew.
        return cache if cache is not None or not data else config.create_timing_cache(b"")

    def keep(self, config: Any) -> None:
        """Add what a builder timed to the file."""
        mine = config.get_timing_cache()
        if mine is None:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self._locked():
                # Another build may have written since this one read.
                theirs = self._load(config, self._read())
                if theirs is not None and theirs.combine(mine, False):
                    mine = theirs
                _files.write_bytes(self.path, bytes(memoryview(mine.serialize())))
        except OSError as error:
            self.problem = f"the timings are not kept: {self.path} cannot be written ({_files.describe(error)})"
        except InputError as error:
            self.problem = f"the timings are not kept: {error}"

    @contextlib.contextmanager
    def _locked(self) -> Generator[None]:
        if fcntl is None:
            yield
            return
        lock = self.path.with_name(self.path.name + ".lock")
        # Whatever has that name is left as it is.
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)
