# SPDX-License-Identifier: Apache-2.0
"""No result of any verb replaces a file that the same run reads, whatever name that file is given."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

import export_support
import onnx_models
import quantize_models
from command_support import real_run
from support import picture, write_picture
from trtpose import cli

SIZE = (64, 96)
QUANTIZE = ["quantize", "q.onnx", "--calib", "pics", "--no-cache", "--no-measure"]
BUILD = ["build", "m.onnx", "--fp32"]
EVAL = ["eval", "m.onnx", "--images", "pics", "--annotations", "people.json"]
CHECK = ["check", "m.onnx", "other.onnx", "--images", "pics"]

CASES = [
    (["infer", "m.onnx", "pics"], "--json", ["m.onnx", "m.json", "pics/1.png"]),
    (["infer", "m.onnx", "pics"], "--jsonl", ["m.onnx", "pics/1.png"]),
    (["infer", "m.onnx", "pics", "--spec", "spec.json"], "--json", ["spec.json"]),
    (["infer", "m.onnx", "pics"], "--jsonl", ["m.onnx", "m.json", "pics/1.png"]),
    (["infer", "m.onnx", "pics", "--json", "a.json", "--spec", "spec.json"], "--jsonl", ["spec.json"]),
    (["demo", "pics/0.png", "--out", "drawn"], "--json", ["pics/0.png"]),
    (EVAL, "--json", ["m.onnx", "m.json", "people.json", "pics/plain"]),
    (["bench", "m.onnx", "--runs", "1", "--images", "pics"], "--json", ["m.onnx", "m.json", "pics/1.png"]),
    (CHECK, "--json", ["m.onnx", "m.json", "other.onnx", "pics/plain"]),
    ([*CHECK, "--annotations", "people.json"], "--json", ["people.json"]),
    (["export", "m.onnx", "--spec", "spec.json"], "-o", ["m.onnx", "spec.json"]),
    (["export", "small.pt", "--imgsz", "64"], "-o", ["small.pt"]),
    (QUANTIZE, "-o", ["q.onnx", "q.json", "pics/plain"]),
    ([*QUANTIZE, "--fp16", "--no-int8"], "-o", ["q.onnx", "pics/plain"]),
    ([*QUANTIZE, "--spec", "q.json", "-o", "new.onnx"], "--report", ["q.json", "pics/1.png"]),
    (BUILD, "-o", ["m.onnx", "m.json"]),
    ([*BUILD, "--spec", "spec.json"], "-o", ["spec.json"]),
    (["build", "--recipe", "recipe.toml"], "-o", ["recipe.toml", "m.onnx", "m.json"]),
]

PEOPLE = {
    "images": [{"id": 1, "file_name": "0.png"}, {"id": 2, "file_name": "plain"}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 1, "bbox": [4, 4, 40, 40], "area": 900, "keypoints": [9, 9, 2] * 3}
    ],
    "categories": [{"id": 1, "name": "person"}],
}


def _as_it_is(target: Path) -> Path:
    return target


def _roundabout(target: Path) -> Path:
    return target.parent / ".." / target.parent.name / "." / target.name


def _symbolic(target: Path) -> Path:
    link = target.parent.parent / f"link{target.suffix}"
    link.symlink_to(target)
    return link


def _hard(target: Path) -> Path:
    link = target.parent.parent / f"hard{target.suffix}"
    os.link(target, link)
    return link


def _through_a_folder(target: Path) -> Path:
    folder = target.parent.parent / "folder"
    folder.symlink_to(target.parent)
    return folder / target.name


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint")
    return export_support.save_checkpoint(folder / "small.pt", export_support.make_network(), export_support.SMALL)


@pytest.fixture
def place(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with everything that a verb may read."""
    folder = tmp_path / "place"
    (folder / "pics").mkdir(parents=True)
    for number in range(4):
        write_picture(folder / "pics" / f"{number}.png", picture(seed=number))
    (folder / "pics" / "3.png").rename(folder / "pics" / "plain")
    spec = json.dumps(onnx_models.spec_fields(keypoints=3, size=SIZE, sigmas=[0.05] * 3))
    for name in ("m", "other"):
        onnx_models.write_model(folder / f"{name}.onnx", keypoints=3, size=SIZE)
        (folder / f"{name}.json").write_text(spec)
    (folder / "spec.json").write_text(spec)
    (folder / "people.json").write_text(json.dumps(PEOPLE))
    network = quantize_models.small()
    del network.metadata_props[:]
    onnx.save(network, str(folder / "q.onnx"))
    (folder / "q.json").write_text(quantize_models.SPEC.to_json())
    shutil.copy(checkpoint, folder / "small.pt")
    (folder / "recipe.toml").write_text('onnx = "m.onnx"\nprecision = "fp32"\n')
    monkeypatch.chdir(folder)
    return folder


