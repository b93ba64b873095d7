# SPDX-License-Identifier: Apache-2.0
"""Tensors as the KServe protocol, version 2, has them in bodies: JSON, and the numbers behind it as bytes."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from .connection import Reply

__all__ = ["HEADER", "OUTPUTS", "Tensor", "arrays_of", "body_of", "texts"]

HEADER = "Inference-Header-Content-Length"

OUTPUTS: Mapping[str, type[np.generic]] = {
    "counts": np.int32,
    "boxes": np.float32,
    "scores": np.float32,
    "class_ids": np.int32,
    "keypoints": np.float32,
    "shapes": np.int32,
}
"""What is asked for, N pictures and M of the most people in one: N, N×M×4, N×M, N×M, N×M×K×3, and N×2 height, width."""

_NAMES = {"INT32": np.int32, "FP32": np.float32}
_LITTLE = {np.int32: "<i4", np.float32: "<f4"}


@dataclass(frozen=True)
class Tensor:
    """An input: its name, type and shape as the protocol has them, and its bytes in parts."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    parts: Sequence[bytes | memoryview]


def texts(elements: Sequence[bytes]) -> list[bytes]:
    """The parts of a BYTES tensor: each element behind its length in 4 bytes."""
    return [part for element in elements for part in (struct.pack("<I", len(element)), element)]


def body_of(tensor: Tensor, parameters: Mapping[str, str]) -> tuple[list[bytes | memoryview], dict[str, str]]:
    """The parts of a request's body, and its headers."""
    size = sum(len(part) for part in tensor.parts)
    entry = {
        "name": tensor.name,
        "datatype": tensor.datatype,
        "shape": list(tensor.shape),
        "parameters": {"binary_data_size": size},
    }
    outputs = [{"name": name, "parameters": {"binary_data": True}} for name in OUTPUTS]
    document: dict[str, Any] = {"inputs": [entry], "outputs": outputs}
    if parameters:
        document["parameters"] = dict(parameters)
    head = json.dumps(document).encode()
    headers = {HEADER: str(len(head)), "Content-Type": "application/octet-stream"}
    return [head, *tensor.parts], headers


def arrays_of(reply: Reply) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """The JSON of an answer, and the arrays behind it.

    Raises:
        ValueError: they are not what :data:`OUTPUTS` says; the text says what is wrong.
    """
    text = reply.headers.get(HEADER.lower(), "")
    if not (text.isascii() and text.isdigit() and int(text[:19]) <= len(reply.data)):
        raise ValueError(f"the header {HEADER} is {text!r}")
    document: Any = json.loads(reply.data[: int(text)])
    outputs: Any = cast("dict[str, Any]", document).get("outputs") if isinstance(document, dict) else None
    if not isinstance(outputs, list):
        raise ValueError("it lists no outputs")
    place = int(text)
    arrays: dict[str, NDArray[Any]] = {}
    for output in cast("list[Any]", outputs):
        name, kind, shape, size = _described(output)
        if size != math.prod(shape) * 4 or place + size > len(reply.data):
            raise ValueError(f"the output {name} has {size} bytes for the shape {list(shape)}")
        numbers = np.frombuffer(reply.data, _LITTLE[kind], size // 4, place)
        arrays[name] = numbers.astype(kind).reshape(shape)
        place += size
    missing = [name for name in OUTPUTS if name not in arrays]
    if missing or place != len(reply.data):
        raise ValueError(f"the output {missing[0]} is missing" if missing else "more bytes came than its outputs have")
    return cast("dict[str, Any]", document), arrays


def _described(output: Any) -> tuple[str, Any, tuple[int, ...], int]:
    """Name, type, shape and bytes of an output."""
    try:
        name, shape = output["name"], output["shape"]
        kind, size = _NAMES.get(output["datatype"]), output["parameters"]["binary_data_size"]
    except (TypeError, KeyError):
        raise ValueError("an output is not described, or its numbers are not behind the JSON") from None
    if not isinstance(name, str) or name not in OUTPUTS or kind is not OUTPUTS[name]:
        raise ValueError(f"the output {name!r} is {output['datatype']!r}")
    sides: list[Any] = cast("list[Any]", shape) if isinstance(shape, list) else [None]
    if not all(type(side) is int and 0 <= side < 1 << 31 for side in (*sides, size)):
        raise ValueError(f"the output {name} has the shape {shape!r}")
    return name, kind, tuple(sides), size
