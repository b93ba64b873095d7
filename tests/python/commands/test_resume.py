# SPDX-License-Identifier: Apache-2.0
"""Going on after a run was stopped, and sharing the work."""

from __future__ import annotations

import dataclasses
import json
import signal
from pathlib import Path

import cv2
import numpy as np
import pytest

import process_support
from command_support import Run, error_lines, files
from support import FakeEngine, make_poses, write_video
from trtpose.results import Poses


@pytest.fixture
def sources(photos: Path) -> Path:
    """Two videos among three pictures, one file that is no picture, and the last again under another name."""
    write_video(photos / "b.mp4", frames=7)
    write_video(photos / "d.avi", frames=5)
    (photos / "bad.jpg").write_bytes(b"\xff\xd8 no picture")
    (photos / "e.png").write_bytes((photos / "b.png").read_bytes())
    return photos


def sure(frame: np.ndarray) -> Poses:
    return dataclasses.replace(make_poses(1, frame.shape[:2]), scores=np.array([0.9], np.float32))


@pytest.mark.parametrize("more", [[], ["--track"], ["--batch", "3"]])
def test_cut_off_anywhere_it_ends_in_the_same_bytes(run: Run, sources: Path, tmp_path: Path, more: list[str]):
    """What a killed run leaves is a beginning of the file; its last line may be half there."""
    if "--track" in more:
        pytest.importorskip("scipy", reason="SciPy is not installed")
    path = tmp_path / "p.jsonl"
    given = ["infer", "m.onnx", sources, "--jsonl", path, *more]
    assert run(*given, answer=sure)[0] == 1  # one is no picture
    whole = path.read_bytes()
    ends = [i + 1 for i, byte in enumerate(whole) if byte == ord("\n")]
    assert len(ends) == 1 + 4 + 7 + 5
    cuts = sorted({0, 3, len(whole), *ends, *(end - 1 for end in ends), *(end + 40 for end in ends[:-1])})
    for cut in cuts:
        path.write_bytes(whole[:cut])
        status, _, err = run(*given, "--resume", answer=sure)
        assert status == (1 if b"d.avi" not in whole[:cut] and cut < len(whole) else status)
        assert path.read_bytes() == whole, cut
        assert all("bad.jpg" in line for line in error_lines(err))


def test_what_is_done_is_not_computed_again(run: Run, sources: Path, tmp_path: Path):
    path, calls = tmp_path / "p.jsonl", []

    def answer(frame: np.ndarray) -> Poses:
        calls.append(frame.shape)
        if len(calls) == 6:
            raise RuntimeError("broke down")
        return make_poses(1, frame.shape[:2])

    (sources / "bad.jpg").unlink()
    assert run("infer", "m.onnx", sources, "--jsonl", path, answer=answer)[0] == 1
    calls.clear()
    calls.extend([(0,)] * 10)
    assert run("infer", "m.onnx", sources, "--jsonl", path, "--resume", answer=answer)[0] == 0
    assert len(calls) - 10 == 4 + 7 + 5 - 5


def test_an_annotated_video_that_was_begun_is_made_whole(run: Run, sources: Path, tmp_path: Path):
    path, out = tmp_path / "p.jsonl", tmp_path / "out"
    given = ["infer", "m.onnx", sources, "--jsonl", path, "--out", out]
    run(*given, answer=sure)
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:5]))
    (out / "b.mp4").unlink()
    run(*given, "--resume", answer=sure)
    assert path.read_bytes() == whole
    video = cv2.VideoCapture(str(out / "b.mp4"))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 7
    video.release()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model": "another.onnx"}, "line 1 names another model"),
        ({"thresholds": {"conf": 0.5}}, "line 1 names another thresholds"),
    ],
)
def test_the_file_of_another_run_is_refused_and_stays(
    run: Run, sources: Path, tmp_path: Path, change: dict[str, object], words: str
):
    path = tmp_path / "p.jsonl"
    run("infer", "m.onnx", sources, "--jsonl", path)
    head, _, rest = path.read_text().partition("\n")
    path.write_text(json.dumps({**json.loads(head), **change}) + "\n" + rest)
    before = path.read_bytes()
    status, _, err = run("infer", "m.onnx", sources, "--jsonl", path, "--resume")
    assert status == 1
    assert words in err
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("before", "after", "key"),
    [
        (["--track"], [], "tracker"),
        ([], ["--track"], "tracker"),
        (["--track", "--smooth"], ["--track"], "smooth"),
        ([], ["--rect"], "rect"),
        (["--crop"], [], "crop"),
    ],
)
def test_what_changes_results_must_be_the_same(
    run: Run, sources: Path, tmp_path: Path, before: list[str], after: list[str], key: str
):
    """Also what this run leaves out: half of the people would have ids, or smoothed keypoints."""
    pytest.importorskip("scipy", reason="SciPy is not installed")
    path = tmp_path / "p.jsonl"
    head = {option[2:]: True for option in before if option != "--track"}
    run("infer", "m.onnx", sources, "--jsonl", path, *(option for option in before if option != "--crop"))
    first, _, rest = path.read_text().partition("\n")
    path.write_text(json.dumps({**json.loads(first), **head}) + "\n" + rest)
    kept = path.read_bytes()
    status, _, err = run("infer", "m.onnx", sources, "--jsonl", path, "--resume", *after)
    assert status == 1
    assert f"line 1 names another {key}" in err
    assert path.read_bytes() == kept


