# SPDX-License-Identifier: Apache-2.0
"""The command line, with a stand-in for the engine where the network does not matter."""

from __future__ import annotations

import argparse
import json
import os
import signal
import struct
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from support import PERSON, FakeEngine, encoded, make_poses, picture, write_picture, write_video
from trtpose import cli
from trtpose.commands import demo, options
from trtpose.errors import InputError, ModelError
from trtpose.results import Poses
from trtpose.thresholds import Thresholds

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def opened() -> list[FakeEngine]:
    """The engines a run has opened."""
    return []


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], opened: list[FakeEngine]) -> Run:
    """Run the command with a stand-in engine; gives the exit status, stdout and stderr."""

    def run(*arguments: Any, answer: Any = None, fail: Exception | None = None) -> tuple[int, str, str]:
        def open_engine(args: argparse.Namespace) -> FakeEngine:
            if fail is not None:
                raise fail
            engine = FakeEngine(args.model, batch=args.batch, answer=answer, thresholds=options.thresholds(args))
            opened.append(engine)
            return engine

        monkeypatch.setattr(options, "open_engine", open_engine)
        capsys.readouterr()
        try:
            status = cli.main([str(argument) for argument in arguments])
        except SystemExit as leave:
            status = leave.code if isinstance(leave.code, int) else 1
        out, err = capsys.readouterr()
        return status, out, err

    return run


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*")) if folder.exists() else []


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for index, name in enumerate(("a.jpg", "b.png", "c.webp")):
        write_picture(folder / name, picture(seed=index))
    return folder


def error_lines(err: str) -> list[str]:
    return [line for line in err.splitlines() if line.startswith("error: ")]


# --- Usage -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "VERB"),
        (["fly"], "invalid choice"),
        (["infer"], "MODEL"),
        (["infer", "m.onnx"], "SOURCE"),
        (["infer", "m.onnx", "a.jpg", "--conf", "2"], "'2' is not a number between 0 and 1"),
        (["infer", "m.onnx", "a.jpg", "--conf", "nan"], "is not a number between 0 and 1"),
        (["infer", "m.onnx", "a.jpg", "--iou", "-0.1"], "between 0 and 1"),
        (["infer", "m.onnx", "a.jpg", "--iou=-0.1"], "between 0 and 1"),
        (["infer", "m.onnx", "a.jpg", "--max-det", "0"], "is not a whole number from 1 on"),
        (["infer", "m.onnx", "a.jpg", "--imgsz", "big"], "'big' is not a size"),
        (["infer", "m.onnx", "a.jpg", "--imgsz", "1x2x3"], "is not a size"),
        (["infer", "m.onnx", "a.jpg", "--imgsz", "0"], "is not a size in pixels"),
        (["infer", "m.onnx", "a.jpg", "--batch", "x"], "is not a whole number"),
        (["infer", "m.onnx", "a.jpg", "--precision", "f8"], "invalid choice"),
        (["infer", "m.onnx", "a.jpg", "--nosuch"], "unrecognized arguments"),
        (["infer", "m.onnx", "a.jpg", "--reconnect", "-1"], "whole number"),
        (["eval", "m.onnx", "--images", "x"], "--annotations"),
        (["eval", "m.onnx", "--annotations", "x"], "--images"),
    ],
)
def test_wrong_usage_is_2(run: Run, arguments: list[str], message: str):
    status, out, err = run(*arguments)
    assert status == 2
    assert message in err
    assert not out


@pytest.mark.parametrize("verb", ["", "infer", "eval", "bench", "info", "demo"])
def test_help(run: Run, verb: str):
    status, out, err = run(*([verb] if verb else []), "--help")
    assert status == 0
    assert out.startswith("usage: trtpose")
    assert not err
    if not verb:
        assert all(name in out for name in ("infer", "eval", "bench", "info", "demo"))


