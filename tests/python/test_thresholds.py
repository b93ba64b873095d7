# SPDX-License-Identifier: Apache-2.0
"""Thresholds as one object."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

import trtpose
from support import picture
from trtpose import Engine, Thresholds

DEMO = Path(trtpose.__file__).parent / "data" / "demo.onnx"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"conf": 1.5}, "conf 1.5 must lie between 0 and 1"),
        ({"conf": float("nan")}, "conf nan must lie"),
        ({"iou": -1}, "iou -1 must lie"),
        ({"max_det": 0}, "max_det 0 must lie between 1 and 30000"),
        ({"max_det": 30001}, "max_det 30001"),
        ({"nms": "giou"}, "nms 'giou' is not known; use iou or oks"),
    ],
)
def test_out_of_range(values: dict[str, Any], words: str) -> None:
    with pytest.raises(trtpose.InputError, match=words):
        Thresholds(**values)
    with pytest.raises(trtpose.InputError, match=words):
        Thresholds().changed(values)  # type: ignore[arg-type]


def test_changed_leaves_what_is_none() -> None:
    kept = Thresholds(conf=0.4)
    assert kept.changed({"conf": None, "iou": None}) is kept
    assert kept.changed({"iou": 0.5, "max_det": 9}) == Thresholds(conf=0.4, iou=0.5, max_det=9)


def test_the_native_order_is_that_of_the_fields() -> None:
    values = Thresholds(conf=0.1, iou=0.2, max_det=3, agnostic=True, nms="oks")
    assert values.native == (0.1, 0.2, 3, True, True)
    assert [field.name for field in dataclasses.fields(values)] == ["conf", "iou", "max_det", "agnostic", "nms"]


def test_an_engine_takes_them_as_one_and_one_by_one() -> None:
    kept = Thresholds(conf=0.05, max_det=4)
    engine = Engine(DEMO, thresholds=kept, iou=0.9)
    assert engine.thresholds == Thresholds(conf=0.05, iou=0.9, max_det=4)
    assert engine.clone().thresholds == engine.thresholds
    frame = picture(96, 96)
    assert len(engine.infer(frame, conf=0.0)[0]) == 4
    assert len(engine.infer(frame, thresholds=Thresholds(conf=0.0, max_det=2))[0]) == 2
    assert len(engine.infer(frame, thresholds=Thresholds(conf=0.0, max_det=2), max_det=1)[0]) == 1
    with pytest.raises(trtpose.InputError, match="conf 2 must lie"):
        engine.infer(frame, conf=2)
    for nothing in (0.5, None):
        with pytest.raises(TypeError, match="unexpected keyword argument 'confidence'"):
            engine.infer(frame, confidence=nothing)  # type: ignore[call-overload]
        with pytest.raises(TypeError, match="unexpected keyword argument 'confidence'"):
            Engine(DEMO, confidence=nothing)  # type: ignore[call-arg]
