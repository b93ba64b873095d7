# SPDX-License-Identifier: Apache-2.0
"""The command: usage, the list of verbs, and errors that every verb tells alike."""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from command_support import Run, error_lines, files, real_run
from support import write_picture
from trtpose import cli
from trtpose.errors import ModelError


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
        (["infer", "m.onnx", "a.jpg", "--max-det", "0"], "'0' is not a whole number from 1 to 1000000"),
        (["infer", "m.onnx", "a.jpg", "--batch", "1000001"], "'1000001' is not a whole number from 1 to 1000000"),
        (["infer", "m.onnx", "a.jpg", "--reconnect", "-1"], "'-1' is not a whole number from 0 to 1000000"),
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


def test_names_keep_their_capitals_in_help(run: Run):
    out = " ".join(run("eval", "--help")[1].split())
    assert "COCO keypoint figures of a model on annotated pictures." in out
    assert "Coco" not in out


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
    shown = "infer eval bench info export build check quantize serve triton demo completion"
    assert " ".join(names) == shown
    monkeypatch.setattr(cli, "_VERBS", (*cli._VERBS, cli._Verb("paint", "a verb of the test", Module)))
    assert run("paint", "x") == (0, "built x\n", "")
    assert run("paint", "bad") == (1, "", "error: bad: is bad\n")
    assert "a verb of the test" in run("--help")[1]


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


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("handler", [signal.SIG_DFL, signal.SIG_IGN])
def test_the_handlers_of_signals_are_put_back(run: Run, photos: Path, number: int, handler: Any):
    before = signal.signal(number, handler)
    try:
        run("infer", "m.onnx", photos)
        run("infer", "m.onnx", "missing.jpg")
        assert signal.getsignal(number) is handler
    finally:
        signal.signal(number, before)


def test_a_camera_can_be_followed_for_a_day(run: Run, photos: Path):
    assert run("infer", "m.onnx", photos, "--max-frames", 24 * 3600 * 30)[0] == 0
