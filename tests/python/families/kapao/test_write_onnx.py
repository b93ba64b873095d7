# SPDX-License-Identifier: Apache-2.0
"""KAPAO's networks as ONNX: the numbers of the original, in both layouts, and a file that describes itself."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import export_support as support
import kapao_support as kapao
import rtx
import trtpose
from trtpose import export
from trtpose.families.kapao import network, reference, write_onnx
from trtpose.formats import onnx_file
from trtpose.formats.onnx_runner import Runner
from trtpose.formats.onnx_writer import Shape
from trtpose.spec import METADATA_KEY, ModelSpec

OPEN = Shape(None, None, None)


def _written(source: network.Network, shape: Shape, layout: str = "heads") -> tuple[onnx.ModelProto, ModelSpec]:
    model, spec = write_onnx.write_graph(source, shape, layout)
    onnx.checker.check_model(model, full_check=True)
    return model, spec


def _outputs(model: onnx.ModelProto, frames: Any) -> list[Any]:
    return Runner(onnx_file.checked(model, "test"))(frames)


@pytest.mark.shared
@pytest.mark.parametrize("data", ["coco", "crowdpose"])
@pytest.mark.parametrize("form", ["fixed", "open"])
def test_golden(data: str, form: str, shared: Path) -> None:
    """What the reference code computed in float32 from the checkpoint as its loader gives it, batch norm unfolded."""
    source = network.load(shared / "golden" / f"kapao-{data}-narrow.pt")
    with np.load(shared / "golden" / f"kapao-{data}-narrow.npz") as golden:
        frames, decoded = golden["images"].astype(np.float32), golden["decoded"]
        heads = [golden[f"head{i}"] for i in range(len(golden["strides"]))]
        np.testing.assert_array_equal(golden["anchors"], source.spec.anchors)
        np.testing.assert_array_equal(golden["strides"], source.spec.strides)
        assert tuple(golden["names"]) == source.spec.names
    n, _, h, w = frames.shape
    shape = Shape(n, h, w) if form == "fixed" else OPEN
    for ours, theirs in zip(_outputs(_written(source, shape)[0], frames), heads, strict=True):
        # Folding and summation order: some 1e-6 of the range; 1e-4 is what users are promised.
        assert ours.shape == theirs.shape
        assert np.abs(ours - theirs).max() < 1e-5 * np.abs(theirs).max()
    assert np.abs(reference.decode(heads, source.spec) - decoded).max() < 1e-3
    (rows,) = _outputs(_written(source, shape, "decoded")[0], frames)
    assert rows.shape == decoded.shape
    # In pixels: an error of 1e-6 of a head is multiplied by up to four of the largest anchors.
    assert np.abs(rows - decoded).max() < 5e-3


@pytest.mark.parametrize("keypoints", [1, 3])
@pytest.mark.parametrize("layout", ["heads", "decoded"])
@pytest.mark.parametrize("shape", [Shape(2, 64, 96), OPEN], ids=["fixed", "open"])
def test_small_networks(keypoints: int, layout: str, shape: Shape) -> None:
    source = kapao.make_network(keypoints)
    model, spec = _written(source, shape, layout)
    for frames in [support.pictures(1, 2, 3, 64, 96), *([support.pictures(2, 1, 3, 32, 128)] if shape == OPEN else [])]:
        expected = source.arrays(frames)
        if layout == "decoded":
            expected = [reference.decode(expected, source.spec)]
        for ours, theirs in zip(_outputs(model, frames), expected, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-6 * np.abs(theirs).max() + 1e-5)
    assert (spec.family, spec.extra["form"]) == ("kapao", layout)
    assert spec.outputs == tuple(output.name for output in model.graph.output)


def test_decode_by_hand() -> None:
    """One cell of one anchor, computed here from the published formulas."""
    spec = dataclasses.replace(kapao.make_network().spec, strides=(8,), anchors=(((10.0, 20.0),),), outputs=("head_8",))
    fields = 6 + 3 * spec.keypoints
    head = np.zeros((1, fields, 2, 3), np.float32)
    head[0, :, 1, 2] = np.linspace(-1, 1, fields)
    s = 1 / (1 + np.exp(-head[0, :, 1, 2].astype(np.float64)))
    expected = [
        (2 * s[0] - 0.5 + 2) * 8,
        (2 * s[1] - 0.5 + 1) * 8,
        (2 * s[2]) ** 2 * 10,
        (2 * s[3]) ** 2 * 20,
        *s[4 : 6 + spec.keypoints],
    ]
    for k in range(spec.keypoints):
        x, y = s[6 + spec.keypoints + 2 * k :][:2]
        expected += [(4 * x - 2) * 10 + 2 * 8, (4 * y - 2) * 20 + 1 * 8]
    np.testing.assert_allclose(reference.decode([head], spec)[0, 5], expected, rtol=1e-6)


def test_export(tmp_path: Path) -> None:
    """A checkpoint becomes a file that says what it is, and nothing else in the command differs."""
    path = kapao.save(tmp_path / "small.pt", kapao.make_network())
    made = export.export(path, imgsz=64)
    props = {entry.key: entry.value for entry in onnx.load(made.path).metadata_props}
    assert ModelSpec.from_json(props[METADATA_KEY]) == made.spec
    assert made.spec.family == "kapao"
    assert [line.split(":")[0] for line in made.report] == ["noise and shapes"]
    engine = trtpose.Engine(made.path)
    assert engine.spec.kpt_shape == (3, 2)
    again = export.export(path, tmp_path / "again.onnx", imgsz=64, arch="kapao", verify=False)
    assert again.path.read_bytes() == made.path.read_bytes()
    with pytest.raises(trtpose.ModelError, match="nkpt is None"):
        export.export(path, tmp_path / "other.onnx", arch="anchor_grid")


def test_both_layouts_give_the_same_people(tmp_path: Path) -> None:
    frame = (support.pictures(5, 70, 90, 3) * 255).astype(np.uint8)
    found: list[Any] = []
    for layout in ("heads", "decoded"):
        made = export.export_network(kapao.make_network(), tmp_path / f"{layout}.onnx", imgsz=64, layout=layout)
        found.append(trtpose.Engine(made.path, conf=0.3, iou=0.5).infer([frame])[0])
    heads, decoded = found
    assert len(heads.boxes) == len(decoded.boxes) > 0
    np.testing.assert_allclose(np.sort(decoded.scores), np.sort(heads.scores), atol=1e-4)
    np.testing.assert_allclose(np.sort(decoded.boxes, axis=0), np.sort(heads.boxes, axis=0), atol=1e-2)


@pytest.mark.shared
@pytest.mark.parametrize("data", ["coco", "crowdpose"])
def test_a_photograph_from_checkpoint_to_people(data: str, shared: Path, tmp_path: Path) -> None:
    """The reference's demo on the same checkpoint: the same people in the same order."""
    cv2 = pytest.importorskip("cv2")
    with np.load(shared / "golden" / f"kapao-{data}-narrow.npz") as golden:
        conf, iou, *rest = (float(value) for value in golden["parameters"])
        size = golden["photo_input"].shape[1:]
        frame = cv2.imread(str(shared / "images" / str(golden["photo"])))
        boxes, scores, poses = golden["boxes"], golden["scores"], golden["poses"]
    made = export.export(shared / "golden" / f"kapao-{data}-narrow.pt", tmp_path / "a.onnx", imgsz=size, verify=False)
    thresholds = dict(zip(("conf_kp", "iou_kp", "conf_kp_person", "overwrite_tol"), rest, strict=True))
    extra = {**made.spec.extra, **thresholds, "round_boxes": True, "zero_unreplaced": True}
    engine = trtpose.Engine(made.path, spec=dataclasses.replace(made.spec, extra=extra))
    found = engine.infer([frame], conf=conf, iou=iou, max_det=300)[0]
    assert len(found.boxes) == len(boxes) > 50
    np.testing.assert_array_equal(found.boxes, boxes)
    np.testing.assert_allclose(found.scores, scores, rtol=0, atol=1e-5)
    # In pixels of the photograph, four times the input's.
    np.testing.assert_allclose(found.keypoints[..., :2], poses[..., :2], rtol=0, atol=2e-2)
    np.testing.assert_allclose(found.keypoints[..., 2], poses[..., 2], rtol=0, atol=1e-5)


def test_a_wrong_file_is_not_left(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The comparison must be able to fail."""
    right = reference.decode

    def shifted(heads: Any, spec: ModelSpec) -> Any:
        rows = right(heads, spec)
        rows[..., -1] += 0.5
        return rows

    monkeypatch.setattr(reference, "decode", shifted)
    with pytest.raises(trtpose.ModelError, match="differs from the network"):
        export.export_network(kapao.make_network(), tmp_path / "a.onnx", imgsz=64, layout="decoded")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("layout", ["heads", "decoded"])
@pytest.mark.parametrize("shape", [Shape(1, 64, 64), OPEN], ids=["fixed", "open"])
def test_tensorrt_builds(layout: str, shape: Shape) -> None:
    model, _ = write_onnx.write_graph(kapao.make_network(), shape, layout)
    profile = None if shape.batch else {"images": ((1, 3, 32, 32), (2, 3, 64, 64), (4, 3, 64, 64))}
    assert len(rtx.build(model.SerializeToString(), profile)) > 1000
