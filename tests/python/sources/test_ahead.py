# SPDX-License-Identifier: Apache-2.0
"""Pictures that several threads decode before their turn."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from source_support import read_all, threads
from support import encoded, picture
from trtpose.sources import Frame, Sources, ahead
from trtpose.sources.channel import Store
from trtpose.sources.pictures import read_picture

CORES = 8


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{number:02}.png" for number in range(30)]
    for number, path in enumerate(paths):
        path.write_bytes(encoded(".png", picture(20 + number, 30 + 2 * number, seed=number)))
    paths[4].write_bytes(b"no picture")
    paths[11].unlink()
    paths[29].write_bytes(b"")
    return paths


@pytest.fixture
def many_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "usable_cores", lambda: CORES)


def told(frames: list[Frame]) -> list[tuple[Any, ...]]:
    return [(frame.source, frame.position, None if frame.error is None else str(frame.error)) for frame in frames]


def check_equal(found: list[Frame], alone: list[Frame]) -> None:
    assert told(found) == told(alone)
    for one, other in zip(found, alone, strict=True):
        if one.image is None or other.image is None:
            assert one.image is other.image
        else:
            assert np.array_equal(one.image, other.image)


@pytest.mark.parametrize(("cores", "count"), [(1, 0), (2, 0), (3, 0), (4, 1), (8, 3), (64, 7)])
def test_half_of_the_cores_read(monkeypatch: pytest.MonkeyPatch, cores: int, count: int) -> None:
    monkeypatch.setattr(ahead, "usable_cores", lambda: cores)
    assert ahead.helpers(100) == count
    assert ahead.helpers(0) == ahead.helpers(1) == 0


@pytest.mark.usefixtures("many_cores")
def test_frames_and_errors_are_those_of_one_thread(monkeypatch: pytest.MonkeyPatch, files: list[Path]) -> None:
    found = read_all(files)
    monkeypatch.setattr(ahead, "usable_cores", lambda: 1)
    alone = read_all(files)
    assert [frame.position for frame in alone if frame.error is not None] == [4, 11, 29]
    check_equal(found, alone)
    assert all(frame.read_ms > 0 for frame in found)


@pytest.mark.usefixtures("many_cores")
def test_helpers_decode(monkeypatch: pytest.MonkeyPatch, files: list[Path]) -> None:
    by = set()

    def reading(path: str, **options: Any) -> Any:
        by.add(threading.current_thread())
        time.sleep(0.005)
        return original(path, **options)

    original = read_picture
    monkeypatch.setattr(ahead, "read_picture", reading)
    begin = threading.current_thread()
    frames = read_all(files)
    assert len(frames) == len(files)
    assert len(by) == CORES // 2 - 1
    assert begin not in by


@pytest.mark.usefixtures("many_cores")
def test_a_large_picture_is_read_in_its_turn(monkeypatch: pytest.MonkeyPatch, files: list[Path]) -> None:
    monkeypatch.setattr(ahead, "_LARGEST", 40 * 70)
    found = read_all(files)
    monkeypatch.setattr(ahead, "usable_cores", lambda: 1)
    check_equal(found, read_all(files))


@pytest.mark.usefixtures("many_cores")
def test_a_large_file_is_read_in_its_turn(monkeypatch: pytest.MonkeyPatch, files: list[Path]) -> None:
    """Else as many of them would be in memory as there are threads."""
    sizes = sorted(path.stat().st_size for path in files if path.exists())
    monkeypatch.setattr(ahead, "_LARGEST_FILE", sizes[len(sizes) // 2])
    by_helpers: set[int] = set()

    def reading(path: str, **options: Any) -> Any:
        by_helpers.add(Path(path).stat().st_size)
        return read_picture(path, **options)

    monkeypatch.setattr(ahead, "read_picture", reading)
    found = read_all(files)
    assert max(by_helpers, default=0) <= sizes[len(sizes) // 2]
    monkeypatch.setattr(ahead, "usable_cores", lambda: 1)
    check_equal(found, read_all(files))


@pytest.mark.usefixtures("many_cores")
def test_limit_of_the_caller_stands(files: list[Path]) -> None:
    frames = read_all(files, max_pixels=40 * 70)
    refused = [frame.position for frame in frames if frame.error is not None and "are decoded" in str(frame.error)]
    assert refused == list(range(21, 29))


@pytest.mark.usefixtures("many_cores")
def test_pictures_beside_videos_and_arrays(files: list[Path]) -> None:
    array = picture(10, 12)
    frames = read_all([files[0], array, files[1], array, files[2]])
    assert [frame.position for frame in frames] == [0, 1, 2, 3, 4]
    assert frames[1].image is not None
    assert np.array_equal(frames[1].image, array)
    assert frames[4].image is not None
    assert frames[4].image.shape == (22, 34, 3)


def test_no_more_wait_than_may(monkeypatch: pytest.MonkeyPatch, files: list[Path]) -> None:
    monkeypatch.setattr(ahead, "_MAX_BYTES", 1)
    store = Store(1 << 20)
    row = ahead.Ahead([str(files[0])] * 20, 1 << 20, store, 1)
    thread = threading.Thread(target=row.run, daemon=True)
    thread.start()
    limit = time.monotonic() + 120
    while not row._done and time.monotonic() < limit:
        time.sleep(0.001)
    time.sleep(0.05)
    assert len(row._done) == 1
    image, milliseconds = row.take()
    assert image is not None
    assert milliseconds > 0
    store.close()
    thread.join(120)
    assert not thread.is_alive()


@pytest.mark.usefixtures("many_cores")
def test_left_early_all_threads_end(files: list[Path]) -> None:
    before = threads()
    with Sources(files) as frames:
        assert next(iter(frames)).error is None
        assert threads() >= before
    limit = time.monotonic() + 120
    while threads() > before and time.monotonic() < limit:
        time.sleep(0.01)
    assert threads() == before


@pytest.mark.usefixtures("many_cores")
def test_forgotten_all_threads_end(files: list[Path]) -> None:
    iterator = iter(Sources(files))
    assert next(iterator).error is None
    del iterator  # that no thread is left is seen by the fixture of all


def test_whoever_is_alone_reads_alone(files: list[Path]) -> None:
    row = ahead.Ahead([str(path) for path in files], 1 << 20, Store(1 << 20), 3)
    assert [row.take() for _ in files] == [(None, 0.0)] * len(files)
