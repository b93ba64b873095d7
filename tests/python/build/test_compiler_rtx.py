# SPDX-License-Identifier: Apache-2.0
"""The real builder of TensorRT for RTX: what it refuses, and how it is stopped."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest

import trtpose
from build_support import DEMO, nothing_but
from onnx_models import spec_fields, write_model
from trtpose import cli
from trtpose.errors import ModelError

pytestmark = pytest.mark.usefixtures("no_gpu")


@pytest.mark.usefixtures("builder")
def test_an_unknown_operator_is_named(tmp_path: Path) -> None:
    source = write_model(tmp_path / "net.onnx", batch=1, metadata={"trtpose": json.dumps(spec_fields())})
    net = onnx.load(str(source))
    net.graph.node.append(onnx.helper.make_node("Curl", ["head_8"], ["curled"], name="a/Curl", domain="com.example"))
    net.opset_import.append(onnx.helper.make_opsetid("com.example", 1))
    net.graph.output[0].name = "curled"
    net.metadata_props[0].value = json.dumps(spec_fields(outputs=["curled", "head_16"]))
    onnx.save(net, str(source))
    with pytest.raises(ModelError, match=r"refuses node a/Curl \(Curl\): .*; TensorRT knows no such operator"):
        trtpose.build(source, precision="fp32")
    assert nothing_but(tmp_path, "net.onnx")


@pytest.mark.usefixtures("builder")
def test_ctrl_c_stops_the_real_builder(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    ctrl_c: Callable[[], None],
    capfd: pytest.CaptureFixture[str],
) -> None:
    from trtpose.commands.console import Progress

    phases: list[str] = []

    def share(_: Any, phase: str, done: float) -> None:
        assert 0 <= done <= 1
        phases.append(phase)
        if len(phases) == 1:
            ctrl_c()
            time.sleep(0.2)  # for the main thread to see it

    monkeypatch.setattr(Progress, "share", share)
    assert cli.main(["build", str(DEMO), "-o", str(tmp_path / "x.engine"), "--fp32"]) == 130
    assert capfd.readouterr().err.splitlines()[-1] == "interrupted"
    assert nothing_but(tmp_path)
    stopped = len(phases)
    phases += ["not the first"]
    assert cli.main(["build", str(DEMO), "-o", str(tmp_path / "x.engine"), "--fp32"]) == 0
    assert len(phases) - stopped > 2 * stopped  # it did stop early


@pytest.mark.usefixtures("builder")
def test_an_old_engine_outlives_a_failed_build(tmp_path: Path) -> None:
    target = tmp_path / "x.engine"
    target.write_bytes(b"an engine")

    def fail(_: str, __: float) -> None:
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        trtpose.build(DEMO, target, precision="fp32", progress=fail)
    assert target.read_bytes() == b"an engine"
    assert nothing_but(tmp_path, "x.engine")
