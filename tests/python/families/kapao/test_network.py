# SPDX-License-Identifier: Apache-2.0
"""KAPAO's checkpoints: what its training saves is read, and what cannot be one is refused."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import export_support as support
import kapao_support as kapao
import trtpose
from trtpose.families import registry
from trtpose.families.kapao import catalogue, network
from trtpose.families.kapao.head import HEADS
from trtpose.formats.checkpoint import Checkpoint
from trtpose.formats.source_file import SourceFile
from trtpose.networks import network as building
from trtpose.skeletons import COCO


def _same(path: Path, expected: network.Network, arch: str | None = None) -> network.Network:
    loaded = network.load(path, arch)
    frames = support.pictures(1, 2, 3, 64, 128)
    for ours, theirs in zip(loaded.arrays(frames), expected.arrays(frames), strict=True):
        # The same numbers through the same operations.
        assert np.array_equal(ours, theirs)
    return loaded


@pytest.mark.parametrize("keypoints", [1, 3, 5])
def test_checkpoint(keypoints: int, tmp_path: Path) -> None:
    source = kapao.make_network(keypoints)
    loaded = _same(kapao.save(tmp_path / "small.pt", source), source)
    spec = loaded.spec
    assert spec.family == "kapao"
    assert spec.extra["form"] == "heads"
    assert spec.anchors == (((10, 13), (16, 30)), ((33, 23), (30, 61)))
    assert spec.strides == (4, 8)
    assert spec.outputs == ("head_4", "head_8")
    assert spec.names == kapao.NAMES[: keypoints + 1]
    assert spec.kpt_names == kapao.NAMES[1 : keypoints + 1]
    assert spec.kpt_shape == (keypoints, 2)
    assert loaded.model[-1].m[0].out_channels == 2 * (6 + 3 * keypoints)


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model,
        lambda model: {"model": model.double()},
        lambda model: {"ema": model, "model": None, "wandb_id": None},
        lambda model: {"ema": None, "model": model, "optimizer": {"state": {}, "param_groups": []}},
    ],
    ids=["bare", "double", "ema", "optimizer"],
)
def test_forms(change: Any, tmp_path: Path) -> None:
    source = kapao.make_network()
    _same(kapao.save(tmp_path / "a.pt", source, change), source)


def test_moving_average_is_preferred(tmp_path: Path) -> None:
    def change(model: Any) -> Any:
        other = copy.deepcopy(model)
        with torch.no_grad():
            for value in other.parameters():
                value.add_(1)
        return {"model": other, "ema": model}

    source = kapao.make_network()
    _same(kapao.save(tmp_path / "a.pt", source, change), source)


def test_names_of_a_known_set_bring_its_lines(tmp_path: Path) -> None:
    source = kapao.make_network()
    for skeleton in (COCO, catalogue.CROWDPOSE):
        spec = network.make_spec("a", ("person", *skeleton.names), (4, 8), source.spec.anchors, 64)
        assert (spec.skeleton, spec.sigmas, spec.flip_idx) == (skeleton.edges, skeleton.sigmas, skeleton.flip)
    nameless = network.load(kapao.save(tmp_path / "a.pt", source, names=["person"])).spec
    assert (len(nameless.names), nameless.kpt_names, nameless.skeleton) == (4, (), ())


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"num_coords": 7}, "num_coords is 7, expected two for each keypoint"),
        ({"num_coords": "many"}, "num_coords is 'many'"),
        ({"num_coords": 8}, "nc of the network's description is 10, expected 13: a person, 4 keypoints and 8 coord"),
        ({"yaml": None}, "does not describe its network; name it with --arch, such as kapao-s-coco"),
    ],
)
def test_what_cannot_be_is_refused(attributes: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = kapao.save(tmp_path / "a.pt", kapao.make_network(), **attributes)
    with pytest.raises(trtpose.ModelError, match=message):
        network.load(path)


def test_a_checkpoint_goes_to_its_family(tmp_path: Path) -> None:
    ours = kapao.save(tmp_path / "kapao.pt", kapao.make_network())
    theirs = support.save_checkpoint(tmp_path / "yolo.pt", support.make_network(), support.SMALL)
    (tmp_path / "text.pt").write_text("this is a text")
    for path, name in ((ours, "kapao"), (theirs, "anchor_grid"), (tmp_path / "text.pt", "anchor_grid")):
        with SourceFile(path) as file:
            assert registry.family_of_file(file).name == name


def test_weights_alone_need_a_name(tmp_path: Path) -> None:
    source = network.random_network("kapao-s-crowdpose", seed=3)
    path = tmp_path / "weights.pt"
    torch.save({"state_dict": source.state_dict()}, path)
    with pytest.raises(trtpose.ModelError, match="--arch"):
        network.load(path)
    assert _same(path, source, "kapao-s-crowdpose").spec.names == ("person", *catalogue.CROWDPOSE.names)
    with pytest.raises(trtpose.ModelError, match="do not belong"):
        network.load(path, "kapao-s-coco")
    with pytest.raises(trtpose.InputError, match="kapao-l-coco"):
        network.load(path, "kapao-x-coco")


@pytest.mark.parametrize("name", catalogue.CATALOGUE)
def test_catalogue(name: str) -> None:
    entry = catalogue.CATALOGUE[name]
    built, strides = building.build(entry.description, name, HEADS)
    assert built.parameters_count == entry.parameters
    assert strides == (8, 16, 32, 64)
    assert entry.license == "GPL-3.0"
    if name.endswith("coco"):
        # Millions of parameters in the paper's comparison.
        assert round(entry.parameters / 1e6, 1) == {"s": 12.6, "m": 35.8, "l": 77.0}[name[len("kapao-")]]


def test_random_weights_find_little() -> None:
    """Objectness starts low, at every anchor of every level."""
    source = network.random_network("kapao-s-coco", seed=1)
    for head in source.arrays(support.pictures(0, 1, 3, 128, 128)):
        rows = head.reshape(3, source.spec.classes + 2 * source.spec.keypoints + 5, -1)
        assert -6 < rows[:, 4].mean() < -2
        assert abs(rows[:, 5:].mean()) < 1
    assert source.license == "none: random weights"


@pytest.mark.shared
@pytest.mark.parametrize("data", ["coco", "crowdpose"])
def test_published_kind_is_what_the_catalogue_has(data: str, shared: Path) -> None:
    path = shared / "golden" / f"kapao-{data}-narrow.pt"
    ours = catalogue.CATALOGUE[f"kapao-s-{data}"]
    with Checkpoint(path) as opened:
        theirs = catalogue.described(opened.network(), str(path))

    def plain(layers: Any) -> Any:
        return [
            (one.source, one.repeats, one.kind, [a for a in one.arguments if a not in (None, "None")]) for one in layers
        ]

    assert plain(theirs.layers) == plain(ours.description.layers)
    assert (theirs.anchors, theirs.depth) == (ours.description.anchors, ours.description.depth)
    assert (theirs.classes, theirs.keypoints) == (ours.description.classes, ours.description.keypoints)
    assert network.load(path).spec.names == ours.names