def test_help_loads_neither_opencv_nor_a_network_library():
    code = """
        import sys
        from trtpose.cli import main
        try:
            main(["infer", "--help"])
        except SystemExit:
            pass
        heavy = {"cv2", "torch", "onnx", "onnxruntime", "supervision", "faster_coco_eval", "tqdm", "openvino"}
        sys.exit(",".join(heavy & set(sys.modules)) or 0)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_option_values_and_their_other_names():
    def parse(*arguments: str) -> argparse.Namespace:
        return cli._parser("infer").parse_args(["infer", "m.onnx", "a.jpg", *arguments])

    args = parse("--conf-thres", "0.1", "--iou-thres", "0.2", "--imgsz", "544x960")
    assert (args.conf, args.iou, args.imgsz) == (0.1, 0.2, (544, 960))
    assert parse("--imgsz", "640").imgsz == 640
    assert parse("--imgsz", "320,640").imgsz == (320, 640)
    assert (args.device, args.precision, args.spec, args.batch, args.debug) == ("auto", None, None, None, False)
    assert parse("--debug").debug
    assert cli._parser("infer").parse_args(["--debug", "infer", "m", "a"]).debug


def test_options_reach_the_engine(monkeypatch: pytest.MonkeyPatch):
    trtpose = pytest.importorskip("trtpose")
    seen: dict[str, Any] = {}
    monkeypatch.setattr(trtpose, "Engine", lambda model, **options: seen.update(options, model=model), raising=False)
    line = "infer m.onnx a.jpg --conf 0.1 --iou 0.2 --max-det 7 --imgsz 64x96 --batch 3 --device cpu --precision bf16"
    args = cli._parser("infer").parse_args(
        [*line.split(), "--spec", "s.json", "--vram-budget", "2GiB", "--threads", "2", "--agnostic", "--nms", "oks"]
    )
    options.open_engine(args)
    assert seen == {
        "model": "m.onnx",
        "thresholds": Thresholds(conf=0.1, iou=0.2, max_det=7, agnostic=True, nms="oks"),
        "imgsz": (64, 96),
        "batch": 3,
        "device": "cpu",
        "precision": "bf16",
        "spec": "s.json",
        "vram_budget": "2GiB",
        "threads": 2,
        "rect": False,
    }


# --- infer: what it writes -------------------------------------------------------------------------------------------


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
    assert list(data) == ["model", "device", "backend", "precision", "images"]
    assert (data["model"], data["device"], data["backend"], data["precision"]) == ("m.onnx", "cpu", "stand-in", "f32")
    assert [entry["source"] for entry in data["images"]] == [str(photos / name) for name in files(out)]
    for entry in data["images"]:
        assert list(entry) == ["source", "width", "height", "poses"]
        assert (entry["width"], entry["height"]) == (64, 48)
        assert entry["poses"] == make_poses(1, (48, 64)).to_dict()["poses"]
    assert files(tmp_path) == sorted(["out", "out.json", "photos", *files(out), *files(photos)])


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


def test_same_names_do_not_overwrite_each_other(run: Run, tmp_path: Path):
    for folder in ("one", "two", "three"):
        (tmp_path / folder).mkdir()
    for path in ("one/x.jpg", "two/x.jpg", "three/X.JPG", "one/x_1.jpg"):
        (tmp_path / path).write_bytes(encoded(".jpg", picture(seed=len(path))))
    write_video(tmp_path / "one" / "v.avi", frames=2)
    write_video(tmp_path / "two" / "v.mp4", frames=2)
    out = tmp_path / "out"
    assert run("infer", "m.onnx", *(tmp_path / n for n in ("one", "two", "three")), "--out", out)[0] == 0
    assert len(files(out)) == 6
    assert {name.lower() for name in files(out)} == {"v.mp4", "v_1.mp4", "x.jpg", "x_1.jpg", "x_2.jpg", "x_3.jpg"}
    sources = [tmp_path / name for name in ("one/x.jpg", "two/x.jpg", "one/x_1.jpg", "one/x.jpg")]
    assert run("infer", "m.onnx", *sources, "--out", tmp_path / "again")[0] == 0
    assert files(tmp_path / "again") == ["x.jpg", "x_1.jpg", "x_1_1.jpg", "x_2.jpg"]


def test_formats_that_are_not_written_become_png(run: Run, tmp_path: Path):
    source = tmp_path / "a.pgm"
    source.write_bytes(encoded(".pgm", picture()[:, :, 0]))
    assert run("infer", "m.onnx", source, "--out", tmp_path / "out")[0] == 0
    assert files(tmp_path / "out") == ["a.png"]


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


def test_calls_keep_the_thresholds_of_the_engine(run: Run, photos: Path, opened: list[FakeEngine]):
    """Those of the command line, ``--agnostic`` and ``--nms`` among them, were given to the engine."""
    run("infer", "m.onnx", photos, "--agnostic", "--nms", "oks")
    assert opened[0].options["thresholds"] == Thresholds(agnostic=True, nms="oks")
    assert opened[0].thresholds[0] == {}
    run("infer", "m.onnx", photos)
    assert opened[1].options["thresholds"] == Thresholds()


# --- infer: videos ---------------------------------------------------------------------------------------------------


def test_a_video_becomes_a_video(run: Run, tmp_path: Path):
    source = write_video(tmp_path / "clip.avi", frames=7, fps=12.0)
    report = tmp_path / "poses.json"
    status, out, err = run("infer", "m.onnx", source, "--out", tmp_path / "out", "--json", report, "--batch", "3")
    assert (status, err) == (0, "")
    assert out == f"{source}: 7 poses in 7 frames\n"
    assert files(tmp_path / "out") == ["clip.mp4"]
    check = cv2.VideoCapture(str(tmp_path / "out" / "clip.mp4"))
    assert check.get(cv2.CAP_PROP_FRAME_COUNT) == 7
    assert check.get(cv2.CAP_PROP_FPS) == pytest.approx(12.0)
    assert (check.get(cv2.CAP_PROP_FRAME_WIDTH), check.get(cv2.CAP_PROP_FRAME_HEIGHT)) == (64, 48)
    check.release()
    images = json.loads(report.read_text())["images"]
    assert [(entry["source"], entry["frame"]) for entry in images] == [(str(source), i) for i in range(7)]


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


def test_a_recording_of_a_camera_is_stopped_by_ctrl_c_and_kept(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from trtpose.sources import reader

    seen: list[int] = []
    real = cv2.VideoCapture

    def answer(frame: np.ndarray) -> Poses:
        seen.append(1)
        if len(seen) == 5:
            raise KeyboardInterrupt
        return make_poses(2, frame.shape[:2])

    with monkeypatch.context() as patch:
        patch.setattr(reader.cv2, "VideoCapture", lambda *a: Camera() if a[:1] == (0,) else real(*a))
        out, report = tmp_path / "out", tmp_path / "j.json"
        status, text, err = run("infer", "m.onnx", "0", "--out", out, "--json", report, "--batch", "3", answer=answer)
    assert status == 130
    assert text == "camera 0: 8 poses in 4 frames\n"
    assert not err
    assert len(json.loads(report.read_text())["images"]) == 4
    check = cv2.VideoCapture(str(out / "camera 0.mp4"))
    assert check.get(cv2.CAP_PROP_FRAME_COUNT) == 4
    check.release()


def test_a_writer_that_loses_frames_is_noticed(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    real = cv2.VideoWriter

    class Full:
        fourcc = staticmethod(real.fourcc)

        def __init__(self, *arguments: Any) -> None:
            self._writer = real(*arguments)
            self._written = 0

        def isOpened(self) -> bool:
            return True

        def write(self, frame: Any) -> None:
            self._written += 1
            if self._written <= 2:
                self._writer.write(frame)

        def release(self) -> None:
            self._writer.release()

    source = write_video(tmp_path / "clip.avi", frames=6)
    monkeypatch.setattr(cv2, "VideoWriter", Full)
    status, _, err = run("infer", "m.onnx", source, "--out", tmp_path / "out", "--json", tmp_path / "j.json")
    assert status == 1
    assert "only 2 of 6 frames could be written" in err
    assert files(tmp_path) == ["clip.avi"]


# --- infer: what goes wrong ------------------------------------------------------------------------------------------


def test_bad_files_are_reported_and_the_run_goes_on(run: Run, photos: Path, tmp_path: Path):
    (photos / "aa.jpg").write_bytes(encoded(".jpg")[:-100])
    (photos / "bb.jpg").write_text("no picture")
    status, out, err = run("infer", "m.onnx", photos, "--out", tmp_path / "out", "--json", tmp_path / "j.json")
    assert status == 1
    assert len(out.splitlines()) == 3
    assert [line.split(": ")[1] for line in error_lines(err)] == [str(photos / "aa.jpg"), str(photos / "bb.jpg")]
    assert "Traceback" not in err
    assert files(tmp_path / "out") == ["a.jpg", "b.png", "c.webp"]
    assert len(json.loads((tmp_path / "j.json").read_text())["images"]) == 3


def test_all_bad(run: Run, tmp_path: Path):
    (tmp_path / "a.jpg").write_bytes(b"")
    status, out, err = run("infer", "m.onnx", tmp_path, "--out", tmp_path / "out")
    assert status == 1
    assert not out
    assert err == f"error: {tmp_path / 'a.jpg'}: the file is empty; replace it with a picture\n"
    assert files(tmp_path) == ["a.jpg"]


@pytest.mark.parametrize(
    ("source", "message"),
    [("missing.jpg", "no such file"), (".", "holds no picture"), ("*.jpg", "matches no picture")],
)
def test_no_usable_source(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, message: str):
    monkeypatch.chdir(tmp_path)
    status, _, err = run("infer", "m.onnx", source, "--out", "out", "--json", "out.json" if source == "*.jpg" else "-")
    assert status == 1
    assert len(error_lines(err)) == 1
    assert message in err
    assert files(tmp_path) == []


def test_a_frame_the_engine_refuses_does_not_stop_its_neighbours(run: Run, photos: Path):
    def answer(frame: np.ndarray) -> Poses:
        if (frame == cv2.imread(str(photos / "b.png"))).all():
            raise InputError("frame 0 is refused")
        return make_poses(1, frame.shape[:2])

    status, out, err = run("infer", "m.onnx", photos, "--batch", "3", answer=answer)
    assert status == 1
    assert len(out.splitlines()) == 2
    assert error_lines(err) == [f"error: {photos / 'b.png'}: frame 0 is refused"]


def test_a_model_error_is_one_line_and_leaves_nothing(run: Run, photos: Path, tmp_path: Path):
    before = files(tmp_path)
    arguments = ("infer", "m.onnx", photos, "--out", tmp_path / "out", "--json", tmp_path / "j.json")
    status, out, err = run(*arguments, fail=ModelError("m.onnx: no such\nfile"))
    assert (status, out, err) == (1, "", "error: m.onnx: no such file\n")
    assert files(tmp_path) == before
    status, out, err = run(*arguments, "--debug", fail=ModelError("m.onnx: no such file"))
    assert status == 1
    assert "Traceback" in err
    assert err.splitlines()[-1] == "error: m.onnx: no such file"
    status, out, err = run(*arguments, fail=ZeroDivisionError("a bug"))
    assert status == 1
    assert err == "error: unexpected ZeroDivisionError: a bug; --debug prints where it came from\n"
    assert files(tmp_path) == before


def test_a_fault_in_the_middle_leaves_only_whole_files(run: Run, photos: Path, tmp_path: Path):
    write_video(photos / "bbb.mp4", frames=5)
    seen: list[int] = []

    def answer(frame: np.ndarray) -> Poses:
        seen.append(1)
        if len(seen) == 4:  # the second frame of the video
            raise RuntimeError("broke down")
        return make_poses(1, frame.shape[:2])

    status, _, err = run(
        "infer", "m.onnx", photos, "--out", tmp_path / "out", "--json", tmp_path / "j.json", answer=answer
    )
    assert status == 1
    assert "broke down" in err
    assert files(tmp_path / "out") == ["a.jpg", "b.png"]
    assert not (tmp_path / "j.json").exists()


def test_outputs_that_cannot_be_written(run: Run, photos: Path, tmp_path: Path, opened: list[FakeEngine]):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    cases = [
        (["--out", tmp_path / "file"], "is a file; give the name of a folder"),
        (["--out", tmp_path / "file" / "deeper"], "cannot be made"),
        (["--out", tmp_path / "new" / "deeper", "--json", tmp_path / "folder"], "is a folder"),
        (["--out", "/proc/trtpose"], "/proc/trtpose: the folder cannot be made"),
        (["--json", tmp_path / "folder"], "is a folder; give the name of a file"),
        (["--json", tmp_path / "none" / "x.json"], f"the folder {tmp_path / 'none'} does not exist"),
        (["--json", tmp_path / "file" / "x.json"], "is a file, not a folder"),
        (["--json", "/proc/x.json"], "cannot write there"),
    ]
    before = files(tmp_path)
    for arguments, message in cases:
        status, _, err = run("infer", "m.onnx", photos, *arguments)
        assert status == 1, arguments
        assert len(error_lines(err)) == 1
        assert message in err
    assert files(tmp_path) == before
    assert (tmp_path / "file").read_text() == "mine"
    # All of it was found out before the network was loaded.
    assert opened == []


def test_a_full_disk(run: Run, photos: Path):
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system")
    status, _, err = run("infer", "m.onnx", photos, "--json", "/dev/full")
    assert status == 1
    assert error_lines(err) == [
        "error: /dev/full: cannot be written (No space left on device); free some space or choose another place"
    ]


def test_a_read_only_folder(run: Run, photos: Path, tmp_path: Path):
    locked = tmp_path / "locked"
    locked.mkdir()
    locked.chmod(0o555)
    if os.access(locked, os.W_OK):
        pytest.skip("this user may write everywhere")
    for arguments in (["--out", locked], ["--out", locked / "new"], ["--json", locked / "x.json"]):
        status, _, err = run("infer", "m.onnx", photos, *arguments)
        assert status == 1
        assert "Permission denied" in err
        assert files(locked) == []


def test_inputs_are_never_overwritten(run: Run, photos: Path, tmp_path: Path, opened: list[FakeEngine]):
    before = {path: path.read_bytes() for path in photos.iterdir()}
    (tmp_path / "link").symlink_to(photos)
    for out in (photos, tmp_path / "link", photos / ".." / "photos"):
        status, _, err = run("infer", "m.onnx", photos, "--out", out)
        assert status == 1
        assert "is one of the inputs and would be overwritten" in err
    # Another name for the same file.
    (tmp_path / "out").mkdir()
    os.link(photos / "a.jpg", tmp_path / "out" / "a.jpg")
    assert run("infer", "m.onnx", photos, "--out", tmp_path / "out")[0] == 1
    status, _, err = run("infer", "m.onnx", photos, "--json", photos / "b.png")
    assert status == 1
    assert "would be overwritten" in err
    assert {path: path.read_bytes() for path in photos.iterdir()} == before
    assert opened == []


def test_json_does_not_overwrite_the_model(run: Run, photos: Path, tmp_path: Path):
    model = tmp_path / "m.onnx"
    model.write_bytes(b"a model")
    for verb in (
        ["infer", model, photos],
        ["bench", model],
        ["eval", model, "--images", photos, "--annotations", model],
    ):
        status, _, err = run(*verb, "--json", model)
        assert status == 1
        assert "would be overwritten" in err
    assert model.read_bytes() == b"a model"


def test_results_of_an_earlier_run_are_replaced(run: Run, photos: Path, tmp_path: Path):
    out = tmp_path / "out"
    (out / "sub").mkdir(parents=True)
    (out / "a.jpg").write_bytes(b"old")
    (out / "other.txt").write_text("kept")
    assert run("infer", "m.onnx", photos, "--out", out)[0] == 0
    assert cv2.imread(str(out / "a.jpg")) is not None
    assert files(out) == ["a.jpg", "b.png", "c.webp", "other.txt", "sub"]
    (out / "b.png").unlink()
    (out / "b.png").mkdir()
    status, _, err = run("infer", "m.onnx", photos, "--out", out)
    assert status == 1
    assert "is a folder where a result would be written" in err


def test_a_link_is_written_through(run: Run, photos: Path, tmp_path: Path):
    (tmp_path / "real.json").write_text("{}")
    (tmp_path / "link.json").symlink_to(tmp_path / "real.json")
    assert run("infer", "m.onnx", photos, "--json", tmp_path / "link.json")[0] == 0
    assert (tmp_path / "link.json").is_symlink()
    assert len(json.loads((tmp_path / "real.json").read_text())["images"]) == 3


def test_a_picture_its_format_cannot_hold(run: Run, tmp_path: Path):
    write_picture(tmp_path / "a.png")
    # WebP holds at most 16383 pixels a side; the file is a PNG by content.
    (tmp_path / "b.webp").write_bytes(encoded(".png", np.zeros((2, 16500, 3), np.uint8)))
    write_picture(tmp_path / "c.png")
    report = tmp_path / "poses.json"
    status, _, err = run("infer", "m.onnx", tmp_path, "--out", tmp_path / "out", "--quiet", "--json", report)
    assert status == 1
    assert error_lines(err) == [
        f"error: {tmp_path / 'out' / 'b.webp'}: a picture of 16500x2 pixels cannot be written in this format"
    ]
    # The run goes on: what comes later is written, and the poses are all there.
    assert files(tmp_path / "out") == ["a.png", "c.png"]
    assert len(json.loads(report.read_text())["images"]) == 3


# --- infer: as a process ---------------------------------------------------------------------------------------------

_DRIVER = """
import signal
# A suite that was started in the background ignores Ctrl-C, and so would its children.
signal.signal(signal.SIGINT, signal.default_int_handler)
import sys, time
sys.path.insert(0, {tests!r})
from support import FakeEngine, make_poses
from trtpose import cli
from trtpose.commands import options

