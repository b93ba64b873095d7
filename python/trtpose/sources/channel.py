# SPDX-License-Identifier: Apache-2.0
"""Between the decoder threads and the run: a channel for each thread, and what they have in common."""

from __future__ import annotations

import statistics
import threading
import time
from collections import deque
from collections.abc import Collection, Set
from dataclasses import dataclass, field

from .frame import Counters, Frame

__all__ = ["Channel", "ClosedError", "Ended", "Notice", "Store"]


class ClosedError(Exception):
    pass


@dataclass(frozen=True)
class Ended:
    """A source that gives many frames has given the last."""

    position: int


@dataclass(frozen=True)
class Notice:
    """What is to be said of a source that goes on."""

    text: str


@dataclass
class Count:
    """What :class:`trtpose.sources.Counters` tell of one source."""

    read: int = 0
    dropped: int = 0
    reconnects: int = 0
    trouble: str = ""
    ended: bool = False
    ages: deque[float] = field(default_factory=lambda: deque(maxlen=256))

    def shown(self, source: str) -> Counters:
        age = statistics.median(tuple(self.ages)) if self.ages else None
        return Counters(source, self.read, self.dropped, self.reconnects, age, self.trouble, self.ended)


def _size(frame: Frame) -> int:
    return frame.nbytes


class Store:
    """What the channels of a run share: one lock, a bound in bytes for all, whose turn it is to be read.

    Args:
        max_bytes: of all frames that are held; one frame passes in any case where there is no other.
        sources: how many sources there are to count.
    """

    def __init__(self, max_bytes: int, sources: int = 1) -> None:
        self.max_bytes = max_bytes
        self.bytes = 0
        self.counts = [Count() for _ in range(sources)]
        self.channels: list[Channel] = []
        self.closed = threading.Event()
        # Reentrant: what is collected while it is held may close the store.
        self._lock = threading.RLock()
        self._conditions: list[threading.Condition] = []
        self.readable, self.room = self.condition(), self.condition()
        self._turn = 0

    def condition(self) -> threading.Condition:
        """Something more to wait for under the same lock; whoever does wakes when the store is closed."""
        self._conditions.append(threading.Condition(self._lock))
        return self._conditions[-1]

    def take(self, among: Set[Channel] | None = None, until: float | None = None) -> tuple[Channel, Item] | None:
        """What comes next, from each channel in turn.

        Args:
            among: None waits for whatever comes. Else these channels gave a frame that is kept waiting: others are
                waited for only while they flow, and those that may be late only where there is a deadline.
            until: the deadline, on the monotonic clock.

        Returns:
            None at the end, and where there is nothing to wait for.
        """
        with self.readable:
            while True:
                for channel in self._in_turn(among or ()):
                    item = channel.pop()
                    if item is not None:
                        self._turn = self.channels.index(channel) + 1
                        return channel, item
                if not self._worth_waiting(among, until):
                    return None
                self.readable.wait(None if until is None else max(0.0, until - time.monotonic()))

    def holds_something(self) -> bool:
        """Whether :meth:`take` would give something at once."""
        with self.readable:
            return any(channel.waiting for channel in self.channels)

    def _in_turn(self, among: Collection[Channel]) -> list[Channel]:
        """The channels from the next in turn on; last those that were read for this batch and may be again."""
        turn = self._turn % max(1, len(self.channels))
        order = self.channels[turn:] + self.channels[:turn]
        if not among:
            return order
        return [one for one in order if one not in among] + [one for one in order if one in among and not one.once]

    def _worth_waiting(self, among: Set[Channel] | None, until: float | None) -> bool:
        if among is None:
            return any(not channel.finished for channel in self.channels)
        if until is not None and time.monotonic() >= until:
            return False
        return any(
            channel.flows and not channel.finished and channel not in among and (until is not None or not channel.live)
            for channel in self.channels
        )

    def close(self) -> None:
        """Nobody will read any more."""
        with self.readable:
            self.closed.set()
            for channel in self.channels:
                channel.drop()
            self.bytes = 0
            for condition in self._conditions:
                condition.notify_all()


