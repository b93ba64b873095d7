# SPDX-License-Identifier: Apache-2.0
"""Adopting ONNX files of other exporters. The files are made with PyTorch's own exporter from a head that decodes the
way the reference code does: views, permutation, and keypoints assigned in place."""

from __future__ import annotations

import dataclasses
import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

import export_support as support
import trtpose
from trtpose import export
from trtpose.families.anchor_grid import network, write_onnx
from trtpose.formats import onnx_file
from trtpose.formats.onnx_runner import Runner
from trtpose.formats.onnx_writer import Shape
from trtpose.spec import METADATA_KEY, ModelSpec


class Decoding(nn.Module):
    """A network followed by the decode of the reference, ``grid`` on, or by its five-dimensional view, ``grid`` off."""

    def __init__(self, heads: network.Network, grid: bool, twist: float = 1.0) -> None:
        super().__init__()
        self.heads, self.grid, self.twist = heads, grid, twist

    def forward(self, x: Any) -> Any:
        spec = self.heads.spec
        rows = []
        views = []
        for head, stride, anchors in zip(self.heads(x), spec.strides, spec.anchors, strict=True):
            n, _, h, w = head.shape
            view = head.view(n, len(anchors), spec.fields, h, w).permute(0, 1, 3, 4, 2).contiguous()
            views.append(view)
            split = 5 + spec.classes
            box, points = view[..., :split].clone(), view[..., split:].clone()
            down, across = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
            cells = torch.stack((across, down), 2).view(1, 1, h, w, 2).float()
            y = box.sigmoid()
            centre = (y[..., 0:2] * 2 - 0.5 + cells) * stride
            side = (y[..., 2:4] * 2) ** 2 * torch.tensor(anchors).view(1, len(anchors), 1, 1, 2) * self.twist
            k = spec.keypoints
            points[..., 0::3] = (points[..., 0::3] * 2.0 - 0.5 + cells[..., 0:1].repeat(1, 1, 1, 1, k)) * stride
            points[..., 1::3] = (points[..., 1::3] * 2.0 - 0.5 + cells[..., 1:2].repeat(1, 1, 1, 1, k)) * stride
            points[..., 2::3] = points[..., 2::3].sigmoid()
            rows.append(torch.cat((centre, side, y[..., 4:], points), -1).view(n, -1, spec.fields))
        return torch.cat(rows, 1) if self.grid else tuple(views)


def exported(
    path: Path, model: nn.Module, outputs: list[str], shape: tuple[int, ...] = (1, 3, 64, 96), dynamic: bool = False
) -> Path:
    buffer = io.BytesIO()
    axes = {name: {0: "batch"} for name in ("input", *outputs)} if dynamic else None
    with warnings.catch_warnings():
        # The exporter speaks of its own deprecation and of constants it does not fold.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model.eval(), (torch.zeros(shape),), buffer, opset_version=12, dynamo=False, input_names=["input"],
            output_names=outputs, dynamic_axes=axes,
        )  # fmt: skip
    path.write_bytes(buffer.getvalue())
    return path


def _spec(path: Path) -> ModelSpec:
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    return ModelSpec.from_json(next(entry.value for entry in model.metadata_props if entry.key == METADATA_KEY))


@pytest.mark.parametrize("name", ["SMALL", "FOCUS", "SHUFFLE"])
@pytest.mark.parametrize("dynamic", [False, True], ids=["fixed", "batch"])
def test_decoded_file_is_cut(name: str, dynamic: bool, tmp_path: Path) -> None:
    source = support.make_network(getattr(support, name))
    path = exported(tmp_path / "their.onnx", Decoding(source, grid=True), ["output"], dynamic=dynamic)
    made = export.export(path)
    assert made.path == tmp_path / "their.trtpose.onnx"
    assert "cut their.onnx back" in made.action
    spec = _spec(made.path)
    assert spec == made.spec
    assert spec.layout == "heads"
    assert spec.strides == source.spec.strides
    assert spec.anchors == source.spec.anchors
    assert spec.outputs == source.spec.outputs
    assert spec.kpt_shape == (3, 3)
    assert spec.imgsz == (64, 96)
    model = onnx.load(made.path)
    assert [v.name for v in model.graph.input] == ["images"]
    assert {node.op_type for node in model.graph.node}.isdisjoint({"ScatterND", "Range", "Where", "Expand"})
    frames = support.pictures(7, 3 if dynamic else 1, 3, 64, 96)
    for ours, theirs in zip(Runner(onnx_file.read(made.path))(frames), support.run(source, frames), strict=True):
        # The exporter folds batch norm in float32.
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * np.abs(theirs).max())


