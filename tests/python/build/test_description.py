# SPDX-License-Identifier: Apache-2.0
"""What an engine file says of itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import trtpose
from onnx_models import spec_fields, write_model


def test_models_of_others_are_described(use: Any, tmp_path: Path) -> None:
    """A model with a spec file beside it and no metadata at all."""
    use("10")
    source = write_model(tmp_path / "theirs.onnx", "decoded", batch=1)
    spec = spec_fields("decoded")
    (tmp_path / "theirs.json").write_text(json.dumps(spec))
    built = trtpose.build(source, precision="fp32")
    assert built.path == tmp_path / "theirs.engine"
    header = built.header
    assert header["trtpose"]["layout"] == "decoded"
    assert (header["task"], header["stride"], header["batch"], header["imgsz"]) == ("pose", 16, 1, [64, 96])
    assert (header["names"], header["kpt_shape"], header["end2end"]) == ({"0": "person"}, [3, 3], False)
    assert header["args"] == {"batch": 1, "dynamic": False, "half": False, "int8": False, "nms": False}
