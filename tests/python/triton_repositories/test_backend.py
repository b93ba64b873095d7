# SPDX-License-Identifier: Apache-2.0
"""``model.py`` of a repository, run as Triton's Python backend would: the poses of the engine on the same file."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import onnx_models
import triton_support
from support import encoded, picture
from triton_support import PLUGIN, ROOM, Tensor, Triton, serving
from trtpose import Engine, InputError, ModelError, ModelSpec, Poses, ServerError, Thresholds
from trtpose.client import Client
from trtpose.triton import write_repository

LOOSE = Thresholds(conf=0.05)


def model(folder: Path, **options: Any) -> Path:
    layout = options.get("layout", "heads")
    options["metadata"] = {"trtpose": json.dumps(onnx_models.spec_fields(layout))}
    return onnx_models.write_model(folder / "net.onnx", **options)


def check(found: Sequence[Poses], expected: Sequence[Poses]) -> None:
    """The networks are run by two libraries: their numbers agree to what the arithmetic of float32 leaves."""
    assert sum(map(len, expected)) > 0
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert len(one) == len(other)
        assert one.shape == other.shape
        assert one.names == other.names
        for name in ("boxes", "scores", "keypoints"):
            assert np.allclose(getattr(one, name), getattr(other, name), rtol=1e-4, atol=2e-3), name


def arrays(response: Any) -> dict[str, np.ndarray]:
    assert not response.has_error(), response.error().message()
    return {tensor.name(): tensor.as_numpy() for tensor in response.output_tensors}


def poses(found: dict[str, np.ndarray], engine: Engine) -> list[Poses]:
    return [
        Poses(
            *(found[name][row, :count] for name in ("boxes", "scores", "class_ids", "keypoints")),
            shape=tuple(found["shapes"][row]),
            spec=engine.spec,
        )
        for row, count in enumerate(found["counts"])
    ]


FRAMES = np.stack([picture(48, 70, seed=seed) for seed in range(5)])


@pytest.mark.parametrize(
    ("options", "runs"),
    [
        ({}, [(3, 3, 64, 96), (3, 3, 64, 96), (2, 3, 64, 96)]),  # the first is asked what comes out
        ({"batch": 2}, [(2, 3, 64, 96)] * 4),
        ({"layout": "decoded"}, [(3, 3, 64, 96), (3, 3, 64, 96), (2, 3, 64, 96)]),
        ({"dynamic": True}, [(3, 3, 64, 96), (3, 3, 64, 96), (2, 3, 64, 96)]),
    ],
)
def test_the_poses_of_the_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], runs: list[tuple[int, ...]]
) -> None:
    path = model(tmp_path, **options)
    engine = Engine(path, thresholds=LOOSE)
    write_repository(path, tmp_path / "models", batch=3, thresholds=LOOSE)
    triton = Triton(tmp_path / "models", monkeypatch)
    check(poses(arrays(triton.infer("net", [Tensor("bgr", FRAMES)])), engine), engine.infer(FRAMES))
    assert triton.runs == runs
    rgb = np.ascontiguousarray(FRAMES[..., ::-1])
    check(poses(arrays(triton.infer("net", [Tensor("rgb", rgb)])), engine), engine.infer(FRAMES))


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_the_client_talks_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str) -> None:
    path = model(tmp_path)
    engine = Engine(path, thresholds=LOOSE)
    write_repository(path, tmp_path / "models", thresholds=LOOSE, backend=backend)
    file, bad = tmp_path / "good.jpg", tmp_path / "bad.jpg"
    file.write_bytes(encoded(".jpg", picture(40, 60, seed=3)))
    bad.write_bytes(b"no picture")
    frames = [*FRAMES[:2], picture(30, 30, seed=9), file]
    with serving(Triton(tmp_path / "models", monkeypatch)) as url, Client(url) as client:
        assert client.model == "net"
        assert client.spec == engine.spec
        check(client.infer(frames), engine.infer(frames))
        check(client.infer(frames, conf=0.01, max_det=3), engine.infer(frames, conf=0.01, max_det=3))
        with pytest.raises(InputError, match=r"bad\.jpg: "):
            client.infer([bad])
        with pytest.raises(ServerError, match="the model net_network takes no pictures"):
            Client(url, "net_network")


def test_thresholds_of_the_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = model(tmp_path)
    engine = Engine(path)
    given = Thresholds(conf=0.02, iou=0.9, max_det=4)
    write_repository(path, tmp_path / "models", thresholds=given)
    triton = Triton(tmp_path / "models", monkeypatch)
    found = poses(arrays(triton.infer("net", [Tensor("bgr", FRAMES)])), engine)
    check(found, engine.infer(FRAMES, thresholds=given))
    assert max(map(len, found)) == 4


REFUSED: list[tuple[list[tuple[str, np.ndarray]], dict[str, Any], str]] = [
    ([], {}, "a request has 0 of the inputs bgr, rgb, encoded"),
    ([("bgr", FRAMES), ("rgb", FRAMES)], {}, "a request has 2 of the inputs"),
    ([("bgr", FRAMES[:0])], {}, "0 pictures; send 1 to 64 at once"),
    ([("bgr", FRAMES)], {"conf": "high"}, "conf is 'high'"),
    ([("bgr", FRAMES)], {"max_det": 0}, "max_det 0"),
    ([("encoded", np.array([b"x"], np.object_))], {}, "picture 0: "),
]


def test_what_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_repository(model(tmp_path), tmp_path / "models")
    triton = Triton(tmp_path / "models", monkeypatch)
    for tensors, parameters, words in REFUSED:
        response = triton.infer("net", [Tensor(*tensor) for tensor in tensors], parameters)
        error = response.error()
        assert error is not None
        assert words in error.message()
        assert error.code == 3
    # One request that cannot be answered is not in the way of the next, nor is a parameter for somebody else.
    assert len(arrays(triton.infer("net", [Tensor("bgr", FRAMES)], {"purpose": 1}))["counts"]) == 5


def test_a_network_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_repository(model(tmp_path), tmp_path / "models")
    triton = Triton(tmp_path / "models", monkeypatch)
    for _ in range(2):  # at the first request, and at a later one
        triton.broken = "out of memory"
        error = triton.infer("net", [Tensor("bgr", FRAMES)]).error()
        assert error is not None
        assert error.message() == "net_network, version 1: out of memory"
        assert error.code == 1
        triton.broken = ""
        assert not triton.infer("net", [Tensor("bgr", FRAMES)]).has_error()


def test_a_configuration_of_another_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_repository(model(tmp_path), tmp_path / "models")
    fields = onnx_models.spec_fields("heads", names=["runner"])
    other = onnx_models.write_model(tmp_path / "net.onnx", metadata={"trtpose": json.dumps(fields)})
    kept = (tmp_path / "models" / "net" / "config.pbtxt").read_text()
    write_repository(other, tmp_path / "models")
    (tmp_path / "models" / "net" / "config.pbtxt").write_text(kept)
    with pytest.raises(ModelError, match=r"config\.pbtxt was written for another version"):
        Triton(tmp_path / "models", monkeypatch).load("net")


class Decoding:
    """A network with the plugin inside, made of an engine without: people in pixels of the input, then zeros."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.counts: int | None = None

    def __call__(self, images: np.ndarray) -> list[np.ndarray]:
        n = len(images)
        counts, classes = np.zeros((n, 1), np.int32), np.zeros((n, ROOM), np.int32)
        boxes, scores = np.zeros((n, ROOM, 4), np.float32), np.zeros((n, ROOM), np.float32)
        keypoints = np.zeros((n, ROOM, 3, 3), np.float32)
        for row, found in enumerate(self.engine.infer(images)):
            counts[row] = len(found) if self.counts is None else self.counts
            boxes[row, : len(found)], scores[row, : len(found)] = found.boxes, found.scores
            keypoints[row, : len(found)] = found.keypoints
        return [counts, boxes, scores, classes, keypoints]


