# SPDX-License-Identifier: Apache-2.0
"""What a model file says of itself."""

from __future__ import annotations

import json
from importlib import metadata as packages
from typing import Any

from ..spec import METADATA_KEY, ModelSpec

__all__ = ["metadata"]


def metadata(spec: ModelSpec, shape: tuple[int | None, int | None, int | None], license: str) -> dict[str, str]:
    """The ``metadata_props`` of a model: our spec as JSON, and as Python literals the keys that readers of Ultralytics
    models expect.

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
        "end2end": spec.layout == "final",
        "kpt_shape": list(spec.kpt_shape),
    }
    if spec.kpt_names:
        values["kpt_names"] = {index: list(spec.kpt_names) for index in range(spec.classes)}
    return {METADATA_KEY: json.dumps(spec.to_dict()), **{key: str(value) for key, value in values.items()}}