def _state(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


WAYS = [_as_it_is, _roundabout, _symbolic, _hard, _through_a_folder]
INPUTS = [(arguments, option, name) for arguments, option, names in CASES for name in names]


@pytest.mark.parametrize(
    ("arguments", "option", "name", "way"),
    # Each by its own name and by one of the others in turn, the first by all.
    [
        pytest.param(*case, way, id=f"{case[0][0]} {case[1]} {case[2]} {way.__name__}")
        for number, case in enumerate(INPUTS)
        for way in (WAYS if number == 0 else [WAYS[0], WAYS[1 + number % 4]])
    ],
)
def test_an_input_stays(
    arguments: list[str],
    option: str,
    name: str,
    way: Callable[[Path], Path],
    place: Path,
    capsys: pytest.CaptureFixture[str],
):
    target = way(place / name)
    before = _state(place)
    status, _, err = real_run(capsys, *arguments, option, target)
    assert status == 1
    assert f"{target}: is one of the inputs and would be overwritten" in err, err
    assert _state(place) == before


def _spread(model: Path, weights: str) -> None:
    """Write a model again, with its weights in a file beside it."""
    onnx.save(onnx.load(str(model)), str(model), save_as_external_data=True, location=weights, size_threshold=0)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("arguments", "option", "model"),
    [
        (["infer", "m.onnx", "pics"], "--json", "m.onnx"),
        (QUANTIZE, "-o", "q.onnx"),
        (["export", "m.onnx", "--spec", "spec.json"], "-o", "m.onnx"),
        (BUILD, "-o", "m.onnx"),
    ],
    ids=["infer", "quantize", "export", "build"],
)
def test_weights_beside_a_model_stay(
    arguments: list[str],
    option: str,
    model: str,
    way: Callable[[Path], Path],
    place: Path,
    capsys: pytest.CaptureFixture[str],
):
    _spread(place / model, "weights.bin")
    target = way(place / "weights.bin")
    before = _state(place)
    status, _, err = real_run(capsys, *arguments, option, target)
    assert status == 1
    # The package onnx reads no weights from a file of two names.
    assert f"{target}: is one of the inputs and would be overwritten" in err or way is _hard, err
    assert _state(place) == before


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["infer", "m.onnx", "pics", "--out", "drawn", "--json", "drawn/4.jpe"], "drawn/4.jpe"),
        (["infer", "m.onnx", "pics", "--json", "a.json", "--jsonl", "a.json"], "a.json"),
        ([*QUANTIZE, "-o", "new.md", "--report", "new.md"], "new.md"),
        ([*QUANTIZE, "--report", "a.md", "--report", "./a.md"], "a.md"),
    ],
)
def test_two_results_of_one_name(arguments: list[str], name: str, place: Path, capsys: pytest.CaptureFixture[str]):
    write_picture(place / "pics" / "4.jpg").rename(place / "pics" / "4.jpe")
    before = _state(place)
    status, _, err = real_run(capsys, *arguments)
    assert status == 1
    assert f"{name}: is named for two results" in err
    assert _state(place) == before


