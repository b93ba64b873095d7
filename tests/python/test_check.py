# SPDX-License-Identifier: Apache-2.0
"""The comparison of two models: that it passes where it should, and that it can fail."""

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
from support import FakeEngine, make_poses, picture, spec_with, write_picture
from trtpose.check import MATCH, TOLERANCES, Agreement, Limits, Side, check, compare, match, similarity, table
from trtpose.cli import main
from trtpose.errors import InputError, ModelError
from trtpose.results import Poses
from trtpose.skeletons import COCO
from trtpose.spec import ModelSpec

SIDE = Side("a.onnx", "stand-in", "cpu", "f32", "f32", (64, 96))
DEMO = Path(trtpose.__file__).parent / "data"


def moved(poses: Poses, by: tuple[float, float] = (0.0, 0.0), **fields: Any) -> Poses:
    keypoints = poses.keypoints.copy()
    keypoints[..., :2] += by
    values = {
        "boxes": poses.boxes,
        "scores": poses.scores,
        "class_ids": poses.class_ids,
        "keypoints": keypoints,
        "shape": poses.shape,
        "spec": poses.spec,
        **fields,
    }
    return Poses(**values)


def confident(count: int, seed: int = 0) -> Poses:
    """People whose scores and keypoints all count."""
    poses = make_poses(count, seed=seed)
    keypoints = poses.keypoints.copy()
    keypoints[..., 2] = 0.9
    return moved(poses, keypoints=keypoints, scores=np.linspace(0.95, 0.6, count, dtype=np.float32))


def judged(first: Poses, second: Poses, tolerance: float = 0.5, **options: Any) -> Agreement:
    return compare([("x.jpg", first, second)], SIDE, SIDE, limits=Limits(tolerance), **options)


# ---------------------------------------------------------------------------------------------------------------------
# Poses against poses


def test_the_same_poses_agree():
    poses = confident(4)
    result = judged(poses, poses)
    assert result.passed
    assert (result.poses, result.matched, result.extra) == (4, 4, 0)
    assert result.keypoint_px.count == 4 * len(COCO)
    assert (result.keypoint_px.median, result.keypoint_px.worst) == (0, 0)
    assert result.box_iou.worst == pytest.approx(1)
    assert result.verdict.endswith("the two agree")


def test_the_keypoint_error_is_the_distance():
    poses = confident(2)
    result = judged(poses, moved(poses, (0.3, 0.4)))
    assert result.passed
    for value in (result.keypoint_px.median, result.keypoint_px.p95, result.keypoint_px.worst):
        assert value == pytest.approx(0.5, abs=1e-4)  # float32 coordinates of a few hundred pixels


def test_too_far_is_said():
    poses = confident(2)
    result = judged(poses, moved(poses, (3, 4)))
    assert not result.passed
    assert result.problems == ("the median keypoint is 5 px off, more than 0.5",)


def test_only_keypoints_that_both_are_confident_of():
    poses = confident(1)
    first, second = poses.keypoints.copy(), poses.keypoints.copy()
    first[0, 3, 2] = 0.49
    second[0, 4, 2] = 0.49
    second[0, 3:5, :2] += 9
    result = judged(moved(poses, keypoints=first), moved(poses, keypoints=second))
    assert result.keypoint_px.count == len(COCO) - 2
    assert result.keypoint_px.worst == 0


def test_no_keypoint_to_compare_is_no_agreement():
    poses = confident(1)
    vague = poses.keypoints.copy()
    vague[..., 2] = 0.1
    result = judged(poses, moved(poses, keypoints=vague))
    assert result.matched == 1
    assert "none could be compared" in result.verdict


def test_missing_and_extra_poses():
    poses = confident(4)
    fewer = judged(poses, poses[:3])
    assert fewer.problems == ("1 of 4 poses are not found again",)
    assert [score for _, score in fewer.pictures[0].missing] == [pytest.approx(0.6)]
    more = judged(poses[:3], poses)
    assert more.problems == ("1 pose(s) are found that the reference has not",)
    assert more.pictures[0].extra[0][0] == tuple(np.round(poses.boxes[3].astype(float), 2))
    assert judged(poses[:3], poses, tolerance=0.5).limits.extra == 0
    allowed = compare([("x.jpg", poses, poses[:3])], SIDE, SIDE, limits=Limits(0.5, matched=0.75))
    assert allowed.passed


def test_a_score_about_the_threshold_has_its_partner():
    """A pose of 0.51 in one model and 0.49 in the other is no disagreement, in either direction."""
    poses = confident(1)
    high, low = moved(poses, scores=[0.51]), moved(poses, scores=[0.49])
    there, back = judged(high, low), judged(low, high)
    assert there.passed
    assert (there.poses, there.matched) == (1, 1)
    assert there.score_difference.worst == pytest.approx(0.02, abs=1e-4)
    assert back.extra == 0


def test_nobody_to_compare_is_no_agreement():
    nobody = Poses.empty((240, 320), make_poses(1).spec)
    result = judged(nobody, nobody)
    assert not result.passed
    assert "nothing to compare" in result.verdict


