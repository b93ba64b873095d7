# SPDX-License-Identifier: Apache-2.0
"""Raw heads in another exporter's graph, and the graph cut back to them.

Heads of anchors on a grid are found by structure, not by names: for each stride, a Reshape of the head to
N x A x F x h x w and a Transpose to N x A x h x w x F, behind which nothing but the heads' values matters.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from .. import _files
from ..spec import METADATA_KEY, ModelSpec
from . import onnx_file
from .metadata import metadata
from .onnx_runner import Runner, sample_pictures

__all__ = ["GridHeads", "describe", "find_heads", "metadata_of", "picture_of"]

Array = NDArray[np.float32]

_PERMUTATION = [0, 1, 3, 4, 2]  # N A F h w to N A h w F


def picture_of(model: onnx.ModelProto) -> onnx.ValueInfoProto:
    """The input that is no constant."""
    constants = {value.name for value in model.graph.initializer}
    return next(value for value in model.graph.input if value.name not in constants)


def metadata_of(model: onnx.ModelProto) -> dict[str, str]:
    """What a file says of itself."""
    return {entry.key: entry.value for entry in model.metadata_props}


def find_heads(model: onnx.ModelProto) -> list[tuple[str, str]]:
    """(head, transposed head) tensors if everything that the outputs depend on goes through the heads; else empty."""
    producer = {name: node for node in model.graph.node for name in node.output}

    def behind(name: str, kinds: tuple[str, ...]) -> str:
        while name in producer and producer[name].op_type in kinds:
            name = producer[name].input[0]
        return name

    found: list[tuple[str, str]] = []
    for node in model.graph.node:
        permutation = next((list(a.ints) for a in node.attribute if a.name == "perm"), None)
        if node.op_type != "Transpose" or permutation != _PERMUTATION:
            continue
        reshape = producer.get(behind(node.input[0], ("Identity",)))
        if reshape is not None and reshape.op_type == "Reshape":
            found.append((behind(reshape.input[0], ("Identity",)), node.output[0]))
    heads = {head for head, _ in found}
    if len(heads) != len(found):
        return []
    # Walk from the outputs against the flow; the picture must not be reached past the heads except for its shape.
    picture = picture_of(model).name
    pending = [value.name for value in model.graph.output]
    seen: set[str] = set()
    while pending:
        name = pending.pop()
        if name == picture:
            return []
        if name in seen or name in heads or name not in producer:
            continue
        seen.add(name)
        if producer[name].op_type not in ("Shape", "Size"):
            pending.extend(producer[name].input)
    return found


class GridHeads:
    """What a graph computes on a sample: its heads, as they are and transposed, and its outputs.

    Attributes:
        heads: name and numbers N x (A*F) x h x w of each head, the largest first.
        turned: the same as N x A x h x w x F.
        outputs: the numbers of the graph's outputs.
        shape: of the sample.
        open: which of its sizes the graph leaves open.
    """

    def __init__(self, model: onnx.ModelProto, heads: list[tuple[str, str]], source: str) -> None:
        self.source = source
        self.picture = picture_of(model)
        dims = [dim.dim_value for dim in self.picture.type.tensor_type.shape.dim]
        # 256 is a multiple of all strides in use; open sizes are tried at one with unequal sides.
        self.shape = (dims[0] or 1, dims[1] or 3, dims[2] or 256, dims[3] or 320)
        self.open = [d == 0 for d in dims]
        probe = copy.deepcopy(model)
        self.originals = [value.name for value in model.graph.output]
        # A deep copy of the graph's outputs makes room for the inner tensors beside them.
        for name in [name for pair in heads for name in pair]:
            if name not in self.originals:
                probe.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
        runner = Runner(onnx_file.checked(probe, source))
        values = dict(zip(runner.outputs, runner(self.sample(0)), strict=True))
        pairs = [(head, values[head], values[turned], turned) for head, turned in heads]
        pairs.sort(key=lambda pair: -pair[1].shape[-1])
        self.heads = [(name, value) for name, value, _, _ in pairs]
        self.turned = [(name, value) for _, _, value, name in pairs]
        self.outputs = [values[name] for name in self.originals]

    def sample(self, seed: int) -> Array:
        """A picture, N x 3 x H x W."""
        return sample_pictures(self.shape, seed)["shapes"]

    def strides(self) -> list[int] | None:
        """Of each head, ascending; None where the heads are not raw predictions of the same anchors."""
        height, width = self.shape[2:]
        strides: list[int] = []
        for (_, head), (_, turned) in zip(self.heads, self.turned, strict=True):
            if head.ndim != 4 or turned.ndim != 5 or height % head.shape[2] or width % head.shape[3]:
                return None
            n, anchors, h, w, fields = turned.shape
            if head.shape != (n, anchors * fields, h, w):
                return None
            if not np.array_equal(head.reshape(n, anchors, fields, h, w).transpose(0, 1, 3, 4, 2), turned):
                return None
            if height // h != width // w:
                return None
            strides.append(height // h)
        anchors, fields = self.turned[0][1].shape[1], self.turned[0][1].shape[-1]
        if strides != sorted(set(strides)) or any(
            t.shape[1] != anchors or t.shape[-1] != fields for _, t in self.turned
        ):
            return None
        return strides

    def box_anchors(self, decoded: Array) -> list[list[list[float]]]:
        """Anchors from the decoded sides in columns 2 and 3 of a list: w = (2 sigmoid(t))^2 * anchor."""
        levels: list[list[list[float]]] = []
        at = 0
        for _, turned in self.turned:
            n, count, h, w, fields = turned.shape
            part = decoded[:, at : at + count * h * w].reshape(n, count, h, w, fields)[..., 2:4].astype(np.float64)
            at += count * h * w
            scale = (2 / (1 + np.exp(-turned[..., 2:4].astype(np.float64)))) ** 2
            # Large factors have the smallest relative error.
            ratios = np.median(
                np.where(scale > np.median(scale), part / scale, np.nan)[0].reshape(count, -1, 2), axis=1
            )
            if np.isnan(ratios).any():
                ratios = np.median((part / scale)[0].reshape(count, -1, 2), axis=1)
            near = np.round(ratios, 0)
            ratios = np.where(np.abs(ratios - near) < 1e-4 * near + 1e-4, near, ratios)
            levels.append([[float(v) for v in anchor] for anchor in ratios])
        return levels

    def cut(self, model: onnx.ModelProto, strides: Sequence[int], outputs: Sequence[str]) -> onnx.ModelProto:
        """The graph up to the heads, which get these names."""
        names = {head: name for (head, _), name in zip(self.heads, outputs, strict=True)}
        names[self.picture.name] = "images"
        taken = {name for node in model.graph.node for name in node.output} | {v.name for v in model.graph.initializer}
        for name in set(names.values()) & (taken - set(names)):
            names[name] = f"{name}_inner"
        cut = onnx.ModelProto()
        cut.CopyFrom(model)
        graph = cut.graph
        del graph.node[:], graph.output[:], graph.initializer[:], graph.value_info[:], graph.input[:]
        producer = {name: node for node in model.graph.node for name in node.output}
        needed: set[str] = set()
        pending = [head for head, _ in self.heads]
        while pending:
            name = pending.pop()
            if name not in needed:
                needed.add(name)
                pending.extend(producer[name].input if name in producer else [])
        for node in model.graph.node:
            if any(name in needed for name in node.output):
                kept = graph.node.add()
                kept.CopyFrom(node)
                kept.input[:] = [names.get(name, name) for name in node.input]
                kept.output[:] = [names.get(name, name) for name in node.output]
        for value in model.graph.initializer:
            if value.name in needed:
                graph.initializer.add().CopyFrom(value)
                graph.initializer[-1].name = names.get(value.name, value.name)
        graph.input.add().CopyFrom(self.picture)
        graph.input[0].name = "images"
        dims = [dim.dim_value or dim.dim_param or None for dim in self.picture.type.tensor_type.shape.dim]
        for (_, head), stride, name in zip(self.heads, strides, outputs, strict=True):
            cells = [d // stride if isinstance(d, int) else None for d in dims[2:]]
            shape = [dims[0], head.shape[1], *cells]
            graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape))
        return cut


def describe(model: onnx.ModelProto, spec: ModelSpec, output: Path) -> None:
    """Write the model with the spec in its metadata; other metadata is kept."""
    dims = [dim.dim_value or None for dim in picture_of(model).type.tensor_type.shape.dim]
    old = metadata_of(model)
    new = metadata(spec, (dims[0], dims[2], dims[3]), old.get("license", "unknown: that of the source"))
    described = copy.copy(model)
    del described.metadata_props[:]
    for key, value in {**new, **{k: v for k, v in old.items() if k != METADATA_KEY}}.items():
        described.metadata_props.add(key=key, value=value)
    _files.write_bytes(output, described.SerializeToString(deterministic=True))
