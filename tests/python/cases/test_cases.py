# SPDX-License-Identifier: Apache-2.0
"""Every input that ``tests/data/make_cases.py`` makes, through the command line: what it says is what happens.

The same is asked of the inputs of those names in the folder of models and photographs, where it holds them.
"""

from __future__ import annotations

import http.server
import json
import re
import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from make_cases import ANNOTATIONS, CASES, EVALUATED, FOLDERS, NETWORKS, PICTURE, PICTURES, write_cases

from command_support import real_run
from source_support import can_encode
from support import encoded
from trtpose.formats.metadata import find_spec
from trtpose.skeletons import skeleton_for
from trtpose.sources import read_picture

_DFL = r"are raw heads with box distributions \(DFL: 64 box bins, a score, {} keypoint numbers\)"
_WITHOUT_NMS = r"'detections' is 3×{}, .*; export the network without its own NMS"

_NONE_HANDED = "no folder of cases lies with the photographs"

CLASSES = [(0.9, 0), (0.8, 1)]

RUN: dict[str, list[tuple[float, int]] | int] = {
    "end2end-slices.onnx": 20,
    "end2end-classes.onnx": 30,
    "names-shuffled.onnx": CLASSES,
    "names-in-quotes.onnx": CLASSES,
    "names-json.onnx": CLASSES,
    "names-list.onnx": CLASSES,
    "animal-17-names.onnx": [(0.9, 0)],
    "animal-17-person.onnx": [(0.9, 0)],
    "animal-17-unnamed.onnx": [(0.9, 0)],
}
"""Networks that run: scores and classes of what is found, or how many."""

REFUSED = {
    "input-uint8.onnx": "its input 'images' is of type uint8",
    "input-int32.onnx": "its input 'images' is of type int32",
    "input-int64.onnx": "its input 'images' is of type int64",
    "input-double.onnx": "its input 'images' is neither of type float32 nor float16",
    "input-bool.onnx": "its input 'images' is neither of type float32 nor float16",
    "detections-2d.onnx": _WITHOUT_NMS.format(57),
    "detections-2d-face.onnx": _WITHOUT_NMS.format(21),
    "face-dfl-heads.onnx": _DFL.format(15),
    "person-dfl-heads.onnx": _DFL.format(51),
    "input-gray.onnx": r"its input 'images' is 1×1×64×64, one channel \(grey\)",
    "input-gray-unsaid.onnx": r"its input 'images' is 1×1×64×64, one channel \(grey\)",
    "input-gray-open.onnx": r"its pictures have 1 channel\(s\), trtpose runs networks of three colours",
    "input-multispectral.onnx": "its input 'images' is 1×10×64×64, .*; trtpose runs networks of three colours",
    "input-nhwc.onnx": r"its input 'images' is 1×64×64×3, channels last \(NHWC\)",
    "input-nhwc-gray.onnx": r"its input 'images' is 1×64×64×1, channels last \(NHWC\)",
    "input-nhwc-open.onnx": r"its input 'images' is \?×\?×\?×3, channels last \(NHWC\)",
}
"""Networks that no spec makes run, and why."""

UNSETTLED = {
    "names-gap.onnx": "a key is 2 where 2 entries are numbered from 0 without a gap",
    "names-from-1.onnx": "a key is 2 where 2 entries are numbered from 0 without a gap",
    "names-repeat.onnx": "key 0 is there twice",
    "names-backwards.onnx": "a key is cat where 2 entries are numbered from 0 without a gap",
    "names-too-many.onnx": r"fits no layout of a network with 3 keypoints and 3 class\(es\)",
    "face-dfl-2-numbers.onnx": r"its anchors are not known \(it has none if 64 of the channels are box distributions",
}
"""Networks that a spec settles."""

SAID = {
    "coco-whole.json": "",
    "coco-one-area-missing.json": r"1 of 4 annotated persons, the first annotations\[0\], without `area`",
    "coco-area-null.json": r"1 of 4 annotated persons, the first annotations\[2\], without `area`",
    "coco-every-area-missing.json": "4 of 4 annotated persons, .* without `area`",
    "coco-crowd-without-area.json": r"1 of 5 annotated persons, the first annotations\[4\], without `area`",
    "coco-one-area-zero.json": r"1 of 4 annotated persons, the first annotations\[3\], with an area of 0",
    "coco-area-zero.json": "every annotated person has an area of 0",
    "coco-area-negative.json": r"annotations\[1\] has an `area` that is not a number from 0 on",
    "coco-area-text.json": r"annotations\[1\] has an `area` that is not a number from 0 on",
    "coco-area-nan.json": "NaN is not a number",
}
"""What is said of each annotation file."""

NO_ANNOTATIONS = {f"coco-area-{what}.json" for what in ("zero", "negative", "text", "nan")}

TURNED = {name for name in PICTURES if name.startswith(("turned", "mirrored"))}
CUT_OFF = {name for name in PICTURES if name.startswith("cut-off")}

