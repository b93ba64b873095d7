# SPDX-License-Identifier: Apache-2.0
"""Models against models."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import onnx_models
import trtpose
from check_support import changed, small_model  # noqa: F401 (a fixture)
from support import FakeEngine
from trtpose.check import TOLERANCES, check, table
from trtpose.cli import main
from trtpose.errors import InputError, ModelError
from trtpose.spec import ModelSpec

DEMO = Path(trtpose.__file__).parent / "data"


OPTIONS: dict[str, Any] = {"conf": 0.05, "score": 0.3}


def test_a_model_agrees_with_itself(small: tuple[Path, Path]):
    model, pictures = small
    seen: list[tuple[int, int]] = []
    result = check(model, model, pictures, progress=lambda *at: seen.append(at), **OPTIONS)
    assert result.passed, result.verdict
    assert result.poses >= 10
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert result.limits.tolerance_px == TOLERANCES["f32"]
    assert json.loads(json.dumps(result.to_dict(), allow_nan=False))["passed"] is True


def test_keypoints_shifted_by_a_known_amount(small: tuple[Path, Path], tmp_path: Path):
    """A keypoint is (2t - 0.5 + j)·stride in a picture scaled by 1/2: t + 0.25 moves it by one stride of the frame."""
    model, pictures = small

    def shift(name: str, values: np.ndarray) -> np.ndarray:
        if name == "b8":
            values = values.reshape(2, -1)
            values[:, 6::3] += 0.25
        return values.reshape(-1) if name == "b8" else values

    other = changed(model, tmp_path / "b.onnx", shift)
    result = check(model, other, pictures, **OPTIONS)
    assert not result.passed
    # Poses of stride 8 moved by 2·0.25·8·2 pixels, those of stride 16 stayed.
    px = [spread.worst for spread in (p.keypoint_px for p in result.pictures) if spread.count]
    assert px
    assert max(px) == pytest.approx(8.0, abs=0.01)
    assert check(model, other, pictures, tolerance_px=8.1, **OPTIONS).matched == result.matched


def test_a_model_that_finds_nobody(small: tuple[Path, Path], tmp_path: Path):
    model, pictures = small

    def blind(name: str, values: np.ndarray) -> np.ndarray:
        if name.startswith("b"):
            values.reshape(2, -1)[:, 4] = -1e4
        return values

    result = check(model, changed(model, tmp_path / "b.onnx", blind), pictures, **OPTIONS)
    assert result.matched == 0
    assert result.problems[0] == f"{result.poses} of {result.poses} poses are not found again"
    back = check(tmp_path / "b.onnx", model, pictures, **OPTIONS)
    assert "finds nobody" in back.verdict


def test_the_file_says_what_it_was_written_for(small: tuple[Path, Path], tmp_path: Path):
    """On the CPU the backend computes in float32 whatever the file is; the tolerance follows the file."""
    model, pictures = small
    loaded = onnx.load(str(model))
    scale = numpy_helper.from_array(np.float32(1 / 64), "scale")
    zero = numpy_helper.from_array(np.int8(0), "zero")
    loaded.graph.initializer.extend([scale, zero])
    first = loaded.graph.node[0]
    nodes = [
        onnx.helper.make_node("QuantizeLinear", ["images", "scale", "zero"], ["q"]),
        onnx.helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["dq"]),
    ]
    for node in loaded.graph.node:
        node.input[0] = "dq" if node.input[0] == "images" else node.input[0]
    assert first.input[0] == "dq"
    for at, node in enumerate(nodes):
        loaded.graph.node.insert(at, node)
    onnx.save(loaded, str(tmp_path / "q.onnx"))
    result = check(model, tmp_path / "q.onnx", pictures, **OPTIONS)
    assert result.candidate.arithmetic == "int8"
    assert result.reference.arithmetic == "f32"
    assert result.limits.tolerance_px == TOLERANCES["int8"]
    assert "written for int8" in table(result)
    assert 0 < result.keypoint_px.worst < 16  # a picture in 64 levels, seen by a linear network


def test_models_of_different_people_are_refused(small: tuple[Path, Path], tmp_path: Path):
    model, pictures = small
    five = onnx_models.spec_fields(keypoints=5, size=(64, 96))
    onnx_models.write_model(tmp_path / "five.onnx", keypoints=5, metadata={"trtpose": json.dumps(five)})
    with pytest.raises(ModelError, match=r"five\.onnx: has the keypoints 5, .*a\.onnx has 3"):
        check(model, tmp_path / "five.onnx", pictures)
    cats = onnx_models.spec_fields(keypoints=3, size=(64, 96), names=["cat"])
    onnx_models.write_model(tmp_path / "cat.onnx", keypoints=3, metadata={"trtpose": json.dumps(cats)})
    with pytest.raises(ModelError, match="has the classes"):
        check(model, tmp_path / "cat.onnx", pictures)
    small_spec = onnx_models.spec_fields(keypoints=3, size=(32, 32))
    onnx_models.write_model(
        tmp_path / "s.onnx", keypoints=3, size=(32, 32), metadata={"trtpose": json.dumps(small_spec)}
    )
    with pytest.raises(ModelError, match="the same input size"):
        check(model, tmp_path / "s.onnx", pictures)


def test_the_reference_follows_the_candidates_size(small: tuple[Path, Path], tmp_path: Path):
    _, pictures = small
    meta = {"trtpose": json.dumps(onnx_models.spec_fields(keypoints=3))}
    onnx_models.write_model(tmp_path / "open.onnx", keypoints=3, dynamic=True, metadata=meta, objectness=2.0)
    meta = {"trtpose": json.dumps(onnx_models.spec_fields(keypoints=3, size=(96, 96)))}
    onnx_models.write_model(tmp_path / "fixed.onnx", keypoints=3, size=(96, 96), metadata=meta, objectness=2.0)
    result = check(tmp_path / "open.onnx", tmp_path / "fixed.onnx", pictures, **OPTIONS)
    assert result.reference.imgsz == (96, 96)
    assert result.passed, result.verdict


def test_pictures_that_cannot_be_read(small: tuple[Path, Path], tmp_path: Path):
    model, pictures = small
    mixed = tmp_path / "mixed"
    shutil.copytree(pictures, mixed)
    (mixed / "9.jpg").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"9\.jpg"):
        check(model, model, mixed, **OPTIONS)
    errors: list[str] = []
    result = check(model, model, mixed, on_error=lambda e: errors.append(str(e)), **OPTIONS)
    assert len(errors) == 1
    assert len(result.pictures) == 3
    with pytest.raises(InputError, match="no such folder"):
        check(model, model, tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="picture"):
        check(model, model, tmp_path / "empty")
    with pytest.raises(InputError, match="is one picture"):
        check(model, model, pictures / "0.png", annotations=tmp_path / "a.json")


def test_engines_in_batches(small: tuple[Path, Path]):
    """Given engines are used as they are; the batches are those of the larger."""
    _, pictures = small
    spec = ModelSpec.from_dict(onnx_models.spec_fields(keypoints=3))

    class Opened(FakeEngine, trtpose.Engine):
        """A stand-in that passes for an engine."""

        spec: Any = None
        device: Any = None
        backend: Any = None
        precision: Any = None
        batch: Any = None
        imgsz: Any = None
        memory: Any = None
        timings: Any = None

    first, second = Opened(spec=spec, batch=2), Opened(spec=spec)
    result = check(first, second, pictures, conf=0.1, score=0.2, max_pixels=1 << 20)
    assert first.calls == second.calls == [2, 1]
    assert first.given[0] == {"conf": 0.1}
    assert result.matched == result.poses == 3


@pytest.fixture(scope="module")
def demo() -> Path:
    model = DEMO / "demo.onnx"
    if not model.is_file():
        pytest.skip("this installation has no demo model")
    return model


def test_a_damaged_demo_model_is_told_from_the_real_one(demo: Path, tmp_path: Path, seed: int):
    """Noise of 1e-6 of each weight is lost in the rounding; noise of half its size is not."""
    rng = np.random.default_rng(seed)

    def noisy(share: float) -> Callable[[str, np.ndarray], np.ndarray]:
        def change(_: str, values: np.ndarray) -> np.ndarray:
            kernel = values.ndim == 4  # not the factors of a Resize
            return (values * (1 + share * kernel * rng.standard_normal(values.shape))).astype(np.float32)

        return change

    options: dict[str, Any] = {"conf": 0.1, "score": 0.3}
    close = check(demo, changed(demo, tmp_path / "close.onnx", noisy(1e-6)), DEMO / "demo", **options)
    assert close.passed, close.verdict
    assert close.keypoint_px.count > 0
    far = check(demo, changed(demo, tmp_path / "far.onnx", noisy(0.5)), DEMO / "demo", **options)
    assert not far.passed


@pytest.mark.shared
def test_a_trained_network_and_its_int8_twin(shared: Path, capsys: pytest.CaptureFixture[str]):
    """The Q/DQ network finds the same people some pixels off, and loses AP: it fails the default limits for INT8."""
    pytest.importorskip("faster_coco_eval", reason="faster-coco-eval is not installed")
    plain, quantised = shared / "models/yolo26n-pose-256.onnx", shared / "models/yolo26n-pose-256-qdq.onnx"
    people = shared / "images/person_keypoints.json"
    same = check(plain, plain, shared / "images", annotations=people)
    assert same.passed
    assert same.ap_drop == 0
    assert same.poses >= 20
    result = check(plain, quantised, shared / "images", annotations=people)
    assert result.candidate.arithmetic == "int8"
    assert result.matched >= 0.9 * result.poses
    assert not result.passed
    assert 2.0 < result.keypoint_px.median < 12.0
    assert result.ap_drop is not None
    assert result.ap_drop > 1.0
    lenient = check(plain, quantised, shared / "images", tolerance_px=12, min_matched=0.9, max_extra=0.1)
    assert lenient.passed, lenient.verdict
    arguments = ["check", str(plain), str(quantised), "--images", str(shared / "images")]
    assert main([*arguments, "--tolerance-px", "12", "--min-matched", "0.9", "--max-extra", "0.1"]) == 0
    assert "written for int8" in capsys.readouterr().out


@pytest.mark.shared
def test_a_trained_network_in_fp16(shared: Path, tmp_path: Path):
    """Weights rounded to FP16: the same people, keypoints moved by hundredths of a pixel, within FP16's limit."""
    from trtpose.quantize.fp16 import to_fp16

    plain = shared / "models/yolo26n-pose-256.onnx"
    onnx.save(to_fp16(onnx.load(str(plain))).model, str(tmp_path / "half.onnx"))
    result = check(plain, tmp_path / "half.onnx", shared / "images")
    assert result.candidate.arithmetic == "fp16"
    assert result.limits.tolerance_px == TOLERANCES["fp16"]
    assert result.passed, result.verdict
    assert 0 < result.keypoint_px.median < 0.2


def test_what_annotations_lack_is_said_once(tmp_path: Path):
    document = json.loads((DEMO / "demo" / "annotations.json").read_text())
    del document["annotations"][0]["area"]
    (tmp_path / "a.json").write_text(json.dumps(document))
    said: list[str] = []
    model = DEMO / "demo.onnx"
    result = check(model, model, DEMO / "demo", annotations=tmp_path / "a.json", on_warning=said.append, **OPTIONS)
    assert result.passed, result.verdict
    assert len(said) == 1
    assert "without `area`" in said[0]
