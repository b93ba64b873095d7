# SPDX-License-Identifier: Apache-2.0
"""``trtpose infer``: what it finds, says and writes."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

import trtpose
from av_videos import write_times
from command_support import Run, error_lines, files, real_run
from support import PERSON, FakeEngine, make_poses, picture, spec_with, write_picture, write_video
from trtpose.commands import infer
from trtpose.results import Poses


def test_pictures_and_json(run: Run, photos: Path, tmp_path: Path):
    out, report = tmp_path / "out", tmp_path / "out.json"
    status, text, err = run("infer", "m.onnx", photos, "--out", out, "--json", report)
    assert status == 0
    assert not err
    assert text.splitlines() == [f"{photos / name}: 1 pose" for name in ("a.jpg", "b.png", "c.webp")]
    assert files(out) == ["a.jpg", "b.png", "c.webp"]
    for name in files(out):
        drawn = cv2.imread(str(out / name))
        assert drawn.shape == (48, 64, 3)
        assert (drawn != cv2.imread(str(photos / name))).any()
    data = json.loads(report.read_text())
    assert list(data) == ["model", "device", "backend", "precision", "imgsz", "thresholds", "images"]
    assert (data["model"], data["device"], data["backend"], data["precision"]) == ("m.onnx", "cpu", "stand-in", "f32")
    assert [entry["source"] for entry in data["images"]] == [str(photos / name) for name in files(out)]
    for entry in data["images"]:
        assert list(entry) == ["source", "width", "height", "poses"]
        assert (entry["width"], entry["height"]) == (64, 48)
        assert entry["poses"] == make_poses(1, (48, 64)).to_dict()["poses"]
    assert files(tmp_path) == sorted(["out", "out.json", "photos", *files(out), *files(photos)])


@pytest.mark.parametrize("options", [("--iou", "0.5"), ("--agnostic", "--nms", "oks"), ("--conf", "0.3"), ()])
def test_suppression_of_final_poses_is_said_to_do_nothing(
    options: tuple[str, ...], photos: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    final = spec_with(PERSON.keypoints, layout="final")
    monkeypatch.setattr(trtpose, "Engine", lambda model, **more: FakeEngine(model, spec=final, **more))
    status, _, err = real_run(capsys, "infer", "m.onnx", str(photos), *options)
    assert status == 0
    named = [option for option in options if option in ("--iou", "--agnostic", "--nms")]
    said = (
        f"note: m.onnx gives final poses (layout final), which nothing is suppressed of: no use for {', '.join(named)}"
    )
    assert err.splitlines() == ([said] if named else [])


def test_suppression_elsewhere_is_not_commented(
    photos: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(trtpose, "Engine", FakeEngine)
    assert real_run(capsys, "infer", "m.onnx", str(photos), "--iou", "0.5", "--agnostic")[2] == ""


def test_permissions_follow_the_umask(run: Run, photos: Path, tmp_path: Path):
    before = os.umask(0o027)
    try:
        run("infer", "m.onnx", photos, "--out", tmp_path / "out", "--json", tmp_path / "out.json")
    finally:
        os.umask(before)
    assert (tmp_path / "out.json").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "out" / "a.jpg").stat().st_mode & 0o777 == 0o640


def test_nothing_is_written_unasked(run: Run, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    before = files(tmp_path)
    status, out, _ = run("infer", "m.onnx", photos)
    assert status == 0
    assert len(out.splitlines()) == 3
    status, _, _ = run("infer", "m.onnx", photos, "--out", "o", "--no-draw")
    assert status == 0
    assert files(tmp_path) == before


def test_quiet_says_nothing(run: Run, photos: Path, tmp_path: Path):
    assert run("infer", "m.onnx", photos, "--quiet", "--out", tmp_path / "o") == (0, "", "")


def test_json_on_stdout_keeps_it_clean(run: Run, photos: Path):
    status, out, err = run("infer", "m.onnx", photos, "--json", "-")
    assert status == 0
    assert len(json.loads(out)["images"]) == 3
    assert len(err.splitlines()) == 3


def test_json_inside_the_new_folder(run: Run, photos: Path, tmp_path: Path):
    out = tmp_path / "deep" / "out"
    assert run("infer", "m.onnx", photos, "--out", out, "--json", out / "poses.json")[0] == 0
    assert files(out) == ["a.jpg", "b.png", "c.webp", "poses.json"]


def test_nobody_found_is_no_error(run: Run, photos: Path, tmp_path: Path):
    status, out, _ = run(
        "infer", "m.onnx", photos, "--json", tmp_path / "j", answer=lambda f: Poses.empty(f.shape[:2], PERSON)
    )
    assert status == 0
    assert out.splitlines()[0].endswith(": 0 poses")
    assert [entry["poses"] for entry in json.loads((tmp_path / "j").read_text())["images"]] == [[], [], []]


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_batches(run: Run, tmp_path: Path, opened: list[FakeEngine], batch: int):
    for index in range(5):
        write_picture(tmp_path / f"{index}.png")
    (tmp_path / "3.png").write_bytes(b"")
    status, out, err = run("infer", "m.onnx", tmp_path, "--batch", batch)
    assert status == 1
    assert [Path(line.partition(":")[0]).name for line in out.splitlines()] == ["0.png", "1.png", "2.png", "4.png"]
    assert len(error_lines(err)) == 1
    assert max(opened[0].calls) <= batch
    assert sum(opened[0].calls) == 4


def test_videos_and_pictures_mixed(run: Run, photos: Path, tmp_path: Path):
    write_video(photos / "b.mp4", frames=3)
    write_video(photos / "bb.avi", frames=2)
    status, out, _ = run("infer", "m.onnx", photos, "--out", tmp_path / "out", "--batch", "4")
    assert status == 0
    assert [line.removeprefix(f"{photos}/") for line in out.splitlines()] == [
        "a.jpg: 1 pose",
        "b.mp4: 3 poses in 3 frames",
        "b.png: 1 pose",
        "bb.avi: 2 poses in 2 frames",
        "c.webp: 1 pose",
    ]
    assert files(tmp_path / "out") == ["a.jpg", "b.mp4", "b.png", "bb.mp4", "c.webp"]


def sure(frame: np.ndarray) -> Poses:
    """One person of a good score."""
    return dataclasses.replace(make_poses(1, frame.shape[:2]), scores=np.array([0.9], np.float32))


def test_track_gives_ids_that_last_as_long_as_the_video(run: Run, photos: Path, tmp_path: Path):
    pytest.importorskip("scipy", reason="SciPy is not installed")
    first, second = write_video(tmp_path / "a.avi", frames=4), write_video(tmp_path / "b.avi", frames=3)
    lines = tmp_path / "poses.jsonl"
    status, _, err = run("infer", "m.onnx", first, photos / "a.jpg", second, "--track", "--jsonl", lines, answer=sure)
    assert (status, err) == (0, "")
    entries = [json.loads(line) for line in lines.read_text().splitlines()][1:]
    ids = [[pose["id"] for pose in entry["poses"]] for entry in entries]
    # Each video begins anew; nobody is followed through a picture.
    assert ids == [[0]] * 4 + [[None]] + [[0]] * 3
    again = [Poses.from_dict(entry, PERSON).ids for entry in entries[:5]]
    assert [ids.tolist() for ids in again if ids is not None] == [[0]] * 4 + [[-1]]


def test_smooth_alone_and_an_unknown_tracker(run: Run, tmp_path: Path):
    pytest.importorskip("scipy", reason="SciPy is not installed")
    video = write_video(tmp_path / "a.avi", frames=3)
    assert run("infer", "m.onnx", video, "--smooth", "--json", tmp_path / "j", answer=sure)[0] == 0
    document = json.loads((tmp_path / "j").read_text())
    assert [entry["poses"][0]["id"] for entry in document["images"]] == [0, 0, 0]
    status, _, err = run("infer", "m.onnx", video, "--tracker", "deep")
    assert status == 2
    assert "--tracker" in err


def test_a_bad_video_leaves_no_file(run: Run, photos: Path, tmp_path: Path):
    (photos / "bad.mp4").write_bytes(b"\0\0\0\x18ftypmp42 and no more")
    status, out, err = run("infer", "m.onnx", photos, "--out", tmp_path / "out")
    assert status == 1
    assert len(out.splitlines()) == 3
    assert len(error_lines(err)) == 1
    assert files(tmp_path / "out") == ["a.jpg", "b.png", "c.webp"]


def test_max_frames(run: Run, tmp_path: Path):
    source = write_video(tmp_path / "clip.avi", frames=9)
    status, out, _ = run("infer", "m.onnx", source, "--max-frames", "4", "--out", tmp_path / "out", "--batch", "3")
    assert status == 0
    assert out == f"{source}: 4 poses in 4 frames\n"
    check = cv2.VideoCapture(str(tmp_path / "out" / "clip.mp4"))
    assert check.get(cv2.CAP_PROP_FRAME_COUNT) == 4
    check.release()


class Camera:
    """A camera that never ends."""

    def __init__(self, *_: Any) -> None:
        pass

    def isOpened(self) -> bool:
        return True

    def get(self, prop: int) -> float:
        return 25.0 if prop == cv2.CAP_PROP_FPS else -1.0

    def read(self) -> tuple[bool, Any]:
        return True, picture()

    def release(self) -> None:
        pass


def test_several_cameras_at_once(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Each has a video, ids and times of its own; a file beside them is read in its place."""
    pytest.importorskip("scipy", reason="SciPy is not installed")
    real = cv2.VideoCapture

    class Slow(Camera):
        def read(self) -> tuple[bool, Any]:
            time.sleep(0.005)
            return super().read()

    video = write_video(tmp_path / "v.avi", frames=3)
    out, report = tmp_path / "out", tmp_path / "j.json"
    with monkeypatch.context() as patch:
        patch.setattr(cv2, "VideoCapture", lambda *a: Slow() if a[:1] in ((0,), (1,)) else real(*a))
        command = ["infer", "m.onnx", "0", video, "1", "--out", out, "--json", report, "--track", "--max-frames", "60"]
        status, text, err = run(*command, "--batch", "4", answer=sure)
    assert (status, err) == (0, "")
    assert files(out) == ["camera 0.mp4", "camera 1.mp4", "v.mp4"]
    entries = json.loads(report.read_text())["images"]
    counts = {name: sum(entry["source"] == name for entry in entries) for name in ("camera 0", str(video), "camera 1")}
    assert sum(counts.values()) == 60
    assert counts[str(video)] == 3
    assert min(counts.values()) == 3 < min(counts["camera 0"], counts["camera 1"])
    for name, count in counts.items():
        mine = [entry for entry in entries if entry["source"] == name]
        times = [entry["time"] for entry in mine]
        assert times == sorted(times)
        assert {pose["id"] for entry in mine for pose in entry["poses"]} == {0}
        assert f"{name}: {count} poses in {count} frames" in text
        with av.open(str(out / f"{Path(name).stem}.mp4")) as container:
            assert container.streams.video[0].frames == count


