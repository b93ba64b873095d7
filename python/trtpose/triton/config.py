# SPDX-License-Identifier: Apache-2.0
"""``config.pbtxt``: what Triton is told of a model.

The fields are those of ModelConfig: https://github.com/triton-inference-server/common/blob/main/protobuf/model_config.proto
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

from ..serving.tensors import INPUTS, output_shapes
from ..spec import METADATA_KEY, ModelSpec
from .network import Network, Tensor

__all__ = ["FORMAT", "NETWORK_KEY", "Word", "network_config", "poses_config", "text_of"]

FORMAT = 1
"""Of ``trtpose.json``, which the trtpose in Triton's Python reads: it need not be the one that wrote it."""

NETWORK_KEY = "trtpose_network"
"""Key of the spec in the configuration of a network alone, which takes no pictures and gives no people."""


class Word(str):
    """A value of an enumeration, which stands without quotes."""


_TYPES = {"float32": "TYPE_FP32", "float16": "TYPE_FP16", "int32": "TYPE_INT32"}
_PROTOCOL = {"UINT8": "TYPE_UINT8", "BYTES": "TYPE_STRING", "INT32": "TYPE_INT32", "FP32": "TYPE_FP32"}


def network_config(name: str, network: Network) -> dict[str, Any]:
    """The configuration of the network alone."""
    config: dict[str, Any] = {"name": name}
    if network.backend == "tensorrt":
        config["platform"] = "tensorrt_plan"
    else:
        config["backend"] = network.backend
    config["default_model_filename"] = network.file
    config["max_batch_size"] = network.batched
    config["input"] = [_tensor(network.input, network.batched)]
    config["output"] = [_tensor(tensor, network.batched) for tensor in network.outputs]
    if network.backend == "tensorrt":
        # Ours have one profile; named so that an engine with others is not run at one nobody asked for.
        config["instance_group"] = [{"count": 1, "kind": Word("KIND_GPU"), "profile": ["0"]}]
    else:
        config["instance_group"] = [{"count": 1, "kind": Word("KIND_CPU")}]
    if network.batched > 1:
        config["dynamic_batching"] = {}
    config["parameters"] = _parameters(NETWORK_KEY, network.spec)
    return config


def poses_config(name: str, spec: ModelSpec, instances: int) -> dict[str, Any]:
    """The configuration of the model that takes pictures and gives people."""
    inputs = [
        {"name": entry, "data_type": Word(_PROTOCOL[kind]), "dims": list(shape), "optional": True}
        for entry, kind, shape in INPUTS
    ]
    outputs = [
        {"name": entry, "data_type": Word(_PROTOCOL[kind]), "dims": list(shape)}
        for entry, kind, shape in output_shapes(spec.keypoints)
    ]
    return {
        "name": name,
        "backend": "python",
        # Pictures of a request need not be of one size with those of another: the network's model joins them.
        "max_batch_size": 0,
        "input": inputs,
        "output": outputs,
        "instance_group": [{"count": instances, "kind": Word("KIND_CPU")}],
        "parameters": _parameters(METADATA_KEY, spec),
    }


def _parameters(key: str, spec: ModelSpec) -> list[dict[str, Any]]:
    """The spec, where clients find it: Triton gives the configuration to whoever asks."""
    return [{"key": key, "value": {"string_value": json.dumps(spec.to_dict())}}]


def _tensor(tensor: Tensor, batched: int) -> dict[str, Any]:
    dims = list(tensor.shape[1:] if batched else tensor.shape)
    return {"name": tensor.name, "data_type": Word(_TYPES[tensor.dtype]), "dims": dims}


def text_of(message: Mapping[str, Any]) -> str:
    """A message of protobuf in its text form, for texts in ASCII, numbers, flags, messages and lists of these."""
    return "".join(_lines(message, ""))


def _lines(message: Mapping[str, Any], indent: str) -> list[str]:
    lines: list[str] = []
    for key, value in message.items():
        several = isinstance(value, list)
        entries = cast("Sequence[Any]", value) if several else [value]
        if several and all(isinstance(entry, (int, str)) for entry in entries):
            lines.append(f"{indent}{key}: [{', '.join(_scalar(entry) for entry in entries)}]\n")
            continue
        for entry in entries:
            if isinstance(entry, Mapping):
                inner = _lines(cast("Mapping[str, Any]", entry), indent + "  ")
                lines += [f"{indent}{key} {{\n", *inner, f"{indent}}}\n"] if inner else [f"{indent}{key} {{}}\n"]
            else:
                lines.append(f"{indent}{key}: {_scalar(entry)}\n")
    return lines


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, Word)):
        return str(value)
    # JSON's escapes are among those of the text form, except that of characters beyond ASCII, of which there are none
    # in what comes here: names are checked, and specs are JSON already.
    return json.dumps(value)