def of_each_source(path: Path) -> dict[str, list[str]]:
    """The lines of a file by their source, in order; the first line under no name."""
    found: dict[str, list[str]] = {}
    for line in path.read_text().splitlines():
        found.setdefault(json.loads(line).get("source", ""), []).append(line)
    return found


@pytest.mark.parametrize("more", [[], ["--track"]])
def test_what_was_repaired_or_added_since_holds_over_any_number_of_resumes(
    run: Run, sources: Path, tmp_path: Path, more: list[str]
):
    """Pictures that were broken or not there come behind what was done; a run may be killed then, and again."""
    if more:
        pytest.importorskip("scipy", reason="SciPy is not installed")
    path, whole = tmp_path / "p.jsonl", tmp_path / "whole.jsonl"
    given = ["infer", "m.onnx", sources, *more]
    run(*given, "--jsonl", path, answer=sure)
    first = path.read_bytes()
    picture = (sources / "b.png").read_bytes()
    (sources / "bad.jpg").write_bytes((sources / "a.jpg").read_bytes())
    (sources / "aa.png").write_bytes(picture)
    write_video(sources / "aaa.mp4", frames=3)
    run(*given, "--jsonl", whole, answer=sure)
    expected = of_each_source(whole)

    def cuts(data: bytes) -> list[int]:
        ends = [i + 1 for i, byte in enumerate(data) if byte == ord("\n")]
        return [0, *(end + at for end in ends for at in (0, 25) if end + at <= len(data))]

    for cut in cuts(first)[::5]:
        path.write_bytes(first[:cut])
        run(*given, "--jsonl", path, "--resume", answer=sure)
        second = path.read_bytes()
        assert of_each_source(path) == expected
        for again in [c for c in cuts(second) if c >= cut][::7]:
            path.write_bytes(second[:again])
            (sources / "late.png").write_bytes(picture)
            assert run(*given, "--jsonl", path, "--resume", answer=sure)[0] == 0
            found = of_each_source(path)
            assert len(found.pop(str(sources / "late.png"))) == 1
            assert found == expected, (cut, again)
            done = path.read_bytes()
            run(*given, "--jsonl", path, "--resume", answer=sure)
            assert path.read_bytes() == done
            (sources / "late.png").unlink()


def test_a_begun_video_that_cannot_be_read_is_not_taken_for_done(run: Run, tmp_path: Path):
    """Nothing is written behind its lines, until it can be read again."""
    video, path = tmp_path / "a.mp4", tmp_path / "p.jsonl"
    write_video(video, frames=9)
    cv2.imwrite(str(tmp_path / "b.png"), np.zeros((30, 40, 3), np.uint8))
    given = ("infer", "m.onnx", video, tmp_path / "b.png", "--jsonl", path)
    assert run(*given, answer=sure)[0] == 0
    whole, content = path.read_bytes(), video.read_bytes()
    assert len(whole.splitlines()) == 11
    path.write_bytes(b"".join(whole.splitlines(keepends=True)[:5]))
    begun = path.read_bytes()
    video.write_bytes(b"")
    status, _, err = run(*given, "--resume", answer=sure)
    assert status == 1
    assert "a.mp4" in err
    assert "4 frames of it stand last in the file of --jsonl" in err
    assert path.read_bytes() == begun
    video.write_bytes(content)
    assert run(*given, "--resume", answer=sure)[0] == 0
    assert path.read_bytes() == whole


