# SPDX-License-Identifier: Apache-2.0
"""The last step of a build: what the engine file says of itself."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any, cast

from .. import _core
from ..formats.metadata import description
from ..spec import METADATA_KEY, ModelSpec
from . import engine_file, onnx_model
from .compiler import Compiled
from .onnx_precision import TypedNetwork
from .options import Options
from .resolve import Resolved

__all__ = ["describe"]


def describe(resolved: Resolved, network: TypedNetwork, compiled: Compiled, options: Options) -> dict[str, Any]:
    """The header of the engine file: Ultralytics' keys, the model spec, and :data:`engine_file.ENGINE_KEY`."""
    return {
        **_ultralytics_keys(resolved.model, network.fields, resolved.shapes, options.precision),
        METADATA_KEY: network.fields,
        engine_file.ENGINE_KEY: _engine_keys(resolved, network, compiled, options),
    }


def _engine_keys(resolved: Resolved, network: TypedNetwork, compiled: Compiled, options: Options) -> dict[str, Any]:
    model, library, gpu = resolved.model, resolved.library, resolved.gpu
    shares = compiled.engine or compiled.network
    return {
        "format": engine_file.FORMAT,
        "runtime": library.runtime,
        "version": library.version,
        "precision": options.precision,
        "layers": dict(shares.layers),
        "convolutions": dict(shares.convolutions),
        "device": None
        if library.runtime == "rtx" or gpu is None
        else {"name": gpu.name, "compute_capability": gpu.compute_capability},
        "compute_capabilities": list(resolved.capabilities),
        "hardware_compatibility": options.hardware_compatible,
        "version_compatible": options.version_compatible,
        "weight_streaming": options.weight_streaming,
        "profiles": [{model.input: resolved.shapes.dims()}],
        "inputs": compiled.inputs,
        "outputs": compiled.outputs,
        "onnx": {"name": model.path.name, "sha256": model.sha256},
        "plan": {},
        "memory": {"weights": compiled.weights or network.weights, "activations": compiled.activations},
        "plugins": network.plugins,
        "created": dt.datetime.now(dt.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "trtpose": _core.version(),
    }


def _ultralytics_keys(
    model: onnx_model.OnnxModel, spec: Mapping[str, Any], shapes: onnx_model.Shapes, asked: str
) -> dict[str, Any]:
    """The keys that readers of Ultralytics' engine files look for: those of the ONNX, completed from the spec."""
    height, width = shapes.imgsz.best
    plain = description(model.spec, (shapes.batch.high, height, width), str(model.metadata.get("license", "")))
    values = {**plain, **model.metadata}
    values["description"] = str(model.metadata.get("description") or f"{model.spec.name or 'pose network'}")
    values["date"] = dt.datetime.now().isoformat()
    values.setdefault("docs", "")
    values["batch"], values["imgsz"] = shapes.batch.high, [height, width]
    given: Any = values.get("args")
    args: dict[str, Any] = cast("dict[str, Any]", given) if isinstance(given, dict) else {}
    changed = {
        "batch": shapes.batch.high,
        "dynamic": not shapes.fixed,
        "half": asked != "fp32",
        "int8": asked == "int8",
    }
    values["args"] = {**args, **changed}
    values["end2end"] = ModelSpec.from_dict(spec).final
    return values