@pytest.mark.parametrize("batches", [(1, 2, 4), (2, 2, 2), (2, 3, 4)])
def test_an_engine_that_decodes_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batches: tuple[int, int, int]
) -> None:
    plain = Engine(model(tmp_path), thresholds=LOOSE, batch=4)
    path = triton_support.engine(tmp_path, batches, **PLUGIN)
    write_repository(path, tmp_path / "models", name="people")
    triton = Triton(tmp_path / "models", monkeypatch)
    triton.network = Decoding(plain)
    file = tmp_path / "good.png"
    file.write_bytes(encoded(".png", picture(40, 60, seed=3)))
    frames = [*FRAMES, picture(90, 31, seed=4), picture(64, 96, seed=5), file]
    with serving(triton) as url, Client(url) as client:
        assert client.model == "people"
        check(client.infer(frames), plain.infer(frames))
        check(client.infer(frames, color="rgb"), plain.infer(frames, color="rgb"))
        assert {shape[0] for shape in triton.runs} <= set(range(batches[0], batches[2] + 1))
        with pytest.raises(InputError, match="has its thresholds built in"):
            client.infer(frames, conf=0.5)
        triton.network.counts = ROOM + 1
        with pytest.raises(ServerError, match=f"the network gave counts of .*, with room for {ROOM}"):
            client.infer(frames)


def test_what_another_trtpose_wrote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_repository(model(tmp_path), tmp_path / "models")
    file = tmp_path / "models" / "net" / "1" / "trtpose.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "format": 2, "trtpose": "9.0"}))
    with pytest.raises(ModelError, match=r"was written by trtpose 9\.0, and trtpose .* is installed here"):
        Triton(tmp_path / "models", monkeypatch).load("net")