def halved(video: Path) -> bytes:
    """Break a video off in the middle; what it was."""
    whole = video.read_bytes()
    video.write_bytes(whole[: len(whole) // 2])
    return whole


@pytest.mark.parametrize("more", [[], ["--track"]])
@pytest.mark.parametrize("name", ["b.avi", "z.avi"])  # among the others, and last
def test_a_video_that_broke_off_and_was_repaired_is_done_anew(
    run: Run, photos: Path, tmp_path: Path, name: str, more: list[str]
):
    if more:
        pytest.importorskip("scipy", reason="SciPy is not installed")
    path, whole = tmp_path / "p.jsonl", tmp_path / "whole.jsonl"
    video = write_video(photos / name, frames=30)
    write_video(photos / "d.avi", frames=5)
    content = halved(video)
    given = ["infer", "m.onnx", photos, *more, "--jsonl"]
    status, _, err = run(*given, path, answer=sure)
    assert status == 1
    assert "cut off or damaged" in err
    broken = path.read_bytes()
    assert 0 < len(of_each_source(path)[str(video)]) < 30
    video.write_bytes(content)
    assert run(*given, whole, answer=sure)[0] == 0
    expected = of_each_source(whole)
    calls: list[int] = []

    def counted(frame: np.ndarray) -> Poses:
        calls.append(len(frame))
        return sure(frame)

    status, _, err = run(*given, path, "--resume", answer=counted)
    note = f"note: --resume: {video}: its file has another size than before; it is done anew\n"
    # A tracker takes the last video of the file from its first frame on in any case.
    assert (status, err) == (0, "" if more and name == "z.avi" else note)
    assert len(calls) == 30 + 5 * (bool(more) and name == "b.avi")
    assert of_each_source(path) == expected
    if name == "z.avi":
        assert path.read_bytes() == whole.read_bytes()
    # Again and again, and killed in between.
    assert run(*given, path, "--resume", answer=sure)[::2] == (0, "")
    done = path.read_bytes()
    for cut in range(0, len(done), len(done) // 7):
        path.write_bytes(done[:cut])
        assert run(*given, path, "--resume", answer=sure)[0] == 0
        assert of_each_source(path) == expected
    for cut in range(0, len(broken), len(broken) // 7):
        path.write_bytes(broken[:cut])
        assert run(*given, path, "--resume", answer=sure)[0] == 0
        assert of_each_source(path) == expected


def test_videos_that_have_grown_are_done_anew(run: Run, photos: Path, tmp_path: Path):
    """Also two of them beside each other, in any container, and the one that was begun last."""
    path, whole = tmp_path / "p.jsonl", tmp_path / "whole.jsonl"
    names = ("b.avi", "bb.mp4", "z.avi")
    for number, name in enumerate(names):
        write_video(photos / name, frames=3 + number)
    given = ["infer", "m.onnx", photos, "--jsonl"]
    assert run(*given, path, answer=sure)[0] == 0
    first = path.read_bytes()
    for number, name in enumerate(names):
        write_video(photos / name, frames=6 + number)
    assert run(*given, whole, answer=sure)[0] == 0
    expected = of_each_source(whole)
    for cut in (len(first), len(first) - 10):
        path.write_bytes(first[:cut])
        status, _, err = run(*given, path, "--resume", answer=sure)
        assert status == 0
        assert err.count("it is done anew") == 3
        assert of_each_source(path) == expected


def test_a_video_that_is_lost_or_emptied_keeps_its_lines(run: Run, photos: Path, tmp_path: Path):
    path = tmp_path / "p.jsonl"
    video = write_video(photos / "b.avi", frames=4)
    given = ["infer", "m.onnx", video, photos / "c.webp", "--jsonl", path]
    assert run(*given, answer=sure)[0] == 0
    before = path.read_bytes()
    video.write_bytes(b"")
    assert run(*given, "--resume", answer=sure)[::2] == (0, "")
    video.unlink()
    assert run(*given, "--resume", answer=sure)[::2] == (0, "")
    assert path.read_bytes() == before


_KILLED = """
sys.path.insert(0, sys.argv.pop(1))
left = int(sys.argv.pop(1))
from support import FakeEngine, make_poses
from trtpose import cli
from trtpose.commands import options

def answer(frame):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return make_poses(1, frame.shape[:2])

options.open_engine = lambda args, **_: FakeEngine(args.model, answer=answer)
sys.exit(cli.main())
"""


def test_runs_that_are_killed_one_after_the_other(sources: Path, tmp_path: Path):
    """By SIGKILL, in a video and behind it; between the first two a picture is repaired."""
    path, whole = tmp_path / "p.jsonl", tmp_path / "whole.jsonl"

    def killed(after: int, target: Path, *more: str) -> int:
        tests = Path(__file__).parents[1]
        given = ("infer", "m.onnx", sources, "--jsonl", target, *more)
        return process_support.finish(process_support.start(_KILLED, tests, after, *given))[0]

    assert killed(4, path) == -signal.SIGKILL
    (sources / "bad.jpg").write_bytes((sources / "a.jpg").read_bytes())
    assert killed(6, path, "--resume") == -signal.SIGKILL
    assert killed(1000, path, "--resume") == 0
    assert killed(1000, whole) == 0
    assert of_each_source(path) == of_each_source(whole)
    lines = path.read_bytes()
    assert killed(0, path, "--resume") == 0
    assert path.read_bytes() == lines


def test_other_sources_are_refused(run: Run, sources: Path, tmp_path: Path):
    path = tmp_path / "p.jsonl"
    run("infer", "m.onnx", sources, "--jsonl", path)
    before = path.read_bytes()
    status, _, err = run("infer", "m.onnx", sources / "b.png", sources / "a.jpg", "--jsonl", path, "--resume")
    assert status == 1
    assert "line 3 is about a source that this run has not" in err
    path.write_text("no lines\n")
    assert "line 1 is not a line of --jsonl" in run("infer", "m.onnx", sources, "--jsonl", path, "--resume")[2]
    path.write_bytes(before)
    turned = ["infer", "m.onnx", sources / "b.png", sources / "a.jpg", "--jsonl", path]
    run(*turned)
    (head, one, two) = path.read_text().splitlines(keepends=True)
    path.write_text(head + two + one)
    # The order is that of the runs that made it, and says nothing against a file that holds what was asked for.
    assert run(*turned, "--resume")[::2] == (0, "")
    assert path.read_text() == head + two + one


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--resume"], "--resume: goes on with the file of --jsonl"),
        (["--resume", "--jsonl", "-"], "--resume: goes on with the file of --jsonl"),
        (["--resume", "--jsonl", "x", "--csv", "y"], "leave --csv out"),
        (["--resume", "--jsonl", "x", "--json", "y"], "leave --json out"),
        (["--shard", "3/2"], "is not a share"),
        (["--shard", "0/2"], "is not a share"),
        (["--shard", "half"], "is not a share"),
    ],
)
def test_what_does_not_go_together_is_said(run: Run, sources: Path, tmp_path: Path, options: list[str], words: str):
    options = [str(tmp_path / option) if len(option) == 1 and option != "-" else option for option in options]
    status, _, err = run("infer", "m.onnx", sources, *options)
    assert status != 0
    assert words in err
    assert files(tmp_path) == [*sorted(path.name for path in [*sources.iterdir(), sources])]


def test_cameras_have_no_place_to_go_on_from(run: Run, tmp_path: Path):
    path = tmp_path / "p.jsonl"
    path.write_text("{}\n")
    status, _, err = run("infer", "m.onnx", "rtsp://127.0.0.1:9/none", "--jsonl", path, "--resume")
    assert status == 1
    assert "has no place to go on from" in err


def test_shares_are_all_and_none_twice(run: Run, sources: Path, tmp_path: Path):
    (sources / "bad.jpg").unlink()
    run("infer", "m.onnx", sources, "--jsonl", tmp_path / "all", "--out", tmp_path / "whole")
    _, *every = (tmp_path / "all").read_text().splitlines()
    parts: list[str] = []
    for part in (1, 2, 3, 4):
        path = tmp_path / f"p{part}"
        status, _, _ = run("infer", "m.onnx", sources, "--shard", f"{part}/4", "--jsonl", path, "--out", tmp_path / "o")
        assert status == 0
        parts += path.read_text().splitlines()[1:]
    assert sorted(parts) == sorted(every)
    # Two pictures of one name in different shares do not replace each other.
    assert files(tmp_path / "o") == files(tmp_path / "whole")


def test_the_engine_is_told_the_frames_of_the_share(run: Run, photos: Path, opened: list[FakeEngine]):
    many = [photos / "b.png"] * 16
    for options in ([], ["--shard", "1/8"], ["--max-frames", "3"]):
        assert run("infer", "m.onnx", *many, *options)[0] == 0
    assert [engine.options["frames"] for engine in opened] == [16, 2, 3]


def test_more_shares_than_sources(run: Run, photos: Path, tmp_path: Path):
    status, out, err = run("infer", "m.onnx", photos, "--shard", "4/4", "--jsonl", tmp_path / "p")
    assert (status, out, err) == (0, "", "")
    assert len((tmp_path / "p").read_text().splitlines()) == 1
