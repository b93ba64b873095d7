# SPDX-License-Identifier: Apache-2.0
"""What each version of TensorRT is asked, by stand-ins for 8.6, 10 and 11."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import fake_tensorrt
import trtpose
from build_support import EVERY, GPU, MODERN, asked_of
from trtpose.errors import InputError


@pytest.mark.parametrize("version", EVERY)
def test_fp32(version: str, use: Any, model: Path, tmp_path: Path) -> None:
    use(version)
    built = trtpose.build(model, tmp_path / "x.engine", precision="fp32")
    asked = asked_of(built.path)
    assert asked["flags"] == []  # TF32 is not FP32
    assert (asked["pools"], asked["profiles"], asked["opt_level"], asked["aux_streams"]) == ({}, [], 3, 0)
    assert asked["previews"] == (["PROFILE_SHARING_0806"] if version == "8" else [])
    assert asked["sources"] == (None if version == "11" else 0b11000)  # without cuBLAS and cuDNN
    assert built.runtime == "tensorrt"
    assert built.version == fake_tensorrt.VERSIONS[version]
    assert built.network.convolutions == built.engine.convolutions == {"fp32": 3}
    engine = built.header["trtpose_engine"]
    assert engine["device"] == {"name": GPU.name, "compute_capability": "8.6"}
    assert engine["compute_capabilities"] == []
    assert engine["memory"]["activations"] == 50 << 20
    assert engine["memory"]["weights"] == (12345 if version == "11" else 4 * (4 * (8 * 3 + 8 * 8 + 36 * 8) + 52))


@pytest.mark.parametrize("version", EVERY)
def test_tf32_on_request(version: str, use: Any, model: Path, tmp_path: Path) -> None:
    use(version)
    assert asked_of(trtpose.build(model, tmp_path / "x.engine", precision="fp32", tf32=True).path)["flags"] == ["TF32"]


@pytest.mark.parametrize("version", EVERY)
def test_ranges_memory_and_effort(version: str, use: Any, model: Path, tmp_path: Path) -> None:
    use(version)
    built = trtpose.build(
        model,
        tmp_path / "x.engine",
        precision="fp16",
        batch="1:2:4",
        imgsz=((64, 96), (64, 96), (128, 192)),
        vram_budget="2GiB",
        opt_level=1,
    )
    asked = asked_of(built.path)
    assert asked["profiles"] == [{"images": [[1, 3, 64, 96], [2, 3, 64, 96], [4, 3, 128, 192]]}]
    assert asked["pools"] == {"WORKSPACE": 512 << 20, "TACTIC_DRAM": 1536 << 20}
    assert asked["opt_level"] == 1
    engine = built.header["trtpose_engine"]
    profile = {"min": [1, 3, 64, 96], "opt": [2, 3, 64, 96], "max": [4, 3, 128, 192]}
    assert engine["profiles"] == [{"images": profile}]
    assert engine["inputs"][0]["shape"] == [-1, 3, -1, -1]
    assert (built.header["batch"], built.header["imgsz"]) == (4, [64, 96])
    named = trtpose.build(
        model, tmp_path / "y.engine", precision="fp32", workspace="64MiB", tactic_memory=1 << 30, batch=3
    )
    assert asked_of(named.path)["pools"] == {"WORKSPACE": 64 << 20, "TACTIC_DRAM": 1 << 30}
    assert named.header["trtpose_engine"]["inputs"][0]["shape"] == [3, 3, 64, 96]


def test_one_open_dimension(use: Any, model: Path, tmp_path: Path) -> None:
    use("10")
    built = trtpose.build(model, tmp_path / "x.engine", precision="fp32", batch=(1, 1, 4))
    assert asked_of(built.path)["profiles"] == [{"images": [[1, 3, 64, 96], [1, 3, 64, 96], [4, 3, 64, 96]]}]
    assert built.header["trtpose_engine"]["inputs"][0]["shape"] == [-1, 3, 64, 96]


@pytest.mark.parametrize("version", EVERY)
def test_compatible_engines(version: str, use: Any, model: Path, tmp_path: Path) -> None:
    use(version)
    built = trtpose.build(
        model, tmp_path / "x.engine", precision="fp32", hardware_compatible="ampere_plus", version_compatible=True
    )
    asked = asked_of(built.path)
    assert (asked["flags"], asked["hardware"]) == (["VERSION_COMPATIBLE"], "AMPERE_PLUS")
    engine = built.header["trtpose_engine"]
    assert (engine["hardware_compatibility"], engine["version_compatible"]) == ("ampere_plus", True)


def test_what_8_does_not_have(use: Any, model: Path, tmp_path: Path) -> None:
    use("8")
    for options, words in (
        ({"weight_streaming": True}, "TensorRT 10 or newer"),
        ({"hardware_compatible": "same_compute_capability"}, "ampere_plus"),
        ({"compute_capability": "8.6"}, "--runtime rtx"),
    ):
        with pytest.raises(InputError, match=words):
            trtpose.build(model, tmp_path / "x.engine", precision="fp32", **options)
    assert list(tmp_path.glob("*engine*")) == []


@pytest.mark.parametrize("version", MODERN)
def test_weight_streaming(version: str, use: Any, model: Path, tmp_path: Path) -> None:
    use(version)
    built = trtpose.build(model, tmp_path / "x.engine", precision="fp32", weight_streaming=True)
    assert asked_of(built.path)["flags"] == ["WEIGHT_STREAMING"]
    assert built.header["trtpose_engine"]["weight_streaming"] is True


@pytest.mark.parametrize("version", MODERN)
def test_nms_in_the_engine(
    version: str, use: Any, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "plugin.so").touch()
    monkeypatch.setenv("TRTPOSE_PLUGIN", str(tmp_path / "plugin.so"))
    module = use(version)
    built = trtpose.build(model, tmp_path / "x.engine", precision="fp16", nms_in_engine=True, conf=0.4, max_det=20)
    assert module.told["plugins"] == [str(tmp_path / "plugin.so")]
    engine = built.header["trtpose_engine"]
    assert engine["plugins"] == ["trtpose_decode_nms/1"]
    assert [entry["name"] for entry in engine["outputs"]] == ["num_dets", "boxes", "scores", "classes", "keypoints"]
    assert engine["outputs"][4]["shape"] == [1, 20, 4, 3]
    assert (built.spec.extra["nms"]["conf"], built.spec.outputs[0]) == (0.4, "num_dets")
