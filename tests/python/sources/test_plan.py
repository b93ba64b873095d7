# SPDX-License-Identifier: Apache-2.0
"""What the user's items stand for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from source_support import read_all
from support import encoded, picture, write_picture, write_video
from trtpose.errors import InputError
from trtpose.sources import Sources


def test_a_folder_in_the_order_of_names(tmp_path: Path):
    for name in ("b.png", "a.jpg", "C.JPG", "10.png", "9.png"):
        write_picture(tmp_path / name.lower()).rename(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / ".hidden.jpg").write_bytes(encoded(".jpg"))
    (tmp_path / "sub.jpg").mkdir()
    write_picture(tmp_path / "sub.jpg" / "z.jpg")
    frames = read_all(tmp_path)
    assert [Path(f.source).name for f in frames] == ["10.png", "9.png", "C.JPG", "a.jpg", "b.png"]
    assert [f.position for f in frames] == list(range(5))
    assert all(f.error is None and not f.is_video and f.index == 0 for f in frames)


def test_a_folder_gives_every_kind_that_a_file_of_its_own_would(tmp_path: Path):
    """By suffix, and where that says nothing by how the file begins."""
    jpeg = encoded(".jpg")
    for name in ("a.jpg", "b.jfif", "c.mpo", "d", "e.jpg_large", "f.JPEG~"):
        (tmp_path / name).write_bytes(jpeg)
    for name, suffix in (("g.dat", ".png"), ("h.raster", ".bmp"), ("i.img", ".ppm"), ("j.x", ".webp")):
        (tmp_path / name).write_bytes(encoded(suffix))
    alone = [path.name for path in sorted(tmp_path.iterdir()) if read_all(path)[0].image is not None]
    assert len(alone) == 10
    for items in (tmp_path, str(tmp_path / "*")):
        frames = read_all(items)
        assert [Path(f.source).name for f in frames] == alone
        assert all(f.error is None for f in frames)
        assert Sources(items).left_out == []


def test_what_is_left_out_is_counted(tmp_path: Path):
    write_picture(tmp_path / "a.jpg")
    (tmp_path / "labels.txt").write_text("BMW 3")
    (tmp_path / "notes.md").write_text("P1 is the first")
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / ".hidden").write_text("")
    (tmp_path / "sub").mkdir()
    os.mkfifo(tmp_path / "pipe")
    left_out = [str(tmp_path / name) for name in ("empty", "labels.txt", "notes.md", "pipe")]
    with Sources([tmp_path, tmp_path / "a.jpg"]) as sources:
        assert len(sources) == 2
        assert sources.left_out == [f"{tmp_path / 'sub'}/", *left_out]
    # A pattern may match folders without meaning what is in them, and pipes are no files.
    assert Sources(str(tmp_path / "*")).left_out == left_out[:3]
    assert Sources(tmp_path / "a.jpg").left_out == []


def test_patterns(tmp_path: Path):
    (tmp_path / "deep" / "er").mkdir(parents=True)
    for name in ("b1.jpg", "a1.jpg", "a2.png", "deep/a3.jpg", "deep/er/a4.jpg"):
        write_picture(tmp_path / name)
    (tmp_path / "a9.txt").write_text("")

    def names(pattern: str) -> list[str]:
        return [Path(name).name for name in Sources(str(tmp_path / pattern)).names]

    assert names("a*") == ["a1.jpg", "a2.png"]
    assert names("[ab]1.jpg") == ["a1.jpg", "b1.jpg"]
    assert names("**/a*.jpg") == ["a1.jpg", "a3.jpg", "a4.jpg"]
    with pytest.raises(InputError, match="matches no picture and no video"):
        Sources(str(tmp_path / "*.webp"))
    with pytest.raises(InputError, match="matches no picture"):
        Sources(str(tmp_path / "*.txt"))


def test_a_file_whose_name_looks_like_a_pattern_or_a_camera(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_picture(tmp_path / "a[1].jpg")
    assert read_all(str(tmp_path / "a[1].jpg"))[0].error is None
    monkeypatch.chdir(tmp_path)
    Path("7").write_bytes(encoded(".jpg"))
    assert read_all("7")[0].image is not None


def test_a_mixed_list_comes_in_order(tmp_path: Path):
    write_picture(tmp_path / "x.jpg")
    (tmp_path / "folder").mkdir()
    write_picture(tmp_path / "folder" / "p.png")
    video = write_video(tmp_path / "v.avi", frames=3)
    array = picture(20, 30)
    frames = read_all([tmp_path / "x.jpg", array, str(video), tmp_path / "folder", str(tmp_path / "*.jpg")])
    assert [(f.position, f.index, f.is_video) for f in frames] == [
        (0, 0, False),
        (1, 0, False),
        (2, 0, True),
        (2, 1, True),
        (2, 2, True),
        (3, 0, False),
        (4, 0, False),
    ]
    assert frames[1].image is array
    assert all(f.read_ms >= 0 for f in frames)


def test_a_missing_file_is_an_item(tmp_path: Path):
    write_picture(tmp_path / "a.jpg")
    frames = read_all([tmp_path / "a.jpg", tmp_path / "b.jpg", tmp_path / "c.mp4", tmp_path / "a.jpg"])
    assert ["no such file" in str(f.error) for f in frames] == [False, True, True, False]


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([], "no source was given"),
        ("", "is not a file name"),
        ("a\0b", "is not a file name"),
        (None, "a NoneType; give a path"),
        ([None], "a NoneType; give a path"),
        ([1.5], "a float; give a path"),
        ([True], "a bool; give a path"),
        (-1, "camera -1; camera numbers go from 0"),
        (np.zeros((0, 4, 4, 3), np.uint8), "holds no frame"),
    ],
)
def test_what_is_no_source(items: Any, message: str):
    with pytest.raises(InputError, match=message):
        Sources(items)


def test_an_empty_folder(tmp_path: Path):
    with pytest.raises(InputError, match="holds no picture and no video"):
        Sources(tmp_path)
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(InputError, match="holds no picture and no video"):
        Sources([str(tmp_path)])


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((4, 4, 3), np.float32), "dtype float32, expected uint8"),
        (np.zeros((4, 4), np.uint8), r"shape \(4, 4\), expected \(height, width, 3\)"),
        (np.zeros((4, 4, 4), np.uint8), r"shape \(4, 4, 4\)"),
        (np.zeros((0, 4, 3), np.uint8), "holds no pixel"),
    ],
)
def test_wrong_arrays_are_items(array: np.ndarray, message: str):
    frames = read_all([picture(), array, picture()])
    assert [f.error is None for f in frames] == [True, False, True]
    with pytest.raises(InputError, match=message):
        raise frames[1].error or AssertionError


def test_a_stack_of_frames():
    frames = read_all(np.zeros((3, 4, 5, 3), np.uint8))
    assert [(f.source, f.position) for f in frames] == [("array 0[0]", 0), ("array 0[1]", 1), ("array 0[2]", 2)]


def test_names_that_are_not_text(tmp_path: Path):
    folder = os.fsencode(tmp_path)
    video = write_video(tmp_path / "v.avi", frames=2)
    for name, data in ((b"\xff\xfe.jpg", encoded(".jpg")), (b"\xff.avi", video.read_bytes())):
        with open(os.path.join(folder, name), "wb") as file:  # noqa: PTH118, PTH123
            file.write(data)
    video.unlink()
    frames = read_all(tmp_path)
    assert [(f.error, f.is_video) for f in frames] == [(None, True), (None, True), (None, False)]


def test_files_by_name_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    for name in ("*.jpg", "0"):
        Path(name).write_bytes(encoded(".jpg"))
    with Sources.of_files(["*.jpg", "0", "1", "."]) as frames:
        assert [f.error is None for f in frames] == [True, True, False, False]
