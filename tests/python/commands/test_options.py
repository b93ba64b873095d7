# SPDX-License-Identifier: Apache-2.0
"""Options that verbs share."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import trtpose
from command_support import Run
from support import FakeEngine
from trtpose import InputError, cli
from trtpose.commands import options
from trtpose.thresholds import Thresholds


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

    def engine(model: str, **options: Any) -> SimpleNamespace:
        seen.update(options, model=model)
        return SimpleNamespace(spec=SimpleNamespace(final=False))

    monkeypatch.setattr(trtpose, "Engine", engine, raising=False)
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


def test_calls_keep_the_thresholds_of_the_engine(run: Run, photos: Path, opened: list[FakeEngine]):
    """Those of the command line, ``--agnostic`` and ``--nms`` among them, were given to the engine."""
    run("infer", "m.onnx", photos, "--agnostic", "--nms", "oks")
    assert opened[0].options["thresholds"] == Thresholds(agnostic=True, nms="oks")
    assert opened[0].given[0] == {}
    run("infer", "m.onnx", photos)
    assert opened[1].options["thresholds"] == Thresholds()


@pytest.mark.parametrize(
    ("given", "frames", "streams"),
    [
        ((), 1, None),
        ((), 15, None),
        ((), 16, 4),
        ((), float("inf"), 4),
        ((), 0, None),
        (("--latency",), float("inf"), None),
        (("--batch", "8"), 127, None),
        (("--batch", "8"), 128, 4),
        (("--threads", "2"), 8, 2),
        (("--threads", "1"), float("inf"), None),
        (("--vram-budget", "1GiB"), float("inf"), None),
        (("--throughput",), 1, 64),
    ],
)
def test_files_keep_the_cores_at_work_unasked(
    given: tuple[str, ...], frames: float, streams: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:

    parser = argparse.ArgumentParser()
    options.add_model(parser)
    options.add_thresholds(parser)
    options.add_runs(parser)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    opened: dict[str, Any] = {}

    def made(*_: Any, **named: Any) -> Any:
        opened.update(named)
        raise InputError("enough")

    monkeypatch.setattr(trtpose, "Engine", made)
    with pytest.raises(InputError, match="enough"):
        options.open_engine(parser.parse_args(["m.onnx", *given]), frames=frames)
    assert opened.get("streams") == streams


def test_a_large_model_is_not_held_several_times_unasked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:

    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    found = []
    for size in ((64 << 20) + 1, 64 << 20):
        with (tmp_path / "m.onnx").open("wb") as file:
            file.truncate(size)
        found.append(options._streams(argparse.Namespace(model=str(tmp_path / "m.onnx")), float("inf"), 0))
    assert found == [{}, {"streams": 4}]


@pytest.mark.parametrize(
    ("cameras", "streams"), [(1, {}), (2, {"streams": 2}), (3, {"streams": 3}), (9, {"streams": 4})]
)
def test_several_cameras_are_looked_at_side_by_side(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cameras: int, streams: dict[str, int]
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    args = argparse.Namespace(model=str(tmp_path / "m.onnx"))
    assert options._streams(args, 0, cameras) == streams
    args.latency = True
    assert options._streams(args, 0, cameras) == {}
