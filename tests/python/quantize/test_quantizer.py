# SPDX-License-Identifier: Apache-2.0
"""Quantising real networks."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import quantize_models as models
import rtx
import trtpose
from trtpose import Engine
from trtpose.check import check
from trtpose.quantize import quantize
from trtpose.quantize.report import Report, Step

DATA = Path(trtpose.__file__).parent / "data"


def test_the_demo_network_keeps_its_people(tmp_path: Path) -> None:
    """Ranges from the packaged pictures; every pose the float network is sure of is found again, and what
    ``trtpose check`` would say of it stands in the report."""
    pictures, said = DATA / "demo", list[str]()
    options: dict[str, Any] = {"images": pictures, "cache": False, "max_drop": 100}
    made = quantize(DATA / "demo.onnx", pictures, output=tmp_path / "d.onnx", report=said.append, **options)
    report = made.report
    details = report.final.details if report.final else {}
    assert details["poses"] >= 4
    assert details["found"] == details["poses"]
    assert details["keypoint_px_median"] < 2.0  # pixels of the frame, as for other networks
    size = report.size
    full = (1, 3, *size)
    assert len(rtx.build(made.path, {"images": (full, full, full)})) > 100_000
    judged = check(DATA / "demo.onnx", made.path, pictures, device="cpu")
    figures = {"poses": judged.poses, "found": judged.matched, "extra": judged.extra}
    assert {name: report.beside_float[name] for name in figures} == figures
    assert report.beside_float["keypoint_px_median"] == judged.keypoint_px.median > 0
    assert report.check_problems == judged.problems
    assert any(line.startswith("beside the float network: ") for line in said)


def test_both_figures_stand_where_check_judges_otherwise() -> None:
    """Accepted by AP, refused pixel by pixel."""
    found = {"poses": 12.0, "found": 12.0, "extra": 0.0, "keypoint_px_median": 3.96, "keypoint_px_p95": 9.0}
    problem = "the median keypoint is 3.96 px off, more than 2"
    step = Step((), 1.0, 47.5, 0.5, 1.0)
    float_step = Step((), 0.0, 48.0, 0.0, 1.0)
    measured = ("a.onnx", "percentile", 4, (64, 64), "AP", "9 annotated pictures", 1.0, float_step, (step,), (), (), 3)
    report = Report(*measured, beside_float=found, check_problems=(problem,))
    figures, why = report.agreement_lines()
    assert "12 of 12 poses" in figures
    assert "keypoints are 3.96 px off in the median" in figures
    assert f"trtpose check would not pass it on these pictures ({problem})" in why
    assert "AP, by which it was accepted, weighs an error by the person's size" in why
    for line in (figures, why):
        assert line[1:] in report.markdown()
    assert json.loads(json.dumps(report.to_dict()))["check_problems"] == [problem]
    # What was not accepted needs no reason for it.
    assert dataclasses.replace(report, max_drop=0.1).agreement_lines() == [figures]
    assert dataclasses.replace(report, check_problems=()).agreement_lines() == [figures]


@pytest.mark.parametrize("name", ["yolov7-lite-t-face5", "yolo26n-pose-256"])
def test_networks_of_others(name: str, shared: Path, tmp_path: Path) -> None:
    """Calibrated on every other photograph, measured on those between."""
    for number, path in enumerate(sorted((shared / "images").glob("*.jpg"))):
        target = tmp_path / f"half{number % 2}"
        target.mkdir(exist_ok=True)
        (target / path.name).symlink_to(path)
    face = name.endswith("face5")
    made = quantize(
        shared / "models" / f"{name}.onnx",
        tmp_path / "half0",
        images=tmp_path / "half1",
        output=tmp_path / "x.onnx",
        spec=Path(__file__).parents[2] / "data" / f"{name}.json" if face else None,
        imgsz=640 if face else None,
        cache=False,
        max_drop=100,
    )
    assert made.report.final is not None
    details = made.report.final.details
    print(name, details)
    assert details["poses"] >= 7
    assert details["found"] == details["poses"]
    assert details["keypoint_px_median"] <= 2.0
    onnx.checker.check_model(made.model)


def test_foreign_pairs_with_zero_points_and_a_concat_run_in_int8(tmp_path: Path) -> None:
    """OpenVINO's own folding of such pairs loses scales where they meet in a Concat; the engine's does not."""
    import onnxruntime as ort

    for zero_point, kind in ((0, np.int8), (17, np.int8), (128, np.uint8)):
        net = models.Net()
        zero = net.constant("zero", np.array(zero_point, kind))
        scale = net.constant("scale", np.array(0.011, np.float32))
        halves = []
        for number in range(2):
            x = net.conv("images", 3, 16, f"in.{number}", k=9, s=8)
            x = net.op("Sigmoid", [x], f"act.{number}")
            q = net.op("QuantizeLinear", [x, scale, zero], f"q.{number}")
            halves.append(net.op("DequantizeLinear", [q, scale, zero], f"dq.{number}"))
        x = net.op("Concat", halves, "cat", axis=1)
        weights = net.random.integers(-127, 128, (models.FIELDS, 32, 1, 1)).astype(np.int8)
        steps = net.constant("w.scale", np.full(models.FIELDS, 0.004, np.float32))
        zeros = net.constant("w.zero", np.zeros(models.FIELDS, np.int8))
        inner = [net.constant("w", weights), steps, zeros]
        w = net.op("DequantizeLinear", inner, "w.dq", axis=0)
        bias = net.constant("b", np.full(models.FIELDS, 1.0, np.float32))
        net.nodes.append(helper.make_node("Conv", [x, w, bias], ["head_8"]))
        net.nodes.append(helper.make_node("MaxPool", ["head_8"], ["head_16"], kernel_shape=[2, 2], strides=[2, 2]))
        size = models.SPEC.imgsz
        model = net.model(
            [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, *size])],
            [
                helper.make_tensor_value_info(
                    f"head_{s}", TensorProto.FLOAT, [1, models.FIELDS, size[0] // s, size[1] // s]
                )
                for s in (8, 16)
            ],
            metadata={"trtpose": models.SPEC.to_json()},
        )
        path = tmp_path / "x.onnx"
        onnx.save(model, str(path))
        data = np.random.default_rng(3).random((1, 3, *size), np.float32)
        options = ort.SessionOptions()
        options.add_session_config_entry("session.disable_quant_qdq", "1")
        head, coarse = ort.InferenceSession(str(path), options).run(None, {"images": data})
        engine = Engine(path, device="cpu", conf=0.0, iou=1.0, max_det=1000)
        scores = np.sort(engine.infer(data)[0].scores)

        def wanted(values: Any) -> Any:
            fields = values.reshape(2, -1, values.shape[2] * values.shape[3])
            return (1 / (1 + np.exp(-fields[:, 4])) / (1 + np.exp(-fields[:, 5]))).reshape(-1)

        expected = np.sort(np.concatenate([wanted(head), wanted(coarse)]))[-len(scores) :]
        assert len(scores) > 100
        np.testing.assert_allclose(scores, expected, atol=0.02)  # one step of the inputs is 0.011


def test_everything_is_told(folder: Path, tmp_path: Path) -> None:
    stages: dict[str, list[tuple[int, int]]] = {}
    quantize(
        folder / "small.onnx",
        folder / "pictures",
        output=tmp_path / "o.onnx",
        cache=False,
        measure=False,
        progress=lambda stage, done, total: stages.setdefault(stage, []).append((done, total)),
    )
    assert stages == {"calibrating": [(n, 6) for n in range(1, 7)]}
