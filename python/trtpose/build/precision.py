# SPDX-License-Identifier: Apache-2.0
"""In which precision a network computes: read from it before the build, from the engine after."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from ..errors import ModelError

__all__ = ["Shares", "of_engine", "of_network", "verify"]

# The types of layers that only move, fold or convert: they say nothing of how the network computes.
_CARRIERS = frozenset(
    (
        *("CONSTANT", "QUANTIZE", "DEQUANTIZE", "CAST", "IDENTITY", "ASSERTION"),
        *("SHAPE", "SHUFFLE", "SLICE", "GATHER", "SQUEEZE", "UNSQUEEZE", "FILL"),
    )
)
_CONVOLUTIONS = frozenset(("CONVOLUTION", "DECONVOLUTION", "MATRIX_MULTIPLY"))
_NAMES = {"FLOAT": "fp32", "HALF": "fp16", "BF16": "bf16", "INT8": "int8", "FP8": "fp8", "INT4": "int4", "FP4": "fp4"}
_ORDER = ("fp32", "bf16", "fp16", "fp8", "int8", "int4", "fp4")


@dataclass(frozen=True)
class Shares:
    """Counts by precision (``fp32``, ``fp16``, ``int8``, ...).

    Attributes:
        layers: layers that compute; those that only move or convert are left out.
        convolutions: convolutions and matrix products among them, where nearly all the work is.
        source: ``network`` or ``engine``.
    """

    layers: Mapping[str, int]
    convolutions: Mapping[str, int]
    source: str = field(default="network")

    def __str__(self) -> str:
        parts = [f"{what} {_text(counts)}" for what, counts in self.items() if counts]
        return "; ".join(parts)

    def items(self) -> list[tuple[str, Mapping[str, int]]]:
        """What is counted, and the counts."""
        return [("convolutions", self.convolutions), ("all layers", self.layers)]


def _text(counts: Mapping[str, int]) -> str:
    total = sum(counts.values())
    return ", ".join(f"{count} {name} ({100 * count / total:.0f}%)" for name, count in counts.items())


def _ordered(counts: Mapping[str, int]) -> dict[str, int]:
    return {name: counts[name] for name in _ORDER if counts.get(name)}


def _add(counts: dict[str, int], name: str) -> None:
    counts[name] = counts.get(name, 0) + 1


def of_network(network: Any, *, default: str | None = None, pinned: Collection[int] = ()) -> Shares:
    """Count the layers of a parsed network by the precision they will compute in.

    Args:
        network: ``INetworkDefinition``.
        default: weakly typed networks: the precision allowed where nothing else is set; None for strongly typed ones,
            whose tensors say it.
        pinned: of a weakly typed network, the indices of the layers set to FP32.
    """
    quantised: set[str] = set()
    layers: dict[str, int] = {}
    convolutions: dict[str, int] = {}
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        kind = layer.type.name
        if kind == "DEQUANTIZE":
            quantised.add(layer.get_output(0).name)
        if kind in _CARRIERS or layer.num_outputs < 1:
            continue
        name = _NAMES.get(layer.get_output(0).dtype.name)
        if name is None:  # arithmetic on shapes
            continue
        if default is not None and name == "fp32" and index not in pinned:
            name = default
        if kind in _CONVOLUTIONS:
            inputs = [layer.get_input(at) for at in range(min(layer.num_inputs, 2))]
            if inputs and all(tensor is not None and tensor.name in quantised for tensor in inputs):
                name = "int8"
            _add(convolutions, name)
        _add(layers, name)
    return Shares(_ordered(layers), _ordered(convolutions))


# "Half", "Row major linear FP16 format", "Thirty-two wide channel vectorized row major Int8 format", ...
_FORMATS = (
    (re.compile(r"\bint8\b", re.IGNORECASE), "int8"),
    (re.compile(r"\bfp8\b", re.IGNORECASE), "fp8"),
    (re.compile(r"\b(bf16|bfloat16)\b", re.IGNORECASE), "bf16"),
    (re.compile(r"\b(fp16|half)\b", re.IGNORECASE), "fp16"),
    (re.compile(r"\b(fp32|float)\b", re.IGNORECASE), "fp32"),
)


def _format(value: Any) -> str | None:
    text = str(value)
    return next((name for pattern, name in _FORMATS if pattern.search(text)), None)


def of_engine(information: str) -> Shares | None:
    """Count the layers of a built engine.

    Args:
        information: what ``EngineInspector.get_engine_information`` gives as JSON.

    Returns:
        None where the text does not tell, as for engines built without detailed profiling information.
    """
    try:
        entries: Any = json.loads(information)["Layers"]
    except (ValueError, KeyError, TypeError):
        return None
    layers: dict[str, int] = {}
    convolutions: dict[str, int] = {}
    for entry in cast("list[Any]", entries):
        if not isinstance(entry, dict):
            continue
        layer = cast("dict[str, Any]", entry)
        kind = f"{layer.get('LayerType', '')} {layer.get('ParameterType', '')}".lower()
        if any(word in kind for word in ("reformat", "constant", "noop", "shape", "signal", "wait")):
            continue
        name = _engine_layer(layer)
        if name is None:
            continue
        _add(layers, name)
        if "conv" in kind or "gemm" in kind or "matrix" in kind:
            _add(convolutions, name)
    return Shares(_ordered(layers), _ordered(convolutions), "engine") if layers else None


def _engine_layer(layer: Mapping[str, Any]) -> str | None:
    """Of the weights where there are some, else of the inputs: what comes out may be converted on the way."""
    weights: Any = layer.get("Weights")
    if isinstance(weights, dict):
        name = _format(cast("dict[str, Any]", weights).get("Type", ""))
        if name is not None:
            return name
    found: list[str] = []
    for tensor in cast("list[Any]", layer.get("Inputs") or []):
        if isinstance(tensor, dict):
            name = _format(cast("dict[str, Any]", tensor).get("Format/Datatype", ""))
            if name is not None:
                found.append(name)
    return max(found, key=_ORDER.index) if found else None


def verify(asked: str, shares: Shares, path: Any) -> None:
    """See that a network or engine is what was asked.

    Args:
        asked: ``fp32``, ``fp16`` or ``int8``.
        shares: what was found.
        path: what to call it in the message.

    Raises:
        ModelError: FP32 was asked and not everything is; FP16, and fewer than half of the convolutions are; INT8, and
            none is. The message holds the counts.
    """
    counts = shares.convolutions or shares.layers
    total = sum(counts.values())
    halves = counts.get("fp16", 0)
    if asked == "fp32":
        wrong = total != counts.get("fp32", 0)
        remedy = "export the network in FP32, or ask for what it is with --fp16 or --int8"
    elif asked == "fp16":
        wrong = 2 * halves < total or counts.get("int8", 0) > 0
        remedy = "give the FP32 ONNX, which is converted here"
    else:
        wrong = counts.get("int8", 0) == 0
        remedy = "quantise the network with: trtpose quantize, or give --calib with the FP32 ONNX"
    if wrong and total:
        what = "convolutions" if shares.convolutions else "layers"
        raise ModelError(
            f"{path}: {asked} was asked, but of the {total} {what} of the {shares.source} {_text(counts)} "
            f"{'is' if total == 1 else 'are'} found; {remedy}"
        )
