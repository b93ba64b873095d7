# SPDX-License-Identifier: Apache-2.0
"""Frames of a list of sources."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from .. import _run
from .._checks import choice, instance, whole
from .._process import Birth
from ..errors import InputError
from . import running
from .channel import Channel
from .frame import Frame
from .pictures import MAX_PIXELS, pixels
from .plan import STILL, Item, expand
from .reader import Reader

__all__ = ["Sources"]


class Sources:
    """Frames of a list of sources, in order, decoded ahead by one thread.

    A source is a path to a picture or video; a folder, whose pictures and videos are taken in the order of their names
    (subfolders and hidden files are not looked at; a picture is known by its suffix or else by how it begins); a
    pattern with ``*``, ``?`` or ``[``, where ``**`` spans folders; a camera number, as int or digits; an address
    (``rtsp://``, ``http://``...); or an array, (height, width, 3) or (n, height, width, 3), uint8, BGR.

    Something that cannot be read gives a :class:`Frame` with ``error`` set, and the run goes on. Use it as a context
    manager, or call :meth:`close`; leaving early stops the thread. Reading that has begun goes on in its own process
    alone, not in one forked from it.

    Args:
        items: one source or several.
        depth: frames decoded ahead, at least 1. At most 512 MiB are held, or one frame if it alone is larger.
        policy: for cameras and streams, ``latest`` gives the newest frame and drops those that came in meanwhile,
            ``every`` gives all of them and may lag behind. Files always give every frame.
        reconnect: how often a stream that breaks off is opened again, with growing pauses.
        transport: how an RTSP server is asked to send, ``tcp`` or ``udp``.
        max_pixels: larger pictures and videos are refused, see :data:`MAX_PIXELS`.

    Raises:
        InputError: no source at all, a folder without pictures or videos, a pattern without matches, or an item of
            another type. When iterating: the reading began before a fork.
    """

    def __init__(
        self,
        items: Any,
        *,
        depth: int = 4,
        policy: str = "latest",
        reconnect: int = 3,
        transport: str = "tcp",
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        choice(policy, "policy", ("latest", "every"))
        choice(transport, "transport", ("tcp", "udp"))
        if isinstance(items, (str, bytes, os.PathLike, int, np.integer, np.ndarray)) or not isinstance(items, Iterable):
            items = [items]
        plan: list[Item] = []
        left_out: list[str] = []
        for number, item in enumerate(items):
            plan.extend(expand(item, number, left_out))
        if not plan:
            raise InputError("no source was given; name a picture, a folder, a video, a camera or an address")
        numbered = [Item(item.kind, item.value, item.name, position) for position, item in enumerate(plan)]
        self._set_up(numbered, depth, policy, reconnect, max_pixels, transport)
        self._left_out = left_out

    @classmethod
    def of_files(cls, paths: Iterable[str | Path], *, depth: int = 4, max_pixels: int = MAX_PIXELS) -> Sources:
        """Exactly these files, as pictures: names are not read as patterns, addresses or camera numbers."""
        instance(paths, "paths", (list, tuple, Iterator), "a list of files")
        sources = cls.__new__(cls)
        items = [Item("picture", str(path), str(path), position) for position, path in enumerate(paths)]
        sources._set_up(items, depth, "every", 0, max_pixels)
        return sources

    def _set_up(
        self, plan: list[Item], depth: int, policy: str, reconnect: int, max_pixels: int, transport: str = "tcp"
    ) -> None:
        self._channel = Channel(whole(depth, "depth", 1), 512 << 20)
        _run.reads(*(item.value for item in plan if item.kind in ("picture", "video")))
        self._plan = plan
        self._left_out: list[str] = []
        self._policy = policy
        self._reconnect = whole(reconnect, "reconnect")
        self._max_pixels = pixels(max_pixels)
        self._transport = transport
        self._thread: threading.Thread | None = None
        self._birth = Birth()

    def __len__(self) -> int:
        """Number of sources after folders and patterns were expanded; a video counts as one."""
        return len(self._plan)

    @property
    def names(self) -> list[str]:
        """Name of each source, in order."""
        return [item.name for item in self._plan]

    @property
    def files(self) -> list[Path]:
        """The sources that are files, in order."""
        return [Path(item.value) for item in self._plan if item.kind in ("picture", "video")]

    def video_file(self, position: int) -> Path | None:
        """The file of the source of that number, where it is taken for a video."""
        item = self._plan[position]
        return Path(item.value) if item.kind == "video" else None

    @property
    def left_out(self) -> list[str]:
        """What folders and patterns hold besides pictures, videos and hidden files; subfolders end in ``/``."""
        return list(self._left_out)

    def is_video(self, position: int) -> bool | None:
        """Whether the source of that number gives many frames: a video, camera or stream; None where only the answer of
        an http address will tell."""
        kind = self._plan[position].kind
        return None if kind == "web" else kind not in STILL

    @property
    def pictures_only(self) -> bool:
        """Whether every source is known to give exactly one frame."""
        return all(item.kind in STILL for item in self._plan)

    def __enter__(self) -> Sources:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_birth") and self._reads_here:
            self._channel.close()

    @property
    def _reads_here(self) -> bool:
        """Whether the thread that reads, if there is one, is in this process."""
        return self._thread is None or self._birth.here

    def close(self) -> None:
        """Stop decoding. Safe to call twice; frames not yet given out are dropped."""
        if not self._reads_here:
            return  # the channel's lock may be held by a thread that is not here
        self._channel.close()
        if self._thread is not None and self._thread is not threading.current_thread():
            # A read of a camera or stream cannot be interrupted; the thread is a daemon and ends when it returns.
            self._thread.join(timeout=2.0)

    def __iter__(self) -> Iterator[Frame]:
        if self._thread is None:
            # The thread must not keep this object alive, or dropping it half read would leave it running.
            reader = Reader(self._plan, self._channel, self._policy, self._reconnect, self._max_pixels, self._transport)
            self._birth = Birth()
            self._thread = threading.Thread(target=reader.run, name="trtpose-sources", daemon=True)
            running.start(self._thread, self._channel)
        while True:
            if not self._birth.here:
                raise InputError(
                    f"{self._plan[0].name}: was being read before this process was forked, and the thread that reads "
                    "stayed behind; make new Sources in this process"
                )
            frame = self._channel.get()
            if frame is None:
                return
            yield frame
