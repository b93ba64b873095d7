# SPDX-License-Identifier: Apache-2.0
"""What a build is for and with, and what is refused before it begins."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import trtpose
from build_support import DEMO, nothing_but
from onnx_models import spec_fields, write_model
from trtpose.build import driver as drivers
from trtpose.errors import DeviceError, InputError, ModelError

pytestmark = pytest.mark.usefixtures("no_gpu")


@pytest.mark.usefixtures("builder")
def test_what_rtx_is_for(tmp_path: Path) -> None:
    every = trtpose.build(DEMO, tmp_path / "all.engine", precision="fp16")
    assert every.header["trtpose_engine"]["compute_capabilities"][:3] == ["8.0", "8.6", "8.9"]
    assert every.header["trtpose_engine"]["device"] is None
    some = trtpose.build(DEMO, tmp_path / "some.engine", precision="fp16", compute_capability="8.9,8.6,8.9")
    assert some.header["trtpose_engine"]["compute_capabilities"] == ["8.6", "8.9"]
    for options_, words in (
        ({"compute_capability": "9.0"}, r"compute capability 9.0: TensorRT for RTX [\d.]+ builds for .*8.6"),
        ({"hardware_compatible": "ampere_plus"}, "--compute-capability"),
        ({"version_compatible": True}, "no version-compatible engines"),
        ({"timing_cache": "here"}, "times nothing"),
    ):
        with pytest.raises(InputError, match=words):
            trtpose.build(DEMO, tmp_path / "no.engine", precision="fp16", **options_)
    assert nothing_but(tmp_path, "all.engine", "some.engine")


def test_a_gpu_that_rtx_does_not_know(builder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    del builder
    found = drivers.Driver((drivers.Device(0, "NVIDIA H200", "9.0", 1 << 37),))
    monkeypatch.setattr(drivers, "query", lambda: found)
    lines: list[str] = []
    built = trtpose.build(DEMO, tmp_path / "x.engine", precision="fp16", runtime="rtx", report=lines.append)
    assert not built.runs_here
    assert lines[0].startswith(
        "the engine will not run here: NVIDIA H200 has compute capability 9.0, it is for 8.0, 8.6"
    )


@pytest.mark.usefixtures("builder")
def test_rtx_refuses_an_nms_of_the_networks_own(tmp_path: Path) -> None:
    source = write_model(tmp_path / "net.onnx", batch=1, metadata={"trtpose": json.dumps(spec_fields())})
    model = onnx.load(str(source))
    names = ["boxes", "scores"]
    model.graph.node.append(onnx.helper.make_node("NonMaxSuppression", names, ["kept"]))
    model.graph.initializer.extend(
        onnx.numpy_helper.from_array(np.zeros(shape, np.float32), name)
        for name, shape in zip(names, ((1, 4, 4), (1, 1, 4)), strict=True)
    )
    onnx.save(model, str(source))
    with pytest.raises(ModelError, match=r"has an NMS of its own \(NonMaxSuppression\).*nms=False"):
        trtpose.build(source, tmp_path / "x.engine", precision="fp32", runtime="rtx")
    assert nothing_but(tmp_path, "net.onnx")


@pytest.mark.usefixtures("builder")
def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        trtpose.build(DEMO, tmp_path / "absent" / "x.engine", precision="fp32")
    with pytest.raises(InputError, match="is a folder"):
        trtpose.build(DEMO, tmp_path, precision="fp32")
    source = write_model(tmp_path / "net.onnx", batch=1, metadata={"trtpose": json.dumps(spec_fields())})
    before = source.read_bytes()
    with pytest.raises(InputError, match="is one of the inputs and would be overwritten"):
        trtpose.build(source, source, precision="fp32")
    assert source.read_bytes() == before


def test_without_packages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt_rtx_bindings", None)
    with pytest.raises(DeviceError, match=r'tensorrt_rtx_cu13_bindings.*pip install "trtpose\[rtx\]"'):
        trtpose.build(DEMO, tmp_path / "x.engine", precision="fp32")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(DeviceError, match=r'onnx.*pip install "trtpose\[build\]"'):
        trtpose.build(DEMO, tmp_path / "x.engine", precision="fp32")
    assert nothing_but(tmp_path)
