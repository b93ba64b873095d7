# SPDX-License-Identifier: Apache-2.0
"""Ultralytics as a program: networks of random but varied weights, their exports, and its own predictions.

Nothing of its code is copied here: networks are built from its own configuration files and everything else goes through
``YOLO(...)``, ``export`` and ``predict``.
"""

from __future__ import annotations

import importlib.metadata
import os
import sys
import tempfile
import types
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
import yaml
from numpy.typing import NDArray
from onnx import numpy_helper

import trtpose

F32 = NDArray[np.float32]
Picture = NDArray[np.uint8]

VERSIONS = ("v8", "11", "26")


def plain_nms(boxes: torch.Tensor, scores: torch.Tensor, threshold: float) -> torch.Tensor:
    """Greedy suppression: indices of what is kept, by falling score.

    Args:
        boxes: N × 4, corners.
        scores: N.
        threshold: an overlap (IoU) above it removes the lower score.
    """
    order = scores.argsort(descending=True, stable=True)
    boxes = boxes[order]
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    low, high = torch.maximum(boxes[:, None, :2], boxes[:, :2]), torch.minimum(boxes[:, None, 2:], boxes[:, 2:])
    shared = (high - low).clamp(min=0).prod(2)
    overlaps = (shared > threshold * (areas[:, None] + areas - shared)).numpy()
    alive = np.ones(len(boxes), bool)
    for row in range(len(boxes)):
        if alive[row]:
            alive[row + 1 :] &= ~overlaps[row, row + 1 :]
    return order[torch.from_numpy(alive)]


def _stand_in_for_torchvision() -> torch.library.Library:
    """Its NMS, which the program calls and the exporter knows by name; no build of it goes with a PyTorch for CPUs."""
    library = torch.library.Library("torchvision", "FRAGMENT")
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.impl("nms", plain_nms, "CPU")
    module, ops = types.ModuleType("torchvision"), types.ModuleType("torchvision.ops")
    ops.nms = torch.ops.torchvision.nms  # type: ignore[attr-defined]
    module.ops = ops  # type: ignore[attr-defined]
    module.__version__ = "0.28.0"  # type: ignore[attr-defined]
    sys.modules.update({"torchvision": module, "torchvision.ops": ops})
    asked = importlib.metadata.version
    importlib.metadata.version = lambda name: module.__version__ if name == "torchvision" else asked(name)
    return library


def _load() -> tuple[types.ModuleType, Any]:
    """The program, which neither installs packages nor reports its use, with settings of its own."""
    os.environ.update(YOLO_AUTOINSTALL="false", YOLO_OFFLINE="true", YOLO_VERBOSE="false")
    os.environ.setdefault("YOLO_CONFIG_DIR", tempfile.mkdtemp(prefix="ultralytics-"))
    library = _stand_in_for_torchvision()
    import ultralytics
    from torch.onnx import register_custom_op_symbolic, symbolic_helper

    @symbolic_helper.parse_args("v", "v", "f")
    def symbolic(g: Any, boxes: Any, scores: Any, threshold: float) -> Any:
        """ONNX's operator: of one picture and one class here; the last column of its answer is the box."""

        def constant(values: Any) -> Any:
            return g.op("Constant", value_t=torch.tensor(values))

        batched, by_class = g.op("Unsqueeze", boxes, constant([0])), g.op("Unsqueeze", scores, constant([0, 1]))
        kept = g.op("NonMaxSuppression", batched, by_class, constant([2**31 - 1]), constant([threshold]))
        return g.op("Squeeze", g.op("Gather", kept, constant([2]), axis_i=1), constant([1]))

    register_custom_op_symbolic("torchvision::nms", symbolic, 13)
    return ultralytics, library


ultralytics, _LIBRARY = _load()


@dataclass(frozen=True)
class Network:
    """One of the program's pose networks.

    Attributes:
        version: v8, 11 or 26.
        keypoints: how many, and 2 or 3 numbers for each.
        classes: how many.
        seed: of its weights.
    """

    version: str
    keypoints: tuple[int, int] = (17, 3)
    classes: int = 1
    seed: int = 0


def _spread(convolution: torch.nn.Conv2d, maps: torch.Tensor, mean: torch.Tensor, deviation: float) -> None:
    """Scale a last convolution so that each channel of its ``maps``, N × C × h × w, has the mean and the deviation."""
    values = maps.transpose(0, 1).flatten(1)
    factor = deviation / values.std(1).clamp(min=1e-6)
    convolution.weight.data.mul_(factor[:, None, None, None])
    assert convolution.bias is not None
    convolution.bias.data.copy_((convolution.bias.data - values.mean(1)) * factor + mean)


