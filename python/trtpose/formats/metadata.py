# SPDX-License-Identifier: Apache-2.0
"""What a model file says of itself: the model spec, and the Python literals of Ultralytics' exporters."""

from __future__ import annotations

import ast
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata as packages
from typing import Any

from .. import _core, _run
from .._checks import file_name
from ..spec import METADATA_KEY, ModelSpec

__all__ = [
    "FoundSpec",
    "GivenSpec",
    "description",
    "find_spec",
    "literal",
    "metadata",
    "reads_spec",
    "spec_text",
    "stated_spec",
]

GivenSpec = ModelSpec | Mapping[str, Any] | str | os.PathLike[str] | None
"""A spec as a caller may give it: the spec, a dict of its fields or a JSON file's path."""


@dataclass(frozen=True)
class FoundSpec:
    """The spec of a model file.

    Attributes:
        spec: the spec.
        fields: the same as plain JSON types, as the file's reader gives them.
        origin: where it came from.
    """

    spec: ModelSpec
    fields: dict[str, Any]
    origin: str


def spec_text(spec: GivenSpec) -> str:
    """A spec as the native side takes it: a path, the JSON text itself, or nothing.

    Raises:
        ModelError: the fields are no valid spec.
        InputError: it is of another type.
    """
    if spec is None:
        return ""
    if isinstance(spec, ModelSpec):
        return spec.to_json()
    if isinstance(spec, Mapping):
        return ModelSpec.from_dict(spec).to_json()
    return file_name(spec, "spec", "a ModelSpec, a dict of its fields or the path of a JSON file")


def find_spec(path: str | os.PathLike[str], spec: GivenSpec = None) -> FoundSpec:
    """The spec of a model file: the one given, or else what the file, or a JSON file beside it, says.

    Raises:
        ModelError: there is none, it does not fit the file, or more than one reading is left.
    """
    name = file_name(path, "model")
    _run.reads_model(name)
    text, origin = _core.find_spec(name, spec_text(spec))
    reads_spec(origin)
    return FoundSpec(ModelSpec.from_json(text, source=name), json.loads(text), origin)


def reads_spec(origin: str) -> None:
    """Say that a spec is an input of the run where ``origin``, as the native side tells it, is a file.

    Raises:
        InputError: a result of this run would replace it.
    """
    kind, _, path = origin.partition(" ")
    if kind == "file":
        _run.reads(path)


def stated_spec(values: Mapping[str, str], source: str) -> ModelSpec | None:
    """The spec in a model's metadata, None where there is none.

    Raises:
        ModelError: it is not valid.
    """
    text = values.get(METADATA_KEY)
    return None if text is None else ModelSpec.from_json(text, source=source)


def literal(text: str) -> Any:
    """A value of a model's metadata: a Python literal of plain JSON types where it is one, else the text."""
    try:
        value: Any = ast.literal_eval(text)
        json.dumps(value, allow_nan=False)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text
    return value


def metadata(spec: ModelSpec, shape: tuple[int | None, int | None, int | None], license: str) -> dict[str, str]:
    """The ``metadata_props`` of a model: our spec as JSON, and as Python literals the :func:`description`.

    Args:
        spec: of the model.
        shape: batch, height and width of its input, None where open.
        license: of the weights.
    """
    values = {key: str(value) for key, value in description(spec, shape, license).items()}
    return {METADATA_KEY: json.dumps(spec.to_dict()), **values}


def description(spec: ModelSpec, shape: tuple[int | None, int | None, int | None], license: str) -> dict[str, Any]:
    """The keys that readers of Ultralytics models expect.

    Args:
        spec: of the model.
        shape: batch, height and width of its input, None where open.
        license: of the weights.
    """
    try:
        version = packages.version("trtpose")
    except packages.PackageNotFoundError:
        version = "unknown"
    args = {"batch": shape[0] or 1, "dynamic": None in shape, "half": False, "int8": False, "nms": False}
    values: dict[str, Any] = {
        "description": f"{spec.name or 'pose network'}, exported by trtpose",
        "author": "trtpose",
        "version": version,
        "license": license,
        "stride": spec.max_stride,
        "task": "pose",
        "batch": shape[0] or 1,
        "imgsz": list(spec.imgsz),
        "names": dict(enumerate(spec.names)),
        "args": args,
        "channels": 3,
        "end2end": spec.final,
        "kpt_shape": list(spec.kpt_shape),
    }
    if spec.kpt_names:
        values["kpt_names"] = {index: list(spec.kpt_names) for index in range(spec.classes)}
    return values
