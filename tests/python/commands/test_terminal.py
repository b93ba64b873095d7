# SPDX-License-Identifier: Apache-2.0
"""Names of others hold control characters; no verb sends one to the terminal."""

from __future__ import annotations

import json
import re
import sys
from io import StringIO
from pathlib import Path

import numpy as np
import onnx
import pytest

import export_support
import onnx_models
import quantize_models
from command_support import Run, real_run
from support import make_poses, picture, spec_with, write_picture
from trtpose import _terminal, cli
from trtpose.commands.console import Progress
from trtpose.draw import draw
from trtpose.errors import ModelError

# Colour and title of a terminal, a bell, C1's own escape, a text turned round, and lines that are none.
EVIL = "a\x1b[31mb\x1b]0;c\x07d\x9be\x7ff\u202eg\u2066h\u2028i\x85j\rk\tl"
# What a file's name may hold: not / and not NUL.
NAME = f"n\n{EVIL}"
BAD = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
SIZE = (64, 96)


def test_every_control_character_is_shown():
    every = [chr(code) for code in range(0x10000) if BAD.fullmatch(chr(code)) or chr(code) == "\n"]
    assert len(every) == 32 + 33 + 3 + 7 + 4
    for character in every:
        text = _terminal.escaped(f"<{character}>")
        assert text.isprintable()
        assert text.startswith("<\\")
    plain = "é 日本語 العربية עברית 👩‍👧 \\x1b ~"
    assert _terminal.escaped(plain) == plain


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Models, pictures and annotations whose every name is evil."""
    folder = tmp_path / NAME
    (folder / "pics").mkdir(parents=True)
    for number in range(4):
        write_picture(folder / "pics" / f"{NAME}{number}.png", picture(seed=number))
    (folder / "pics" / f"{NAME}.txt").write_text("no picture")
    (folder / "pics" / f"{NAME}bad.png").write_bytes(b"no picture either")
    spec = {**onnx_models.spec_fields(keypoints=3, size=SIZE, sigmas=[0.05] * 3), "name": EVIL, "names": [EVIL]}
    spec["kpt_names"] = [f"{EVIL}{number}" for number in range(3)]
    for name in ("m", "other"):
        path = folder / f"{NAME}{name}.onnx"
        onnx_models.write_model(path, keypoints=3, size=SIZE, metadata={"trtpose": json.dumps(spec), EVIL: EVIL})
        model = onnx.load(str(path))
        model.producer_name = model.producer_version = model.graph.name = EVIL
        onnx.save(model, str(path))
    network = quantize_models.small()
    for node in network.graph.node:
        node.name = f"{EVIL}{node.name}"
    onnx.save(network, str(folder / f"{NAME}q.onnx"))
    people = {
        "images": [{"id": 1, "file_name": f"{NAME}0.png"}, {"id": 2, "file_name": f"{NAME}gone.png"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [4, 4, 40, 40], "keypoints": [9, 9, 2] * 3}],
        "categories": [{"id": 1, "name": EVIL}],
    }
    (folder / f"{NAME}people.json").write_text(json.dumps(people))
    (folder / f"{NAME}bad.json").write_text(json.dumps({EVIL: EVIL}))
    (folder / f"{NAME}bad.toml").write_text(f"{json.dumps(EVIL)} = 1\n")
    monkeypatch.chdir(folder)
    return folder


MODEL, PICS, PEOPLE = f"{NAME}m.onnx", "pics", f"{NAME}people.json"
RUNS = [
    (["infer", MODEL, PICS, "--out", NAME], "\\x1b[31m"),
    (["infer", MODEL, PICS, "--json", f"{NAME}/{NAME}.json"], "\\x1b[31m"),
    (["infer", MODEL, PICS, "--spec", f"{NAME}bad.json"], "\\u202e"),
    (["infer", MODEL, f"http://{EVIL}/"], "\\x1b"),
    (["infer", MODEL, f"rtsp://127.0.0.1:9/{EVIL}", "--reconnect", "0"], "\\x1b"),
    (["infer", MODEL, PICS, "--imgsz", EVIL], "\\x1b"),
    (["eval", MODEL, "--images", PICS, "--annotations", PEOPLE], "\\x1b[31m"),
    (["eval", MODEL, "--images", PICS, "--annotations", f"{NAME}bad.json"], "\\x1b[31m"),
    (["bench", MODEL, "--runs", "1", "--warmup", "1"], "\\x1b[31m"),
    (["info", MODEL], "\\u202e"),
    (["info", MODEL, "--json"], "\\u001b[31m"),
    (["info", f"{NAME}q.onnx"], "\\x1b[31m"),
    (["check", MODEL, f"{NAME}other.onnx", "--images", PICS], "\\x1b[31m"),
    (["export", MODEL, "-o", f"{NAME}new.onnx"], "\\x1b[31m"),
    (["export", EVIL], "\\x1b[31m"),
    (
        ["quantize", f"{NAME}q.onnx", "--calib", PICS, "--no-cache", "--no-measure", "--report", f"{NAME}.md"],
        "\\x1b[31m",
    ),
    (["quantize", f"{NAME}q.onnx", "--calib", PICS, "--no-measure", "--keep", EVIL], "\\x1b[31m"),
    (["build", MODEL, "--fp32", "--keep", EVIL], "\\x1b[31m"),
    (["build", "--recipe", f"{NAME}bad.toml"], "\\x1b[31m"),
    (["serve", MODEL, "--token-file", EVIL], "\\x1b[31m"),
    (["triton", MODEL, "--repository", EVIL], "\\x1b[31m"),
    (["completion", EVIL], "\\x1b[31m"),
    (["demo", f"pics/{NAME}0.png", "--out", NAME], "\\x1b[31m"),
    ([EVIL], "\\x1b[31m"),
]


@pytest.mark.parametrize(("arguments", "words"), RUNS, ids=range(len(RUNS)))
def test_no_verb_obeys_a_name(
    arguments: list[str], words: str, place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    del place
    monkeypatch.setattr(sys, "argv", ["trtpose"])
    try:
        _, out, err = real_run(capsys, *arguments)
    except SystemExit:
        out, err = capsys.readouterr()
    assert words in out + err, out + err
    found = BAD.search(out + err)
    assert found is None, (out + err)[max(found.start() - 40, 0) : found.end() + 40]
    # A name makes no line of its own, which might be taken for one of ours.
    assert not re.search("^a\\\\x1b", err, re.MULTILINE) or "usage" in err
    for report in Path.cwd().glob("*.md"):
        assert not BAD.search(report.read_text())


def test_all_verbs_are_here():
    assert {arguments[0] for arguments, _ in RUNS} >= {verb.name for verb in cli._VERBS}


def test_json_keeps_names_by_its_own_escaping(place: Path, capsys: pytest.CaptureFixture[str]):
    del place
    for target in ("-", "poses.json"):
        status, out, _ = real_run(capsys, "infer", MODEL, PICS, "--json", target, "--quiet")
        assert status == 1
        text = out if target == "-" else Path(target).read_text()
        assert not BAD.search(text)
        document = json.loads(text)
        assert document["model"] == MODEL
        assert document["images"][0]["source"] == f"pics/{NAME}0.png"


def test_the_bar_moves_the_cursor_and_names_do_not(monkeypatch: pytest.MonkeyPatch):
    class Terminal(StringIO):
        def isatty(self) -> bool:
            return True

    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    with _terminal.shown(), Progress() as progress:
        progress.stage(EVIL, 1, 3)
        progress.share(EVIL, 0.5)
        progress.line(EVIL, sys.stderr)
    text = screen.getvalue()
    assert "\r" in text
    assert "\\x1b[31m" in text
    assert not BAD.search(re.sub("\r|\x1b\\[A", "", text))


def test_whatever_python_prints(run: Run, capsys: pytest.CaptureFixture[str]):
    """Tracebacks and prints of libraries go the same way."""
    status, _, err = run("infer", "m.onnx", "x", "--debug", fail=ModelError(EVIL))
    assert status == 1
    assert not BAD.search(err)
    with _terminal.shown():
        print(EVIL)
        print(EVIL, file=sys.stderr)
        sys.stdout.writelines([EVIL, EVIL])
    out, err = capsys.readouterr()
    assert "\\x1b[31m" in out
    assert "\\x1b[31m" in err
    assert not BAD.search(out + err)


def test_labels_do_not_break():
    """A class of such a name is drawn as wide as it is written out, in one line."""
    image = np.zeros((240, 640, 3), np.uint8)
    drawn = []
    for name in ("x\n\ty", "x\\n\\ty"):
        spec = spec_with(3, names=[name, "other"])
        poses = make_poses(1, (240, 640), spec)
        drawn.append(draw(image.copy(), poses))
    assert drawn[0].any()
    assert np.array_equal(*drawn)


def test_a_checkpoint(place: Path, capsys: pytest.CaptureFixture[str]):
    yaml = export_support.SMALL
    export_support.save_checkpoint(place / f"{NAME}.pt", export_support.make_network(), yaml)
    status, out, err = real_run(capsys, "export", f"{NAME}.pt", "--imgsz", "64")
    assert status == 0, err
    assert "wrote n\\na\\x1b[31m" in out
    assert not BAD.search(out + err)
