# SPDX-License-Identifier: Apache-2.0
"""Refused and failed builds, with stand-ins for TensorRT 8.6, 10 and 11."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import fake_tensorrt
import trtpose
from build_support import EVERY, MODERN
from trtpose.errors import BudgetError, ModelError


@pytest.mark.parametrize("version", EVERY)
def test_a_refused_node_is_named(version: str, use: Any, model: Path, tmp_path: Path) -> None:
    use(version).told["refuse"] = "Relu"
    with pytest.raises(ModelError) as caught:
        trtpose.build(model, tmp_path / "x.engine", precision="fp32")
    text = str(caught.value)
    assert f"refuses node model.0/Relu{'' if version == '8' else ' (Relu)'}: No importer registered" in text
    assert "\n" not in text
    assert not (tmp_path / "x.engine").exists()


@pytest.mark.parametrize("version", EVERY)
def test_a_failed_build(version: str, use: Any, model: Path, tmp_path: Path) -> None:
    told = use(version).told
    told["fail"] = (
        "IBuilder::buildSerializedNetwork: Error Code 10: Internal Error (Could not find any implementation for node "
        "model.0/Conv.)"
    )
    with pytest.raises(
        ModelError, match=r"cannot build it: Could not find any implementation for node model\.0/Conv; try"
    ):
        trtpose.build(model, tmp_path / "x.engine", precision="fp32")
    told["fail"] = "[defaultAllocator.cpp::allocate::31] Error Code 1: Cuda Runtime (out of memory)"
    with pytest.raises(BudgetError, match=r"not enough free memory .*Cuda Runtime \(out of memory\).*--workspace"):
        trtpose.build(model, tmp_path / "x.engine", precision="fp32")
    assert list(tmp_path.glob("*engine*")) == []


@pytest.mark.parametrize("version", EVERY)
def test_an_engine_that_is_not_what_was_asked(version: str, use: Any, model: Path, tmp_path: Path) -> None:
    use(version).told["convolutions"] = "Float"
    with pytest.raises(ModelError, match=r"fp16 was asked, but of the 3 convolutions of the engine 3 fp32 \(100%\)"):
        trtpose.build(model, tmp_path / "x.engine", precision="fp16")
    assert list(tmp_path.glob("*engine*")) == []


@pytest.mark.parametrize("version", MODERN)
def test_an_engine_that_does_not_tell(version: str, use: Any, model: Path, tmp_path: Path) -> None:
    use(version).told["convolutions"] = "Unknown"
    with pytest.raises(KeyError):
        _ = fake_tensorrt.DataType["Unknown"]
    built = trtpose.build(model, tmp_path / "x.engine", precision="fp16")
    assert built.engine is None
    assert built.header["trtpose_engine"]["layers"] == dict(built.network.layers)
    assert any("does not tell" in line for line in built.report())
