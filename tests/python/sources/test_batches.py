# SPDX-License-Identifier: Apache-2.0
"""Pictures by the batch."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from trtpose import InputError
from trtpose.sources import batches


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    """Five pictures of 8, 9, ... pixels in width, and after the second a file that is none."""
    made: list[Path] = []
    for number in range(5):
        made.append(tmp_path / f"{number}.png")
        cv2.imwrite(str(made[-1]), np.zeros((8, 8 + number, 3), np.uint8))
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    return [*made[:2], broken, *made[2:]]


@pytest.mark.parametrize(
    ("size", "expected"), [(1, [[8], [9], [10], [11], [12]]), (2, [[8, 9], [10, 11], [12]]), (9, [[8, 9, 10, 11, 12]])]
)
def test_each_is_given_once_and_a_bad_one_is_left_out(paths: list[Path], size: int, expected: list[list[int]]):
    errors: list[InputError] = []
    seen: list[tuple[int, int]] = []
    widths: list[list[int]] = []
    with batches(paths, size, on_error=errors.append, progress=lambda done, total: seen.append((done, total))) as found:
        for batch in found:
            widths.append([frame.image.shape[1] for frame in batch if frame.image is not None])
    assert widths == expected
    assert [str(paths[2]) in str(error) for error in errors] == [True]
    assert seen == [(done, 6) for done in range(1, 7)]


def test_the_last_batch_is_given_when_the_last_picture_is_bad(paths: list[Path]):
    paths.append(paths.pop(2))
    with batches(paths, 3, on_error=[].append) as found:
        assert [len(batch) for batch in found] == [3, 2]


def test_without_on_error_it_is_raised(paths: list[Path]):
    with pytest.raises(InputError, match=r"broken\.png"), batches(paths, 4) as found:
        list(found)


def test_nothing_gives_no_batch(paths: list[Path]):
    with batches(paths[2:3], 4, on_error=[].append) as found:
        assert list(found) == []


def test_one_batch_is_in_memory_at_a_time(paths: list[Path]):
    with batches(paths, 2, on_error=[].append) as found:
        first = next(found)
        before = list(first)
        assert next(found) is first
        assert {id(frame) for frame in before}.isdisjoint(id(frame) for frame in first)
