# SPDX-License-Identifier: Apache-2.0
"""Arguments of every kind to everything public: what cannot be is one sentence of ours, never what lies below says."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import onnx_models
import trtpose
from evaluate_support import Scene, person
from others_support import people, ultralytics, write_answer
from support import PERSON, encoded, make_poses, picture, write_picture
from trtpose import Engine, ModelSpec, Nv12, Poses, Thresholds
from trtpose.bench import bench
from trtpose.build.options import Options as BuildOptions
from trtpose.check import check
from trtpose.draw import draw
from trtpose.quantize.options import Options as QuantizeOptions
from trtpose.sources import Sources, decode_picture, read_picture


class Unshowable:
    def __repr__(self) -> str:
        raise RuntimeError("no")


class Array:
    """What says ``__dlpack__`` and then something else."""

    def __init__(self, device: Any, capsule: Any = None) -> None:
        self.device, self.capsule = device, capsule

    def __dlpack_device__(self) -> Any:
        return _given(self.device)

    def __dlpack__(self, **_: Any) -> Any:
        return _given(self.capsule)


def _given(value: Any) -> Any:
    if isinstance(value, Exception):
        raise value
    return value


ODD: list[Any] = [
    *(None, -1, 2**31, 2**63, 10**400, 1.5, float("nan"), 1j, True, "x", "", b"x", "a\0b", "\udcff"),
    *([], [1, 2], {}, {"a": 1}, range(3), object(), Unshowable(), np.zeros(3), np.float32(0.5), lambda *_: None),
    *(Array((99, 0)), Array("x"), Array(None), Array((1, 0)), Array((1, 0), 3), Array((2, 99)), Array(RuntimeError())),
]

FRAME = np.zeros((240, 320, 3), np.uint8)


def expect_a_sentence(call: Callable[[Any], Any], values: Sequence[Any] = ODD) -> None:
    """Each value is taken, or refused by one line of ours."""
    refused = 0
    for value in values:
        try:
            call(value)
        except trtpose.Error as error:
            refused += 1
            said = str(error)
            assert 10 < len(said) < 400
            assert "\n" not in said
            assert "incompatible" not in said
    assert refused > len(values) // 3


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("arguments") / "a.onnx"
    return onnx_models.write_model(path, metadata={"trtpose": json.dumps(onnx_models.spec_fields())})


ENGINE = [
    "device",
    "precision",
    "spec",
    "imgsz",
    "batch",
    "rect",
    "thresholds",
    "streams",
    "vram_budget",
    "stage_times",
]
THRESHOLDS = ["conf", "iou", "max_det", "agnostic", "nms"]


@pytest.mark.parametrize("option", ENGINE + THRESHOLDS)
def test_engine(model: Path, option: str) -> None:
    few = [value for value in ODD if value is not None]
    expect_a_sentence(lambda value: Engine(model, **{option: value}), few)


def test_the_file_of_an_engine() -> None:
    expect_a_sentence(Engine)
    expect_a_sentence(trtpose.model_info)


def test_frames(model: Path) -> None:
    engine = Engine(model)
    for wrap in (lambda v: v, lambda v: [FRAME, v], lambda v: [Nv12(v)], lambda v: [Nv12(FRAME[..., 0], v)]):
        expect_a_sentence(lambda value, wrap=wrap: engine.infer(wrap(value)))
        expect_a_sentence(lambda value, wrap=wrap: engine.infer(wrap(value), output="device"))
    for shape in (
        (64, 96, 3),
        (3, 64, 96),
        (2, 64, 96, 3),
        (2, 3, 64, 96),
        (0,),
        (64, 96),
        (),
        (3, 64, 97),
        (3, 0, 96),
    ):
        kinds = [np.float16, np.float64, np.int8, np.uint16, np.int64, bool, complex, "U3", "M8[s]", object]
        expect_a_sentence(lambda kind, shape=shape: engine.infer(np.zeros(shape, kind)), kinds)
    expect_a_sentence(lambda v: engine.infer(np.full((1, 3, 64, 96), v, np.float32)), [np.nan, np.inf])


@pytest.mark.parametrize("option", ["thresholds", "color", "output", *THRESHOLDS])
def test_a_call(model: Path, option: str) -> None:
    engine = Engine(model)
    expect_a_sentence(lambda value: engine.infer(FRAME, **{option: value}))


def test_letterbox() -> None:
    expect_a_sentence(lambda value: trtpose.letterbox(value, 64))
    expect_a_sentence(lambda value: trtpose.letterbox(FRAME, value))
    expect_a_sentence(lambda value: trtpose.letterbox(FRAME, 64, color=value))
    expect_a_sentence(lambda value: trtpose.letterbox(FRAME, 64, spec=value))
    expect_a_sentence(lambda value: Nv12(FRAME, matrix=value))
    expect_a_sentence(lambda value: Nv12(FRAME, full_range=value))


@pytest.mark.parametrize("field", THRESHOLDS)
def test_thresholds(field: str) -> None:
    expect_a_sentence(lambda value: Thresholds(**{field: value}))


def test_threshold_changes() -> None:
    expect_a_sentence(Thresholds().changed, [value for value in ODD if not isinstance(value, dict)])
    with pytest.raises(TypeError, match="unexpected keyword argument 'a'"):
        Thresholds().changed({"a": 1})  # type: ignore[typeddict-unknown-key]


def test_poses() -> None:
    poses = make_poses(2)
    for field in ("boxes", "scores", "class_ids", "keypoints", "shape", "spec"):
        expect_a_sentence(lambda value, field=field: dataclasses.replace(poses, **{field: value}))
    expect_a_sentence(lambda value: Poses.empty(value, PERSON))
    expect_a_sentence(lambda value: Poses.empty((5, 5), value))
    expect_a_sentence(poses.visible)
    expect_a_sentence(lambda value: poses.to_coco(1, value))
    # json takes any number of spaces, until there is no memory left.
    expect_a_sentence(poses.to_json, [-1, 81, 1.5, "x", b"x", [], True])
    expect_a_sentence(poses.draw)
    expect_a_sentence(lambda value: draw(FRAME, value))
    for option in ("threshold", "boxes", "labels"):
        expect_a_sentence(lambda value, option=option: poses.draw(FRAME, **{option: value}))


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(ModelSpec)])
def test_spec(field: str) -> None:
    expect_a_sentence(lambda value: dataclasses.replace(PERSON, **{field: value}), ODD if field != "name" else ODD[:10])
    if field != "extra":
        few = [value for value in ODD if not callable(value)]
        expect_a_sentence(
            lambda v: ModelSpec.from_dict({**PERSON.to_dict(), field: v}), few[:13] if field == "name" else few
        )


def test_specs_from_elsewhere() -> None:
    expect_a_sentence(ModelSpec.from_json)
    expect_a_sentence(ModelSpec.load)


@pytest.mark.parametrize("option", ["depth", "policy", "reconnect", "max_pixels"])
def test_options_of_sources(tmp_path: Path, option: str) -> None:
    path = write_picture(tmp_path / "a.jpg")
    expect_a_sentence(lambda value: list(Sources(path, **{option: value})))


def test_sources(tmp_path: Path) -> None:
    path = write_picture(tmp_path / "a.jpg")
    odd = [value for value in ODD if not isinstance(value, (range, bool))]  # cameras
    expect_a_sentence(lambda value: list(Sources(value, reconnect=0)), [v for v in odd if not isinstance(v, list)])
    expect_a_sentence(lambda value: list(Sources([value], reconnect=0)), odd)
    expect_a_sentence(Sources.of_files)
    expect_a_sentence(read_picture)
    expect_a_sentence(decode_picture)
    expect_a_sentence(lambda value: read_picture(path, max_pixels=value))
    # Digits that are no camera's number are a name.
    (frame,) = Sources("99999999999")
    assert "99999999999: no such file" in str(frame.error)


@pytest.mark.parametrize("option", ["conf", "iou", "max_det", "max_pixels", "on_error", "on_warning", "progress"])
def test_evaluate(tmp_path: Path, option: str) -> None:
    pytest.importorskip("faster_coco_eval")
    from trtpose.evaluate import evaluate

    scene = Scene(tmp_path)
    scene.annotate(scene.add_picture(), *person(50, 50, 200))
    engine = Engine(write_answer(tmp_path / "a.onnx", people([0.9]), ultralytics()))
    truth = scene.write()
    expect_a_sentence(lambda value: evaluate(engine, tmp_path, truth, **{option: value}))
    if option == "conf":
        expect_a_sentence(lambda value: evaluate(value, tmp_path, truth))
        expect_a_sentence(lambda value: evaluate(engine, value, truth))
        expect_a_sentence(lambda value: evaluate(engine, tmp_path, value))


@pytest.mark.parametrize(
    "option", ["tolerance_px", "min_matched", "max_extra", "max_drop", "conf", "score", "max_pixels"]
)
def test_check(model: Path, tmp_path: Path, option: str) -> None:
    write_picture(tmp_path / "a.png")
    engine = Engine(model)
    expect_a_sentence(lambda value: check(engine, engine, tmp_path, **{option: value}))
    if option == "conf":
        expect_a_sentence(lambda value: check(engine, engine, value))
        expect_a_sentence(lambda value: check(engine, engine, tmp_path, annotations=value))


@pytest.mark.parametrize("option", ["pictures", "runs", "warmup", "streams", "progress"])
def test_bench(model: Path, option: str) -> None:
    engine = Engine(model)
    few = [value for value in ODD if value is not None and not (isinstance(value, int) and value in (2**31 - 1,))]
    usual = {"pictures": [encoded(".jpg")], "runs": 1, "warmup": 0}
    expect_a_sentence(lambda value: bench(engine, **{**usual, option: value}), few)


def test_bench_of_no_engine() -> None:
    expect_a_sentence(lambda value: bench(value, runs=1))


BUILD = [
    *("calib", "runtime", "batch", "imgsz", "vram_budget", "workspace", "tactic_memory", "opt_level", "device", "tf32"),
    *("hardware_compatible", "version_compatible", "compute_capability", "weight_streaming", "timing_cache", "keep"),
]


@pytest.mark.parametrize("option", BUILD)
def test_options_of_build(option: str) -> None:
    expect_a_sentence(lambda value: BuildOptions.parse("fp32", {option: value}))  # type: ignore[misc]


def test_files_of_build() -> None:
    expect_a_sentence(lambda value: BuildOptions.parse(value, {}))
    pytest.importorskip("onnx")
    expect_a_sentence(lambda value: trtpose.build(value, precision="fp32"))


@pytest.mark.parametrize("option", ["method", "count", "batch", "limit", "max_drop", "fp16", "measure", "sensitivity"])
def test_options_of_quantize(option: str) -> None:
    expect_a_sentence(lambda value: QuantizeOptions(**{option: value}))


def test_files_of_quantize(model: Path, tmp_path: Path) -> None:
    from trtpose.quantize import quantize

    for index in range(4):
        write_picture(tmp_path / f"{index}.png", picture(seed=index))
    expect_a_sentence(lambda value: quantize(value, tmp_path))
    expect_a_sentence(lambda value: quantize(model, value))


@pytest.mark.parametrize("option", ["imgsz", "layout", "batch", "dynamic", "arch", "spec", "random", "seed", "verify"])
def test_export(model: Path, tmp_path: Path, option: str) -> None:
    pytest.importorskip("onnxruntime")
    from trtpose.export import export

    expect_a_sentence(lambda value: export(model, tmp_path / "a.onnx", **{option: value}))
    if option == "imgsz":
        expect_a_sentence(export)