def test_five_dimensional_file_is_cut(tmp_path: Path) -> None:
    source = support.make_network()
    path = exported(tmp_path / "their.onnx", Decoding(source, grid=False), ["a", "b"])
    with pytest.raises(trtpose.ModelError, match=r"anchors .* --spec"):
        export.export(path)
    known = dataclasses.replace(source.spec, imgsz=(64, 96))
    made = export.export(path, tmp_path / "ours.onnx", spec=known)
    assert "five-dimensional" in made.action
    assert _spec(made.path).anchors == source.spec.anchors
    frames = support.pictures(7, 1, 3, 64, 96)
    for ours, theirs in zip(Runner(onnx_file.read(made.path))(frames), support.run(source, frames), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * np.abs(theirs).max())


def test_named_network_gives_the_anchors(tmp_path: Path) -> None:
    source = network.random_network("yolov7-lite-t-face")
    path = exported(tmp_path / "their.onnx", Decoding(source, grid=False), ["a", "b", "c"])
    spec = export.export(path, arch="yolov7-lite-t-face").spec
    assert spec.anchors == source.spec.anchors
    assert spec.names == ("face",)


@pytest.mark.parametrize("classes", [1, 4])
def test_classes_are_worked_out(classes: int, tmp_path: Path) -> None:
    """15 fields: 1 class and 3 keypoints, or 4 classes and 2 keypoints; only one decodes to the file's output."""
    yaml = {**support.SMALL, "nc": classes, "nkpt": 3 if classes == 1 else 2}
    source = support.make_network(yaml)
    source.spec = network.make_spec(
        "small", support.Description.from_checkpoint(yaml, ""), (4, 8), tuple("abcd"[:classes]), 64
    )
    path = exported(tmp_path / "their.onnx", Decoding(source, grid=True), ["output"])
    made = export.export(path)
    assert (made.spec.classes, made.spec.keypoints) == (classes, yaml["nkpt"])


def test_odd_anchors_are_worked_out(tmp_path: Path) -> None:
    yaml = {**support.SMALL, "anchors": [[10.25, 13, 16.6, 30], [33, 23.125, 30, 61]]}
    path = exported(tmp_path / "their.onnx", Decoding(support.make_network(yaml), grid=True), ["output"])
    found = np.array(export.export(path).spec.anchors)
    np.testing.assert_allclose(found.reshape(2, 4), yaml["anchors"], rtol=1e-4)


class Both(Decoding):
    """What the reference gives where nothing is switched off: rows, and behind them every level's own."""

    def forward(self, x: Any) -> Any:
        self.grid = True
        rows = super().forward(x)
        self.grid = False
        return (rows, *super().forward(x))


def test_more_outputs_than_needed(tmp_path: Path) -> None:
    source = support.make_network()
    path = exported(tmp_path / "their.onnx", Both(source, grid=True), ["output", "a", "b"])
    made = export.export(path)
    assert "decoded output" in made.action
    assert made.spec.anchors == source.spec.anchors
    assert [v.name for v in onnx.load(made.path).graph.output] == ["head_4", "head_8"]


class Different(Decoding):
    """A tail of another formula, which the cut must not take for the known one."""

    def forward(self, x: Any) -> Any:
        rows = super().forward(x)
        return torch.cat((rows[..., :4] * rows[..., 4:5], rows[..., 4:]), -1)


class Shortcut(Decoding):
    """An output that depends on the picture past the heads."""

    def forward(self, x: Any) -> Any:
        return super().forward(x) + x.mean()


