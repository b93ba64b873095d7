# SPDX-License-Identifier: Apache-2.0
"""Networks whose rows with a low score are left out on the CPU: the people of the whole network.

An engine that is opened with a low threshold computes everything (docs/adr/0017-low-rows.md), so the two are compared.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import engine_support
from trtpose import Engine, Poses

onnx = pytest.importorskip("onnx")

KEYPOINTS = 5
SIDE = 64
BEST = 120
CONF = 0.6
# Sums of products in another order; pixels of the frame.
TOLERANCE = 1e-3


class Graph:
    """As Ultralytics' networks end: three maps of each size, boxes, scores and keypoints."""

    def __init__(self, seed: int = 0) -> None:
        self.random = np.random.default_rng(seed)
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"{kind}_{len(self.nodes)}"
        self.nodes.append(onnx.helper.make_node(kind, inputs, [name], **attributes))
        return name

    def number(self, values: Any) -> str:
        name = f"c_{len(self.constants)}"
        self.constants.append(onnx.numpy_helper.from_array(np.asarray(values), name))
        return name

    def convolution(
        self, x: str, inputs: int, outputs: int, side: int = 3, step: int = 1, spread: float = 2.5, mean: float = 0.0
    ) -> str:
        weights = self.random.normal(0, spread / (inputs * side * side) ** 0.5, (outputs, inputs, side, side))
        bias = self.random.normal(mean, 0.2, outputs)
        parts = [self.number(one.astype(np.float32)) for one in (weights, bias)]
        return self.node("Conv", x, *parts, pads=[side // 2] * 4, strides=[step, step])

    def silu(self, x: str) -> str:
        return self.node("Mul", x, self.node("Sigmoid", x))

    def rows(self, maps: list[str], fields: int) -> str:
        shape = self.number(np.array([0, fields, -1], np.int64))
        return self.node("Concat", *(self.node("Reshape", one, shape) for one in maps), axis=2)

    def best_of(self, rows: str) -> str:
        """As end-to-end networks end: the best rows, N x rows x (box, score, class, keypoints)."""
        turned = self.node("Transpose", rows, perm=[0, 2, 1])
        self.nodes.append(
            onnx.helper.make_node(
                "Split",
                [turned, self.number(np.array([4, 1, 3 * KEYPOINTS], np.int64))],
                ["box", "score", "points"],
                axis=2,
            )
        )
        one_axis = self.node("Squeeze", "score", self.number(np.array([2], np.int64)))
        best = self.number(np.array([BEST], np.int64))
        self.nodes.append(onnx.helper.make_node("TopK", [one_axis, best], ["top", "places"], axis=1))
        apart = [self.node("Unsqueeze", one, self.number(np.array([2], np.int64))) for one in ("top", "places")]
        parts = []
        for part, width in (("box", 4), ("points", 3 * KEYPOINTS)):
            places = self.node("Tile", apart[1], self.number(np.array([1, 1, width], np.int64)))
            parts.append(self.node("GatherElements", part, places, axis=1))
        scores = [apart[0], self.node("Mul", apart[0], self.number(np.float32(0)))]
        return self.node("Concat", parts[0], *scores, parts[1], axis=2)

    def write(self, path: Path, *, final: bool = False) -> Path:
        boxes, scores, points = [], [], []
        trunk, channels = self.silu(self.convolution("images", 3, 12, step=2)), 12
        for outputs in (16, 24):
            trunk = self.silu(
                self.convolution(self.silu(self.convolution(trunk, channels, outputs, step=2)), outputs, outputs)
            )
            channels = outputs
            for maps, width in ((boxes, 4), (points, 3 * KEYPOINTS)):
                inner = self.silu(self.convolution(self.silu(self.convolution(trunk, channels, 13)), 13, 13))
                maps.append(self.convolution(inner, 13, width, 1))
            scores.append(
                self.convolution(self.silu(self.convolution(trunk, channels, 9)), 9, 1, 1, spread=8.0, mean=-9.0)
            )
        scaled = self.node("Mul", self.node("Sigmoid", self.rows(boxes, 4)), self.number(np.float32(SIDE)))
        keypoints = self.node("Mul", self.rows(points, 3 * KEYPOINTS), self.number(np.float32(0.2)))
        every = self.node("Concat", scaled, self.node("Sigmoid", self.rows(scores, 1)), keypoints, axis=1)
        rows = (SIDE // 4) ** 2 + (SIDE // 8) ** 2
        shape = ["batch", BEST, 6 + 3 * KEYPOINTS] if final else ["batch", 5 + 3 * KEYPOINTS, rows]
        last = self.best_of(every) if final else every
        self.nodes.append(onnx.helper.make_node("Identity", [last], ["output0"]))
        tensor = onnx.helper.make_tensor_value_info
        graph = onnx.helper.make_graph(
            self.nodes,
            "rows",
            [tensor("images", onnx.TensorProto.FLOAT, ["batch", 3, SIDE, SIDE])],
            [tensor("output0", onnx.TensorProto.FLOAT, shape)],
            self.constants,
        )
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)
        onnx.checker.check_model(model, full_check=True)
        spec = {
            "trtpose": 1,
            "layout": "final" if final else "channels_first",
            "imgsz": [SIDE, SIDE],
            "strides": [4, 8],
            "names": ["person"],
            "kpt_shape": [KEYPOINTS, 3],
            "outputs": ["output0"],
        }
        onnx.helper.set_model_props(model, {"trtpose": json.dumps(spec)})
        onnx.save(model, path)
        return path


def equal(found: Poses, whole: Poses) -> bool:
    """Whether they are the same in every bit, and in any case the same people."""
    assert len(found) == len(whole)
    assert np.array_equal(found.scores, whole.scores)
    assert np.array_equal(found.class_ids, whole.class_ids)
    np.testing.assert_allclose(found.boxes, whole.boxes, rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(found.keypoints, whole.keypoints, rtol=0, atol=TOLERANCE)
    return bool(np.array_equal(found.keypoints, whole.keypoints))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Graph().write(tmp_path_factory.mktemp("rows") / "rows.onnx")


def test_networks_that_choose_the_best_rows_themselves(tmp_path: Path):
    path = Graph().write(tmp_path / "final.onnx", final=True)
    frames = engine_support.pictures(5, seed=9)
    leaves_out, whole = Engine(path, device="cpu", conf=CONF), Engine(path, device="cpu", conf=0.01)
    bits: list[bool] = []
    for conf in (0.0001, CONF, 0.9, 0.99, 0.9999):
        for found, wanted in zip(leaves_out.infer(frames, conf=conf), whole.infer(frames, conf=conf), strict=True):
            bits.append(equal(found, wanted))
    assert len(whole.infer(frames, conf=CONF)[0]) > 5
    assert not all(bits)


@pytest.mark.parametrize("options", [{}, {"batch": 3}, {"streams": 2}, {"threads": 1}])
def test_few_people_and_many_are_those_of_the_whole_network(model: Path, options: dict[str, Any]):
    frames = engine_support.pictures(7, seed=3)
    leaves_out, whole = (
        Engine(model, device="cpu", conf=CONF, **options),
        Engine(model, device="cpu", conf=0.01, **options),
    )
    counts: set[int] = set()
    bits: list[bool] = []
    # The threshold of a call decides, also where it is below that of the engine.
    for conf in (0.0001, 0.05, 0.3, CONF, 0.9, 0.99, 0.999, 1.0):
        for nms in ({}, {"iou": 1.0, "max_det": 300}):
            pairs = zip(leaves_out.infer(frames, conf=conf, **nms), whole.infer(frames, conf=conf, **nms), strict=True)
            for found, wanted in pairs:
                bits.append(equal(found, wanted))
                counts.add(len(wanted))
    assert min(counts) == 0
    assert max(counts) > 100
    assert len(counts) > 8
    # Else nothing was left out, and the test compares a thing with itself.
    assert not all(bits)


def test_calls_in_flight_have_each_its_threshold(model: Path):
    frames = engine_support.pictures(4, seed=5)
    engine, whole = Engine(model, device="cpu", conf=CONF), Engine(model, device="cpu", conf=0.01)
    for first, second in ((0.95, 0.02), (0.02, 0.95)):
        tickets = [engine.submit(frames, conf=first), engine.submit(frames, conf=second)]
        for ticket, conf in zip(tickets, (first, second), strict=True):
            for found, wanted in zip(engine.collect(ticket), whole.infer(frames, conf=conf), strict=True):
                equal(found, wanted)


def test_clones_have_thresholds_of_their_own(model: Path):
    frames = engine_support.pictures(2, seed=6)
    engine, whole = Engine(model, device="cpu", conf=CONF), Engine(model, device="cpu", conf=0.01)
    clone = engine.clone()
    for conf in (0.99, 0.02, 0.7):
        for one, other in ((engine, clone), (clone, engine)):
            one.infer(frames, conf=0.999)
            for found, wanted in zip(other.infer(frames, conf=conf), whole.infer(frames, conf=conf), strict=True):
                equal(found, wanted)


def test_weights_that_are_there_twice_count_twice(model: Path):
    def weights(**options: Any) -> int:
        engine = Engine(model, device="cpu", **options)
        engine.infer(engine_support.pictures(1, seed=8))
        return engine.memory["weights"]

    whole, leaves_out = weights(conf=0.01), weights(conf=CONF)
    assert whole < leaves_out < 2 * whole
    assert weights(conf=CONF, streams=2) == 2 * leaves_out


def test_networks_that_are_kept_are_the_same(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Also for an engine that leaves out otherwise than the one which kept it."""
    fixed = onnx.load(model)
    for value in (*fixed.graph.input, *fixed.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    path = tmp_path / "fixed.onnx"
    onnx.save(fixed, path)
    monkeypatch.setenv("TRTPOSE_MODEL_CACHE", "off")
    frames = engine_support.pictures(3, seed=8)
    wanted = {conf: Engine(path, device="cpu", conf=conf).infer(frames) for conf in (0.01, CONF)}
    monkeypatch.setenv("TRTPOSE_MODEL_CACHE", "all")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    memory: dict[float, dict[str, int]] = {}
    for conf in (CONF, CONF, 0.01, 0.01, CONF):
        engine = Engine(path, device="cpu", conf=conf)
        for found, one in zip(engine.infer(frames), wanted[conf], strict=True):
            assert equal(found, one)
        assert engine.memory == memory.setdefault(conf, engine.memory)
        assert len(list((tmp_path / "cache" / "trtpose" / "openvino").glob("*.network"))) == 1


@pytest.mark.shared
@pytest.mark.parametrize("options", [{}, {"streams": 2}])
def test_photographs_have_the_people_of_the_whole_network(shared: Path, options: dict[str, Any]):
    network = shared / "models" / "yolo26n-pose-256.onnx"
    frames = [cv2.imread(str(path)) for path in sorted((shared / "images").glob("*.jpg"))]
    leaves_out, whole = Engine(network, device="cpu", **options), Engine(network, device="cpu", conf=0.01, **options)
    people, bits = 0, []
    for conf in (0.25, 0.5):
        for found, wanted in zip(leaves_out.infer(frames, conf=conf), whole.infer(frames, conf=conf), strict=True):
            bits.append(equal(found, wanted))
            people += len(wanted)
    assert people > 50
    assert not all(bits)
