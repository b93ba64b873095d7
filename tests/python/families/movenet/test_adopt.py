# SPDX-License-Identifier: Apache-2.0
"""Adopting MoveNet's files: whatever their form of input, decoding or not, poses are the file's own."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto

import movenet_graphs
import trtpose
from trtpose.export import export
from trtpose.formats import onnx_file
from trtpose.spec import METADATA_KEY, ModelSpec

SIZE = (64, 96)
HEADS = ("heatmap", "center", "regress", "offset")
SIX = (*HEADS, "box_scale", "box_offset")
TYPES = {
    "int32": TensorProto.INT32,
    "uint8": TensorProto.UINT8,
    "float32": TensorProto.FLOAT,
    "float16": TensorProto.FLOAT16,
}


def pictures(count: int, size: tuple[int, int] = SIZE) -> Any:
    return np.random.default_rng(3).integers(0, 256, (count, *size, 3), dtype=np.uint8)


def own_answer(path: Path, picture: Any) -> Any:
    """What a file gives for a picture (RGB), run by itself."""
    session = onnx_file.runtime_session(onnx_file.read(path), extra="export", purpose="a test")
    entry = session.get_inputs()[0]
    kinds = {
        "tensor(int32)": np.int32,
        "tensor(uint8)": np.uint8,
        "tensor(float)": np.float32,
        "tensor(float16)": np.float16,
    }
    fed = picture[None].astype(kinds[entry.type])
    return session.run(None, {entry.name: fed if entry.shape[3] == 3 else fed.transpose(0, 3, 1, 2)})[0][0]


def spec_of(path: Path) -> ModelSpec:
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    return ModelSpec.from_json(next(entry.value for entry in model.metadata_props if entry.key == METADATA_KEY))


def expect_one(poses: trtpose.Poses, row: Any, size: tuple[int, int] = SIZE, tolerance: float = 2e-5) -> None:
    """``row`` holds y, x, score per keypoint, in parts of the input."""
    height, width = size
    assert len(poses) == 1
    assert np.abs(poses.keypoints[0, :, 0] / width - row[:, 1]).max() < tolerance
    assert np.abs(poses.keypoints[0, :, 1] / height - row[:, 0]).max() < tolerance
    assert np.abs(poses.keypoints[0, :, 2] - row[:, 2]).max() < 1e-5


@pytest.mark.parametrize("kind", TYPES)
def test_the_decoding_of_one_person_is_cut_away(kind: str, tmp_path: Path):
    source = movenet_graphs.write(tmp_path / "one.onnx", (64, 64), kind=TYPES[kind])
    made = export(source)
    assert made.path == tmp_path / "one.trtpose.onnx"
    assert "cut one.onnx back to its raw heads" in made.action
    spec = spec_of(made.path)
    assert spec.family == "movenet"
    assert spec.extra["form"] == "single_heads"
    assert spec.outputs == HEADS
    assert (spec.std, spec.pad, spec.placement) == ((1.0, 1.0, 1.0), 0, "center")
    assert [node.op_type for node in onnx.load(made.path).graph.node if node.op_type in ("Cast", "ArgMax")] == []
    engine = trtpose.Engine(made.path, conf=0.0, batch=2)
    frames = pictures(3, (64, 64))
    for poses, frame in zip(engine.infer(list(frames), color="rgb"), frames, strict=True):
        expect_one(poses, own_answer(source, frame)[0], (64, 64))


def test_constants_are_the_files_own(tmp_path: Path):
    half = float(np.float16(1.8))
    source = movenet_graphs.write(tmp_path / "one.onnx", (64, 64), softening=half)
    assert spec_of(export(source).path).extra["softening"] == half
    assert spec_of(export(movenet_graphs.write(tmp_path / "b.onnx", (64, 64))).path).extra[
        "softening"
    ] == pytest.approx(1.8, abs=1e-7)


@pytest.mark.parametrize("kind", TYPES)
def test_the_decoding_of_several_people_is_cut_away(kind: str, tmp_path: Path):
    source = movenet_graphs.write(tmp_path / "six.onnx", SIZE, people=6, kind=TYPES[kind])
    made = export(source)
    spec = spec_of(made.path)
    assert spec.extra["form"] == "multi_heads"
    assert spec.outputs == SIX
    assert spec.placement == "top_left"
    as_the_network = ModelSpec.from_dict({**spec.to_dict(), "people": 6})
    engine, everybody = trtpose.Engine(made.path, spec=as_the_network, conf=0.0), trtpose.Engine(made.path, conf=0.0)
    for frame in pictures(2):
        rows = own_answer(source, frame)
        rows = rows[np.argsort(-rows[:, -1])]
        poses = engine.infer(frame, color="rgb")[0]
        assert len(poses) == (rows[:, -1] > 0).sum() > 0
        for i, row in enumerate(rows[: len(poses)]):
            assert poses.scores[i] == pytest.approx(row[-1], abs=1e-5)
            points = row[:-5].reshape(-1, 3)
            assert np.abs(poses.keypoints[i, :, :2] / (SIZE[1], SIZE[0]) - points[:, [1, 0]]).max() < 2e-5
            box = poses.boxes[i].reshape(2, 2) / (SIZE[1], SIZE[0])
            assert np.abs(box - row[[-4, -5, -2, -3]].reshape(2, 2)).max() < 2e-5
        # Without a limit there are more of them.
        assert len(everybody.infer(frame, color="rgb")[0]) > 6


@pytest.mark.parametrize("people", [0, 6])
def test_the_plugin_takes_the_heads(people: int, tmp_path: Path):
    from trtpose.build.graft import graft

    made = export(movenet_graphs.write(tmp_path / "net.onnx", SIZE if people else (64, 64), people=people))
    assert tuple(graft(onnx.load(made.path)).model.graph.node[-1].input) == (SIX if people else HEADS)


def test_a_decoding_that_is_another_stays_and_is_right(tmp_path: Path):
    source = movenet_graphs.write(tmp_path / "one.onnx", (64, 64), twist=0.9)
    made = export(source)
    assert "left the graph of one.onnx as it is" in made.action
    spec = spec_of(made.path)
    assert spec.extra["form"] == "single"
    assert spec.outputs == ("answer",)
    frame = pictures(1, (64, 64))[0]
    expect_one(trtpose.Engine(made.path, conf=0.0).infer(frame, color="rgb")[0], own_answer(source, frame)[0], (64, 64))


def listing(path: Path, rows: Any, picture: tuple[int, ...] = (1, 64, 96, 3)) -> Path:
    """A network that gives the same rows for every picture."""
    shape = np.shape(rows)
    nodes = [
        onnx.helper.make_node("ReduceMax", ["picture"], ["most"], keepdims=0),
        onnx.helper.make_node("Mul", ["most", "nothing"], ["none"]),
        onnx.helper.make_node("Add", ["rows", "none"], ["answer"]),
    ]
    constants = {"nothing": np.float32(0), "rows": np.asarray(rows, np.float32)}
    graph = onnx.helper.make_graph(
        nodes,
        "listing",
        [onnx.helper.make_tensor_value_info("picture", TensorProto.FLOAT, picture)],
        [onnx.helper.make_tensor_value_info("answer", TensorProto.FLOAT, shape)],
        [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def people(rows: int, keypoints: int = 17, place: float = 0.5, score: float = 0.5) -> Any:
    one = [*[place, place, score] * keypoints, 0.1, 0.1, 0.6, 0.7, score]
    return np.tile(np.float32(one), (1, rows, 1))


def test_lists_of_other_networks_that_are_as_large_are_refused(tmp_path: Path):
    # x1, y1, x2, y2, score and keypoints in pixels.
    pixels = np.tile(np.float32([5, 6, 30, 40, 0.9, *[20, 30, 0.8] * 17]), (1, 20, 1))
    faces = np.tile(np.float32([0.1, 0.2, 0.3, 0.4, 0.9, *[0.5, 0.6, 0.8] * 4, 0.5, 0.6, 0.3]), (1, 20, 1))
    unordered = people(6)
    unordered[..., -5] = 0.65
    for first in (False, True):
        shape = (1, 3, 64, 96) if first else (1, 64, 96, 3)
        others = [pixels, unordered, people(6) * 0, people(6, place=30), people(6, score=1.5), people(6) * np.nan]
        for rows in others if first else [*others, faces, np.full((1, 1, 4, 3), 7.0)]:
            source = listing(tmp_path / "list.onnx", rows, shape)
            with pytest.raises(trtpose.ModelError, match="it holds none of MoveNet's people"):
                export(source)
            assert list(tmp_path.iterdir()) == [source]
    for rows in (people(6), people(2, keypoints=5), people(1)[..., :51].reshape(1, 1, 17, 3)):
        made = export(listing(tmp_path / "list.onnx", rows))
        poses = trtpose.Engine(made.path).infer(np.zeros((64, 96, 3), np.uint8))[0]
        assert np.allclose(poses.keypoints, (48, 32, 0.5))
    # Who says it is one is believed.
    assert export(listing(tmp_path / "list.onnx", people(6, score=1.5)), arch="movenet").spec.family == "movenet"


@pytest.mark.parametrize("several", [False, True])
def test_files_of_several_pictures_are_told_so(several: bool, tmp_path: Path):
    rows = np.repeat(people(6) if several else people(1)[..., :51].reshape(1, 1, 17, 3), 2, axis=0)
    source = listing(tmp_path / "two.onnx", rows, (2, 64, 96, 3))
    with pytest.raises(trtpose.ModelError, match="'picture' takes 2 pictures at a time; export the network for one"):
        export(source)


def test_a_network_in_half_precision_keeps_its_decoding(tmp_path: Path):
    source = movenet_graphs.write(tmp_path / "one.onnx", (64, 64), half=True)
    made = export(source)
    assert "left the graph of one.onnx as it is" in made.action
    frame = pictures(1, (64, 64))[0]
    engine = trtpose.Engine(made.path, conf=0.0)
    expect_one(engine.infer(frame, color="rgb")[0], own_answer(source, frame)[0], (64, 64), 1e-3)


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("people", [0, 6])
def test_raw_heads_by_their_names(channels_last: bool, people: int, tmp_path: Path):
    names = SIX if people else HEADS
    source = movenet_graphs.write(
        tmp_path / "raw.onnx", SIZE, people=people, channels_last=channels_last, kind=TensorProto.FLOAT, raw=names
    )
    made = export(source)
    spec = spec_of(made.path)
    assert spec.extra["form"] == ("multi_heads" if people else "single_heads")
    assert spec.outputs == names
    decoded = movenet_graphs.write(tmp_path / "whole.onnx", SIZE, people=people)
    frame = pictures(1)[0]
    from_heads = trtpose.Engine(made.path, conf=0.0).infer(frame, color="rgb")[0]
    from_cut = trtpose.Engine(export(decoded).path, conf=0.0).infer(frame, color="rgb")[0]
    assert len(from_heads) == len(from_cut) > 0
    assert np.abs(from_heads.keypoints - from_cut.keypoints).max() < 1e-2
    if not channels_last:
        # Such a file says itself what it is; only the range of its input must be told to no one.
        straight = trtpose.Engine(source, conf=0.0).infer(frame, color="rgb")[0]
        assert np.abs(straight.keypoints - from_heads.keypoints).max() < 1e-2


def test_heads_that_nobody_named_need_a_word(tmp_path: Path):
    source = movenet_graphs.write(tmp_path / "raw.onnx", SIZE, raw=("a", "b", "c", "d"))
    with pytest.raises(trtpose.ModelError, match=r"do not say whether they hold logits .* --arch movenet"):
        export(source)
    assert not (tmp_path / "raw.trtpose.onnx").exists()
    made = export(source, arch="movenet")
    assert spec_of(made.path).outputs == ("a", "b", "c", "d")
    known = ModelSpec.from_dict({**spec_of(made.path).to_dict(), "pairs": "xy", "activated": True})
    assert spec_of(export(source, tmp_path / "b.onnx", spec=known).path).extra["pairs"] == "xy"


def test_one_person_with_channels_first_needs_a_word(tmp_path: Path):
    source = movenet_graphs.write(tmp_path / "one.onnx", (64, 64), channels_last=False, kind=TensorProto.FLOAT)
    with pytest.raises(trtpose.ModelError, match="channels first nobody publishes it"):
        export(source)
    frame = pictures(1, (64, 64))[0]
    engine = trtpose.Engine(export(source, arch="movenet").path, conf=0.0)
    expect_one(engine.infer(frame, color="rgb")[0], own_answer(source, frame)[0], (64, 64))


@pytest.mark.parametrize("kind", TYPES)
def test_a_file_that_was_not_adopted_is_told_the_command_which_works(kind: str, tmp_path: Path):
    source = movenet_graphs.write(tmp_path / "my one.onnx", (64, 64), kind=TYPES[kind])
    with pytest.raises(trtpose.ModelError, match=r"channels last \(NHWC\)") as caught:
        trtpose.Engine(source)
    command = shlex.split(str(caught.value).rsplit(": ", 1)[1])
    assert command[:2] == ["trtpose", "export"]
    subprocess.run([sys.executable, "-m", "trtpose", *command[1:]], check=True, capture_output=True)
    trtpose.Engine(tmp_path / "my one.trtpose.onnx")
    info = trtpose.info.model_info(source)
    assert info["macs_imgsz"] == [64, 64]
    assert "trtpose export" in info["spec_problem"]


def test_what_is_none_of_these_is_left_to_others(tmp_path: Path):
    from trtpose.families.movenet import MoveNet

    source = movenet_graphs.write(tmp_path / "raw.onnx", SIZE, raw=("heatmap", "center"))
    with pytest.raises(trtpose.ModelError, match="no form of MoveNet"):
        MoveNet().adopt(source, tmp_path / "x.onnx")
    assert list(tmp_path.iterdir()) == [source]


# ---- Trained networks ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["movenet-lightning", "movenet-lightning-heads"])
def test_lightning_answers_as_it_did(name: str, shared: Path, tmp_path: Path):
    spec = spec_of(export(shared / f"models/{name}.onnx", tmp_path / "net.onnx").path)
    everything = ModelSpec.from_dict({**spec.to_dict(), "counted": 0.0})
    engine = trtpose.Engine(tmp_path / "net.onnx", spec=everything, conf=0.0)
    # The heads alone do not hold the decoding's constants, which are rounded in the file with it.
    tolerance = 1e-3 if name.endswith("heads") else 2e-5
    with np.load(shared / "golden/movenet-crops.npz") as goldens:
        crops = [
            key[: -len("/output")] for key in goldens.files if key.startswith("lightning/") and key.endswith("/output")
        ]
        assert len(crops) == 10
        for crop in crops:
            poses = engine.infer(goldens[f"{crop}/input"], color="rgb")[0]
            expect_one(poses, goldens[f"{crop}/output"][0, 0], (192, 192), tolerance)


def test_multipose_answers_as_it_did(shared: Path, tmp_path: Path):
    spec = spec_of(export(shared / "models/movenet-multipose.onnx", tmp_path / "net.onnx").path)
    as_the_network = ModelSpec.from_dict({**spec.to_dict(), "people": 6})
    compared = 0
    with np.load(shared / "golden/movenet-multipose-heads.npz") as goldens:
        for name in [key[: -len("/output")] for key in goldens.files if key.endswith("/output")]:
            frame, rows = goldens[f"{name}/input"], goldens[f"{name}/output"]
            engine = trtpose.Engine(tmp_path / "net.onnx", spec=as_the_network, conf=0.0, imgsz=frame.shape[:2])
            poses = engine.infer(frame, color="rgb")[0]
            rows = rows[np.argsort(-rows[:, -1])]
            rows = rows[rows[:, -1] > 0]
            assert len(poses) == len(rows)
            for i, row in enumerate(rows):
                points = row[:51].reshape(17, 3)
                assert poses.scores[i] == pytest.approx(row[-1], abs=1e-5)
                off = np.abs(poses.keypoints[i, :, :2] / frame.shape[1::-1] - points[:, [1, 0]])
                assert off.max() < 1e-3
                compared += 1
    assert compared > 40


def test_the_reproduction_answers_as_it_did(shared: Path):
    engine = trtpose.Engine(shared / "models/movenet-fire717.onnx", conf=0.0)
    with np.load(shared / "golden/movenet-fire717.npz") as goldens:
        for name in [key[: -len("/keypoints")] for key in goldens.files if key.endswith("/keypoints")]:
            expected = goldens[f"{name}/keypoints"]
            poses = engine.infer(goldens[f"{name}/input"], color="rgb")[0]
            there = expected[:, 0] >= 0
            assert len(poses) == 1
            assert np.abs(poses.keypoints[0, there, :2] / 192 - expected[there, :2]).max() < 1e-4
            assert not poses.keypoints[0, ~there].any()