HANDED = [
    *("end2end-slices.onnx", "input-uint8.onnx", "names-shuffled.onnx", "animal-17-names.onnx", "detections-2d.onnx"),
    *("face-dfl-heads.onnx", "input-gray.onnx", "input-nhwc.onnx", "coco-whole.json", "coco-one-area-missing.json"),
    *("coco-area-zero.json", "turned.avif", "turned.jpg", "no-end-marker.jpg", "extra-bytes.jpg", "mixed-folder"),
]
"""What may lie in the folder ``cases`` of the models and photographs."""

ELSEWHERE = ["variable-rate.mkv", "fps480.mp4", "odd-size.mp4", "snapshot-server.py"]
"""What lies there besides: videos, which ``sources`` and ``sinks`` test, and a server, which is below."""


def both(names: Any) -> Any:
    """Each name, of ours and where there is one of those that lie with the photographs."""
    places = [(place, name) for name in names for place in ("ours", "handed") if place == "ours" or name in HANDED]
    return pytest.mark.parametrize(("place", "name"), places)


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cases(tmp_path_factory.mktemp("cases"))


@pytest.fixture
def case(request: pytest.FixtureRequest, ours: Path, place: str, name: str) -> Path:
    if place == "ours":
        return ours / name
    path = request.getfixturevalue("shared") / "cases" / name
    if not path.exists():
        pytest.skip(_NONE_HANDED)
    return path


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "picture.png"
    path.write_bytes(encoded(".png", PICTURE))
    return path


def run(capsys: pytest.CaptureFixture[str], *arguments: Any) -> tuple[int, dict[str, Any], str]:
    """Status, what the JSON on the standard output holds, and what is said."""
    status, out, err = real_run(capsys, *arguments, "--json", "-")
    return status, json.loads(out) if out else {}, err


def test_every_case_is_here() -> None:
    assert sorted(CASES) == sorted([*NETWORKS, *ANNOTATIONS, *PICTURES, *FOLDERS])
    assert sorted(NETWORKS) == sorted([*RUN, *REFUSED, *UNSETTLED])
    assert sorted(ANNOTATIONS) == sorted(SAID)


def test_every_handed_case_is_here(shared: Path) -> None:
    handed = shared / "cases" / "README.md"
    if not handed.exists():
        pytest.skip(_NONE_HANDED)
    named = re.findall(r"`([\w.-]+)/?`", "\n".join(re.findall(r"^\| (`.*?) \|", handed.read_text(), re.MULTILINE)))
    assert sorted(named) == sorted([*HANDED, *ELSEWHERE])