def test_a_python_without_trtpose_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_repository(model(tmp_path), tmp_path / "models")
    monkeypatch.setitem(sys.modules, "trtpose.triton.backend", None)
    with pytest.raises(ImportError, match="install trtpose in the Python that Triton's Python backend runs"):
        Triton(tmp_path / "models", monkeypatch).load("net")


SPEC = {**onnx_models.spec_fields("heads"), "outputs": ["a", "b"]}
PARTS = [(30, 8, 12), (30, 4, 6)]


def around(run: Any, profile: Sequence[Sequence[int]] = ()) -> Engine:
    return Engine.on_network(
        run,
        backend="test",
        source=("images", (-1, 3, 64, 96)),
        profile=profile,
        outputs=[(name, (-1, *part)) for name, part in zip("ab", PARTS, strict=True)],
        spec=ModelSpec.from_dict(SPEC),
        batch=2,
        thresholds=LOOSE,
    )


def nobody(images: np.ndarray) -> list[np.ndarray]:
    return [np.zeros((len(images), *part), np.float32) for part in PARTS]


def test_an_engine_around_a_function() -> None:
    seen: list[np.ndarray] = []

    def run(images: np.ndarray) -> list[np.ndarray]:
        seen.append(images.copy())
        return nobody(images)

    engine = around(run)
    assert (engine.backend, engine.device, engine.batch, engine.imgsz) == ("test", "cpu", 2, (64, 96))
    assert not seen[0].any()
    assert len(engine.infer(FRAMES[:3])) == 3
    assert len(engine.clone().infer(FRAMES[:1])) == 1
    assert [one.shape[0] for one in seen] == [2, 2, 1, 2, 1]
    seen.clear()
    assert len(around(run, profile=[(2, 3, 64, 96)] * 3).infer(FRAMES[:1])) == 1
    assert [one.shape[0] for one in seen] == [2, 2]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([(1, 30, 8, 12)], "the network gave 1 outputs, expected 2"),
        ([(3,), (3,)], "output a is 3 for 2 images; export the network with a batch that is its first axis"),
        ([(2, 30, 8, 12), (2, 30, 4, 7)], "2×30×4×7"),
    ],
)
def test_networks_that_give_something_else(given: list[tuple[int, ...]], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        around(lambda _: [np.zeros(shape, np.float32) for shape in given])


def test_what_the_function_raises_comes_out() -> None:
    gone = [False]

    def run(images: np.ndarray) -> list[np.ndarray]:
        if gone[0]:
            raise RuntimeError("gone")
        return nobody(images)

    engine = around(run)
    gone[0] = True
    with pytest.raises(RuntimeError, match="gone"):
        engine.infer(FRAMES)
    gone[0] = False
    assert len(engine.infer(FRAMES)) == 5


ROWS = {
    "trtpose": 1,
    "family": "rows",
    "form": "dets_keypoints",
    "imgsz": [64, 64],
    "names": ["person"],
    "kpt_shape": [2, 3],
    "rows": 3,
    "suppress": False,
    "outputs": ["dets", "keypoints"],
}


def test_rows_that_depend_on_the_picture_are_filled_up() -> None:
    """The network finds as many people as the first pixel says, each with a score of a tenth less."""
    extra = [0]

    def run(images: np.ndarray) -> list[np.ndarray]:
        counts = np.rint(images[:, 0, 0, 0] * 255).astype(int)
        most = int(counts.max(initial=0)) + extra[0]
        dets = np.zeros((len(images), most, 5), np.float32)
        for row, count in enumerate(counts):
            for person in range(count):
                dets[row, person] = [4 + person, 8, 40, 50, 0.9 - person / 10]
        return [dets, np.full((len(images), most, 2, 3), 20, np.float32)]

    engine = Engine.on_network(
        run,
        backend="test",
        source=("images", (-1, 3, 64, 64)),
        profile=(),
        outputs=[("dets", (-1, -1, 5)), ("keypoints", (-1, -1, 2, 3))],
        spec=ModelSpec.from_dict(ROWS),
        batch=3,
        thresholds=LOOSE,
    )
    frames = [np.full((64, 64, 3), count, np.uint8) for count in (2, 0, 3, 1)]
    for _ in range(2):
        found = engine.infer(frames)
        assert [len(one) for one in found] == [2, 0, 3, 1]
        assert np.allclose(found[2].scores, [0.9, 0.8, 0.7])
        assert np.allclose(found[2].boxes[:, 0], [4, 5, 6])
    extra[0] = 1
    with pytest.raises(ModelError, match=r"output dets is 3×4×5, expected 3×3×5"):
        engine.infer(frames)
