# SPDX-License-Identifier: Apache-2.0
"""Small pose networks and checkpoints of them as the reference code saves them: pickles of whole objects whose classes
live in packages named ``models``."""

from __future__ import annotations

import contextlib
import copy
import io
import sys
import types
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed; pip install trtpose[export]")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed; pip install trtpose[export]")

from torch import nn  # noqa: E402

torch.set_num_threads(1)  # small networks gain nothing, and lose much where the tests share their cores

from trtpose.families.anchor_grid import head, network  # noqa: E402
from trtpose.families.anchor_grid.catalogue import Description  # noqa: E402
from trtpose.networks import layers  # noqa: E402

SMALL: dict[str, Any] = {
    "nc": 1,
    "nkpt": 3,
    "depth_multiple": 0.34,
    "width_multiple": 0.5,
    "dw_conv_kpt": True,
    "anchors": [[10, 13, 16, 30], [33, 23, 30, 61]],
    "backbone": [
        [-1, 1, "ReOrg", []],
        [-1, 1, "Conv", [16, 3, 1]],
        [-1, 1, "Conv", [16, 3, 2]],
        [-1, 3, "C3", [16]],
        [-1, 1, "Conv", [32, 3, 2]],
        [-1, 1, "SPPCSPC", [32]],
    ],
    "head": [
        [-1, 1, "nn.Upsample", ["None", 2, "nearest"]],
        [[-1, 3], 1, "Concat", [1]],
        [[7, 5], 1, "IKeypoint", ["nc", "anchors", "nkpt"]],
    ],
}
"""Every part that w6-pose has, in nine layers; strides 4 and 8."""

FOCUS: dict[str, Any] = {
    **SMALL,
    "dw_conv_kpt": False,
    "act": "ReLU",
    "backbone": [
        [-1, 1, "Focus", [16, 3]],
        [-1, 1, "Conv", [16, 3, 1]],
        [-1, 1, "Conv", [16, 3, 2]],
        [-1, 3, "C3", [16, False]],
        [-1, 1, "Conv", [32, 3, 2]],
        [-1, 1, "SPP", [32, [3, 5, 7]]],
    ],
    "head": [*SMALL["head"][:2], [[7, 5], 1, "Detect", ["nc", "anchors", "nkpt"]]],
}
SHUFFLE: dict[str, Any] = {
    **SMALL,
    "dw_conv_kpt": False,
    "width_multiple": 1.0,
    "backbone": [
        [-1, 1, "StemBlock", [16, 3, 2]],
        [-1, 1, "Shuffle_Block", [16, 2]],
        [-1, 3, "Shuffle_Block", [16, 1]],
        [-1, 1, "DWConvblock", [16, 3, 1]],
        [-1, 1, "SPPF", [16, 5]],
        [-1, 1, "MP", []],
    ],
    "head": [
        [-1, 1, "Conv", [16, 1, 1, "None", 1, "nn.LeakyReLU(0.1)"]],
        [-2, 1, "SPF", [5]],
        [[-1, -2], 1, "ADD", [1]],
        [[4, 8], 1, "IKeypoint", ["nc", "anchors", "nkpt"]],
    ],
}

_CLASSES = {
    layers.Conv: "common.Conv",
    layers.Focus: "common.Focus",
    layers.ConvFocus: "common.ConvFocus",
    layers.SpaceToDepth: "common.Contract",
    layers.C3: "common.C3",
    layers.Bottleneck: "common.Bottleneck",
    layers.SpatialPyramid: "common.SPP",
    layers.SpatialPyramidCSP: "common.SPPCSPC",
    layers.ImplicitAdd: "common.ImplicitA",
    layers.ImplicitMultiply: "common.ImplicitM",
    head.KeypointHead: "yolo.IKeypoint",
    network.Network: "yolo.Model",
}