def slow(frame):
    time.sleep({delay})
    return make_poses(1, frame.shape[:2])

options.open_engine = lambda args: FakeEngine(args.model, answer=slow)
sys.exit(cli.main())
"""


def start(*arguments: Any, delay: float = 0.0, **options: Any) -> subprocess.Popen[str]:
    code = _DRIVER.format(tests=str(Path(__file__).parent), delay=delay)
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_leaves_no_partial_file(tmp_path: Path, number: int, status: int):
    photos = tmp_path / "photos"
    photos.mkdir()
    for index in range(3):
        write_picture(photos / f"{index}.png")
    write_video(photos / "video.avi", frames=200)
    out = tmp_path / "out"
    process = start("infer", "m.onnx", photos, "--out", out, "--json", tmp_path / "j.json", delay=0.03)
    deadline = time.monotonic() + 30
    # Until the video is being written.
    while not any(name.endswith(".part.mp4") for name in files(out)) and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.1)
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == status, err
    assert "Traceback" not in err
    assert files(out) == ["0.png", "1.png", "2.png"]
    assert files(tmp_path) == sorted(["photos", "out", *files(photos), *files(out)])


def test_a_reader_that_goes_away(tmp_path: Path):
    for index in range(40):
        write_picture(tmp_path / f"{index:02}.png")
    process = start("infer", "m.onnx", tmp_path, "--json", tmp_path / "j.json", delay=0.01)
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline().endswith("00.png: 1 pose\n")
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    assert process.wait(30) == 141
    assert err == ""
    assert not (tmp_path / "j.json").exists()


def test_no_progress_bar_in_a_pipe(tmp_path: Path):
    write_picture(tmp_path / "a.png")
    process = start("infer", "m.onnx", tmp_path)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (0, f"{tmp_path / 'a.png'}: 1 pose\n", "")


def test_a_progress_bar_on_a_terminal(tmp_path: Path):
    fcntl, pty, termios = (pytest.importorskip(name) for name in ("fcntl", "pty", "termios"))
    for index in range(5):
        write_picture(tmp_path / f"{index}.png")
    master, slave = pty.openpty()
    # A new terminal is 0 columns wide, in which no bar fits.
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    code = _DRIVER.format(tests=str(Path(__file__).parent), delay=0.15)
    process = subprocess.Popen(
        [sys.executable, "-c", code, "infer", "m.onnx", str(tmp_path)], stdout=subprocess.PIPE, stderr=slave, text=True
    )
    os.close(slave)
    out, _ = process.communicate(timeout=30)
    seen = b""
    try:
        while part := os.read(master, 4096):
            seen += part
    except OSError:  # Linux reports the end of a terminal so
        pass
    os.close(master)
    assert process.returncode == 0
    assert len(out.splitlines()) == 5
    assert b"/5 " in seen
    assert b"frame" in seen


# --- eval, bench, info, demo -----------------------------------------------------------------------------------------


def annotations(folder: Path, names: list[str]) -> Path:
    poses = make_poses(1, (48, 64))
    points = poses.keypoints[0].copy()
    points[:, 2] = 2
    left, top, right, bottom = poses.boxes[0].tolist()
    path = folder / "people.json"
    document = {
        "images": [{"id": 10 + i, "file_name": name} for i, name in enumerate(names)],
        "annotations": [
            {
                "id": i + 1,
                "image_id": 10 + i,
                "category_id": 1,
                "bbox": [left, top, right - left, bottom - top],
                "area": 5000,
                "iscrowd": 0,
                "keypoints": points.reshape(-1).tolist(),
            }
            for i in range(len(names))
        ],
        "categories": [{"id": 1, "name": "person"}],
    }
    path.write_text(json.dumps(document))
    return path


def test_eval(run: Run, photos: Path, tmp_path: Path, opened: list[FakeEngine]):
    pytest.importorskip("faster_coco_eval")
    truth = annotations(tmp_path, ["a.jpg", "c.webp"])
    report = tmp_path / "figures.json"
    status, out, err = run("eval", "m.onnx", "--images", photos, "--annotations", truth, "--json", report)
    assert (status, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines()] == [
        *("AP", "AP50", "AP75", "APm", "APl"),
        *("AR", "AR50", "AR75", "ARm", "ARl"),
    ]
    data = json.loads(report.read_text())
    # The stand-in finds the annotated person exactly; 5000 square pixels are a medium person.
    assert data["metrics"]["AP"] == pytest.approx(1.0)
    assert data["metrics"]["APm"] == pytest.approx(1.0)
    assert data["metrics"]["APl"] == -1
    assert data["conf"] == 0.001
    assert sum(opened[0].calls) == 2
    assert opened[0].thresholds[0]["conf"] == 0.001
    run("eval", "m.onnx", "--images", photos, "--annotations", truth, "--conf", "0.3", "--iou", "0.5", "--max-det", "9")
    assert opened[1].thresholds[0] == {"conf": 0.3, "iou": 0.5, "max_det": 9}


def test_eval_reports_missing_pictures_and_goes_on(run: Run, photos: Path, tmp_path: Path):
    pytest.importorskip("faster_coco_eval")
    truth = annotations(tmp_path, ["a.jpg", "missing.jpg", "c.webp"])
    status, out, err = run("eval", "m.onnx", "--images", photos, "--annotations", truth)
    assert status == 1
    assert len(out.splitlines()) == 10
    assert error_lines(err) == [f"error: {photos / 'missing.jpg'}: no such file; check the name"]


def test_eval_on_stdout(run: Run, photos: Path, tmp_path: Path):
    pytest.importorskip("faster_coco_eval")
    truth = annotations(tmp_path, ["a.jpg"])
    status, out, _ = run("eval", "m.onnx", "--images", photos, "--annotations", truth, "--json", "-")
    assert status == 0
    assert len(json.loads(out)["metrics"]) == 10


def test_bench(run: Run, photos: Path, tmp_path: Path, opened: list[FakeEngine]):
    report = tmp_path / "bench.json"
    status, out, err = run(
        "bench", "m.onnx", "--runs", 4, "--warmup", 2, "--batch", 2, "--images", photos, "--json", report
    )
    assert (status, err) == (0, "")
    assert opened[0].calls == [2] * 6
    for word in ("letterbox", "network", "decode", "nms", "total", "file", "median ms", "p99 ms", "throughput", "peak"):
        assert word in out
    assert set(json.loads(report.read_text())["stages"]) == {"file", "letterbox", "network", "decode", "nms", "total"}
    status, out, _ = run("bench", "m.onnx", "--runs", 1, "--warmup", 1, "--json", "-")
    assert json.loads(out)["runs"] == 1


def test_bench_without_a_picture(run: Run, tmp_path: Path):
    status, _, err = run("bench", "m.onnx", "--images", tmp_path)
    assert status == 1
    assert "holds no picture" in err
    (tmp_path / "a.jpg").write_bytes(b"")
    status, _, err = run("bench", "m.onnx", "--images", tmp_path)
    assert status == 1
    assert "the file is empty" in err


def test_info(run: Run, monkeypatch: pytest.MonkeyPatch):
    trtpose = pytest.importorskip("trtpose")
    system = {"trtpose": "1", "backends": [{"name": "openvino", "version": "2", "problem": None}], "ok": True}
    monkeypatch.setattr(trtpose, "system_info", lambda: system, raising=False)
    asked: list[Any] = []

    def model_info(path: str, spec: Any = None, **options: Any) -> dict[str, Any]:
        asked.append((path, spec))
        assert options == {"imgsz": None, "batch": None}
        return {"path": path, "inputs": [{"name": "images", "shape": [1, 3, 64, 96]}], "spec": PERSON.to_dict()}

    monkeypatch.setattr(trtpose, "model_info", model_info, raising=False)
    status, out, _ = run("info")
    assert status == 0
    assert "trtpose: 1" in out
    assert "ok: yes" in out
    assert json.loads(run("info", "--json")[1]) == system
    status, out, _ = run("info", "m.onnx", "--spec", "s.json")
    assert status == 0
    assert "shape: 1, 3, 64, 96" in out
    assert json.loads(run("info", "m.onnx", "--json")[1])["spec"]["layout"] == "heads"
    assert asked == [("m.onnx", "s.json"), ("m.onnx", None)]
    assert run("info", "--spec", "s.json")[0] == 1


def test_demo(run: Run, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opened: list[FakeEngine]):
    package = tmp_path / "package"
    package.mkdir()
    monkeypatch.setattr(demo, "__file__", str(package / "commands" / "demo.py"))
    monkeypatch.chdir(tmp_path)
    status, _, err = run("demo")
    assert status == 1
    assert "has no demo model" in err
    (package / "data" / "demo").mkdir(parents=True)
    (package / "data" / "demo.onnx").write_bytes(b"x")
    status, _, err = run("demo")
    assert status == 1
    assert "has no demo pictures" in err
    write_picture(package / "data" / "demo" / "people.jpg")
    status, out, _ = run("demo")
    assert status == 0
    assert files(tmp_path / "trtpose-demo") == ["people.jpg"]
    assert out.splitlines()[-1] == f"the pictures are in {tmp_path / 'trtpose-demo'}"
    assert opened[-1].model == str(package / "data" / "demo.onnx")
    status, _, _ = run("demo", photos, "--out", tmp_path / "mine")
    assert status == 0
    assert files(tmp_path / "mine") == ["a.jpg", "b.png", "c.webp"]


def test_a_verb_is_a_module_with_two_functions(run: Run, monkeypatch: pytest.MonkeyPatch):
    class Module:
        @staticmethod
        def add_arguments(parser: argparse.ArgumentParser) -> None:
            parser.add_argument("file")
            parser.add_argument("--debug", action="store_true")

        @staticmethod
        def run(args: argparse.Namespace) -> int:
            if args.file == "bad":
                raise ModelError("bad: is bad")
            print(f"built {args.file}")
            return 0

    names = [verb.name for verb in cli._VERBS]
    assert names == ["infer", "eval", "bench", "info", "export", "build", "check", "quantize", "demo"]
    monkeypatch.setattr(cli, "_VERBS", (*cli._VERBS, cli._Verb("paint", "a verb of the test", Module)))
    assert run("paint", "x") == (0, "built x\n", "")
    assert run("paint", "bad") == (1, "", "error: bad: is bad\n")
    assert "a verb of the test" in run("--help")[1]


# --- With a network --------------------------------------------------------------------------------------------------


def real_run(capsys: pytest.CaptureFixture[str], *arguments: Any) -> tuple[int, str, str]:
    pytest.importorskip("trtpose._core", reason="the native part is not built")
    capsys.readouterr()
    status = cli.main([str(argument) for argument in arguments])
    return status, *capsys.readouterr()


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
    spec = Path(__file__).parents[1] / "data" / "yolov7-lite-t-face5.json"
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


def test_eval_as_documented(shared: Path, capsys: pytest.CaptureFixture[str]):
    pytest.importorskip("faster_coco_eval")
    images = shared / "images"
    arguments = ["--images", images, "--annotations", images / "person_keypoints.json"]
    status, out, err = real_run(capsys, "eval", shared / "models" / "yolo26n-pose-256.onnx", *arguments)
    assert (status, err) == (0, "")
    figures = {line.split()[0]: float(line.split()[1]) for line in out.splitlines()}
    assert figures["AP50"] >= 0.80
    assert figures["AP"] >= 0.30


def test_bench_and_info_of_a_model(shared: Path, capsys: pytest.CaptureFixture[str]):
    model = shared / "models" / "yolo26n-pose-256.onnx"
    status, out, err = real_run(capsys, "bench", model, "--runs", "2", "--warmup", "1", "--json", "-")
    assert (status, err) == (0, "")
    result = json.loads(out)
    assert set(result["stages"]) == {"file", "letterbox", "network", "decode", "nms", "total"}
    assert result["memory"]["planned"]["total"] > 0
    status, out, _ = real_run(capsys, "info", model, "--json")
    assert status == 0
    info = json.loads(out)
    assert info["spec"]["layout"] == "channels_first"
    # 2.9 million weights in the file; the multiply-adds of its convolutions at 256x256, by OpenVINO's shapes.
    assert 2.5e6 < info["parameters"] < 4.5e6
    assert 0.4e9 < info["macs"] < 1.0e9
    assert info["memory"]["weights"] == info["weight_bytes"]
    status, out, _ = real_run(capsys, "info")
    assert status == 0
    assert "openvino" in out


@pytest.mark.parametrize("content", [None, b"", b"not a model"])
def test_models_that_are_none(tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None):
    model = tmp_path / "m.onnx"
    if content is not None:
        model.write_bytes(content)
    (tmp_path / "photos").mkdir()
    write_picture(tmp_path / "photos" / "a.png")
    before = files(tmp_path)
    for verb in (["infer", model, tmp_path / "photos", "--out", tmp_path / "out"], ["bench", model], ["info", model]):
        status, out, err = real_run(capsys, *verb)
        assert status == 1
        assert not out
        assert len(err.splitlines()) == len(error_lines(err)) == 1
        assert str(model) in err
    assert files(tmp_path) == before


def test_the_handler_of_sigterm_is_put_back(run: Run, photos: Path):
    before = signal.getsignal(signal.SIGTERM)
    run("infer", "m.onnx", photos)
    run("infer", "m.onnx", "missing.jpg")
    assert signal.getsignal(signal.SIGTERM) is before
