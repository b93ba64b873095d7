# SPDX-License-Identifier: Apache-2.0
"""``Poses`` as files, tables and pages, and how they are drawn."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from support import PERSON, make_poses, picture
from trtpose import DeviceError, InputError, Poses
from trtpose._window import Window


@pytest.fixture
def poses() -> Poses:
    return dataclasses.replace(make_poses(3, (48, 64)), ids=np.array([4, -1, 0]))


def test_normalised_and_centred(poses: Poses) -> None:
    assert poses.xyn.dtype == poses.xywh.dtype == np.float32
    assert np.allclose(poses.xyn * np.array([64, 48]), poses.xy, atol=1e-4)
    x, y, w, h = poses.xywh.T
    assert np.allclose(np.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], 1), poses.boxes, atol=1e-4)
    nobody = Poses.empty((48, 64), PERSON)
    assert nobody.xyn.shape == (0, PERSON.keypoints, 2)
    assert nobody.xywh.shape == (0, 4)


def test_ids_go_with_every_selection(poses: Poses) -> None:
    for index in (slice(1, None), [2, 0], poses.scores > 0, np.array([True, False, True]), -1):
        got = poses[index]
        assert got.ids is not None
        assert poses.ids is not None
        rows = np.arange(3)[index] if not isinstance(index, int) else [2]
        assert got.ids.tolist() == poses.ids[rows].tolist()
        assert np.array_equal(got.keypoints, poses.keypoints[rows])
    again = Poses.from_dict(poses.to_dict(), PERSON)
    assert again.ids is not None
    assert again.ids.tolist() == [4, -1, 0]
    assert [entry.get("track_id") for entry in poses.to_coco(1)] == [4, None, 0]
    assert "ids [4, -1, 0]" in repr(poses)


@pytest.mark.parametrize(
    ("ids", "words"), [([1, 2], "ids has shape"), ([0, -2, 1], "from 0 on"), ([0.5, 1, 2], "ids has dtype")]
)
def test_ids_that_are_none(poses: Poses, ids: list[float], words: str) -> None:
    with pytest.raises(InputError, match=words):
        dataclasses.replace(poses, ids=np.array(ids))


def test_dataframe(poses: Poses) -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    table = poses.to_dataframe()
    assert isinstance(table, pandas.DataFrame)
    assert list(table.columns[:8]) == ["id", "class_id", "class", "score", "left", "top", "right", "bottom"]
    assert table["id"].isna().tolist() == [False, True, False]
    assert np.array_equal(table[["left", "top", "right", "bottom"]].to_numpy(), poses.boxes)
    assert np.array_equal(table["nose_x"].to_numpy(), poses.keypoints[:, 0, 0])
    assert len(Poses.empty((4, 4), PERSON).to_dataframe()) == 0


def test_save(poses: Poses, tmp_path: Path) -> None:
    frame = picture(48, 64)
    for name in ("p.json", "p.csv", "p.txt", "p.html", "p.JPG", "p.png"):
        poses.save(tmp_path / name, frame)
    assert json.loads((tmp_path / "p.json").read_text()) == poses.to_dict()
    with (tmp_path / "p.csv").open(newline="") as file:
        assert [row["id"] for row in csv.DictReader(file)] == ["4", "", "0"]
    assert len((tmp_path / "p.txt").read_text().splitlines()) == 3
    assert np.array_equal(cv2.imread(str(tmp_path / "p.png")), poses.draw(frame))
    assert cv2.imread(str(tmp_path / "p.JPG")).shape == frame.shape
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        ["p.json", "p.csv", "p.txt", "p.html", "p.JPG", "p.png"]
    )


@pytest.mark.parametrize("name", ["poses", "poses.xyz", "poses.npz"])
def test_save_in_no_known_form(poses: Poses, tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"\.json, \.csv"):
        poses.save(tmp_path / name)
    with pytest.raises(InputError, match=r"\.jpg or \.png"):
        poses.save(tmp_path / name, picture(48, 64))
    with pytest.raises(InputError, match="the frame"):
        poses.save(tmp_path / "p.png", picture(20, 20))
    assert list(tmp_path.iterdir()) == []


def test_a_page_escapes_names(poses: Poses) -> None:
    spec = dataclasses.replace(PERSON, names=("<b>person</b>",))
    page = dataclasses.replace(poses, spec=spec)._repr_html_()
    assert "<b>" not in page
    assert "&lt;b&gt;person" in page
    assert page.count("<tr>") == 4
    many = make_poses(60, (48, 64))
    assert "and 10 more" in many._repr_html_()


def test_styles(poses: Poses) -> None:
    frame = np.full((300, 400, 3), 128, np.uint8)
    poses = dataclasses.replace(poses, shape=(300, 400), boxes=poses.boxes * 5, keypoints=poses.keypoints * [5, 5, 1])
    plain = poses.draw(frame)
    assert np.array_equal(poses.plot(frame), plain)
    thick = poses.draw(frame, line_width=9, boxes=False, labels=False)
    thin = poses.draw(frame, line_width=1, boxes=False, labels=False)
    assert (thick != 128).any(-1).sum() > 2 * (thin != 128).any(-1).sum()
    dots = poses.draw(frame, line_width=1, radius=12, boxes=False, labels=False)
    assert (dots != 128).any(-1).sum() > (thin != 128).any(-1).sum()
    one = poses.draw(frame, colors=[(255, 0, 0)], labels=False, line_width=1)
    assert {tuple(c) for c in one.reshape(-1, 3).tolist() if c[0] > 250} >= {(255, 0, 0)}
    assert not (one == (40, 140, 255)).all(-1).any()  # the left side's own colour
    for style, words in (
        ({"line_width": 0}, "line_width"),
        ({"radius": 0}, "radius"),
        ({"colors": []}, "colors"),
        ({"colors": [(1, 2)]}, "colors"),
        ({"colors": [(1, 2, 300)]}, "colors"),
    ):
        with pytest.raises(InputError, match=words):
            poses.draw(frame, **style)  # pyright: ignore[reportArgumentType]


def test_a_color_stays_with_its_id() -> None:
    frame = np.zeros((200, 200, 3), np.uint8)
    poses = dataclasses.replace(
        make_poses(2, (200, 200)), boxes=np.array([[10, 10, 60, 90], [120, 60, 180, 190]], np.float32)
    )

    def corner(shown: Poses, row: int) -> tuple[int, ...]:
        left, top = shown.boxes[row, :2].astype(int)
        return tuple(shown.draw(frame, labels=False, threshold=2)[top, left].tolist())

    first = dataclasses.replace(poses, ids=np.array([3, 8]))
    second = dataclasses.replace(poses, ids=np.array([8, 3]))
    assert corner(first, 0) == corner(second, 1)
    assert corner(first, 0) != corner(second, 0)


def test_without_a_screen_the_window_says_so(poses: Poses, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(DeviceError, match=r"Poses\.show: there is no screen"):
        poses.show(picture(48, 64))


def test_an_opencv_without_windows_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    import trtpose._opencv as opencv

    class Headless:
        WINDOW_AUTOSIZE = 1
        error = cv2.error

        def namedWindow(self, *_: object) -> None:
            raise cv2.error("The function is not implemented")

    monkeypatch.setenv("DISPLAY", ":9")
    monkeypatch.setattr(opencv, "cv2", Headless())
    with pytest.raises(DeviceError, match="--show: this OpenCV has no windows"):
        Window("t", "--show")


def test_closing_the_window_ends_the_show(monkeypatch: pytest.MonkeyPatch) -> None:
    import trtpose._opencv as opencv

    class Screen:
        WINDOW_AUTOSIZE, WND_PROP_VISIBLE, error = 1, 4, cv2.error
        keys: list[int]
        visible = 1.0

        def namedWindow(self, *_: object) -> None: ...

        def imshow(self, *_: object) -> None: ...

        def getWindowProperty(self, *_: object) -> float:
            return self.visible

        def waitKey(self, _: int) -> int:
            return self.keys.pop(0)

    screen = Screen()
    monkeypatch.setenv("DISPLAY", ":9")
    monkeypatch.setattr(opencv, "cv2", screen)
    window, frame = Window("t", "--show"), picture(8, 8)
    screen.keys = [-1, ord("x"), ord("q"), -1, -1, ord("z"), 27]
    assert window.show(frame)
    assert window.show(frame)
    assert not window.show(frame)
    assert window.show(frame, wait=True)
    assert screen.keys == [27]
    assert not window.show(frame, wait=True)
    screen.visible = 0.0
    assert not window.show(frame)
