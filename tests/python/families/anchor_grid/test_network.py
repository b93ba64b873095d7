# SPDX-License-Identifier: Apache-2.0
"""Networks out of checkpoints: everything that a file may honestly hold is read."""

from __future__ import annotations

import collections
import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import export_support as support
import trtpose
from trtpose.families.anchor_grid import network
from trtpose.networks.network import arrays


@pytest.fixture(scope="module")
def small() -> network.Network:
    return support.halved(support.make_network())


@pytest.fixture(scope="module")
def saved(small: network.Network, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return support.save_checkpoint(tmp_path_factory.mktemp("saved") / "small.pt", small, support.SMALL).read_bytes()


def _same(path: Path, expected: network.Network, arch: str | None = None) -> None:
    loaded = network.load(path, arch)
    frames = support.pictures(1, 2, 3, 64, 96)
    for ours, theirs in zip(support.run(loaded, frames), support.run(expected, frames), strict=True):
        # The same numbers through the same operations.
        assert np.array_equal(ours, theirs)


@pytest.mark.parametrize(("side", "inside"), [(64, 1), (1024, 2)])
def test_small_pictures_take_one_thread_and_leave_the_others_set(side: int, inside: int) -> None:
    counts: list[int] = []

    class Counting(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
            counts.append(torch.get_num_threads())
            if not x.any():
                raise ValueError("nothing")
            return [x]

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        arrays(Counting(), np.ones((1, 3, side, side), np.float32))
        with pytest.raises(ValueError, match="nothing"):
            arrays(Counting(), np.zeros((1, 3, side, side), np.float32))
        assert counts == [inside, inside]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_half_checkpoint(saved: bytes, small: network.Network, tmp_path: Path) -> None:
    path = tmp_path / "small.pt"
    path.write_bytes(saved)
    _same(path, small)
    spec = network.load(path).spec
    assert spec.anchors == (((10, 13), (16, 30)), ((33, 23), (30, 61)))
    assert spec.strides == (4, 8)
    assert spec.outputs == ("head_4", "head_8")
    assert spec.names == ("person",)
    assert spec.kpt_shape == (3, 3)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "stream"])
@pytest.mark.parametrize(
    "change",
    [
        lambda model: model,
        lambda model: {"model": model},
        lambda model: {"model": model.double()},
        lambda model: {"ema": model, "model": None, "training_results": "0/1 1.2G", "best_fitness": np.float64(0.5)},
        lambda model: {"model": torch.nn.Sequential(collections.OrderedDict(module=model)), "date": "2022-06-01"},
        lambda model: {"model": model, "best_fitness": np.array([0.5]), "updates": 2**40, "flags": {True, "a"}},
        lambda model: {"model": model, "scheduler": {"milestones": collections.Counter([100, 200]), "gamma": 0.333}},
    ],
    ids=["bare", "float", "double", "ema", "parallel", "extras", "schedule"],
)
def test_forms(change: Any, zipped: bool, small: network.Network, tmp_path: Path) -> None:
    _same(support.save_checkpoint(tmp_path / "a.pt", small, support.SMALL, change, zipped), small)


def test_moving_average_is_preferred(small: network.Network, tmp_path: Path) -> None:
    def change(model: Any) -> Any:
        other = copy.deepcopy(model)
        with torch.no_grad():
            for value in other.parameters():
                value.add_(1)
        return {"model": other, "ema": model}

    _same(support.save_checkpoint(tmp_path / "a.pt", small, support.SMALL, change), small)


def test_bfloat16(small: network.Network, tmp_path: Path) -> None:
    path = support.save_checkpoint(tmp_path / "a.pt", small, support.SMALL, lambda model: {"model": model.bfloat16()})
    _same(path, copy.deepcopy(small).bfloat16().float())


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "stream"])
def test_fused(zipped: bool, small: network.Network, tmp_path: Path) -> None:
    """Fusing removes batch norm, gives convolutions a bias and rebinds `forward`, pickled as getattr(module, name)."""

    def change(model: Any) -> Any:
        for module in model.modules():
            if type(module).__name__ == "Conv":
                module.conv = torch.nn.utils.fuse_conv_bn_eval(module.conv.eval(), module.bn.eval())
                del module.bn
                module.forward = module.fuseforward
        return {"model": model}

    loaded = network.load(support.save_checkpoint(tmp_path / "a.pt", small, support.SMALL, change, zipped))
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in loaded.modules())
    frames = support.pictures(2, 1, 3, 64, 64)
    for ours, theirs in zip(support.run(loaded, frames), support.run(small, frames), strict=True):
        # Folding rounds the weights once more.
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-5 * np.abs(theirs).max())


def test_activation_and_epsilon_come_from_the_modules(small: network.Network, tmp_path: Path) -> None:
    def change(model: Any) -> Any:
        model.model[1].act = torch.nn.LeakyReLU(0.2)
        model.model[2].bn.eps = 0.5
        return {"model": model}

    loaded = network.load(support.save_checkpoint(tmp_path / "a.pt", small, support.SMALL, change))
    assert loaded.model[1].act.negative_slope == 0.2
    assert loaded.model[2].bn.eps == 0.5


def test_focus_order_depends_on_the_checkpoint(tmp_path: Path) -> None:
    """Older checkpoints slice columns first; those with a `contract` module rows first."""
    source = support.halved(support.make_network(support.FOCUS))

    def older(model: Any) -> Any:
        del model.model[0].contract
        return {"model": model}

    new = network.load(support.save_checkpoint(tmp_path / "new.pt", source, support.FOCUS))
    old = network.load(support.save_checkpoint(tmp_path / "old.pt", source, support.FOCUS, older))
    assert new.model[0].contract.offsets[1] == (0, 1)
    assert old.model[0].contract.offsets[1] == (1, 0)


def test_anchors_of_training_win(small: network.Network, tmp_path: Path) -> None:
    def change(model: Any) -> Any:
        model.model[-1].anchor_grid.mul_(2)
        return {"model": model.half()}

    spec = network.load(support.save_checkpoint(tmp_path / "a.pt", small, support.SMALL, change)).spec
    assert spec.anchors[0][0] == (20.0, 26.0)


def test_weights_alone_need_a_name(tmp_path: Path) -> None:
    source = network.random_network("yolov7-lite-t-face", seed=3)
    path = tmp_path / "weights.pt"
    torch.save({"state_dict": source.state_dict()}, path)
    with pytest.raises(trtpose.ModelError, match="--arch"):
        network.load(path)
    _same(path, source, "yolov7-lite-t-face")
    with pytest.raises(trtpose.ModelError, match="do not belong"):
        network.load(path, "yolov7-lite-s-face")
    with pytest.raises(trtpose.InputError, match="yolov7-w6-pose"):
        network.load(path, "yolov9")
