# SPDX-License-Identifier: Apache-2.0
"""KAPAO's ONNX of other exporters: cut back to raw heads where that is proven, else described or refused."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from trtpose import Engine, ModelError, ModelSpec
from trtpose.export import export
from trtpose.families.kapao.catalogue import CATALOGUE
from trtpose.families.kapao.forms import fields, keypoints_of
from trtpose.formats.metadata import find_spec

SIDE, STRIDES = 128, (8, 16, 32, 64)
ANCHORS = (
    ((11.0, 17.0), (18.0, 22.0), (9.0, 30.0)),
    ((22.0, 34.0), (36.0, 44.0), (18.0, 60.0)),
    ((44.0, 68.0), (72.0, 88.0), (36.0, 99.0)),
    ((88.0, 99.0), (77.0, 88.0), (66.0, 55.0)),
)
KEYPOINTS = 3


class Network:
    """A convolution per stride and the decode of one form behind it, as the reference's exporter writes it."""

    def __init__(self, form: str, keypoints: int = KEYPOINTS) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.keypoints = keypoints
        self.width = fields(keypoints)
        rng = np.random.default_rng(3)
        lists = [self.level(form, rng, s, a) for s, a in zip(STRIDES, ANCHORS, strict=True)]
        self.nodes.append(helper.make_node("Concat", lists, ["output"], axis=1))
        self.rows = sum(3 * (SIDE // s) ** 2 for s in STRIDES)

    def constant(self, value: Any) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def columns(self, name: str, begin: int, end: int) -> str:
        places = [self.constant(np.array([v], np.int64)) for v in (begin, end, -1)]
        return self.node("Slice", name, *places)

    def affine(self, name: str, scale: Any, offset: Any) -> str:
        scaled = self.node("Mul", name, self.constant(np.asarray(scale, np.float32)))
        return self.node("Add", scaled, self.constant(np.asarray(offset, np.float32)))

    def level(self, form: str, rng: np.random.Generator, stride: int, anchors: Any) -> str:
        cells, count = SIDE // stride, len(anchors)
        weights = rng.normal(0, 0.5 / stride, (count * self.width, 3, stride, stride)).astype(np.float32)
        head = self.node("Conv", "images", self.constant(weights), strides=[stride, stride])
        shape = np.array([1, count, self.width, cells, cells], np.int64)
        rows = self.node("Transpose", self.node("Reshape", head, self.constant(shape)), perm=[0, 1, 3, 4, 2])
        rows = self.node("Sigmoid", rows)
        if form != "sigmoid":
            grid = np.stack(np.meshgrid(np.arange(cells), np.arange(cells)), axis=-1)[None, None].astype(np.float32)
            sides = np.asarray(anchors, np.float32)[None, :, None, None, :]
            points = self.columns(rows, 6 + self.keypoints, self.width)
            if form == "decoded":
                offset = np.tile(grid * stride - 2 * sides, self.keypoints)
                points = self.affine(points, np.tile(4 * sides, self.keypoints), offset)
            doubled = self.node("Mul", self.columns(rows, 2, 4), self.constant(np.float32(2)))
            area = self.node("Mul", self.node("Pow", doubled, self.constant(np.float32(2))), self.constant(sides))
            centre = self.affine(self.columns(rows, 0, 2), 2.0 * stride, (grid - 0.5) * stride)
            scores = self.columns(rows, 4, 6 + self.keypoints)
            rows = self.node("Concat", centre, area, scores, points, axis=-1)
        return self.node("Reshape", rows, self.constant(np.array([1, -1, self.width], np.int64)))

    def write(self, path: Path) -> Path:
        graph = helper.make_graph(
            self.nodes,
            "kapao",
            [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
            [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, self.rows, self.width])],
            self.constants,
        )
        opset = [helper.make_opsetid("", 13)]
        onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
        return path


def spec(form: str, **more: Any) -> ModelSpec:
    return ModelSpec.from_dict(
        {
            "family": "kapao",
            "form": form,
            "imgsz": [SIDE, SIDE],
            "strides": STRIDES,
            "anchors": ANCHORS,
            "outputs": ["output"],
            "names": ["person", "a", "b", "c"],
            "kpt_shape": [KEYPOINTS, 2],
            **more,
        }
    )


def picture() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (90, 120, 3), np.uint8)


def expect_same_poses(model: Path, adopted: Path, given: ModelSpec | None = None) -> None:
    first = Engine(model, spec=given, conf=0.3).infer(picture())[0]
    second = Engine(adopted, conf=0.3).infer(picture())[0]
    assert len(first) > 5
    assert len(first) == len(second)
    np.testing.assert_allclose(first.boxes, second.boxes, atol=1e-3)
    np.testing.assert_allclose(first.keypoints, second.keypoints, atol=1e-3)


def test_a_decoded_graph_is_recognised_and_cut(tmp_path: Path) -> None:
    model = Network("decoded").write(tmp_path / "a.onnx")
    made = export(model)
    assert made.action == "cut a.onnx back to its raw heads (decoded output) and added the spec"
    assert (made.spec.family, made.spec.extra["form"], made.spec.kpt_shape) == ("kapao", "heads", (KEYPOINTS, 2))
    np.testing.assert_allclose(made.spec.anchors, ANCHORS, rtol=1e-4)
    assert find_spec(made.path).origin == "metadata of trtpose"
    # Without the graph rows of so many keypoints may be another network's, of as many classes.
    with pytest.raises(ModelError, match=r"may be KAPAO's with 3 keypoints, or .* trtpose export FILE tells"):
        Engine(model)
    expect_same_poses(model, made.path, spec("decoded"))


