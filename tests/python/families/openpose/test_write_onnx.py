# SPDX-License-Identifier: Apache-2.0
"""Lightweight OpenPose as ONNX: the maps of the original, a plain graph, and a file that describes itself."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

import export_support as support
import openpose_support as openpose
import rtx
import trtpose
from trtpose import export
from trtpose.families.openpose import catalogue, layers, network, write_onnx
from trtpose.formats import onnx_file
from trtpose.formats.onnx_runner import Runner
from trtpose.formats.onnx_writer import Shape
from trtpose.networks.network import arrays
from trtpose.spec import METADATA_KEY, ModelSpec

OPEN = Shape(None, None, None)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> network.Network:
    openpose.narrow(monkeypatch)
    return network.random_network("lightweight-openpose")


@pytest.mark.parametrize("shape", [Shape(2, 64, 96), OPEN], ids=["fixed", "open"])
def test_small_network(shape: Shape, small: network.Network) -> None:
    model, spec = write_onnx.write_graph(small, shape)
    onnx.checker.check_model(model, full_check=True)
    frames = support.pictures(1, 2, 3, 64, 96) - 0.5
    found = Runner(onnx_file.checked(model, "test"))(frames)
    assert [map_.shape for map_ in found] == [(2, 19, 8, 12), (2, 38, 8, 12)]
    for ours, theirs in zip(found, arrays(small, frames), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4 * np.abs(theirs).max())
    assert spec.outputs == tuple(output.name for output in model.graph.output)
    assert set(Counter(node.op_type for node in model.graph.node)) == {"Conv", "Relu", "Elu", "Add", "Concat"}


def test_export(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A checkpoint becomes a file that says what it is."""
    openpose.narrow(monkeypatch)
    path = openpose.save(tmp_path / "small.pth", network.random_network("lightweight-openpose-3").state_dict())
    made = export.export(path, imgsz=(64, 96), arch="lightweight-openpose")
    props = {entry.key: entry.value for entry in onnx.load(made.path).metadata_props}
    assert ModelSpec.from_json(props[METADATA_KEY]) == made.spec
    assert made.spec.outputs[0] == "stage_1_output_1_heatmaps"
    assert [line.split(":")[0] for line in made.report] == ["noise and shapes"]
    assert trtpose.Engine(made.path).spec.kpt_shape == (17, 3)
    with pytest.raises(trtpose.InputError, match="have one form"):
        export.export(path, layout="decoded")


def test_the_spec_is_what_the_graph_shows(small: network.Network, tmp_path: Path) -> None:
    """The native side recognises the same graph without its metadata, from the names of its outputs."""
    path = tmp_path / "plain.onnx"
    model, written = write_onnx.write_graph(small, Shape(1, 64, 96))
    path.write_bytes(model.SerializeToString())
    shown = trtpose.Engine(path).spec
    for field in ("family", "strides", "outputs", "names", "kpt_shape", "color", "mean", "std", "pad", "sizing"):
        assert getattr(shown, field) == getattr(written, field), field
    assert dict(shown.extra) == dict(written.extra)


def test_a_wrong_file_is_not_left(small: network.Network, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The comparison must be able to fail."""
    with torch.no_grad():
        write = write_onnx.write_graph
        bias = small.initial_stage.heatmaps[1][0].bias

        def shifted(source: network.Network, shape: Shape) -> tuple[onnx.ModelProto, ModelSpec]:
            bias.add_(0.1)
            made = write(source, shape)
            bias.sub_(0.1)
            return made

        monkeypatch.setattr(write_onnx, "write_graph", shifted)
        with pytest.raises(trtpose.ModelError, match="differs from the network"):
            export.export_network(small, tmp_path / "a.onnx", imgsz=64)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("shape", [Shape(1, 64, 64), OPEN], ids=["fixed", "open"])
def test_tensorrt_builds(shape: Shape, small: network.Network) -> None:
    model, _ = write_onnx.write_graph(small, shape)
    profile = None if shape.batch else {"images": ((1, 3, 32, 32), (2, 3, 64, 64), (4, 3, 64, 64))}
    assert len(rtx.build(model.SerializeToString(), profile)) > 1000


@pytest.mark.parametrize("name", catalogue.CATALOGUE)
def test_catalogue(name: str) -> None:
    entry = catalogue.CATALOGUE[name]
    with torch.device("meta"):
        built = network.Network(layers.Shapes(catalogue.shapes(entry.stages), name), entry.stages)
        published = network.Network(layers.Shapes(catalogue.shapes(3), name), 3)
    assert built.parameters_count == entry.learned
    assert published.parameters_count == entry.parameters
    assert entry.license == "Apache-2.0"
    if entry.stages == 1:
        assert round(entry.learned / 1e6, 1) == 4.1  # as the paper has it


@pytest.mark.shared
def test_golden(shared: Path) -> None:
    """What the reference code computed in float32."""
    source = network.load(shared / "golden" / "openpose-light-narrow.pth")
    with np.load(shared / "golden" / "openpose-light-narrow.npz") as golden:
        frames = golden["data"]
        expected = [golden[name] for name in source.spec.outputs]
    found = Runner(onnx_file.checked(write_onnx.write_graph(source, OPEN)[0], "test"))(frames)
    for ours, theirs in zip(found, expected, strict=True):
        # An ONNX that PyTorch's own exporter made of this checkpoint is 8e-5 of the range from these numbers.
        assert np.abs(ours - theirs).max() < 1e-4 * np.abs(theirs).max()