def test_a_recording_of_a_camera_is_stopped_by_ctrl_c_and_kept(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    seen: list[int] = []
    real = cv2.VideoCapture

    def answer(frame: np.ndarray) -> Poses:
        seen.append(1)
        if len(seen) == 5:
            raise KeyboardInterrupt
        return make_poses(2, frame.shape[:2])

    with monkeypatch.context() as patch:
        patch.setattr(cv2, "VideoCapture", lambda *a: Camera() if a[:1] == (0,) else real(*a))
        out, report = tmp_path / "out", tmp_path / "j.json"
        status, text, err = run("infer", "m.onnx", "0", "--out", out, "--json", report, "--batch", "3", answer=answer)
    assert status == 130
    line = r"camera 0: 8 poses in 4 frames; (\d+) read, (\d+) dropped, 0 reconnects, results \d+\.\d\d seconds after "
    counted = re.fullmatch(line + r"reading\n", text)
    assert counted is not None, text
    # One more was interrupted; others may wait.
    assert int(counted[1]) - int(counted[2]) >= 5
    assert not err
    assert len(json.loads(report.read_text())["images"]) == 4
    check = cv2.VideoCapture(str(out / "camera 0.mp4"))
    assert check.get(cv2.CAP_PROP_FRAME_COUNT) == 4
    check.release()


def test_people_in_photographs(shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    model, images, report = shared / "models" / "yolo26n-pose-256.onnx", shared / "images", tmp_path / "out.json"
    status, _, err = real_run(capsys, "infer", model, images, "--out", tmp_path / "out", "--json", report)
    assert (status, err) == (0, "")
    assert files(tmp_path / "out") == sorted(path.name for path in images.glob("*.jpg"))
    data = json.loads(report.read_text())
    assert (data["device"], data["backend"], data["precision"]) == ("cpu", "openvino", "f32")
    found = {Path(entry["source"]).name: entry["poses"] for entry in data["images"]}
    # Counted by eye; the last picture shows animals only.
    assert {name: len(found[name]) for name in ("000000000785.jpg", "zidane.jpg", "image2.jpg", "image3.jpg")} == {
        "000000000785.jpg": 1,
        "zidane.jpg": 2,
        "image2.jpg": 2,
        "image3.jpg": 0,
    }
    assert all(len(poses) >= 2 for name, poses in found.items() if name not in ("000000000785.jpg", "image3.jpg"))
    # The annotated skier: every keypoint within a tenth of her height.
    (annotation,) = [
        a for a in json.loads((images / "person_keypoints.json").read_text())["annotations"] if a["image_id"] == 785
    ]
    truth = np.array(annotation["keypoints"]).reshape(-1, 3)
    points = np.array(found["000000000785.jpg"][0]["keypoints"])
    distance = np.linalg.norm(points[:, :2] - truth[:, :2], axis=1)
    assert distance[truth[:, 2] > 0].max() < 0.1 * annotation["bbox"][3]


def test_faces_in_a_group(shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    spec = Path(__file__).parents[2] / "data" / "yolov7-lite-t-face5.json"
    arguments = [shared / "models" / "yolov7-lite-t-face5.onnx", shared / "images" / "group.jpg", "--spec", spec]
    report = tmp_path / "out.json"
    status, _, err = real_run(capsys, "infer", *arguments, "--imgsz", "640", "--json", report)
    assert (status, err) == (0, "")
    faces = json.loads(report.read_text())["images"][0]["poses"]
    assert len(faces) > 20
    for face in faces:
        left, top, right, bottom = face["box"]
        assert all(left < x < right and top < y < bottom for x, y, _ in face["keypoints"][2:3])  # the nose
    status, _, err = real_run(capsys, "infer", *arguments[:2])
    assert status == 1
    assert len(error_lines(err)) == 1


@pytest.mark.parametrize(("wanted", "end"), [(4, 4), (500, 12), (None, 12)])
def test_the_bar_ends_where_the_run_does(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: int | None, end: int
):
    expected: list[int | None] = []
    monkeypatch.setattr(infer.Progress, "expect", lambda _, total: expected.append(total))
    more = () if wanted is None else ("--max-frames", wanted)
    assert run("infer", "m.onnx", write_video(tmp_path / "v.avi", frames=12), *more)[0] == 0
    assert set(expected) == {end}


def test_the_bar_of_a_video_without_a_count_ends_where_the_run_does(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """By its length and the time so far; the average rate says 81 of 20 where there is a pause."""
    expected: list[int | None] = []
    monkeypatch.setattr(infer.Progress, "expect", lambda _, total: expected.append(total))
    times = [33 * i for i in range(10)] + [2300 + 100 * i for i in range(10)]
    source = write_times(tmp_path / "v.mkv", times, Fraction(1, 1000))
    assert run("infer", "m.onnx", source)[0] == 0
    assert len(expected) == 20
    assert all(total is None or total > index for index, total in enumerate(expected))
    assert expected[-1] == 20
    expected.clear()
    assert run("infer", "m.onnx", source, "--max-frames", "4")[0] == 0
    assert expected == [4] * 4


def test_what_a_folder_holds_besides_pictures_is_told(run: Run, photos: Path):
    (photos / "a.jpg").rename(photos / "a.jfif")
    status, out, _ = run("infer", "m.onnx", photos)
    assert (status, len(out.splitlines())) == (0, 3)
    for index in range(7):
        (photos / f"{index}.txt").write_text("0 0.5 0.5 0.1 0.1")
    status, out, err = run("infer", "m.onnx", photos)
    first, *rest = out.splitlines()
    assert (status, err, len(rest)) == (0, "", 3)
    names = ", ".join(str(photos / f"{index}.txt") for index in range(5))
    assert first == f"left out 7 that are no picture and no video: {names}, ..."
    assert run("infer", "m.onnx", photos, "--quiet")[1] == ""
    status, out, err = run("infer", "m.onnx", photos, "--json", "-")
    assert out.startswith("{")
    assert "left out 7" in err
