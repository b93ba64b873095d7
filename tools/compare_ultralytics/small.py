# SPDX-License-Identifier: Apache-2.0
"""The ends of exports with almost nothing in front, and what the program finds with them: data of tests.

    PYTHONPATH=tools python -m compare_ultralytics.small tests/data/ultralytics

Each file is what the program wrote of a network of random numbers, from the last convolutions on. These are replaced by
means over the cells of the picture and one weight per colour. The rest of the graph is as it was, but for names: its
output for our numbers, none of its code or texts. ``found.json`` has its own predictions in pixels of ``tall.png`` and
``wide.png``.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper

import trtpose

from . import peer
from .compare import MOST, thresholds
from .matrix import OPTIONS, Case
from .peer import F32, Found, Network, Picture

STRIDES = (8, 16, 32)
SIZE = 64
KEPT = ("stride", "task", "head", "batch", "imgsz", "names", "args", "channels", "end2end", "kpt_shape")
"""Of the metadata."""

CASES = [
    Case(Network("v8", (17, 3), 1, 1), "plain"),
    Case(Network("v8", (5, 2), 2, 2), "dynamic"),
    Case(Network("11", (4, 2), 3, 3), "half"),
    Case(Network("11", (5, 3), 2, 4), "nms"),
    Case(Network("v8", (1, 3), 3, 5), "end2end"),
    Case(Network("11", (21, 3), 1, 6), "batch"),
    Case(Network("11", (4, 2), 2, 7), "rectangular"),
    Case(Network("v8", (1, 3), 1, 8), "opset"),
    Case(Network("26", (4, 2), 3, 11), "plain"),
    Case(Network("26", (17, 3), 1, 12), "dynamic"),
    Case(Network("26", (5, 2), 2, 13), "half"),
    Case(Network("26", (4, 2), 3, 14), "nms"),
    Case(Network("26", (5, 2), 2, 15), "end2end"),
    Case(Network("26", (1, 3), 2, 16), "batch"),
    Case(Network("26", (21, 3), 1, 17), "rectangular"),
    Case(Network("26", (5, 2), 3, 18), "opset"),
    Case(Network("v8", (5, 2), 2, 21), "dynamic+nms"),
    Case(Network("v8", (4, 2), 2, 22), "dynamic+nms+batch"),
    Case(Network("26", (4, 2), 2, 23), "dynamic+end2end"),
    Case(Network("26", (5, 2), 3, 24), "half+end2end"),
]
assert {case.option for case in CASES} >= set(OPTIONS)


def drawn(height: int, width: int, seed: int) -> Picture:
    """Blocks of chance colours, a few of which fill a cell of the finest grid."""
    blocks = np.random.default_rng(seed).integers(0, 256, (height // 12, width // 12, 3), np.uint8)
    return cv2.resize(blocks, (width, height), interpolation=cv2.INTER_NEAREST)


KINDS = {"2": "box", "3": "score", "4": "keypoints"}


def _places(cuts: Sequence[onnx.NodeProto]) -> list[tuple[str, int]]:
    """What each of the last convolutions gives, and which of the grids; those of no branch only give a grid's size."""
    branches = [re.search(r"cv(\d)(?:_kpts)?\.(\d)", cut.name) for cut in cuts]
    sizes = iter(range(len(STRIDES)))
    return [(KINDS[found[1]], int(found[2])) if found else ("size", next(sizes)) for found in branches]


def _tail(graph: onnx.GraphProto) -> tuple[list[onnx.NodeProto], list[onnx.NodeProto]]:
    """The last convolutions with a bias before the output, and what lies behind them, in the graph's order."""
    makers = {name: node for node in graph.node for name in node.output}
    wanted, cuts, kept = [output.name for output in graph.output], {}, set()
    while wanted:
        node = makers.get(wanted.pop())
        if node is None or node.output[0] in kept or node.output[0] in cuts:
            continue
        if node.op_type == "Conv" and len(node.input) == 3:
            cuts[node.output[0]] = node
        else:
            kept.add(node.output[0])
            wanted.extend(node.input)
    return list(cuts.values()), [node for node in graph.node if node.output[0] in kept]


def _weights(kind: str, channels: int, cells: F32, rng: np.random.Generator) -> tuple[F32, F32]:
    """Of three colours to the channels, and a bias, so that each channel varies over the cells as a network's do."""
    weights = rng.normal(size=(channels, 3))
    values = cells @ weights.T
    weights *= ({"box": 0.4, "score": 1.5}.get(kind, 1.0) / values.std(0))[:, None]
    offset = {"box": -0.5 * np.arange(16) if channels > 4 else np.full(1, 2.0), "score": np.full(1, -1.5)}
    mean = np.tile(offset.get(kind, np.zeros(1)), channels)[:channels]
    return weights.astype(np.float32), (mean - (cells @ weights.T).mean(0)).astype(np.float32)


