# SPDX-License-Identifier: Apache-2.0
"""Files of other tools: what they declare is what happens, and what cannot be is a sentence about the right thing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import openvino
import pytest
from onnx import TensorProto

import onnx_models
from others_support import ROWS, Graph, end_to_end_rows, people, ultralytics, write_answer, write_end_to_end
from trtpose import Engine, ModelError
from trtpose.formats.metadata import find_spec
from trtpose.skeletons import COCO, skeleton_for

PICTURE = np.full((64, 64, 3), 204, np.uint8)


@pytest.mark.parametrize("names", ["{1: 'dog', 0: 'cat'}", "{0: 'cat', 1: 'dog'}", "['cat', 'dog']"])
def test_a_class_is_its_key(names: str, tmp_path: Path) -> None:
    model = write_answer(tmp_path / "a.onnx", people([0.9, 0.8], 3, 2), ultralytics(3, names))
    (poses,) = Engine(model).infer(PICTURE)
    assert poses.names == ["cat", "dog"]
    np.testing.assert_allclose(poses.scores, [0.9, 0.8])


@pytest.mark.parametrize("names", ["{0: 'cat', 2: 'dog'}", "{1: 'cat', 2: 'dog'}", "{0: 'cat', 0: 'dog'}"])
def test_gaps_and_repeats_are_refused(names: str, tmp_path: Path) -> None:
    model = write_answer(tmp_path / "a.onnx", people([0.9, 0.8], 3, 2), ultralytics(3, names))
    with pytest.raises(ModelError, match="metadata 'names' is unreadable"):
        Engine(model)


def test_classes_beyond_the_names_are_an_error(tmp_path: Path) -> None:
    rows = np.zeros((1, 30, 6 + 9), np.float32)
    rows[0, 0, :6] = (5, 5, 20, 20, 0.9, 2)
    model = write_answer(tmp_path / "a.onnx", rows, ultralytics(3, "['a', 'b']", end2end="True"))
    with pytest.raises(ModelError, match=r"it gives class 2, and the model spec names 2 \(0 to 1\)"):
        Engine(model).infer(PICTURE)
    # More scores than names do not fit the rows.
    wide = write_answer(tmp_path / "b.onnx", people([0.9, 0.8], 3, 2), ultralytics(3, "['a']"))
    with pytest.raises(ModelError, match="fits no layout"):
        Engine(wide)


def test_keypoints_of_an_animal_are_its_own(tmp_path: Path) -> None:
    own = [f"joint {index}" for index in range(17)]
    metadata = ultralytics(17, "{0: 'animal'}", kpt_names=str({0: own}))
    spec = Engine(write_answer(tmp_path / "a.onnx", people([0.9]), metadata)).spec
    assert list(spec.kpt_names) == own
    skeleton = skeleton_for(spec)
    assert (skeleton.edges, skeleton.flip, skeleton.sigmas, spec.sigmas) == ((), (), (), ())


@pytest.mark.parametrize(
    ("classes", "keypoints", "coco"),
    [
        ("{0: 'person'}", None, True),
        ("{0: 'Pedestrian'}", None, True),
        ("{0: 'worker'}", list(COCO.names), True),
        ("{0: 'giraffe'}", None, False),
        ("{0: 'person'}", ["tail", *COCO.names[1:]], False),
    ],
)
def test_both_languages_agree_on_coco(classes: str, keypoints: list[str] | None, coco: bool, tmp_path: Path) -> None:
    metadata = ultralytics(17, classes, **({"kpt_names": str(keypoints)} if keypoints else {}))
    spec = find_spec(write_answer(tmp_path / "a.onnx", people([0.9]), metadata)).spec
    assert (len(spec.sigmas) == 17) is coco
    assert (skeleton_for(spec).edges == COCO.edges) is coco


@pytest.mark.parametrize(
    ("shape", "dtype", "words"),
    [
        ([1, 3, 64, 64], TensorProto.UINT8, "is of type uint8"),
        ([1, 3, 64, 64], TensorProto.INT32, "is of type int32"),
        ([1, 64, 64, 3], TensorProto.FLOAT, "channels last"),
        ([1, 64, 64, 1], TensorProto.FLOAT, "channels last"),
        ([1, 1, 64, 64], TensorProto.FLOAT, "one channel"),
        ([1, 4, 64, 64], TensorProto.FLOAT, "three colours"),
    ],
)
@pytest.mark.parametrize("given", [False, True])
def test_inputs_that_cannot_be_fed(shape: list[int], dtype: int, words: str, given: bool, tmp_path: Path) -> None:
    graph = Graph()
    if dtype != TensorProto.FLOAT:
        graph.node("Cast", ["images"], "values", to=TensorProto.FLOAT)
    graph.answer(people([0.9]), "output0", "images" if dtype == TensorProto.FLOAT else "values")
    model = graph.write(tmp_path / "a.onnx", {"output0": [1, 56, ROWS]}, ultralytics(), shape=shape, dtype=dtype)
    spec = onnx_models.spec_fields("channels_first", 17, (64, 64), strides=[8, 16, 32]) if given else None
    with pytest.raises(ModelError, match=words) as refused:
        Engine(model, spec=spec)
    assert "its input 'images' is" in str(refused.value)
    assert "spec" not in str(refused.value)


@pytest.mark.parametrize("value", [0, 51, 204, 255])
def test_normalisation_inside_the_graph_is_asked_for_and_fed(value: int, tmp_path: Path) -> None:
    graph = Graph()
    graph.node("Mul", ["images", graph.constant("scale", np.float32(1 / 255))], "values")
    graph.node("ReduceMean", ["values", graph.constant("axes", np.array([1, 2, 3]))], "mean", keepdims=0)
    graph.node("Mul", ["mean", graph.constant("person", people([1.0]))], "scores")
    choice = np.zeros((1, 56, 1), np.float32)
    choice[0, 4] = 1
    graph.node("Where", [graph.constant("is_score", choice > 0), "scores", "person"], "output0")
    model = graph.write(tmp_path / "a.onnx", {"output0": [1, 56, ROWS]}, ultralytics())
    with pytest.raises(ModelError, match=r"begins with arithmetic on the picture \(Mul\)"):
        Engine(model)
    spec = onnx_models.spec_fields("channels_first", 17, (64, 64), strides=[8, 16, 32], std=[1, 1, 1])
    (poses,) = Engine(model, spec=spec, conf=0.0).infer(np.full((64, 64, 3), value, np.uint8))
    assert poses.scores.max(initial=0) == pytest.approx(value / 255, abs=1e-5)


def _rows(kind: str) -> np.ndarray:
    """Rows as wide as YOLO-Pose's: of it, of KAPAO as its exporters leave them, or of neither for sure."""
    rng = np.random.default_rng(0)
    rows = rng.uniform(0, 1, (1, 3 * ROWS, 57)).astype(np.float32)
    if kind != "sigmoid":
        rows[..., :4] *= 64
    if kind == "pose":
        rows[..., 6:] = rng.uniform(-5, 70, (1, 3 * ROWS, 17, 3)).reshape(1, 3 * ROWS, 51)
        rows[..., 8::3] = rng.uniform(0, 1, (1, 3 * ROWS, 17))
    elif kind == "kapao":
        rows[..., 23:] *= 64
    elif kind == "neither":
        rows[:, ::3, 7] = 40
    return rows


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("undecoded", "its keypoints are not decoded"),
        ("sigmoid", "nothing in it is decoded"),
        ("neither", "one run does not tell"),
    ],
)
def test_rows_of_57_that_are_not_yolo_pose(kind: str, words: str, tmp_path: Path) -> None:
    graph = Graph()
    graph.answer(_rows(kind), "output")
    model = graph.write(tmp_path / "a.onnx", {"output": [1, 3 * ROWS, 57]})
    for ask in (Engine, find_spec):
        with pytest.raises(ModelError, match=words):
            ask(model)


