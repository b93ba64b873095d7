# SPDX-License-Identifier: Apache-2.0
"""The engine on the CPU: specs from each place, and what it says of what cannot be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import onnx_models
import trtpose
from engine_support import write_models
from trtpose import BudgetError, DeviceError, Engine, InputError, ModelError


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_models(tmp_path_factory.mktemp("models"))


# ---------------------------------------------------------------------------------------------------------------------
# Specs


def test_spec_from_each_place(models: Path, tmp_path: Path) -> None:
    fields = onnx_models.spec_fields("heads", name="mine")
    assert Engine(models / "heads.onnx").spec_origin == "metadata of trtpose"
    assert Engine(models / "bare.onnx", spec=fields).spec.name == "mine"
    assert Engine(models / "bare.onnx", spec=trtpose.ModelSpec.from_dict(fields)).spec.name == "mine"
    path = tmp_path / "spec.json"
    path.write_text(json.dumps(fields))
    assert Engine(models / "bare.onnx", spec=path).spec_origin == f"file {path}"
    beside = onnx_models.write_model(tmp_path / "net.onnx")
    beside.with_suffix(".json").write_text(json.dumps(fields))
    assert Engine(beside).spec_origin == f"file {beside.with_suffix('.json')}"


def test_spec_survives_the_native_side(models: Path) -> None:
    fields = onnx_models.spec_fields(
        "heads",
        kpt_names=["a", 'b"\\', "ü"],
        skeleton=[[0, 1], [1, 2]],
        sigmas=[0.025, 0.1, 0.35],
        flip_idx=[0, 2, 1],
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        color="bgr",
        pad=0,
        remark={"kept": [1.5, True, None]},
    )
    spec = trtpose.ModelSpec.from_dict(fields)
    got = Engine(models / "bare.onnx", spec=spec).spec
    assert got.to_dict()["remark"] == fields["remark"]
    for key, value in spec.to_dict().items():
        if key in ("mean", "std", "sigmas"):
            # The native side holds float32.
            np.testing.assert_allclose(got.to_dict()[key], value, rtol=1e-7)
        elif key not in ("name", "outputs"):
            assert got.to_dict()[key] == value, key


ULTRALYTICS = {"task": "pose", "imgsz": "[64, 96]", "names": "{0: 'person'}", "kpt_shape": "[3, 3]", "stride": "16"}


def test_ultralytics_metadata(tmp_path: Path) -> None:
    final = onnx_models.write_model(tmp_path / "f.onnx", "final", metadata={**ULTRALYTICS, "end2end": "True"})
    assert Engine(final).spec.layout == "final"
    with pytest.raises(ModelError, match="--spec"):  # the strides of this pyramid are nobody's
        Engine(onnx_models.write_model(tmp_path / "c.onnx", "channels_first", metadata=ULTRALYTICS))
    with pytest.raises(ModelError, match="task 'pose'"):
        Engine(onnx_models.write_model(tmp_path / "d.onnx", metadata={"task": "detect"}))
    with pytest.raises(ModelError, match="kpt_shape"):
        Engine(onnx_models.write_model(tmp_path / "k.onnx", metadata={**ULTRALYTICS, "kpt_shape": "[3, "}))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"layout": "grid"}, "layout"),
        ({"layout": None}, "layout"),
        ({"strides": [8]}, "anchors"),
        ({"strides": []}, "strides"),
        ({"strides": [8, 0]}, "strides"),
        ({"anchors": [[[1, 2]], [[3, 4], [5, 6]]]}, "anchors"),
        ({"anchors": [[[1, 2], [3]], [[3, 4], [5, 6]]]}, "anchors"),
        ({"names": []}, "names"),
        ({"kpt_shape": [0, 3]}, "kpt_shape"),
        ({"kpt_shape": [3, 4]}, "kpt_shape"),
        ({"kpt_shape": [4, 3]}, "expects"),
        ({"imgsz": [60, 96]}, "stride"),
        ({"imgsz": [1e99, 96]}, "imgsz"),
        ({"outputs": ["head_8", "nowhere"]}, "nowhere"),
        ({"outputs": ["head_8"]}, "outputs"),
        ({"sigmas": [1]}, "sigmas"),
        ({"std": [0, 1, 1]}, "std"),
        ({"color": "yuv"}, "color"),
        ({"pad": 300}, "pad"),
        ({"trtpose": 3}, "version"),
    ],
)
def test_a_wrong_spec_names_the_field(models: Path, tmp_path: Path, change: dict[str, Any], match: str) -> None:
    path = tmp_path / "spec.json"
    path.write_text(json.dumps({**onnx_models.spec_fields("heads"), **change}))
    with pytest.raises(ModelError, match=match):
        Engine(models / "bare.onnx", spec=path)


def test_an_ambiguous_model_is_refused(models: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"anchors are not known.*--spec"):
        Engine(models / "bare.onnx")
    # 57 numbers a row is the width of decoded anchors and of final detections alike.
    twin = onnx_models.write_model(tmp_path / "twin.onnx", "final", keypoints=17)
    with pytest.raises(ModelError, match=r"layout decoded\) or final detections"):
        Engine(twin)


# ---------------------------------------------------------------------------------------------------------------------
# Errors


def test_unusable_files(tmp_path: Path) -> None:
    cases: list[tuple[str, bytes | None, str]] = [
        ("missing.onnx", None, "No such file"),
        ("empty.onnx", b"", "empty"),
        ("text.onnx", b"hello, this is no network", "not a readable ONNX"),
        ("model.pt", b"PK\x03\x04rest", "trtpose export"),
        ("model.xml", b"<?xml version='1.0'?><net/>", "XML"),
        ("plan.engine", b"ftrt" + bytes(64), "TensorRT"),
    ]
    for name, content, match in cases:
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        with pytest.raises((ModelError, DeviceError), match=match) as caught:
            Engine(path)
        assert name in str(caught.value)
    with pytest.raises(ModelError, match="not a regular file but a folder; give an ONNX model or an engine file"):
        Engine(tmp_path)
    with pytest.raises(InputError, match="model '' is not a file name; give the path of an ONNX model"):
        Engine("")


@pytest.mark.parametrize(
    ("options", "kind", "match"),
    [
        ({"device": "cuda"}, DeviceError, "CPU"),
        ({"device": "cuda:3"}, DeviceError, "cuda:3"),
        ({"device": "tpu"}, DeviceError, "tpu"),
        ({"precision": "int4"}, InputError, "int4"),
        ({"imgsz": 100}, InputError, "multiple|alone"),
        ({"imgsz": (64, 64)}, InputError, "alone"),
        ({"imgsz": "large"}, InputError, "large"),
        ({"imgsz": 0}, InputError, "imgsz"),
        ({"batch": 0}, InputError, "batch"),
        ({"batch": 100000}, InputError, "batch"),
        ({"conf": 1.5}, InputError, "conf"),
        ({"conf": float("nan")}, InputError, "conf"),
        ({"iou": -0.1}, InputError, "iou"),
        ({"max_det": 0}, InputError, "max_det"),
        ({"nms": "soft"}, InputError, "soft"),
        ({"threads": -1}, InputError, "threads"),
        ({"streams": 0}, InputError, "streams"),
        ({"vram_budget": "two"}, InputError, "two"),
        ({"vram_budget": "1KiB"}, BudgetError, "budget of 0.1 MiB"),
        ({"vram_budget": 2**62}, InputError, "vram_budget"),
    ],
)
def test_wrong_options(models: Path, options: dict[str, Any], kind: type[Exception], match: str) -> None:
    with pytest.raises(kind, match=match):
        Engine(models / "heads.onnx", **options)


class Named:
    """Cannot even be shown."""

    def __repr__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": 0}, "device is 0; use auto, cpu, cuda or cuda:N"),
        ({"device": None}, "device is None; use auto"),
        ({"precision": 16}, "precision is 16; use f32, fp16, bf16 or auto"),
        ({"conf": "x"}, "conf is 'x'; expected a number"),
        ({"conf": True}, "conf is True; expected a number"),
        ({"conf": float("nan")}, "conf nan must lie between 0 and 1"),
        ({"iou": 10**400}, "iou inf must lie between 0 and 1"),
        ({"iou": [0.5]}, r"iou is \[0.5\]; expected a number"),
        ({"max_det": 2**31}, "max_det 2147483648 must lie between 1 and 30000"),
        ({"max_det": 30001}, "max_det 30001 must lie between 1 and 30000"),
        ({"max_det": 300.0}, "max_det is 300.0; expected a whole number"),
        ({"agnostic": "no"}, "agnostic is 'no'; expected True or False"),
        ({"nms": 3}, "nms 3 is not known; use iou or oks"),
        ({"thresholds": 0.3}, "thresholds is of type float; give a trtpose.Thresholds"),
        ({"spec": 3}, "spec is 3; give a ModelSpec, a dict of its fields or the path of a JSON file"),
        ({"spec": ["a.json"]}, r"spec is \['a.json'\]; give a ModelSpec"),
        ({"spec": Named()}, "spec is a Named; give a ModelSpec"),
        ({"batch": "2"}, "batch is '2'; expected a whole number from 1 to 2147483647"),
        ({"batch": 2**31}, "batch 2147483648 must lie between 1 and 2147483647"),
        ({"rect": "yes"}, "rect is 'yes'; expected True or False"),
        ({"threads": 1.5}, "threads is 1.5; expected a whole number from 0"),
        ({"streams": True}, "streams is True; expected a whole number from 1"),
        ({"stage_times": None}, "stage_times is None; expected True or False"),
        ({"vram_budget": []}, "vram_budget .* is not a size"),
        ({"imgsz": "640"}, "imgsz '640' is not a size"),
    ],
)
def test_an_option_of_another_type_is_one_sentence(models: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}") as caught:
        Engine(models / "heads.onnx", **options)
    assert "\n" not in str(caught.value)
    assert "incompatible" not in str(caught.value)


def test_numpy_numbers_are_numbers(models: Path) -> None:
    engine = Engine(models / "heads.onnx", conf=np.float32(0.5), max_det=np.int64(5), agnostic=np.bool_(True))
    assert engine.thresholds.native == (0.5, 0.65, 5, True, False)
    assert Engine(models / "heads.onnx", max_det=30000, batch=np.int32(1)).batch == 1


@pytest.mark.parametrize(
    ("model", "message"),
    [(3, "model is 3; give the path"), (None, "model is None; give"), ("\udcff.onnx", "the name is not valid UTF-8")],
)
def test_a_model_that_is_no_path(model: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Engine(model)
    with pytest.raises(InputError, match=message.replace("model", "path")):
        trtpose.model_info(model)


def test_arguments_of_a_call_of_another_type(models: Path) -> None:
    engine = Engine(models / "heads.onnx")
    frame = np.zeros((10, 10, 3), np.uint8)
    for options, message in (
        ({"color": 3}, "color is 3; use bgr or rgb"),
        ({"conf": "x"}, "conf is 'x'; expected a number"),
        ({"max_det": 2**31}, "max_det 2147483648"),
        ({"thresholds": 3}, "thresholds is of type int"),
        ({"output": []}, "output .* is not known"),
    ):
        with pytest.raises(InputError, match=message):
            engine.infer(frame, **options)
    with pytest.raises(InputError, match="color is None"):
        trtpose.letterbox(frame, 64, color=None)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="full_range is 'x'"):
        trtpose.Nv12(frame, full_range="x")  # type: ignore[arg-type]


def test_wrong_frames_name_the_frame(models: Path) -> None:
    engine = Engine(models / "heads.onnx")
    good = np.zeros((10, 10, 3), np.uint8)
    cases: list[tuple[Any, str]] = [
        (np.zeros((10, 10), np.uint8), "10×10, expected height×width×3"),
        (np.zeros((10, 10, 4), np.uint8), "cvtColor"),
        (np.zeros((3, 3)), "the array is 3×3 of float64, expected height×width×3 of uint8 from 0 to 255$"),
        (np.zeros((10, 10, 4), np.float16), "10×10×4 of float16, expected height×width×3 of uint8 from 0 to 255$"),
        (np.zeros((3, 10, 10), np.uint8), "channels last"),
        (np.zeros((0, 10, 3), np.uint8), "no pixels"),
        (np.zeros((10, 0, 3), np.uint8), "no pixels"),
        (np.zeros((10, 10, 3), np.float64), "float64, expected uint8"),
        (np.zeros((10, 10, 3), np.int8), "int8, expected uint8"),
        (np.lib.stride_tricks.as_strided(good, (2**21, 1, 3), (0, 3, 1)), "pixels are supported"),
        (None, "NoneType is no picture"),
        (b"bytes", "bytes is no picture"),
        (5, "int is no picture"),
    ]
    for wrong, match in cases:
        with pytest.raises(InputError, match=match) as caught:
            engine.infer([good, wrong])
        assert "frame 1" in str(caught.value)
    with pytest.raises(InputError, match=r"^picture\.jpg: no such file"):  # its name says which
        engine.infer([good, "picture.jpg"])
    with pytest.raises(InputError, match="yuv"):
        engine.infer(good, color="yuv")
    assert len(engine.infer(good)) == 1  # an error leaves nothing behind