def shrink(file: Path, output: Path, pictures: Sequence[Picture], seed: int) -> None:
    """Write the end of an export, on means of the picture."""
    model = onnx.load(str(file))
    graph = model.graph
    cuts, tail = _tail(graph)
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    casts = {node.input[0]: node.output[0] for node in graph.node if node.op_type == "Cast"}
    picture, rng = graph.input[0].name, np.random.default_rng(seed)
    source = casts.get(picture, picture)
    front = [node for node in graph.node if node.output[0] == source]
    for level, stride in enumerate(STRIDES):
        sides = {"kernel_shape": [stride] * 2, "strides": [stride] * 2}
        front.append(helper.make_node("AveragePool", [source], [f"cells_{level}"], **sides))
    inputs = np.stack([trtpose.letterbox(picture, SIZE) for picture in pictures])
    made = []
    cuts.sort(key=lambda node: (len(node.name), node.name))
    for index, (node, (kind, level)) in enumerate(zip(cuts, _places(cuts), strict=True)):
        old = numpy_helper.to_array(tensors[node.input[1]])
        side = SIZE // STRIDES[level]
        cells = inputs.reshape(len(inputs), 3, side, STRIDES[level], side, STRIDES[level]).mean((3, 5))
        channels = 1 if kind == "size" else len(old)
        weights, bias = _weights(kind, channels, cells.swapaxes(1, 3).reshape(-1, 3), rng)
        names = [f"weights_{index}", f"bias_{index}"]
        for name, values in zip(names, (weights[..., None, None], bias), strict=True):
            made.append(numpy_helper.from_array(values.astype(old.dtype), name))
        front.append(helper.make_node("Conv", [f"cells_{level}", *names], [node.output[0]]))
    used = {name for node in tail for name in node.input}
    _write(model, front + tail, made + [t for t in graph.initializer if t.name in used], output)


def _write(model: onnx.ModelProto, nodes: list[Any], tensors: list[Any], output: Path) -> None:
    """The model with these nodes under names of no meaning and the metadata that readers need."""
    graph = model.graph
    names: dict[str, str] = {"": "", graph.input[0].name: "images", graph.output[0].name: "output0"}

    def short(name: str) -> str:
        return names.setdefault(name, f"t{len(names) - 3}")

    for tensor in tensors:
        tensor.name = short(tensor.name)
        tensor.doc_string = ""
    for node in nodes:
        outer = list(node.input), list(node.output)
        node.name = node.doc_string = ""
        del node.metadata_props[:]
        node.input[:], node.output[:] = ([short(name) for name in part] for part in outer)
    made = helper.make_graph(nodes, "end", [graph.input[0]], [graph.output[0]], tensors)
    small = helper.make_model(made, opset_imports=model.opset_import, ir_version=model.ir_version)
    for entry in model.metadata_props:
        if entry.key in KEPT:
            small.metadata_props.add(key=entry.key, value=entry.value)
    onnx.save(small, str(output))


def _as_json(found: Found) -> dict[str, Any]:
    def rounded(values: F32, digits: int) -> Any:
        return np.round(values.astype(float), digits).tolist()

    return {
        "boxes": rounded(found.boxes, 3),
        "scores": rounded(found.scores, 5),
        "classes": found.classes.astype(int).tolist(),
        "keypoints": rounded(found.keypoints, 3),
    }


def make(case: Case, output: Path, pictures: dict[str, Picture], scratch: Path) -> dict[str, Any]:
    """Write one file, and return what the program finds with it."""
    options = {**case.options, "imgsz": [SIZE, SIZE + 32] if case.has("rectangular") else SIZE}
    every = list(pictures.values())
    model = peer.build(case.network, scratch, every, SIZE)
    if case.has("nms"):  # thresholds lie inside of the graph: those of the same end without NMS
        plain = {key: value for key, value in options.items() if key != "nms"}
        shrink(peer.export(model, scratch, plain), scratch / "plain.onnx", every, case.network.seed)
        limits = thresholds(peer.load(scratch / "plain.onnx"), every, imgsz=SIZE, rect=False, share=(0.9, 0.98))
        options |= limits
    shrink(peer.export(model, scratch, options), output, every, case.network.seed)
    exact = peer.load(peer.widened(output, scratch / "wide.onnx") if case.has("half") else output)
    asked: dict[str, Any] = {"imgsz": options["imgsz"], "rect": False}
    if not case.has("nms"):
        limits = thresholds(exact, every, **asked, share=(0.9, 0.98))
    out: dict[str, Any] = {"option": case.option, "conf": limits["conf"], "iou": limits["iou"], "max_det": MOST}
    for rect in (False, True) if case.has("dynamic") else (False,):
        asked["rect"] = rect
        ways = [peer.predict(exact, [picture], **limits, **asked, max_det=MOST)[0] for picture in every]
        out["rect" if rect else "found"] = {name: _as_json(f) for name, f in zip(pictures, ways, strict=True)}
    return out


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    pictures = {"tall": drawn(180, 132, 1), "wide": drawn(120, 204, 2)}
    for name, picture in pictures.items():
        cv2.imwrite(str(folder / f"{name}.png"), picture)
    found = {}
    for case in CASES:
        name = f"{case.network.version}-{case.option}".replace("+", "-")
        with tempfile.TemporaryDirectory() as scratch:
            found[name] = make(case, folder / f"{name}.onnx", pictures, Path(scratch))
        counts = [len(each["scores"]) for each in found[name]["found"].values()]
        print(f"{name:<24} {(folder / f'{name}.onnx').stat().st_size:6} bytes, poses {counts}", flush=True)
    text = json.dumps({"program": f"ultralytics {peer.ultralytics.__version__}", "files": found})
    (folder / "found.json").write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
