# SPDX-License-Identifier: Apache-2.0
"""Frames of a list of sources."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from .. import _run
from .._checks import choice, instance, whole
from .._process import Birth
from .._pyav import DECODERS
from ..errors import InputError
from . import running
from .ahead import Ahead, helpers
from .channel import Channel, Ended, Notice, Store
from .decoders import check as check_decoder
from .frame import Batch, Counters, Frame
from .pictures import MAX_PIXELS, pixels
from .plan import STILL, Item, expand, in_order
from .reader import Reader

__all__ = ["Sources"]

_MAX_BYTES = 512 << 20

_TRIES = 3
"""How often what stands in a row is tried again where nothing is said; the others wait meanwhile."""


class Sources:
    """Frames of a list of sources, decoded ahead.

    Files, pictures and arrays come in order, read by one thread; on a machine of four cores or more others decode
    picture files before their turn. Each camera and stream has a thread of its own, and those that have frames are
    taken from in turn, so that none waits for another.

    A source is a path to a picture or video; a folder, whose pictures and videos are taken in the order of their names
    (subfolders and hidden files are not looked at; a picture is known by its suffix or else by how it begins); a
    pattern with ``*``, ``?`` or ``[``, where ``**`` spans folders; a camera number, as int or digits; an address
    (``rtsp://``, ``http://``...); or an array, (height, width, 3) or (n, height, width, 3), uint8, BGR.

    A file ``.txt`` or ``.streams`` is a list of sources, one on a line; see :func:`trtpose.sources.lists.read_list`.

    Something that cannot be read gives a :class:`Frame` with ``error`` set, and the run goes on. Use it as a context
    manager, or call :meth:`close`; leaving early stops the threads. Reading that has begun goes on in its own process
    alone, not in one forked from it.

    Args:
        items: one source or several.
        depth: frames decoded ahead by each thread, at least 1. At most 512 MiB are held in all, or one frame if it
            alone is larger.
        policy: for cameras and streams, ``latest`` gives the newest frame and drops those that came in meanwhile,
            ``every`` gives all of them and may lag behind. Files always give every frame.
        reconnect: how often in a row a camera or stream that breaks off or is not there yet is tried again, with
            growing pauses; None does so for ever. A wrong password and the like are not tried again. An address that
            looks like a picture's is tried again three times where this is None.
        transport: how an RTSP server is asked to send, ``tcp`` or ``udp``.
        decode: what decodes videos and streams: ``cpu``, or a device as FFmpeg names it, such as ``cuda``. Codecs that
            the device has no decoder for are decoded on the CPU. Cameras by number are read through OpenCV in any case.
        max_pixels: larger pictures and videos are refused, see :data:`MAX_PIXELS`.
        notify: called, in the thread that iterates, with a sentence when a camera or stream has trouble that may pass,
            once for each kind of trouble, and when it is there again.

    Raises:
        DeviceError: the device of ``decode`` cannot be used; says why.
        InputError: no source at all, a folder without pictures or videos, a pattern without matches, or an item of
            another type. When iterating: the reading began before a fork.
    """

    def __init__(
        self,
        items: Any,
        *,
        depth: int = 4,
        policy: str = "latest",
        reconnect: int | None = None,
        transport: str = "tcp",
        decode: str = "cpu",
        max_pixels: int = MAX_PIXELS,
        notify: Callable[[str], None] | None = None,
    ) -> None:
        choice(policy, "policy", ("latest", "every"))
        choice(transport, "transport", ("tcp", "udp"))
        choice(decode, "decode", DECODERS)
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
        self.notify = notify
        self._decode = decode
        if any(item.kind in ("video", "stream", "web") for item in plan):
            check_decoder(decode)

    @classmethod
    def of_files(cls, paths: Iterable[str | Path], *, depth: int = 4, max_pixels: int = MAX_PIXELS) -> Sources:
        """Exactly these files, as pictures: names are not read as patterns, addresses or camera numbers."""
        instance(paths, "paths", (list, tuple, Iterator), "a list of files")
        sources = cls.__new__(cls)
        items = [Item("picture", str(path), str(path), position) for position, path in enumerate(paths)]
        sources._set_up(items, depth, "every", 0, max_pixels)
        return sources

    def _set_up(
        self,
        plan: list[Item],
        depth: int,
        policy: str,
        reconnect: int | None,
        max_pixels: int,
        transport: str = "tcp",
    ) -> None:
        depth = whole(depth, "depth", 1)
        reconnect = None if reconnect is None else whole(reconnect, "reconnect")
        _run.reads(*(item.value for item in plan if item.kind in ("picture", "video")))
        self._plan = plan
        self._left_out: list[str] = []
        self._passed: set[int] = set()
        self._first: set[int] = set()
        self.notify: Callable[[str], None] | None = None
        self._policy = policy
        self._depth = depth
        self._reconnect = reconnect
        self._max_pixels = pixels(max_pixels)
        self._transport = transport
        self._decode = "cpu"
        self._store = Store(_MAX_BYTES, len(plan))
        self._threads: list[threading.Thread] = []
        self._birth = Birth()

    def __len__(self) -> int:
        """Number of sources after folders and patterns were expanded, without those passed over; a video counts as
        one."""
        return len(self._plan) - len(self._passed)

    def pass_over(self, positions: Iterable[int]) -> None:
        """Do not read the sources of these numbers. They keep their place among :attr:`names`.

        Raises:
            InputError: reading has begun.
        """
        if self._threads:
            raise InputError("pass_over: reading has begun; say before it what is to be passed over")
        self._passed |= {position for position in positions if 0 <= position < len(self._plan)}

    def begin_with(self, positions: Iterable[int]) -> None:
        """Read the sources of these numbers before the others; of no matter to cameras and streams.

        Raises:
            InputError: reading has begun.
        """
        if self._threads:
            raise InputError("begin_with: reading has begun; say before it what comes first")
        self._first |= set(positions)

    def is_passed_over(self, position: int) -> bool:
        """Whether the source of that number is not read."""
        return position in self._passed

    def is_live(self, position: int) -> bool:
        """Whether the source of that number is known to be a camera or stream, before it is opened."""
        return self._plan[position].kind in ("camera", "stream")

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
        return all(item.kind in STILL for item in self._plan if item.position not in self._passed)

    @property
    def at_hand(self) -> bool:
        """Whether every source is a file or an array, so that its next frame does not have to be waited for."""
        return self.waited_for == 0

    @property
    def frames_at_hand(self) -> float:
        """How many frames do not have to be waited for: infinite with a video, 0 where a source is a camera, a stream
        or an address."""
        if not self.at_hand:
            return 0
        left = [item.kind for item in self._plan if item.position not in self._passed]
        return math.inf if "video" in left else len(left)

    @property
    def waited_for(self) -> int:
        """How many sources are no files and no arrays, but cameras, streams and addresses."""
        left = [item.kind for item in self._plan if item.position not in self._passed]
        return sum(kind not in (*STILL, "video") for kind in left)

    @property
    def waiting(self) -> bool:
        """Whether a frame can be given out at once."""
        return self._reads_here and self._store.holds_something()

    def __enter__(self) -> Sources:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_birth") and self._reads_here:
            self._store.close()

    @property
    def _reads_here(self) -> bool:
        """Whether the threads that read, if there are any, are in this process."""
        return not self._threads or self._birth.here

    @property
    def counters(self) -> list[Counters]:
        """What has become of each source so far, in order."""
        return [count.shown(item.name) for count, item in zip(self._store.counts, self._plan, strict=True)]

    def counters_of(self, position: int) -> Counters:
        """What has become of the source of that number so far; of one of very many."""
        return self._store.counts[position].shown(self._plan[position].name)

    def close(self) -> None:
        """Stop decoding. Safe to call twice; frames not yet given out are dropped."""
        if not self._reads_here:
            return  # the store's lock may be held by a thread that is not here
        self._store.close()
        # A read of a camera or stream cannot be interrupted; the thread is a daemon and ends when it returns.
        latest = time.monotonic() + 2.0
        for thread in self._threads:
            # One that an interrupt kept from being started cannot be waited for.
            if thread.is_alive() and thread is not threading.current_thread():
                thread.join(max(0.0, latest - time.monotonic()))

    def __iter__(self) -> Iterator[Frame]:
        for batch in self.batches(1):
            yield from batch.frames

    def batches(self, size: int, *, within: float = 0.005, timed: bool = True) -> Iterator[Batch]:
        """Frames by the batch, from all sources in turn.

        Args:
            size: frames in a batch at most, at least 1.
            within: seconds that the first picture of a camera or stream waits at most until its batch is given out. It
                waits for nothing but sources that give frames and have none in the batch. Files fill their batches.
            timed: whether the results of a batch are out when the next is asked for; else :meth:`note_results` tells.

        Returns:
            Batches that hold a frame, or tell of an end.
        """
        size = whole(size, "size", 1)
        if not self._threads:
            self._start()
        while (batch := self._gather(size, within)) is not None:
            yield batch
            if timed:
                self.note_results(batch)

    def note_results(self, batch: Batch) -> None:
        """The results of a batch are out, for :attr:`Counters.age`."""
        now = time.monotonic()
        for position, moment in batch.read:
            self._store.counts[position].ages.append(now - moment)

    def _start(self) -> None:
        self._birth = Birth()
        for work in list(self._works()):
            # The thread must not keep this object alive, or dropping it half read would leave it running.
            thread = threading.Thread(target=work, name="trtpose-sources", daemon=True)
            self._threads.append(thread)
            running.start(thread, self._store)

    def _works(self) -> Iterator[Callable[[], None]]:
        """What threads do: one reads all that is in order, some help it with pictures, one reads each camera and
        stream."""
        plan = [item for item in self._plan if item.position not in self._passed]
        ordered = [item for item in plan if in_order(item)]
        ordered.sort(key=lambda item: item.position not in self._first)
        lanes = [ordered] if ordered else []
        lanes += [[item] for item in plan if not in_order(item)]
        for lane in lanes:
            live = lane is not ordered
            # Of one camera the newest frame is wanted, not two in a row.
            once = live and self._policy == "latest"
            channel = Channel(self._depth, _MAX_BYTES // len(lanes), self._store, live=live, once=once)
            tries = (math.inf if live else _TRIES) if self._reconnect is None else self._reconnect
            ahead = None if live else self._ahead(lane)
            if ahead is not None:
                yield from [ahead.run] * ahead.helpers
            yield Reader(
                lane, channel, self._policy, tries, self._max_pixels, self._transport, ahead, decode=self._decode
            ).run

    def _ahead(self, lane: list[Item]) -> Ahead | None:
        paths = [item.value for item in lane if item.kind == "picture"]
        count = helpers(len(paths))
        return Ahead(paths, self._max_pixels, self._store, count) if count else None

    def _gather(self, size: int, within: float) -> Batch | None:
        """The next batch; None at the end."""
        batch = Batch()
        live: set[Channel] = set()
        until: float | None = None
        while len(batch.frames) < size:
            if not self._birth.here:
                raise InputError(
                    f"{self._plan[0].name}: was being read before this process was forked, and the thread that reads "
                    "stayed behind; make new Sources in this process"
                )
            taken = self._store.take(live if batch.frames else None, until)
            if taken is None:
                break
            channel, what = taken
            if isinstance(what, Notice):
                if self.notify is not None:
                    self.notify(what.text)
            elif isinstance(what, Ended):
                batch.ended.append(what.position)
                break
            else:
                frame, moment = what
                batch.frames.append(frame)
                if frame.error is not None:
                    break
                batch.read.append((frame.position, moment))
                if frame.live:
                    live.add(channel)
                    until = time.monotonic() + within if until is None else until
        return batch if batch.frames or batch.ended else None