def _last_convolutions(head: Any) -> Iterator[tuple[str, torch.nn.Conv2d]]:
    """What ends the branches of both heads, and whether it gives boxes, scores or keypoints."""
    for prefix in ("", "one2one_"):
        for name, kind in (("cv2", "box"), ("cv3", "score"), ("cv4", "keypoints"), ("cv4_kpts", "keypoints")):
            for branch in getattr(head, prefix + name, None) or ():
                last = branch if isinstance(branch, torch.nn.Conv2d) else branch[-1]
                if isinstance(last, torch.nn.Conv2d):
                    yield kind, last


def _vary(model: Any, pictures: torch.Tensor) -> None:
    """Give a new network averages of real pictures, and outputs that differ from place to place as trained ones do.

    Untrained, signals die out on the way and every score is nearly the same: nothing would be compared. Small
    weights of the norms keep the layers nearly linear: where each bends its signals fully, a random network doubles
    any rounding error again and again, to a pixel in the end.
    """
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None
            module.weight.data.fill_(0.1)
    head = model.model[-1]
    last = list(_last_convolutions(head))
    for _, convolution in last:  # the second head is made as a copy of the first
        torch.nn.init.normal_(convolution.weight, std=0.1)
    model.float().train()
    seen: dict[Any, torch.Tensor] = {}
    hooks = [c.register_forward_hook(lambda module, _, out: seen.update({module: out})) for _, c in last]
    with torch.no_grad():
        model(pictures)
        model.eval()
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = 0.03
        model(pictures)
    for hook in hooks:
        hook.remove()
    bins = head.reg_max
    offsets = {"box": -0.5 * torch.arange(bins) if bins > 1 else torch.full((1,), 2.0), "score": torch.tensor([-1.0])}
    for kind, convolution in last:
        channels = convolution.out_channels
        offset = offsets.get(kind, torch.zeros(1))
        mean = offset.repeat(channels // len(offset))
        _spread(convolution, seen[convolution], mean, {"box": 0.4, "score": 1.5, "keypoints": 1.0}[kind])


def build(network: Network, folder: Path, pictures: Sequence[Picture], imgsz: int) -> Any:
    """The network as the program's own object, its weights drawn by its seed and settled on the pictures."""
    root = Path(ultralytics.__file__).parent / "cfg" / "models"
    fields = yaml.safe_load(next(root.rglob(f"yolo{network.version}-pose.yaml")).read_text())
    fields |= {"nc": network.classes, "kpt_shape": list(network.keypoints), "scale": "n"}
    # The file's name is where exports go.
    file = folder / f"yolo{network.version}n-pose.yaml"
    file.write_text(yaml.safe_dump(fields))
    torch.manual_seed(network.seed)
    model = ultralytics.YOLO(str(file), task="pose")
    _vary(model.model, torch.from_numpy(np.stack([trtpose.letterbox(picture, imgsz) for picture in pictures])))
    return model


def load(file: Path) -> Any:
    """A written file as the program opens it."""
    return ultralytics.YOLO(str(file), task="pose")


def export(model: Any, folder: Path, options: dict[str, Any]) -> Path:
    """Write the network as ONNX; the program's own words on it are not shown."""
    with _inside(folder):
        written = model.export(format="onnx", device="cpu", verbose=False, **options)
    return folder / str(written)


@dataclass(frozen=True)
class Found:
    """What was found in one picture, in its pixels; keypoints are clipped to it, as the program does.

    Attributes:
        boxes: n × 4, corners.
        scores: n.
        classes: n.
        keypoints: n × K × 2 or 3: x, y and confidence.
    """

    boxes: F32
    scores: F32
    classes: F32
    keypoints: F32


def predict(model: Any, pictures: Sequence[Picture], **options: Any) -> list[Found]:
    """The program's own predictions, one picture after the other: on a busy machine its NMS stops within a batch."""
    # What a call does not name stays as the call before had it, where it is about the head.
    options = {"nms": None, "device": "cpu", "verbose": False, **options}
    answers = [model.predict(picture, **options)[0] for picture in pictures]
    return [
        Found(
            answer.boxes.xyxy.numpy(),
            answer.boxes.conf.numpy(),
            answer.boxes.cls.numpy(),
            answer.keypoints.data.numpy(),
        )
        for answer in answers
    ]


@contextmanager
def _inside(folder: Path) -> Iterator[None]:
    """Work in a folder: the program writes into the one it is in."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def widened(file: Path, output: Path) -> Path:
    """The same file with everything of 16 bits in 32: the same weights, computed exactly."""
    half, single = onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT

    def wide(tensor: onnx.TensorProto) -> None:
        if tensor.data_type == half:
            values = numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))

    model = onnx.load(str(file))
    for tensor in model.graph.initializer:
        wide(tensor)
    for node in model.graph.node:
        for attribute in node.attribute:
            wide(attribute.t)
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == half:
                attribute.i = single
    del model.graph.value_info[:]
    onnx.save(model, str(output))
    return output
