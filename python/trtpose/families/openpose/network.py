# SPDX-License-Identifier: Apache-2.0
"""Lightweight OpenPose's checkpoints, and its network with random weights."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import torch
from torch import nn

from ...errors import ModelError
from ...formats.checkpoint import Checkpoint, Tensor
from ...networks.network import randomise
from ...networks.weights import fill
from ...skeletons import COCO
from ...spec import ModelSpec
from . import topology
from .catalogue import lookup, shapes
from .layers import PoseNet, Shapes, Stage, stages_of

__all__ = ["Network", "is_openpose", "load", "random_network", "tensors_of"]

_SIGNS = ("cpm.align.0.weight", "initial_stage.heatmaps.1.0.weight", "initial_stage.pafs.1.0.weight")


class Network(PoseNet):
    """The maps of the last stage: N x 3 x H x W float32 pictures to N x (maps + 1) x h x w heatmaps, the last of them
    the background, and N x 2L x h x w part affinity fields of L limbs.

    Attributes:
        spec: how to read the maps.
        license: of the weights, as far as known.
    """

    spec: ModelSpec
    license: str = "unknown: that of the checkpoint"

    @property
    def parameters_count(self) -> int:
        """Learned numbers, batch norm included."""
        return sum(p.numel() for p in self.parameters())


def tensors_of(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """The weights in a checkpoint by name, without the prefix that training on several GPUs puts before them; nothing
    where it holds something else."""
    weights = checkpoint.weights() or {}
    prefix = "module."
    if weights and all(name.startswith(prefix) for name in weights):
        return {name[len(prefix) :]: tensor for name, tensor in weights.items()}
    return weights


def is_openpose(checkpoint: Checkpoint) -> bool:
    """Whether the weights in a checkpoint are of Lightweight OpenPose, by the names of its parts."""
    weights = tensors_of(checkpoint)
    return all(name in weights for name in _SIGNS)


def _build(given: Mapping[str, tuple[int, ...]], stages: int, source: str) -> Network:
    """The modules on PyTorch's meta device, that is without memory for weights."""
    with torch.device("meta"):
        network = Network(Shapes(given, source), stages).eval()
        side = 64
        try:
            with torch.no_grad():
                maps = network(torch.zeros(1, 3, side, side))
        except RuntimeError as error:
            raise ModelError(f"{source}: the layers do not fit together ({str(error)[:200]})") from None
    assert all(map_.shape[-1] * topology.STRIDE == side for map_ in maps)
    return network


def _channels(maps: nn.Sequential) -> int:
    return cast("nn.Conv2d", cast("nn.Sequential", maps[-1])[0]).out_channels


def _spec(name: str, network: Network, stages: int, source: str) -> ModelSpec:
    last = cast("Stage", network.refinement_stages[-1] if stages else network.initial_stage)
    heatmaps, fields = (_channels(maps) for maps in (last.heatmaps, last.pafs))
    if (heatmaps, fields) != (topology.MAPS + 1, 2 * len(topology.LIMBS)):
        raise ModelError(
            f"{source}: it gives {heatmaps} heatmaps and {fields} fields where the known keypoints and limbs have "
            f"{topology.MAPS + 1} and {2 * len(topology.LIMBS)}; which others there are stands in no checkpoint, so "
            "export it with the code that trained it, and give that ONNX with a model spec: --spec FILE"
        )
    return ModelSpec(
        name=name,
        family="openpose",
        imgsz=topology.IMGSZ,
        strides=(topology.STRIDE,),
        outputs=(f"stage_{stages}_output_1_heatmaps", f"stage_{stages}_output_0_pafs"),
        names=("person",),
        kpt_shape=(len(COCO), 3),
        kpt_names=COCO.names,
        skeleton=COCO.edges,
        sigmas=COCO.sigmas,
        flip_idx=COCO.flip,
        color="bgr",
        mean=(128.0, 128.0, 128.0),
        std=(256.0, 256.0, 256.0),
        pad=128,
        sizing="height",
        extra=topology.fields(),
    )


def load(path: str | Path, arch: str | None = None) -> Network:
    """Read a checkpoint and build its network, float32, in evaluation mode.

    Args:
        path: as the training saves it: a state dict under ``state_dict``.
        arch: a name of the catalogue, which says how many refinement stages to take; the training has more than what is
            run afterwards. By default all there are.

    Raises:
        ModelError: the file cannot be read, or its contents do not make such a network; the message says why.
        InputError: ``arch`` is no known name.
    """
    with Checkpoint(path) as checkpoint:
        source = checkpoint.path
        tensors = tensors_of(checkpoint)
        if not tensors:
            raise ModelError(f"{source}: it holds no plain weights, as checkpoints of Lightweight OpenPose do")
        stages = stages_of(tensors)
        if arch:
            wanted = lookup(arch).stages
            if wanted > stages:
                raise ModelError(f"{source}: it has {stages} refinement stages where {arch} has {wanted}")
            stages = wanted
            later = re.compile(r"refinement_stages\.(\d+)\.")
            tensors = {
                name: tensor
                for name, tensor in tensors.items()
                if not (found := later.match(name)) or int(found[1][:9]) < stages
            }
        network = _build({name: tensor.shape for name, tensor in tensors.items()}, stages, source)
        fill(network, tensors, checkpoint)
        network.spec = _spec(Path(path).stem, network, stages, source)
        return network


def random_network(name: str, seed: int = 0) -> Network:
    """A network of the catalogue with random weights, for benchmarks and tests.

    Args:
        name: a name of :data:`~trtpose.families.openpose.catalogue.CATALOGUE`.
        seed: of the random numbers; the same seed gives the same weights.

    Raises:
        InputError: no such name.
    """
    stages = lookup(name).stages
    network = _build(shapes(stages), stages, name)
    randomise(network, seed)
    network.spec = _spec(name, network, stages, name)
    network.license = "none: random weights"
    return network
