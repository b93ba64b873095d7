# SPDX-License-Identifier: Apache-2.0
"""Lightweight OpenPose's checkpoints: stages and widths are those of the weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import export_support as support
import openpose_support as openpose
import trtpose
from trtpose.families import registry
from trtpose.families.openpose import catalogue, network
from trtpose.formats.source_file import SourceFile
from trtpose.networks.network import arrays


@pytest.fixture(autouse=True)
def _narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    openpose.narrow(monkeypatch)


def _stages_by_hand(state: dict[str, Any], stages: int, frames: Any) -> list[Any]:
    """The published network, written down here layer by layer: the maps of every stage."""
    conv2d, batch_norm, relu = torch.nn.functional.conv2d, torch.nn.functional.batch_norm, torch.relu

    def conv(x: Any, name: str, stride: int = 1, dilation: int = 1) -> Any:
        weight, bias = state[f"{name}.weight"], state.get(f"{name}.bias")
        groups = x.shape[1] // weight.shape[1]
        return conv2d(x, weight, bias, stride, weight.shape[2] // 2 * dilation, dilation, groups)

    def norm(x: Any, name: str) -> Any:
        mean, variance, scale, offset = (
            state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return batch_norm(x, mean, variance, scale, offset)

    x = relu(norm(conv(frames, "model.0.0", 2), "model.0.1"))
    for i in range(1, 12):
        x = relu(norm(conv(x, f"model.{i}.0", 2 if i in (2, 4) else 1, 2 if i == 7 else 1), f"model.{i}.1"))
        x = relu(norm(conv(x, f"model.{i}.3"), f"model.{i}.4"))
    x = y = relu(conv(x, "cpm.align.0"))
    for i in range(3):
        y = torch.nn.functional.elu(conv(y, f"cpm.trunk.{i}.0"))
        y = torch.nn.functional.elu(conv(y, f"cpm.trunk.{i}.2"))
    features = x = relu(conv(x + y, "cpm.conv.0"))
    for i in range(3):
        x = relu(conv(x, f"initial_stage.trunk.{i}.0"))

    def maps(x: Any, stage: str) -> list[Any]:
        return [conv(relu(conv(x, f"{stage}.{kind}.0.0")), f"{stage}.{kind}.1.0") for kind in ("heatmaps", "pafs")]

    found = maps(x, "initial_stage")
    for stage in range(stages):
        x = torch.cat([features, *found[-2:]], 1)
        for i in range(5):
            name = f"refinement_stages.{stage}.trunk.{i}"
            x = y = relu(conv(x, f"{name}.initial.0"))
            y = relu(norm(conv(y, f"{name}.trunk.0.0"), f"{name}.trunk.0.1"))
            x = x + relu(norm(conv(y, f"{name}.trunk.1.0", dilation=2), f"{name}.trunk.1.1"))
        found += maps(x, f"refinement_stages.{stage}")
    return [map_.numpy() for map_ in found]


@pytest.mark.parametrize("stages", [0, 1, 3])
def test_stages(stages: int, tmp_path: Path) -> None:
    state = openpose.weights(stages)
    loaded = network.load(openpose.save(tmp_path / "a.pth", state))
    frames = support.pictures(1, 2, 3, 64, 96) - 0.5
    expected = _stages_by_hand(state, stages, torch.from_numpy(frames))
    assert len(expected) == 2 * (stages + 1)
    for ours, theirs in zip(arrays(loaded, frames), expected[-2:], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * np.abs(theirs).max())
    assert loaded.spec.outputs == (f"stage_{stages}_output_1_heatmaps", f"stage_{stages}_output_0_pafs")
    assert loaded.spec.family == "openpose"
    assert (loaded.spec.color, loaded.spec.mean[0], loaded.spec.std[0], loaded.spec.pad) == ("bgr", 128, 256, 128)


def test_a_name_says_how_many_stages_to_take(tmp_path: Path) -> None:
    """The training has three, and what is run afterwards is the first."""
    state = openpose.weights(3)
    path = openpose.save(tmp_path / "a.pth", state)
    frames = support.pictures(1, 1, 3, 64, 64) - 0.5
    expected = _stages_by_hand(state, 1, torch.from_numpy(frames))[-2:]
    for ours, theirs in zip(arrays(network.load(path, "lightweight-openpose"), frames), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * np.abs(theirs).max())
    assert network.load(path, "lightweight-openpose-3").spec.outputs[0].startswith("stage_3_")
    one = openpose.save(tmp_path / "b.pth", openpose.weights(1))
    with pytest.raises(trtpose.ModelError, match="it has 1 refinement stages where lightweight-openpose-3 has 3"):
        network.load(one, "lightweight-openpose-3")
    with pytest.raises(trtpose.InputError, match="known are lightweight-openpose"):
        network.load(one, "openpose")


@pytest.mark.parametrize(
    "change",
    [
        lambda root: root["state_dict"],
        lambda root: {"state_dict": {f"module.{name}": value for name, value in root["state_dict"].items()}},
        lambda root: {"state_dict": {name: value.double() for name, value in root["state_dict"].items()}},
    ],
    ids=["bare", "parallel", "double"],
)
def test_forms(change: Any, tmp_path: Path) -> None:
    state = openpose.weights()
    expected = network.load(openpose.save(tmp_path / "a.pth", state))
    path = openpose.save(tmp_path / "b.pth", state, change)
    frames = support.pictures(1, 1, 3, 64, 64)
    for ours, theirs in zip(arrays(network.load(path), frames), arrays(expected, frames), strict=True):
        assert np.array_equal(ours, theirs)


def test_pruned_widths(tmp_path: Path) -> None:
    """Channels taken out of one layer alone, as pruning does."""
    state = openpose.weights()
    kept = [0, 1, 2, 4, 5]
    for name in ("model.2.3", "model.2.4", "model.3.0", "model.3.1"):
        for part in ("weight", "bias", "running_mean", "running_var"):
            if f"{name}.{part}" in state:
                state[f"{name}.{part}"] = state[f"{name}.{part}"][kept]
    state["model.3.3.weight"] = state["model.3.3.weight"][:, kept]
    frames = support.pictures(1, 1, 3, 64, 64) - 0.5
    loaded = network.load(openpose.save(tmp_path / "a.pth", state))
    expected = _stages_by_hand(state, 1, torch.from_numpy(frames))[-2:]
    for ours, theirs in zip(arrays(loaded, frames), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * np.abs(theirs).max())


def _without(*names: str) -> Any:
    return lambda state: {name: value for name, value in state.items() if name not in names}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_without("model.11.4.weight"), "lacks model.11.4.weight; it is not of Lightweight OpenPose"),
        (
            lambda state: {**state, "model.12.0.weight": torch.zeros(1)},
            "holds model.12.0.weight, which the network",
        ),
        (lambda state: {**state, "model.1.0.weight": torch.zeros(4, 4, 3, 3)}, "model.1.0.weight has the shape"),
        (lambda state: {**state, "cpm.conv.0.weight": torch.zeros(8, 8, 5, 5)}, "cpm.conv.0.weight has the shape"),
        (lambda state: {**state, "cpm.align.0.weight": torch.zeros(8)}, "cpm.align.0.weight has the shape"),
        (lambda state: {**state, "model.1.3.weight": torch.zeros(8, 5, 1, 1)}, "the layers do not fit together"),
        (lambda state: {**state, "cpm.conv.0.bias": torch.full((8,), torch.nan)}, "NaN or infinity"),
        (lambda _: {"a": 1}, "holds no plain weights"),
    ],
    ids=["missing", "extra", "depthwise", "kernel", "rank", "misfit", "nan", "none"],
)
def test_what_cannot_be_is_refused(change: Any, message: str, tmp_path: Path) -> None:
    path = openpose.save(tmp_path / "a.pth", change(openpose.weights()))
    with pytest.raises(trtpose.ModelError, match=message):
        network.load(path)


def test_other_limbs_are_not_guessed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(catalogue, "_HEATMAPS", 15)
    monkeypatch.setattr(catalogue, "_PAFS", 26)
    path = openpose.save(tmp_path / "a.pth", openpose.weights())
    with pytest.raises(trtpose.ModelError, match=r"gives 15 heatmaps and 26 fields.*have 19 and 38.*--spec FILE"):
        network.load(path)


def test_a_checkpoint_goes_to_its_family(tmp_path: Path) -> None:
    ours = openpose.save(tmp_path / "openpose.pth", openpose.weights())
    theirs = support.save_checkpoint(tmp_path / "yolo.pt", support.make_network(), support.SMALL)
    others = tmp_path / "weights.pt"
    torch.save({"state_dict": {"model.0.conv.weight": torch.zeros(1)}}, others)
    for path, name in ((ours, "openpose"), (theirs, "anchor_grid"), (others, "anchor_grid")):
        with SourceFile(path) as file:
            assert registry.family_of_file(file).name == name


@pytest.mark.shared
def test_golden(shared: Path) -> None:
    """What the reference code computed in float32. On as many threads as it had, every bit is the same; in another
    order of summation this network of random weights differs in the fifth digit."""
    loaded = network.load(shared / "golden" / "openpose-light-narrow.pth")
    with np.load(shared / "golden" / "openpose-light-narrow.npz") as golden:
        for name, ours in zip(loaded.spec.outputs, arrays(loaded, golden["data"]), strict=True):
            np.testing.assert_allclose(ours, golden[name], rtol=0, atol=1e-4 * np.abs(golden[name]).max())
