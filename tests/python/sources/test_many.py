# SPDX-License-Identifier: Apache-2.0
"""Several cameras and streams at once: none waits for another, and what became of each is counted."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from source_support import threads
from support import picture, write_picture, write_video
from trtpose.errors import InputError
from trtpose.sources import Frame, Sources, reader
from trtpose.sources.capture import OpenError, Shot
from trtpose.sources.channel import Channel, Store
from trtpose.sources.video import Video

Connection = tuple[int, float] | Exception
"""Frames and seconds between them, or why there is none."""


class Streams:
    """Stands in for the network: what each address gives, connection by connection; the last one again and again."""

    def __init__(self) -> None:
        self.script: dict[str, list[Connection]] = {}
        self.opened: dict[str, int] = {}
        self.made: list[Stream] = []

    def __call__(self, address: str, **options: Any) -> Any:
        if address not in self.script:
            return Video(address, **options)
        number = self.opened.get(address, 0)
        self.opened[address] = number + 1
        connection = self.script[address][min(number, len(self.script[address]) - 1)]
        if isinstance(connection, Exception):
            raise connection
        self.made.append(Stream(*connection))
        return self.made[-1]


class Stream:
    live, fps, total, length, width, height, sound = True, 25.0, None, None, 8, 8, False
    time_base = Fraction(1, 90_000)
    drops = False

    def __init__(self, frames: int, pause: float) -> None:
        self._frames, self._pause = frames, pause

    def shots(self) -> Iterator[Shot]:
        for number in range(self._frames):
            time.sleep(self._pause)
            yield Shot(np.full((8, 8, 3), number % 256, np.uint8), number * 0.04)

    def problem(self) -> str:
        return ""

    def close(self) -> None:
        pass


@pytest.fixture
def streams(monkeypatch: pytest.MonkeyPatch) -> Streams:
    found = Streams()
    monkeypatch.setattr(reader, "Video", found)
    monkeypatch.setattr(reader, "_PAUSE", 0.002)
    return found


def passing(text: str = "no answer") -> OpenError:
    return OpenError(text, passing=True)


def cameras(streams: Streams, *scripts: list[Connection]) -> list[str]:
    addresses = [f"rtsp://127.0.0.1:9/{number}" for number in range(len(scripts))]
    streams.script.update(zip(addresses, scripts, strict=True))
    return addresses


def test_each_camera_has_its_turn(streams: Streams):
    """Also beside one that gives a hundred times as many frames."""
    addresses = cameras(streams, [(10**9, 0.0)], *[[(10**9, 0.02)]] * 3)
    seen = [0] * 4
    with Sources(addresses) as frames:
        for frame in frames:
            assert frame.error is None
            seen[frame.position] += 1
            time.sleep(0.002)
            if min(seen) == 10:
                break
        counters = frames.counters
    assert [one.source for one in counters] == addresses
    assert all(one.read >= count + one.dropped for one, count in zip(counters, seen, strict=True))
    assert counters[0].dropped > 0
    assert all(one.age is not None and one.age < 4 for one in counters)
    # The slow ones are not pushed aside.
    assert all(one.dropped <= one.read // 2 for one in counters[1:])


def test_turns():
    store = Store(1 << 20)
    channels = [Channel(9, 1 << 20, store, live=True, once=number == 2) for number in range(3)]
    for channel, count in zip(channels, (4, 2, 2), strict=True):
        for number in range(count):
            channel.put(Frame(np.zeros((2, 8, 3), np.uint8), "a", index=number))
    taken = [store.take() for _ in range(5)]
    assert [channels.index(one[0]) for one in taken if one] == [0, 1, 2, 0, 1]
    # Of those that are in the batch already, one gives no second frame.
    first = store.take(set(channels), time.monotonic())
    assert first is not None
    assert first[0] is channels[0]
    assert store.take({channels[1], channels[2]}, time.monotonic()) is not None
    assert store.take(set(channels), time.monotonic()) is None
    last = store.take()
    assert last is not None
    assert last[0] is channels[2]


def test_every_frame_of_each_in_its_order(streams: Streams):
    addresses = cameras(streams, *[[(20, 0.001), OpenError("closed")]] * 3)
    by_source: dict[int, list[Frame]] = {}
    for frame in Sources(addresses, policy="every"):
        by_source.setdefault(frame.position, []).append(frame)
    for found in by_source.values():
        assert [frame.index for frame in found if frame.error is None] == list(range(20))
        assert "closed" in str(found[-1].error)
    assert len(by_source) == 3


def test_what_is_absent_or_refused_stops_nobody(streams: Streams):
    said: list[str] = []
    refused = OpenError("the server answers 401 (Unauthorized)")
    addresses = cameras(streams, [passing()], [refused], [(10**9, 0.002)])
    with Sources(addresses, notify=said.append) as frames:
        found = [frame for frame, _ in zip(frames, range(40), strict=False)]
        counters = frames.counters
    errors = [frame for frame in found if frame.error is not None]
    assert [(frame.position, "401" in str(frame.error)) for frame in errors] == [(1, True)]
    assert {frame.position for frame in found} == {1, 2}
    assert said == [f"{addresses[0]}: cannot be opened (no answer); trying again"]
    assert streams.opened[addresses[0]] > 2
    assert streams.opened[addresses[1]] == 1
    assert [one.trouble for one in counters] == ["cannot be opened (no answer)", str(refused), ""]
    assert [one.reconnects for one in counters] == [0, 0, 0]
    assert [one.ended for one in counters] == [False, True, False]


def test_each_trouble_is_said_once_an_outage(streams: Streams):
    outage: list[Connection] = [passing(), passing(), passing("busy"), passing(), passing("busy")]
    (address,) = cameras(streams, [*outage, (5, 0.0), *outage, (5, 0.0), OpenError("gone")])
    said: list[str] = []
    with Sources(address, policy="every", notify=said.append) as frames:
        found = list(frames)
        (counters,) = frames.counters
    assert [frame.index for frame in found] == [*range(10), 10]
    assert "gone" in str(found[-1].error)
    words = [text.removeprefix(f"{address}: ").partition(", after ")[0] for text in said]
    first = ["cannot be opened (no answer); trying again", "cannot be opened (busy); trying again", "is there"]
    broken = "broke off (the server ended it); trying again"
    assert words == [*first, broken, *first, broken]
    assert (counters.read, counters.dropped, counters.reconnects) == (10, 0, 1)


def test_a_batch_is_filled_from_several(streams: Streams):
    addresses = cameras(streams, *[[(10**9, 0.01)]] * 4)
    sizes: list[int] = []
    with Sources(addresses) as frames:
        for batch in frames.batches(4, within=0.5):
            positions = [frame.position for frame in batch.frames]
            sizes.append(len(set(positions)))
            if len(sizes) == 20:
                break
    # All flow after the first batches, and each is waited for.
    assert sizes[-10:] == [4] * 10


def test_a_frame_is_as_old_as_its_results_and_one_that_waits_is_seen(streams: Streams):
    addresses = cameras(streams, *[[(10**9, 0.01)]] * 2)
    with Sources(addresses) as frames:
        assert frames.waited_for == 2
        batches = frames.batches(1, timed=False)
        late = [next(batches), next(batches)]
        assert [counters.age for counters in frames.counters] == [None, None]
        time.sleep(0.2)
        assert frames.waiting
        for batch in late:
            frames.note_results(batch)
        assert all(counters.age is None or 0.2 <= counters.age < 60 for counters in frames.counters)
        assert any(counters.age for counters in frames.counters)
    assert not frames.waiting


@pytest.mark.parametrize("policy", ["latest", "every"])
def test_a_stream_is_told_that_most_of_its_frames_are_dropped(streams: Streams, policy: str):
    (address,) = cameras(streams, [(10**9, 0.001)])
    with Sources(address, policy=policy) as frames:
        next(iter(frames))
        limit = time.monotonic() + 20
        while policy == "latest" and not streams.made[0].drops and time.monotonic() < limit:
            time.sleep(0.01)
        assert streams.made[0].drops == (policy == "latest")


def test_one_live_picture_waits_no_longer_than_asked(streams: Streams):
    """Beside a camera that stands still and one that is not there, and alone without any wait."""
    frozen = cameras(streams, [(10**9, 0.01)], [(10**9, 3.0)], [passing()])
    for addresses, within in ((frozen, 0.05), (frozen[:1], 60.0)):
        with Sources(addresses) as frames:
            waits: list[float] = []
            for batch in frames.batches(8, within=within):
                (frame,) = batch.frames
                assert frame.arrived is not None
                waits.append(time.time() - frame.arrived)
                if len(waits) == 10:
                    break
        assert sorted(waits)[5] < 2.0, waits


def test_files_are_in_order_beside_a_camera(streams: Streams, tmp_path: Path):
    (address,) = cameras(streams, [(10**9, 0.001)])
    video = write_video(tmp_path / "v.avi", frames=6)
    items = [write_picture(tmp_path / "a.png"), address, video, picture()]
    order: list[tuple[int, int]] = []
    ended: list[int] = []
    live = 0
    with Sources(items) as frames:
        for batch in frames.batches(3):
            order += [(frame.position, frame.index) for frame in batch.frames if not frame.live]
            live += sum(frame.live for frame in batch.frames)
            ended += batch.ended
            if len(order) == 8 and ended and live:  # the camera may begin after the files have ended
                break
    assert order == [(0, 0), *((2, index) for index in range(6)), (3, 0)]
    assert ended == [2]
    assert live > 0


def test_files_fill_their_batches(tmp_path: Path):
    for index in range(7):
        write_picture(tmp_path / f"{index}.png")
    assert [len(batch.frames) for batch in Sources(tmp_path).batches(3)] == [3, 3, 1]


def test_leaving_stops_every_thread(streams: Streams):
    addresses = cameras(streams, *[[(10**9, 0.0)]] * 5, [passing()])
    frames = Sources(addresses, policy="every")
    next(iter(frames))
    assert threads() == 6
    frames.close()
    assert threads() == 0
    iterator = iter(Sources(addresses))
    next(iterator)
    del iterator  # the fixture sees that the threads end


def test_a_fault_in_one_thread_reaches_the_reader(streams: Streams):
    addresses = cameras(streams, [(10**9, 0.001)], [ZeroDivisionError("a bug")])
    with pytest.raises(ZeroDivisionError, match="a bug"), Sources(addresses) as frames:
        for _ in frames:
            pass


def test_the_bound_in_bytes_is_of_all_together():
    store = Store(100)
    channels = [Channel(9, 50, store, live=True) for _ in range(3)]
    frame = Frame(np.zeros((2, 8, 3), np.uint8), "a")
    channels[0].put(frame)
    channels[1].put(frame)
    assert channels[0]._full(48)
    assert channels[2]._full(48)
    waiting = threading.Thread(target=channels[2].put, args=(frame,), daemon=True)
    waiting.start()
    assert [channels.index(taken[0]) for taken in (store.take(), store.take(), store.take()) if taken] == [0, 1, 2]
    waiting.join(120)
    assert store.bytes == 0


def test_a_list_names_sources(tmp_path: Path):
    write_picture(tmp_path / "a.png")
    (tmp_path / "cams.streams").write_text(
        "\ufeff# the hall\nrtsp://me:secret@127.0.0.1:9/hall\n\n  a.png \n0\n", encoding="utf-8"
    )
    sources = Sources([tmp_path / "cams.streams", tmp_path / "a.png"])
    assert sources.names == [
        "rtsp://me:***@127.0.0.1:9/hall",
        str(tmp_path / "a.png"),
        "camera 0",
        str(tmp_path / "a.png"),
    ]
    (tmp_path / "again.txt").write_text("a.png\ncams.streams\n")
    with pytest.raises(InputError, match=r"again.txt, line 2: a list within a list"):
        Sources(tmp_path / "again.txt")


@pytest.mark.parametrize(
    ("data", "said"),
    [(None, "no such file"), (b"# none\n", "names no source"), (b"\xff\xfe\0", "is no UTF-8 text")],
)
def test_lists_that_are_none(tmp_path: Path, data: bytes | None, said: str):
    if data is not None:
        (tmp_path / "a.txt").write_bytes(data)
    with pytest.raises(InputError, match=rf"a\.txt: {said}"):
        Sources(tmp_path / "a.txt")