FOREIGN = [
    (["infer", "m.onnx", "pics", "--json"], "kept.onnx", "JSON"),
    (["infer", "m.onnx", "pics", "--jsonl"], "kept.PNG", "JSON"),
    (["demo", "pics/0.png", "--json"], "kept.png", "JSON"),
    ([*EVAL, "--json"], "kept.engine", "JSON"),
    (["bench", "m.onnx", "--runs", "1", "--json"], "kept.pt", "JSON"),
    ([*CHECK, "--json"], "kept.py", "JSON"),
    (["export", "m.onnx", "-o"], "kept.pt", "an ONNX model"),
    (["export", "small.pt", "--imgsz", "64", "-o"], "kept.json", "an ONNX model"),
    ([*QUANTIZE, "-o"], "kept.engine", "an ONNX model"),
    ([*QUANTIZE, "--fp16", "--no-int8", "-o"], "kept.safetensors", "an ONNX model"),
    ([*BUILD, "-o"], "kept.onnx", "an engine file"),
    (["build", "--recipe", "recipe.toml", "-o"], "kept.pth", "an engine file"),
    ([*BUILD, "--timing-cache"], "kept.ckpt", "a timing cache"),
]


@pytest.mark.parametrize(("arguments", "name", "kind"), FOREIGN, ids=[f"{a[0]} {a[-1]} {n}" for a, n, _ in FOREIGN])
def test_a_name_of_another_kind_is_refused(
    arguments: list[str], name: str, kind: str, place: Path, capsys: pytest.CaptureFixture[str]
):
    """Whatever lies there is somebody's, and what would be written is not found under that name."""
    (place / name).write_bytes(b"kept")
    before = _state(place)
    status, _, err = real_run(capsys, *arguments, name)
    assert status == 1
    assert f"{name}: the name is that of " in err, err
    assert f"and {kind} would be written there; let it end in ." in err
    assert _state(place) == before


def test_a_name_that_says_nothing_serves(place: Path, capsys: pytest.CaptureFixture[str]):
    for name in ("poses", "poses.v2", "poses.txt", "poses.JSON"):
        assert real_run(capsys, "infer", "m.onnx", "pics", "--json", name)[0] == 0
        assert len(json.loads((place / name).read_text())["images"]) == 4


def test_a_result_may_be_written_again(place: Path, capsys: pytest.CaptureFixture[str]):
    """What an earlier run wrote is no input of the next, though it lies among the pictures or beside the model."""
    spec = (place / "m.json").read_text()
    (place / "m.json").unlink()
    onnx_models.write_model(place / "m.onnx", keypoints=3, size=SIZE, metadata={"trtpose": spec})
    for _ in range(2):
        assert real_run(capsys, "infer", "m.onnx", "pics", "--json", "m.json", "--out", "drawn")[0] == 0
        assert real_run(capsys, "infer", "m.onnx", "pics", "--json", "pics/poses.json")[0] == 0
    assert len(json.loads((place / "m.json").read_text())["images"]) == 4


def test_a_link_among_the_drawn_pictures_is_replaced(place: Path, capsys: pytest.CaptureFixture[str]):
    kept = place / "kept.png"
    write_picture(kept, picture(seed=9))
    before = kept.read_bytes()
    (place / "drawn").mkdir()
    (place / "drawn" / "0.png").symlink_to(kept)
    (place / "drawn" / "1.png").symlink_to(place / "nothing.png")
    assert real_run(capsys, "infer", "m.onnx", "pics", "--out", "drawn")[0] == 0
    assert kept.read_bytes() == before
    assert not (place / "nothing.png").exists()
    assert not any((place / "drawn" / f"{number}.png").is_symlink() for number in range(4))


def test_a_link_that_others_put_into_a_shared_folder(place: Path, capsys: pytest.CaptureFixture[str]):
    if os.geteuid() != 0:
        pytest.skip("only root may give a link to another user")
    shared = place / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    (shared / "poses.json").symlink_to(place / "kept.json")
    os.chown(shared / "poses.json", 65534, 65534, follow_symlinks=False)
    status, _, err = real_run(capsys, "infer", "m.onnx", "pics", "--json", "shared/poses.json")
    assert status == 1
    assert "is a link that another user put there" in err
    assert not (place / "kept.json").exists()


def test_every_verb_is_here():
    verbs = {arguments[0] for arguments, _, _ in CASES}
    assert verbs == {verb.name for verb in cli._VERBS} - {"info", "serve", "triton", "completion"}, (
        "these replace no file"
    )