@both(RUN)
def test_networks_that_run(
    case: Path, picture: Path, name: str, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, found, err = run(capsys, "infer", case, picture, "--quiet")
    assert (status, err) == (0, "")
    poses = found["images"][0]["poses"]
    expected = RUN[name]
    if isinstance(expected, int):
        assert len(poses) == expected
    else:
        assert [(pose["score"], pose["class_id"]) for pose in poses] == expected
    if (place, name) == ("handed", "end2end-slices.onnx"):
        assert poses[0]["box"] == [15.41, 17.39, 28.07, 34.70]
        assert poses[0]["score"] == 0.8801


@both(REFUSED)
@pytest.mark.parametrize("command", ["infer", "export", "info"])
def test_networks_that_nothing_makes_run(
    case: Path, picture: Path, name: str, command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = {"infer": [picture], "export": ["-o", tmp_path / "a.onnx"], "info": []}[command]
    status, out, err = real_run(capsys, command, case, *arguments)
    said = " ".join((out if command == "info" else err).split())
    assert status == (0 if command == "info" else 1)
    assert re.search(REFUSED[name], said)
    assert "--spec" not in said
    assert not (tmp_path / "a.onnx").exists()


@pytest.mark.parametrize("name", UNSETTLED)
@pytest.mark.parametrize("command", ["infer", "export"])
def test_networks_that_a_spec_settles(
    ours: Path, picture: Path, name: str, command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = {"infer": [picture], "export": ["-o", tmp_path / "a.onnx"]}[command]
    status, _, err = real_run(capsys, command, ours / name, *arguments)
    assert status == 1
    assert re.search(UNSETTLED[name], err)
    assert "; give the model spec with --spec FILE.json" in err


@both([name for name in RUN if name.startswith("animal")])
def test_keypoints_that_are_no_persons(case: Path, name: str, ours: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = find_spec(case).spec
    skeleton = skeleton_for(spec)
    assert (len(spec.kpt_names) == 17) is ("unnamed" not in name)
    assert skeleton.names[0] not in ("nose", "")
    assert (skeleton.edges, skeleton.flip, skeleton.sigmas) == ((), (), ())
    images, truth = ours / "images", ours / "coco-whole.json"
    status, _, err = real_run(capsys, "eval", case, "--images", images, "--annotations", truth)
    assert status == 1
    assert "no sigmas for its 17 keypoints" in err


def evaluate(capsys: pytest.CaptureFixture[str], folder: Path, name: str) -> tuple[int, dict[str, float], str]:
    pytest.importorskip("faster_coco_eval")
    where = ["--images", folder / "images", "--annotations", folder / name]
    status, found, err = run(capsys, "eval", folder / EVALUATED, *where)
    return status, found.get("metrics", {}), err


@pytest.mark.parametrize("name", SAID)
def test_annotations(ours: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    whole = evaluate(capsys, ours, "coco-whole.json")[1]
    status, metrics, err = evaluate(capsys, ours, name)
    assert re.search(SAID[name], err) if SAID[name] else err == ""
    assert (status, not metrics) == ((1, True) if name in NO_ANNOTATIONS else (0, False))
    if name in ("coco-whole.json", "coco-crowd-without-area.json"):
        assert metrics["AP"] == whole["AP"]
    elif metrics:
        # A smaller area makes the same error count for more, and only for the persons without one of their own.
        assert 0 < metrics["AP"] < whole["AP"]
        every = evaluate(capsys, ours, "coco-every-area-missing.json")[1]
        assert metrics["AP"] >= every["AP"]


def test_annotations_of_the_photographs(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("faster_coco_eval")
    if not (shared / "cases").exists():
        pytest.skip(_NONE_HANDED)
    found = {}
    for name in ("coco-whole.json", "coco-one-area-missing.json", "coco-area-zero.json"):
        where = ["--images", shared / "images", "--annotations", shared / "cases" / name]
        found[name] = run(capsys, "eval", shared / "models" / "yolo26n-pose-256.onnx", *where)
    status, whole, err = found["coco-whole.json"]
    assert (status, err, whole["metrics"]["AP"]) == (0, "", pytest.approx(0.372, abs=5e-4))
    status, missing, err = found["coco-one-area-missing.json"]
    assert (status, len(err.splitlines())) == (0, 1)
    assert "1 of 14 annotated persons, the first annotations[0], without `area`" in err
    # It was 0.503 when all were counted by their boxes.
    assert missing["metrics"]["AP"] == pytest.approx(whole["metrics"]["AP"], abs=0.02)
    status, _, err = found["coco-area-zero.json"]
    assert status == 1
    assert "nothing can match" in err


@both(sorted(TURNED))
def test_pictures_that_are_turned(case: Path, name: str, ours: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if name.endswith(".avif") and not can_encode(".avif"):
        pytest.skip("this OpenCV has no AVIF")
    status, found, _ = run(capsys, "infer", ours / EVALUATED, case)
    assert (status, found["images"][0]["width"], found["images"][0]["height"]) == (0, 80, 48)
    image = read_picture(case).astype(int)
    blue, green, red = image[4, 4]
    assert red > 180
    assert max(blue, green) < 60
    if "handed" not in str(case) and case.parent == ours:
        np.testing.assert_allclose(image[4, -5], (30, 200, 30), atol=8)
        np.testing.assert_allclose(image[-5, 4], (220, 30, 30), atol=8)


@both([name for name in PICTURES if name not in TURNED | CUT_OFF])
def test_pictures_that_are_not_quite_files(
    case: Path, name: str, ours: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, found, err = run(capsys, "infer", ours / EVALUATED, case)
    assert status == 0
    assert err.splitlines() == [f"{case}: 2 poses"]
    data = case.read_bytes()
    if name.startswith("no-end-marker"):
        data += b"\xff\xd9"
    elif name.startswith("half"):
        data += b"\xd9"
    whole = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert (found["images"][0]["height"], found["images"][0]["width"]) == whole.shape[:2]
    np.testing.assert_array_equal(read_picture(case), whole)


@pytest.mark.parametrize("name", sorted(CUT_OFF))
def test_pictures_that_are_cut_off(ours: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, found, err = run(capsys, "infer", ours / EVALUATED, ours / name)
    assert (status, found["images"]) == (1, [])
    assert f"error: {ours / name}: the file is cut off; replace it with a whole JPEG file" in err


@both(FOLDERS)
def test_folders(case: Path, name: str, ours: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, found, err = run(capsys, "infer", ours / EVALUATED, case)
    assert status == 0
    inside = sorted(path.name for path in case.iterdir() if path.name not in ("notes.txt", "inside"))
    assert [Path(image["source"]).name for image in found["images"]] == inside
    left_out = [f"left out 2 that are no picture and no video: {case / 'inside'}/, {case / 'notes.txt'}"]
    assert err.splitlines()[: -len(inside)] == (left_out if name == "mixed-folder-more" else [])


def test_an_address_that_answers_with_a_picture(ours: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "image/jpeg")
            self.end_headers()
            self.wfile.write((ours / "mixed-folder" / "one.jpg").read_bytes())

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/snapshot"
        status, found, _ = run(capsys, "infer", ours / EVALUATED, address)
        server.shutdown()
    assert (status, [image["source"] for image in found["images"]]) == (0, [address])