def randomise(built: nn.Module, seed: int) -> None:
    """Random weights in which every number matters."""
    built.to_empty(device="cpu")
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in built.state_dict().items():
            if name.endswith("num_batches_tracked"):
                value.zero_()
            elif name.endswith(("running_var", "im.0.implicit", "im.1.implicit")):
                value.uniform_(0.5, 1.5, generator=generator)
            elif value.ndim == 4:
                value.normal_(0, max(value[0].numel(), 16) ** -0.5, generator=generator)
            else:
                value.normal_(0.3, 0.4, generator=generator)
    built.requires_grad_(False)


def make_network(yaml: dict[str, Any] = SMALL, seed: int = 0) -> network.Network:
    """A network with random weights in which every number matters: batch norm statistics, implicit layers, biases."""
    description = Description.from_checkpoint(yaml, "test")
    built, strides = network.build(description, "test")
    randomise(built, seed)
    built.spec = network.make_spec("small", description, strides, ("person",), 64)
    return built


@contextlib.contextmanager
def reference_packages() -> Iterator[Callable[[str], type]]:
    """Packages ``models.yolo`` and ``models.common`` while the block lasts; gives a function that makes a class."""
    modules = {name: types.ModuleType(name) for name in ("models", "models.yolo", "models.common")}

    def make(name: str) -> type:
        module, _, kind = f"models.{name}".rpartition(".")
        if not hasattr(modules[module], kind):
            body = {"__module__": module, "forward": lambda _: None, "fuseforward": lambda _: None}
            setattr(modules[module], kind, type(kind, (nn.Module,), body))
        return getattr(modules[module], kind)

    assert not set(modules) & set(sys.modules)
    sys.modules.update(modules)
    try:
        yield make
    finally:
        for name in modules:
            del sys.modules[name]


def reference_model(source: nn.Module, yaml: dict[str, Any], make: Callable[[str], type]) -> Any:
    """``source`` with the classes and attributes of the reference code."""
    model: Any = copy.deepcopy(source)
    for module in model.modules():
        kind = _CLASSES.get(type(module), f"common.{type(module).__name__}")
        if type(module).__module__.startswith("trtpose."):
            module.__class__ = make(kind)
    del model.sources, model.spec
    model.yaml = copy.deepcopy(yaml)
    model.names = ["person"]
    anchors = torch.tensor(yaml["anchors"], dtype=torch.float32)
    model.model[-1].register_buffer("anchor_grid", anchors.view(len(anchors), 1, -1, 1, 1, 2))
    return model


def save_checkpoint(
    path: Path,
    source: nn.Module,
    yaml: dict[str, Any],
    change: Callable[[Any], Any] = lambda model: {"epoch": -1, "model": model.half(), "ema": None, "optimizer": None},
    zipped: bool = True,
) -> Path:
    """Write a checkpoint; ``change`` makes what is saved out of the model."""
    # The older format stores the source of each class beside it, which takes seconds to find; these have none.
    source_of = mock.patch(
        "torch.serialization.get_source_lines_and_file", return_value=(["class Some: ..."], 1, "some.py")
    )
    with reference_packages() as make, source_of:
        torch.save(change(reference_model(source, yaml, make)), path, _use_new_zipfile_serialization=zipped)
    return path


def halved(source: network.Network) -> network.Network:
    """``source`` with weights that half precision holds exactly."""
    rounded = copy.deepcopy(source).half().float()
    rounded.spec = source.spec
    return rounded


def run(model: Any, pictures: Any) -> list[Any]:
    """The network's heads as arrays."""
    with torch.no_grad():
        return [head.numpy() for head in model(torch.from_numpy(pictures))]


def pictures(seed: int, *shape: int) -> Any:
    return np.random.default_rng(seed).random(shape, np.float32)


def repacked(data: bytes, change: Callable[[str, bytes], bytes | None], compression: int = zipfile.ZIP_STORED) -> bytes:
    """A zip archive with changed entries and right checksums; None drops an entry."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w", compression) as new:
        for info in old.infolist():
            content = change(info.filename, old.read(info))
            if content is not None:
                new.writestr(info.filename, content)
    return out.getvalue()


def with_pickle(data: bytes, pickle: bytes) -> bytes:
    """A checkpoint with another ``data.pkl``."""
    return repacked(data, lambda name, content: pickle if name.endswith("data.pkl") else content)