def test_rows_of_57_that_are_yolo_pose(tmp_path: Path) -> None:
    graph = Graph()
    graph.answer(_rows("pose"), "output")
    model = graph.write(tmp_path / "a.onnx", {"output": [1, 3 * ROWS, 57]})
    assert (Engine(model).spec.layout, find_spec(model).spec.layout) == ("decoded", "decoded")
    # What one run told is not asked again of a spec.
    assert Engine(model, spec=find_spec(model).spec).spec_origin == "the caller"


def test_rows_of_57_that_are_kapao(tmp_path: Path) -> None:
    graph = Graph()
    graph.answer(_rows("kapao"), "output")
    model = graph.write(tmp_path / "a.onnx", {"output": [1, 3 * ROWS, 57]})
    assert (Engine(model).spec.family, find_spec(model).spec.family) == ("kapao", "kapao")


def test_raw_heads_without_a_word_are_refused(tmp_path: Path) -> None:
    graph = Graph()
    for stride in (8, 16, 32, 64):
        graph.answer(np.zeros((1, 171, 64 // stride, 64 // stride), np.float32), f"p{stride}")
    heads = {f"p{stride}": [1, 171, 64 // stride, 64 // stride] for stride in (8, 16, 32, 64)}
    model = graph.write(tmp_path / "a.onnx", heads)
    with pytest.raises(ModelError, match=r"may be those of YOLO-Pose or of KAPAO.*--spec FILE.json.*trtpose export"):
        Engine(model)


@pytest.mark.shared
def test_kapao_is_never_read_as_yolo_pose(shared: Path) -> None:
    assert Engine(shared / "models" / "kapao-coco-narrow.onnx").spec.family == "kapao"
    for form in ("undecoded", "sigmoid"):
        with pytest.raises(ModelError, match=rf'"family": "kapao", "form": "{form}"'):
            Engine(shared / "models" / f"kapao-coco-narrow-{form}.onnx")


@pytest.mark.parametrize("channels", [80, 116, 64 + 1 + 10 * 2])
def test_heads_with_box_distributions_are_named(channels: int, tmp_path: Path) -> None:
    graph = Graph()
    for stride in (8, 16, 32):
        graph.answer(np.zeros((1, channels, 64 // stride, 64 // stride), np.float32), f"p{stride}")
    heads = {f"p{stride}": [1, channels, 64 // stride, 64 // stride] for stride in (8, 16, 32)}
    model = graph.write(tmp_path / "a.onnx", heads, ultralytics(5))
    with pytest.raises(ModelError, match="box distributions") as refused:
        Engine(model)
    assert "spec" not in str(refused.value)


@pytest.mark.parametrize("columns", [57, 21])
@pytest.mark.parametrize("given", [False, True])
def test_detections_without_a_batch(columns: int, given: bool, tmp_path: Path) -> None:
    keypoints = (columns - 6) // 3
    graph = Graph()
    graph.answer(np.zeros((3, columns), np.float32), "detections")
    model = graph.write(tmp_path / "a.onnx", {"detections": [3, columns]})
    spec = onnx_models.spec_fields("final", keypoints, (64, 64)) if given else None
    with pytest.raises(ModelError, match=rf"'detections' is 3×{columns}, .*; export the network without its own NMS"):
        Engine(model, spec=spec)


# --- End to end -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("keypoints", "classes", "count"), [(17, 1, 20), (5, 3, 30), (1, 2, 84)])
def test_end_to_end_networks_run(keypoints: int, classes: int, count: int, tmp_path: Path) -> None:
    rows = end_to_end_rows(keypoints, classes)
    scores = rows[:, 4 : 4 + classes]
    best = np.argsort(-scores.max(axis=1), kind="stable")[:count]
    place = np.argsort(-scores[best].reshape(-1), kind="stable")[:count]
    chosen = best[place // classes]
    (poses,) = Engine(write_end_to_end(tmp_path / "a.onnx", count, keypoints, classes), conf=0.0).infer(PICTURE)
    assert len(poses) == count
    np.testing.assert_allclose(poses.scores, scores[chosen, place % classes], rtol=1e-6)
    np.testing.assert_array_equal(poses.class_ids, place % classes)
    np.testing.assert_allclose(poses.keypoints.reshape(count, -1), rows[chosen, 4 + classes :], rtol=1e-6)


def test_openvino_still_needs_its_slices_split(tmp_path: Path) -> None:
    """Fails where OpenVINO takes such networks as they are: its rewrites.cpp then needs one rewrite less."""
    model = openvino.Core().read_model(str(write_end_to_end(tmp_path / "a.onnx")))
    with pytest.raises(RuntimeError, match="not consistent"):
        openvino.compile_model(model, "CPU")


def test_open_output_shapes_are_asked_of_the_network(tmp_path: Path) -> None:
    path = onnx_models.write_model(tmp_path / "a.onnx", "heads")
    graph = Graph()
    graph.node("Shape", ["images"], "shape")
    graph.node("Gather", ["shape", graph.constant("first", np.array([0]))], "batch")
    graph.node("Concat", ["batch", graph.constant("rest", np.array([1, 1]))], "sizes", axis=0)
    graph.node("Expand", [graph.constant("person", people([0.9])), "sizes"], "output0")
    model = graph.write(path, {"output0": ["b", "n", "m"]}, ultralytics(), shape=["b", 3, "h", "w"])
    assert [d.dim_param for d in onnx.load(str(model)).graph.output[0].type.tensor_type.shape.dim] == ["b", "n", "m"]
    engine = Engine(model, batch=2)
    assert (engine.spec.layout, engine.spec.strides) == ("channels_first", (8, 16, 32))
    assert [len(poses) for poses in engine.infer([PICTURE, PICTURE])] == [1, 1]
    assert find_spec(model).spec == engine.spec


def test_networks_with_nms_inside_run(tmp_path: Path) -> None:
    """As Ultralytics' exporter writes them with nms=True: what is left is filled up to a fixed number of rows."""
    rows = people([0.9, 0.7])[0].T.copy()
    rows[2] = rows[0]
    rows[2, 4] = 0.8  # the first one again
    corners = np.concatenate([rows[:, :2] - rows[:, 2:4] / 2, rows[:, :2] + rows[:, 2:4] / 2], axis=1)
    found = np.concatenate([corners, rows[:, 4:5], np.zeros((ROWS, 1), np.float32), rows[:, 5:]], axis=1)
    graph = Graph()
    graph.answer(found[None].astype(np.float32), "found")
    for name, begin, end in (("boxes", 0, 4), ("scores", 4, 5)):
        cut = [graph.constant(f"{name}_{i}", np.array([v])) for i, v in enumerate((begin, end, 2))]
        graph.node("Slice", ["found", *cut], name)
    graph.node("Transpose", ["scores"], "by_class", perm=[0, 2, 1])
    limits = [graph.constant(f"limit_{i}", v) for i, v in enumerate(
        (np.array([30]), np.array([0.5], np.float32), np.array([0.25], np.float32))
    )]  # fmt: skip
    graph.node("NonMaxSuppression", ["boxes", "by_class", *limits], "kept")
    graph.node("Gather", ["kept", graph.constant("two", np.array(2))], "kept_rows", axis=1)
    graph.node("Gather", ["found", "kept_rows"], "people", axis=1)
    graph.node("Shape", ["kept_rows"], "count")
    graph.node("Sub", [graph.constant("most", np.array([30])), "count"], "missing")
    zeros = graph.constant("zeros", np.array([0, 0, 0, 0]))
    graph.node("Concat", [zeros, "missing", graph.constant("none", np.array([0]))], "pads", axis=0)
    graph.node("Pad", ["people", "pads"], "output0")
    model = graph.write(tmp_path / "a.onnx", {"output0": [1, 30, 57]}, ultralytics(args="{'nms': True}"))
    (poses,) = Engine(model).infer(PICTURE)
    np.testing.assert_allclose(poses.scores, [0.9, 0.7])
