# SPDX-License-Identifier: Apache-2.0
"""The iterator and its thread."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from source_support import read_all, threads
from support import encoded, write_picture
from trtpose.errors import InputError
from trtpose.sources import Frame, Sources, decode_picture, read_picture, reader


@pytest.mark.parametrize("depth", [1, 2, 7])
def test_bad_files_in_the_middle_do_not_stop_the_run(tmp_path: Path, depth: int):
    for index in range(8):
        write_picture(tmp_path / f"{index}.jpg")
    (tmp_path / "2.jpg").write_bytes(b"")
    (tmp_path / "5.jpg").write_bytes(encoded(".jpg")[:-200])
    (tmp_path / "6.jpg").unlink()
    (tmp_path / "6.jpg").symlink_to(tmp_path / "gone.jpg")
    frames = read_all(tmp_path, depth=depth)
    assert [f.error is not None for f in frames] == [False, False, True, False, False, True, True, False]
    for frame in frames:
        assert (frame.image is None) == (frame.error is not None)
        if frame.error is not None:
            assert isinstance(frame.error, InputError)
            assert str(frame.error).startswith(f"{frame.source}: ")


@pytest.mark.parametrize(
    ("options", "message"),
    [({"depth": 0}, "depth 0 must lie between 1"), ({"policy": "newest"}, "is not known; use latest or every")],
)
def test_wrong_options(options: dict[str, Any], message: str):
    with pytest.raises(InputError, match=message):
        Sources("a.jpg", **options)


@pytest.mark.usefixtures("one_core")
def test_decoding_runs_ahead_but_not_without_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    reads: list[str] = []
    real = read_picture

    def counted(path: Any, **options: Any) -> Any:
        reads.append(path)
        return real(path, **options)

    monkeypatch.setattr(reader, "read_picture", counted)
    for index in range(20):
        write_picture(tmp_path / f"{index:02}.jpg")
    with Sources(tmp_path, depth=3) as frames:
        iterator = iter(frames)
        next(iterator)
        deadline = time.monotonic() + 120
        while len(reads) < 5 and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.05)
        # One given out, three waiting, one in the thread's hands.
        assert len(reads) == 5
        assert len(list(iterator)) == 19


def fail_within(sources: Sources) -> None:
    with sources as frames:
        for _ in frames:
            raise RuntimeError("mine")


def test_leaving_early_and_exceptions_stop_the_thread(tmp_path: Path):
    for index in range(30):
        write_picture(tmp_path / f"{index:02}.jpg")
    for _ in range(20):
        with Sources(tmp_path, depth=2) as frames:
            for frame in frames:
                if frame.position == 3:
                    break
        frames = Sources(tmp_path, depth=1)
        with pytest.raises(RuntimeError, match="mine"):
            fail_within(frames)
    assert threads() == 0


@pytest.mark.usefixtures("one_core")
def test_a_forgotten_iterator_stops_the_thread(tmp_path: Path):
    for index in range(10):
        write_picture(tmp_path / f"{index}.jpg")
    iterator = iter(Sources(tmp_path, depth=1))
    next(iterator)
    assert threads() == 1
    del iterator  # the fixture sees that the thread ends


def test_closing_twice_and_before_reading(tmp_path: Path):
    write_picture(tmp_path / "a.jpg")
    frames = Sources(tmp_path)
    frames.close()
    frames.close()
    assert list(frames) == []
    frames = Sources(tmp_path)
    assert len(list(frames)) == 1
    assert list(frames) == []


@pytest.mark.usefixtures("one_core")
def test_a_fault_in_the_thread_reaches_the_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_picture(tmp_path / "a.jpg")
    write_picture(tmp_path / "b.jpg")
    real = read_picture

    def broken(path: Any, **options: Any) -> Any:
        if str(path).endswith("b.jpg"):
            raise ZeroDivisionError("a bug")
        return real(path, **options)

    monkeypatch.setattr(reader, "read_picture", broken)
    seen: list[Frame] = []
    with pytest.raises(ZeroDivisionError, match="a bug"), Sources(tmp_path) as frames:
        seen.extend(frames)
    assert next(iter(Sources(tmp_path / "a.jpg"))).error is None


def test_a_folder_of_damaged_pictures(tmp_path: Path, seed: int):
    """200 damaged files among 50 whole ones: one item each, in order, and the whole ones are what they were."""
    print(f"seed {seed}")
    rng = random.Random(seed)
    whole = encoded(".jpg"), encoded(".png")
    for number in range(250):
        data = bytearray(whole[number % 2])
        if number % 5:
            for _ in range(rng.choice((1, 3, 20))):
                data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            if number % 3 == 0:
                data = data[: rng.randrange(len(data))]
        (tmp_path / f"{number:03}{('.jpg', '.png')[number % 2]}").write_bytes(data)
    frames = read_all(tmp_path, max_pixels=1 << 22)
    assert [frame.position for frame in frames] == list(range(250))
    expected = [decode_picture(data) for data in whole]
    for number, frame in enumerate(frames):
        assert (frame.image is None) == isinstance(frame.error, InputError)
        if number % 5 == 0:
            np.testing.assert_array_equal(frame.image, expected[number % 2])
    assert sum(frame.error is not None for frame in frames) > 60


def test_photographs(shared: Path):
    frames = read_all(shared / "images")
    assert len(frames) == len(list((shared / "images").glob("*.jpg"))) > 5
    for frame in frames:
        np.testing.assert_array_equal(frame.image, cv2.imread(frame.source, cv2.IMREAD_COLOR))