@pytest.mark.parametrize("kind", [Different, Shortcut])
def test_other_tails_are_left(kind: type[Decoding], tmp_path: Path) -> None:
    path = exported(tmp_path / "their.onnx", kind(support.make_network(), grid=True), ["output"])
    with pytest.raises(trtpose.ModelError, match="--spec"):
        export.export(path)
    assert [p.name for p in tmp_path.iterdir()] == ["their.onnx"]
    known = support.make_network().spec.to_dict()
    spec = ModelSpec.from_dict({**known, "layout": "decoded", "outputs": ["output"], "imgsz": [64, 96]})
    with pytest.raises(trtpose.ModelError, match=r"takes 64x96 pixels, and the model spec's imgsz is \[96, 64\]"):
        export.export(path, spec=dataclasses.replace(spec, imgsz=(96, 64)))
    made = export.export(path, spec=spec)
    assert "left the graph" in made.action
    assert _spec(made.path).layout == "decoded"
    frames = support.pictures(7, 1, 3, 64, 96)
    before, after = (Runner(onnx_file.read(p))(frames)[0] for p in (path, made.path))
    assert np.array_equal(before, after)


def test_adopted_file_runs_in_the_engine(tmp_path: Path) -> None:
    source = support.make_network()
    frame = (support.pictures(5, 64, 96, 3) * 255).astype(np.uint8)
    path = exported(tmp_path / "their.onnx", Decoding(source, grid=True), ["output"])
    adopted = trtpose.Engine(export.export(path).path, conf=0.4).infer([frame])[0]
    own = trtpose.Engine(export.export_network(source, tmp_path / "own.onnx", imgsz=(64, 96)).path, conf=0.4).infer(
        [frame]
    )[0]
    assert len(adopted.boxes) == len(own.boxes) > 0
    np.testing.assert_allclose(np.sort(adopted.scores), np.sort(own.scores), atol=1e-4)


def test_own_file_keeps_its_spec(tmp_path: Path) -> None:
    made = export.export_network(support.make_network(), tmp_path / "own.onnx")
    again = export.export(made.path)
    assert "left the graph" in again.action
    assert again.spec == made.spec
    decoded = export.export_network(support.make_network(), tmp_path / "decoded.onnx", layout="decoded")
    assert export.export(decoded.path).spec == decoded.spec


def test_source_is_not_overwritten(tmp_path: Path) -> None:
    made = export.export_network(support.make_network(), tmp_path / "own.onnx")
    with pytest.raises(trtpose.InputError, match="would be overwritten"):
        export.export(made.path, made.path)


@pytest.mark.shared
def test_ultralytics_files_are_described(shared: Path, tmp_path: Path) -> None:
    for name in ("yolo26n-pose-256", "yolo26n-pose-256-qdq"):
        source = shared / "models" / f"{name}.onnx"
        known = {entry.key for entry in onnx.load(source).metadata_props}
        if "kpt_shape" not in known:
            with pytest.raises(trtpose.ModelError, match="--spec"):
                export.export(source, tmp_path / "a.onnx")
            continue
        made = export.export(source, tmp_path / f"{name}.onnx")
        assert made.spec.layout == "channels_first"
        assert _spec(made.path).kpt_shape == (17, 3)


@pytest.mark.shared
def test_face_file_of_the_reference(shared: Path, tmp_path: Path) -> None:
    """Raw heads already, but undescribed: a spec makes it whole."""
    source = shared / "models" / "yolov7-lite-t-face5.onnx"
    spec = network.load(shared / "models" / "yolov7-lite-t-face5.pt").spec
    spec = ModelSpec.from_dict({**spec.to_dict(), "outputs": ["p3", "p4", "p5"]})
    made = export.export(source, tmp_path / "a.onnx", spec=spec)
    assert _spec(made.path) == spec


def test_spec_that_does_not_fit(tmp_path: Path) -> None:
    source = support.make_network()
    path = tmp_path / "heads.onnx"
    model, spec = write_onnx.write_graph(source, Shape(1, 64, 64), "heads")
    path.write_bytes(model.SerializeToString())
    wrong = ModelSpec.from_dict({**spec.to_dict(), "outputs": ["x", "y"]})
    with pytest.raises(trtpose.ModelError, match="x"):
        export.export(path, spec=wrong)
    more = ModelSpec.from_dict({**spec.to_dict(), "kpt_shape": [5, 3], "kpt_names": []})
    with pytest.raises(trtpose.ModelError, match="head_4"):
        export.export(path, spec=more)


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x08\x08\x12\x00"])
def test_damaged_files(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "bad.onnx"
    path.write_bytes(content)
    with pytest.raises(trtpose.ModelError, match=r"bad\.onnx"):
        export.export(path)
    with pytest.raises(trtpose.ModelError, match="cannot read"):
        export.export(tmp_path / "absent.onnx")