def test_a_graph_of_coco_gets_its_skeleton(tmp_path: Path) -> None:
    made = export(Network("decoded", 17).write(tmp_path / "a.onnx"))
    assert made.spec.names[:2] == ("person", "nose")
    assert len(made.spec.skeleton) > 0
    assert len(made.spec.sigmas) == 17


def test_keypoints_left_undecoded_want_a_word(tmp_path: Path) -> None:
    model = Network("undecoded").write(tmp_path / "a.onnx")
    with pytest.raises(ModelError, match=r'"family": "kapao", "form": "undecoded"'):
        Engine(model)
    made = export(model, tmp_path / "b.onnx", arch="kapao")
    np.testing.assert_allclose(made.spec.anchors, ANCHORS, rtol=1e-4)
    expect_same_poses(model, made.path, spec("undecoded"))


@pytest.mark.parametrize("form", ["decoded", "undecoded", "sigmoid"])
def test_a_spec_says_the_form_and_its_thresholds_are_kept(form: str, tmp_path: Path) -> None:
    model = Network(form).write(tmp_path / "a.onnx")
    given = spec(form, thresholds="demo", overwrite_tol=40)
    made = export(model, spec=given)
    assert made.action == f"cut a.onnx back to its raw heads ({form} output) and added the spec"
    assert (made.spec.extra["thresholds"], made.spec.extra["overwrite_tol"]) == ("demo", 40)
    assert made.spec.names == given.names
    expect_same_poses(model, made.path, given)


def test_wrong_anchors_are_not_cut_by(tmp_path: Path) -> None:
    model = Network("undecoded").write(tmp_path / "a.onnx")
    wrong = spec("undecoded", anchors=ANCHORS[::-1])
    made = export(model, spec=wrong)
    assert "left the graph" in made.action
    assert made.spec.anchors == wrong.anchors


def test_a_family_that_it_is_not_is_refused(tmp_path: Path) -> None:
    model = Network("sigmoid").write(tmp_path / "a.onnx")
    with pytest.raises(ModelError, match=r'"form": "sigmoid"'):
        export(model, arch="kapao")
    assert not (tmp_path / "a.trtpose.onnx").exists()


def test_a_name_of_the_catalogue_says_the_anchors(tmp_path: Path) -> None:
    model = Network("sigmoid", 14).write(tmp_path / "a.onnx")
    made = export(model, arch="kapao-s-crowdpose")
    assert made.spec.anchors == CATALOGUE["kapao-s-crowdpose"].description.anchors
    assert made.spec.kpt_names[-2:] == ("head", "neck")
    assert len(made.spec.sigmas) == 14
    with pytest.raises(ModelError, match="kapao-s-coco has 17 keypoints, but this has 14"):
        export(model, tmp_path / "b.onnx", arch="kapao-s-coco")


def test_a_name_of_a_network_with_other_strides_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "STRIDES", STRIDES[:3])
    monkeypatch.setattr(sys.modules[__name__], "ANCHORS", ANCHORS[:3])
    model = Network("sigmoid", 14).write(tmp_path / "a.onnx")
    with pytest.raises(ModelError, match="kapao-s-crowdpose has 4 strides, but this has 3, 8, 16, 32; it is another"):
        export(model, arch="kapao-s-crowdpose")
    assert list(tmp_path.iterdir()) == [model]


def test_widths_that_are_kapaos() -> None:
    assert [keypoints_of(width) for width in (57, 48, 9, 6, 58, 56)] == [17, 14, 1, None, None, None]


@pytest.mark.shared
@pytest.mark.parametrize(("name", "arch"), [("", None), ("-undecoded", "kapao")])
def test_the_reference_exporters_files_are_cut(name: str, arch: str | None, shared: Path, tmp_path: Path) -> None:
    made = export(shared / "models" / f"kapao-coco-narrow{name}.onnx", tmp_path / "a.onnx", arch=arch)
    golden = np.load(shared / "golden" / "kapao-coco-narrow.npz")
    np.testing.assert_allclose(made.spec.anchors, golden["anchors"], rtol=1e-5)
    # The picture as the network had it, so that nothing is scaled.
    photo = np.ascontiguousarray(golden["photo_input"].transpose(1, 2, 0)[..., ::-1])
    conf, iou, conf_kp, iou_kp, person, tolerance = golden["parameters"].tolist()
    thresholds = {"conf_kp": conf_kp, "iou_kp": iou_kp, "conf_kp_person": person, "overwrite_tol": tolerance}
    given = ModelSpec.from_dict({**made.spec.to_dict(), **thresholds, "fusion": False})
    (poses,) = Engine(made.path, spec=given, conf=conf, iou=iou).infer(photo)
    people = golden["person_dets"]
    np.testing.assert_allclose(poses.scores, people[:, 4], atol=1e-5)
    outside = people[:, 6:].reshape(len(people), -1, 2)[:, 2:]  # the first two are clipped
    np.testing.assert_allclose(poses.keypoints[:, 2:, :2], outside, atol=2e-3)
