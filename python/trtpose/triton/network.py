# SPDX-License-Identifier: Apache-2.0
"""The network of a model file, as one of Triton's backends takes it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from .. import _core, _run
from .._checks import file_name
from ..build import engine_file
from ..build.graft import OUTPUTS
from ..build.graft import PLUGIN as _PLUGIN
from ..errors import InputError, ModelError
from ..formats.metadata import GivenSpec, find_spec
from ..spec import ModelSpec

__all__ = ["Network", "Tensor", "default_name", "read_network"]

_FLOATS = ("float32", "float16")


@dataclass(frozen=True)
class Tensor:
    """A tensor's name, its type as numpy calls it, and its shape with the batch first, -1 where a side is open."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Network:
    """A network for Triton.

    Attributes:
        backend: ``tensorrt``, ``onnxruntime`` or ``openvino``.
        file: what its file is called in a version's folder.
        data: the file.
        input, outputs: its tensors.
        profile: smallest, best and largest shape of the input, where it was built for a range.
        batch: frames of a run at most.
        batched: the same where any number up to it is taken and Triton may join requests; 0: shapes have the batch.
        spec: how to feed it and to read its outputs.
        decoded: whether trtpose's plugin is in it: it gives people in pixels of its input.
    """

    backend: str
    file: str
    data: bytes = field(repr=False)
    input: Tensor
    outputs: tuple[Tensor, ...]
    profile: tuple[tuple[int, ...], ...]
    batch: int
    batched: int
    spec: ModelSpec
    decoded: bool


def read_network(
    model: str | os.PathLike[str], *, spec: GivenSpec = None, backend: str | None = None, batch: int = 8
) -> Network:
    """Read a model file for Triton.

    Args:
        model: an engine file of ``trtpose build``, or an ONNX model.
        spec: model spec for an ONNX that carries none.
        backend: of an ONNX model, ``onnxruntime`` (by default) or ``openvino``.
        batch: frames per run at most, of an ONNX model that takes any number.

    Raises:
        ModelError: the file cannot be read, or Triton's backends do not run it.
        InputError: an argument does not go with the file.
    """
    path = file_name(model, "model", "the path of an ONNX model or an engine file")
    facts = _core.read_model_file(path)
    if facts["kind"] == "engine":
        if backend is not None:
            raise InputError(f"{path}: is an engine file, which TensorRT's backend runs; leave the backend out")
        return _engine(path, facts, spec)
    return _onnx(path, facts, spec, backend or "onnxruntime", batch)


def _tensors(path: str, entries: Sequence[dict[str, Any]]) -> tuple[Tensor, ...]:
    found: list[Tensor] = []
    for entry in entries:
        tensor = Tensor(str(entry["name"]), str(entry["dtype"]), tuple(int(side) for side in entry["shape"]))
        if len(tensor.shape) < 2:
            raise ModelError(f"{path}: does not say how many axes {tensor.name} has; write it with trtpose export")
        found.append(tensor)
    return tuple(found)


def _one_input(path: str, inputs: Sequence[Tensor]) -> Tensor:
    if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].dtype not in _FLOATS:
        listed = ", ".join(f"{one.name} ({one.dtype}, {list(one.shape)})" for one in inputs) or "none"
        raise ModelError(
            f"{path}: has the inputs {listed}, expected one of N×3×height×width floating-point numbers; bring it to "
            "that form with trtpose export"
        )
    return inputs[0]


def _check_outputs(path: str, outputs: Sequence[Tensor], kinds: Sequence[str]) -> None:
    for output in outputs:
        if output.dtype not in kinds:
            raise ModelError(f"{path}: its output {output.name} is {output.dtype}; trtpose reads {' and '.join(kinds)}")


def _engine(path: str, facts: dict[str, Any], spec: GivenSpec) -> Network:
    found = engine_file.read(path)
    if found.runtime == "rtx":
        raise ModelError(
            f"{path}: is an engine of TensorRT for RTX, which Triton has no backend for; build it with trtpose build "
            "--runtime tensorrt, of the container's version"
        )
    if not facts["inputs"] or not facts["outputs"]:
        raise ModelError(f"{path}: does not name its tensors, so that nothing can be told to Triton; use an engine "
                         "of trtpose build")  # fmt: skip
    profiles: list[Any] = facts["engine"]["profiles"]
    plugins: list[str] = facts["engine"]["plugins"]
    decoded = any(name.partition("/")[0] == _PLUGIN for name in plugins)
    foreign = [name for name in plugins if name.partition("/")[0] != _PLUGIN]
    if foreign:
        raise ModelError(f"{path}: needs the plugins {', '.join(foreign)}, which trtpose does not know")
    # The spec of one with the plugin describes what the plugin reads; such files are refused elsewhere.
    own = found.spec if decoded else find_spec(path, spec).spec
    if own is None:
        raise ModelError(f"{path}: carries no model spec; build it with trtpose build")
    if decoded and own.sizing == "height":
        raise ModelError(f"{path}: its input's width follows the frame, which the plugin is not told; build it without")
    source = _one_input(path, _tensors(path, facts["inputs"]))
    outputs = _tensors(path, facts["outputs"])
    if decoded:
        by_name = {one.name: one for one in outputs}
        if set(by_name) != set(OUTPUTS):
            raise ModelError(f"{path}: gives {', '.join(by_name)}, expected {', '.join(OUTPUTS)} of trtpose's plugin")
        outputs = tuple(by_name[name] for name in OUTPUTS)
    _check_outputs(path, outputs, (*_FLOATS, "int32") if decoded else _FLOATS)
    if len(profiles) != 1 or source.name not in profiles[0]:
        raise ModelError(f"{path}: has {len(profiles)} profiles, expected one; build it with trtpose build")
    ends: Any = profiles[0][source.name]
    profile = tuple(tuple(int(side) for side in ends[key]) for key in ("min", "opt", "max"))
    low, high = profile[0][0], profile[2][0]
    free = source.shape[0] < 0 and all(one.shape[0] < 0 for one in outputs)
    most = int(facts["most_frames"]) or high
    return Network(
        "tensorrt",
        "model.plan",
        found.plan(),
        source,
        outputs,
        profile,
        min(high, most),
        min(high, most) if free and low == 1 else 0,
        own,
        decoded,
    )


def _onnx(path: str, facts: dict[str, Any], spec: GivenSpec, backend: str, batch: int) -> Network:
    _run.reads_model(path)
    found = find_spec(path, spec).spec
    source = _one_input(path, _tensors(path, facts["inputs"]))
    if source.shape[1] not in (3, -1):
        raise ModelError(f"{path}: its input is {list(source.shape)}; bring it to N×3×height×width with trtpose export")
    outputs = _tensors(path, facts["outputs"])
    _check_outputs(path, outputs, _FLOATS)
    free = source.shape[0] < 0
    if free and facts["most_frames"]:
        batch = min(batch, int(facts["most_frames"]))
    if not free:
        batch = source.shape[0]
    joined = free and all(one.shape[0] < 0 for one in outputs)
    return Network(
        backend,
        "model.onnx",
        cast("bytes", _core.read_onnx(path)),
        source,
        outputs,
        (),
        batch,
        # OpenVINO's backend has a way of its own with a batch that it is told; shapes with -1 it takes as they are.
        # ONNX Runtime's takes one of its own choice where it could join requests and is told none.
        batch if joined and backend == "onnxruntime" else 0,
        found,
        False,
    )


def default_name(model: str | os.PathLike[str]) -> str:
    """What a model is called: its file's name, in characters that folders and addresses take alike."""
    stem = Path(model).stem
    return "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "_" for c in stem).strip(".") or "model"