class Channel:
    """A queue bounded in frames and in bytes, that either side can close.

    Args:
        depth: frames that wait at most.
        max_bytes: of the frames that wait; above it one still passes when it is alone.
        store: what it shares with others.
        live: whether its frames age, so that none waits for those of others longer than asked.
        once: whether a batch has one of its frames at most.
    """

    def __init__(
        self, depth: int, max_bytes: int, store: Store | None = None, *, live: bool = False, once: bool = False
    ) -> None:
        self._items: deque[Item] = deque()
        self._frames = self._bytes = 0
        self._depth = depth
        self._max_bytes = max_bytes
        self._failure: BaseException | None = None
        self._store = Store(max_bytes) if store is None else store
        self._store.channels.append(self)
        self.finished = self._store.closed.is_set()
        self.live = live
        self.once = once
        self.flows = not live
        """Whether a frame is to be expected soon."""

    def _full(self, size: int) -> bool:
        if self._frames:
            return self._frames >= self._depth or self._bytes + size > self._max_bytes
        return self._store.bytes > 0 and self._store.bytes + size > self._store.max_bytes

    def put(self, frame: Frame, *, replace: bool = False) -> None:
        """Append a frame, waiting for room; with ``replace`` unread frames of the same source give way to it."""
        size = _size(frame)
        count = self._store.counts[frame.position]
        moment = time.monotonic()
        with self._store.readable:
            count.read += frame.error is None
            if frame.error is not None:
                count.trouble = str(frame.error).removeprefix(f"{frame.source}: ")
            while not self.finished:
                if replace:
                    count.dropped += self._give_way(frame.position)
                if not self._full(size):
                    self._append((frame, moment))
                    self._frames += 1
                    self._held(size)
                    self.flows = frame.error is None
                    return
                self._store.room.wait()
        raise ClosedError

    def _append(self, item: Item) -> None:
        self._items.append(item)
        self._store.readable.notify()

    def _held(self, size: int) -> None:
        self._bytes += size
        self._store.bytes += size

    def _give_way(self, position: int) -> int:
        """Drop the pictures of a source; how many."""
        kept: deque[Item] = deque()
        for item in self._items:
            if isinstance(item, tuple) and item[0].position == position and item[0].error is None:
                self._held(-_size(item[0]))
            else:
                kept.append(item)
        dropped = len(self._items) - len(kept)
        self._items = kept
        self._frames -= dropped
        return dropped

    def tell(self, item: Ended | Notice) -> None:
        """Append what is no frame, which always has room."""
        with self._store.readable:
            if self.finished:
                raise ClosedError
            self._append(item)

    def count(self, position: int) -> Count:
        """The counters of a source, to be changed by its thread."""
        return self._store.counts[position]

    @property
    def waiting(self) -> bool:
        """Whether a frame is there; the store's lock is held."""
        return self._frames > 0

    def pop(self) -> Item | None:
        """What comes next, if it is there; the store's lock is held."""
        if self._items:
            item = self._items.popleft()
            if isinstance(item, tuple):
                self._frames -= 1
                self._held(-_size(item[0]))
                self._store.room.notify_all()
            return item
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure
        return None

    def get(self) -> Frame | None:
        """The next frame, waiting for it; None at the end."""
        while (taken := self._store.take()) is not None:
            if isinstance(taken[1], tuple):
                return taken[1][0]
        return None

    def finish(self, failure: BaseException | None = None) -> None:
        """No more frames will come; those waiting are still given out."""
        with self._store.readable:
            self.finished = True
            self._failure = failure
            self._store.readable.notify_all()

    def drop(self) -> None:
        """Nobody will read any more; the store's lock is held."""
        self.finished = True
        self._items.clear()
        self._frames = self._bytes = 0

    def close(self) -> None:
        """End this channel and those beside it."""
        self._store.close()

    def wait_closed(self, seconds: float) -> bool:
        """Sleep, but not longer than until the channel is closed; whether it is."""
        return self._store.closed.wait(seconds)


Item = tuple[Frame, float] | Ended | Notice
"""A frame and when it was read, on the monotonic clock; or what is no frame."""
