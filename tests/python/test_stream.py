# SPDX-License-Identifier: Apache-2.0
"""``Engine.stream`` and what ``Engine.infer`` takes beside arrays."""

from __future__ import annotations

import gc
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

import onnx_models
from engine_support import pictures, same
from support import picture, write_picture, write_video
from trtpose import Engine, InputError, Nv12, Sources


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    metadata = {"trtpose": json.dumps(onnx_models.spec_fields("heads"))}
    path = onnx_models.write_model(tmp_path_factory.mktemp("m") / "m.onnx", metadata=metadata)
    return Engine(path, conf=0.05, batch=3)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    return [write_picture(tmp_path / f"{i}.png", picture(50 + 3 * i, 70, seed=i)) for i in range(4)]


def test_pictures_of_all_kinds_give_the_same(engine: Engine, files: list[Path]) -> None:
    frames = [cv2.imread(str(path)) for path in files]
    expected = engine.infer(frames)
    assert sum(map(len, expected)) > 0
    kinds: list[Any] = [
        files,
        [str(path) for path in files],
        [Image.open(path) for path in files],
        (frame for frame in frames),
        iter(files),
        [str(files[0]), frames[1], Image.open(files[2]), files[3]],
    ]
    for kind in kinds:
        for got, want in zip(engine.infer(kind), expected, strict=True):
            assert same(got, want)
    for single in (files[0], str(files[0]), Image.open(files[0])):
        assert same(engine.infer(single)[0], expected[0])
        assert same(engine(single)[0], expected[0])


def test_color_is_about_arrays_alone(engine: Engine, files: list[Path]) -> None:
    frame = cv2.imread(str(files[0]))
    expected = engine.infer(frame)[0]
    mixed = engine.infer([np.ascontiguousarray(frame[..., ::-1]), files[0], Image.open(files[0])], color="rgb")
    for got in mixed:
        assert same(got, expected)


def test_pillow_is_turned_as_its_exif_says(engine: Engine, tmp_path: Path) -> None:
    image = Image.fromarray(picture(40, 60, seed=3)[..., ::-1])
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "turned.png", exif=exif)
    (poses,) = engine.infer(Image.open(tmp_path / "turned.png"))
    assert poses.shape == (60, 40)
    grey = Image.fromarray(picture(40, 60, seed=3)[..., 0])
    assert engine.infer(grey)[0].shape == (40, 60)


@pytest.mark.parametrize("kind", [np.uint16, np.int32, np.float32])
def test_numbers_that_pillow_would_cut_off_are_refused(engine: Engine, kind: Any, tmp_path: Path) -> None:
    deep = Image.fromarray((picture(40, 60, seed=3)[..., 0].astype(kind) * 257).astype(kind))
    with pytest.raises(InputError, match="give the path of its file"):
        engine.infer(deep)
    if kind is np.uint16:
        deep.save(tmp_path / "deep.png")
        assert engine.infer(tmp_path / "deep.png")[0].shape == (40, 60)


def test_trackers_of_ended_videos_are_forgotten(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("scipy", reason="SciPy is not installed")
    from trtpose.tracking.sources import Trackers

    made: list[Trackers] = []
    monkeypatch.setattr("trtpose._stream.Trackers", lambda *a, **k: made.append(Trackers(*a, **k)) or made[-1])
    videos = [write_video(tmp_path / f"{i}.avi", frames=3) for i in range(4)]
    most = 0
    for _ in engine.stream(videos, track=True):
        most = max(most, len(made[0]._trackers))
    assert most <= 2
    assert not made[0]._trackers


def test_what_cannot_be_read_is_named(engine: Engine, tmp_path: Path, files: list[Path]) -> None:
    with pytest.raises(InputError, match=r"none\.jpg: no such file"):
        engine.infer([files[0], tmp_path / "none.jpg"])
    broken = tmp_path / "half.png"
    broken.write_bytes(files[0].read_bytes()[:200])
    with Image.open(broken) as half, pytest.raises(InputError, match="Pillow cannot be read"):
        engine.infer(half)
    with pytest.raises(InputError):
        engine.infer([object()])
    assert engine.infer(iter([])) == []


def test_stream_of_pictures_and_a_video(engine: Engine, files: list[Path], tmp_path: Path) -> None:
    video = write_video(tmp_path / "v.avi", frames=7, fps=10.0)
    got = list(engine.stream([files[0], video, files[1]]))
    assert [(Path(frame.source).name, frame.index) for frame, _ in got] == [
        ("0.png", 0),
        *(("v.avi", i) for i in range(7)),
        ("1.png", 0),
    ]
    assert [frame.time for frame, _ in got][1:8] == pytest.approx([i / 10 for i in range(7)])
    for frame, poses in got:
        assert same(poses, engine.infer(frame.image)[0])


def test_stream_is_lazy_and_ends_with_its_loop(engine: Engine, tmp_path: Path) -> None:
    video = write_video(tmp_path / "v.avi", frames=200)
    before = threading.active_count()
    for frame, _ in engine.stream(video):
        if frame.index == 4:
            break
    gc.collect()
    assert threading.active_count() == before
    with Sources(video) as sources:
        first = next(iter(engine.stream(sources)))
        assert first[0].index == 0
        assert next(iter(sources)).index == engine.batch  # lent sources stay open


def test_stream_tracks_and_takes_thresholds(engine: Engine, tmp_path: Path) -> None:
    pytest.importorskip("scipy", reason="SciPy is not installed")
    video = write_video(tmp_path / "v.avi", frames=5)
    assert all(poses.ids is None for _, poses in engine.stream(video))
    for _, poses in engine.stream(video, track=True):
        assert poses.ids is not None
        assert len(poses.ids) == len(poses)
    assert sum(len(poses) for _, poses in engine.stream(video, conf=0.999)) == 0
    with pytest.raises(InputError, match="method"):
        engine.stream(video, track="deep")  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match="conf"):
        engine.stream(video, conf=3)


def test_stream_says_what_cannot_be_read(engine: Engine, files: list[Path], tmp_path: Path) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"bad\.jpg"):
        list(engine.stream([files[0], bad, files[1]]))
    seen: list[InputError] = []
    assert len(list(engine.stream([files[0], bad, files[1]], on_error=seen.append))) == 2
    assert "bad.jpg" in str(seen[0])
    with pytest.raises(InputError, match="no source"):
        engine.stream([])


def test_an_endless_iterator_is_for_stream_only_in_parts(engine: Engine) -> None:
    """What infer is given it reads to the end; NV12 frames may stand in it."""

    def frames() -> Iterator[Any]:
        yield from pictures(2, 0)
        yield Nv12(np.full((32, 48), 90, np.uint8), np.full((16, 48), 128, np.uint8))

    assert [poses.shape for poses in engine.infer(frames())][-1] == (32, 48)