def test_pairs_are_the_most_alike():
    """Two people so close that each is similar to both: the pairs are right whatever the order of the scores."""
    poses = confident(1)
    near = moved(poses, (2.0, 0.0))
    both = Poses(
        np.concatenate([poses.boxes, near.boxes]),
        [0.9, 0.8],
        [0, 0],
        np.concatenate([poses.keypoints, near.keypoints]),
        poses.shape,
        poses.spec,
    )
    turned = moved(both[[1, 0]], scores=[0.9, 0.8])
    assert (similarity(both, turned) > MATCH).all()
    assert match(both, turned) == [(0, 1), (1, 0)]


def test_classes_do_not_mix():
    spec = spec_with(len(COCO), names=["person", "statue"])
    poses = confident(1)
    first = moved(poses, spec=spec)
    other = moved(poses, spec=spec, class_ids=[1])
    assert match(first, first) == [(0, 0)]
    assert match(first, other) == []


def test_oks_is_cocos():
    """One keypoint off by its own spread 2σs has exp(-1/2), the rest 1."""
    poses = confident(1)
    area = float(np.prod(poses.boxes[0, 2:] - poses.boxes[0, :2]))
    keypoints = poses.keypoints.copy()
    keypoints[0, 5, 0] += 2 * COCO.sigmas[5] * np.sqrt(area)
    expected = (len(COCO) - 1 + np.exp(-0.5)) / len(COCO)
    assert similarity(poses, moved(poses, keypoints=keypoints))[0, 0] == pytest.approx(expected, rel=1e-4)


def test_without_sigmas_boxes_are_compared():
    spec = spec_with(3)
    poses = make_poses(1, spec=spec)
    shifted = poses.boxes.copy()
    shifted[:, ::2] += (poses.boxes[:, 2] - poses.boxes[:, 0]) / 3
    other = moved(poses, (500, 500), boxes=shifted)
    assert similarity(poses, other)[0, 0] == pytest.approx(0.5, abs=1e-4)  # two thirds of four thirds


def test_ap_is_compared():
    poses = confident(1)
    frames = [("x.jpg", poses, poses)]
    first, second = (Side(**{**SIDE.__dict__, "metrics": {"AP": ap}}) for ap in (0.5, 0.47))
    result = compare(frames, first, second, limits=Limits(0.5))
    assert result.ap_drop == pytest.approx(3)
    assert result.problems == ("3.00 points of AP are lost, more than 1",)
    assert compare(frames, first, second, limits=Limits(0.5, max_drop=3)).passed
    assert compare(frames, second, first, limits=Limits(0.5)).passed


@pytest.mark.parametrize("wrong", [{"tolerance_px": -1}, {"matched": 1.1}, {"extra": -0.1}, {"max_drop": float("nan")}])
def test_limits_that_are_none(wrong: dict[str, float]):
    with pytest.raises(InputError, match=next(iter(wrong))):
        Limits(**{"tolerance_px": 1.0, **wrong})


# ---------------------------------------------------------------------------------------------------------------------
# Models against models


def changed(source: Path, target: Path, change: Callable[[str, np.ndarray], np.ndarray]) -> Path:
    """A copy of an ONNX file with other weights."""
    model = onnx.load(str(source))
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32:
            tensor.CopyFrom(numpy_helper.from_array(change(tensor.name, values.copy()), tensor.name))
    onnx.save(model, str(target))
    return target


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A network that finds many, and pictures."""
    folder = tmp_path_factory.mktemp("check")
    spec = onnx_models.spec_fields(keypoints=3, size=(64, 96))
    model = onnx_models.write_model(
        folder / "a.onnx", keypoints=3, metadata={"trtpose": json.dumps(spec)}, objectness=2.0
    )
    pictures = folder / "pictures"
    pictures.mkdir()
    for number in range(3):
        write_picture(pictures / f"{number}.png", picture(128, 192, seed=number))
    return model, pictures


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
    assert first.thresholds[0] == {"conf": 0.1}
    assert result.matched == result.poses == 3


# ---------------------------------------------------------------------------------------------------------------------
# The demo model, the command, and trained models


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


def test_the_command(small: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    model, pictures = small
    common = ["--images", str(pictures), "--conf", "0.05", "--score", "0.3"]
    assert main(["check", str(model), str(model), *common, "--json", str(tmp_path / "r.json")]) == 0
    out = capsys.readouterr()
    assert out.err == ""
    assert out.out.rstrip().endswith("the two agree")
    assert json.loads((tmp_path / "r.json").read_text())["keypoint_px"]["worst"] == 0
    other = changed(model, tmp_path / "b.onnx", lambda name, v: v + (0.5 if name == "b8" else 0))
    assert main(["check", str(model), str(other), *common, "--quiet"]) == 1
    out = capsys.readouterr()
    assert out.out == ""
    assert out.err.startswith(f"error: {other} against {model}: ")
    assert out.err.count("\n") == 1
    assert main(["check", str(model), str(other), *common[:2], "--conf", "0.9"]) == 1
    assert "--conf 0.9 is above --score 0.5" in capsys.readouterr().err
    assert main(["check", str(model), str(model), *common, "--json", str(model)]) == 1
    assert "is one of the inputs" in capsys.readouterr().err
    assert main(["check", str(model), str(tmp_path / "none.onnx"), *common]) == 1
    assert "none.onnx" in capsys.readouterr().err


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
