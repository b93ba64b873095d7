# SPDX-License-Identifier: Apache-2.0
"""``trtpose build`` with the real builder of TensorRT for RTX, which needs neither a GPU nor a driver."""

from __future__ import annotations

import sys
from pathlib import Path

import onnx
import pytest

import trtpose
from build_support import CHANNELS, DEMO, SIDE, with_pairs
from trtpose import cli
from trtpose.build import engine_file

pytestmark = pytest.mark.usefixtures("no_gpu")


@pytest.mark.usefixtures("builder")
def test_demo(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    sizes: dict[str, int] = {}
    for kind in ("fp32", "fp16"):
        target = tmp_path / f"{kind}.engine"
        assert cli.main(["build", str(DEMO), "-o", str(target), f"--{kind}"]) == 0
        out, err = capfd.readouterr()
        assert err == ""
        assert "building for TensorRT for RTX: no NVIDIA driver is installed" in out
        assert f"{kind}, batch 1, {SIDE}x{SIDE} pixels" in out
        found = engine_file.read(target)
        sizes[kind] = found.size
        assert (found.runtime, found.version) == ("rtx", found.engine["version"])
        convolutions = found.engine["convolutions"]
        assert (
            convolutions.get("fp16", 0) > 2 * convolutions["fp32"] if kind == "fp16" else set(convolutions) == {"fp32"}
        )
        assert f"{convolutions['fp32']} fp32" in out
    assert sizes["fp16"] < 0.85 * sizes["fp32"]  # much of the demo's plan is code


@pytest.mark.usefixtures("builder")
def test_ranges(tmp_path: Path) -> None:
    built = trtpose.build(DEMO, tmp_path / "x.engine", precision="fp16", batch="1:2:4", imgsz="128:224:320x256")
    profile = {"min": [1, 3, 128, 128], "opt": [2, 3, 224, 224], "max": [4, 3, 320, 256]}
    engine = built.header["trtpose_engine"]
    assert engine["profiles"] == [{"images": profile}]
    assert engine["inputs"] == [{"name": "images", "dtype": "float32", "shape": [-1, 3, -1, -1]}]
    assert [entry["name"] for entry in engine["outputs"]] == ["head_8", "head_16", "head_32"]
    assert {tuple(entry["shape"]) for entry in engine["outputs"]} == {(-1, CHANNELS, -1, -1)}
    assert str(built.shapes) == "batch 1:2:4, 128x128:224x224:320x256 pixels"


@pytest.mark.usefixtures("builder")
def test_fixed_shapes_are_in_the_graph(tmp_path: Path) -> None:
    built = trtpose.build(DEMO, tmp_path / "x.engine", precision="fp32", batch=2, imgsz=(160, 96))
    engine = built.header["trtpose_engine"]
    assert engine["inputs"][0]["shape"] == [2, 3, 160, 96]
    assert [entry["shape"] for entry in engine["outputs"]] == [[2, CHANNELS, 160 // s, 96 // s] for s in (8, 16, 32)]
    assert engine["profiles"] == [{"images": {key: [2, 3, 160, 96] for key in ("min", "opt", "max")}}]
    assert (built.header["batch"], built.header["imgsz"]) == (2, [160, 96])


@pytest.mark.slow
def test_w6_pose(w6: Path, tmp_path: Path) -> None:
    """Full size; FP16 takes about half of FP32, as 95 % of the convolutions are in it, INT8 a third and more."""
    sizes: dict[str, int] = {}
    for kind in ("fp32", "fp16", "int8"):
        source = w6
        if kind == "int8":
            source = tmp_path / "int8.onnx"
            onnx.save(with_pairs(onnx.load(str(w6))), str(source))
        built = trtpose.build(source, tmp_path / f"{kind}.engine", precision=kind)
        sizes[kind] = built.size
        counts = built.network.convolutions
        assert sum(counts.values()) == 155  # as docs/export.md counts them
        assert counts.get(kind) == (155 if kind == "fp32" else 147)
        assert counts["fp32"] == (155 if kind == "fp32" else 8)
        assert built.header["trtpose_engine"]["profiles"][0]["images"]["max"] == [1, 3, 960, 960]
        built.path.unlink()
    assert 0.48 < sizes["fp16"] / sizes["fp32"] < 0.56
    assert 0.25 < sizes["int8"] / sizes["fp32"] < 0.4


@pytest.mark.usefixtures("builder")
@pytest.mark.parametrize("name", ["SMALL", "FOCUS", "SHUFFLE"])
@pytest.mark.parametrize("layout", ["heads", "decoded"])
@pytest.mark.parametrize("form", ["fixed", "batch", "open"])
def test_every_export(name: str, layout: str, form: str, tmp_path: Path) -> None:
    support = pytest.importorskip("export_support")
    from trtpose.export import export_network

    source = tmp_path / "net.onnx"
    network = support.make_network(getattr(support, name))
    export_network(
        network,
        source,
        imgsz=64,
        layout=layout,
        batch=None if form == "batch" else 1,
        dynamic=form == "open",
        verify=False,
    )
    options_ = (
        {} if form == "fixed" else {"batch": "1:2:4"} if form == "batch" else {"batch": "1:2:4", "imgsz": "32:64:64"}
    )
    built = trtpose.build(source, tmp_path / "x.engine", precision="fp16", **options_)
    assert built.spec.layout == layout
    assert built.size > 1000
    assert {entry["dtype"] for entry in built.header["trtpose_engine"]["outputs"]} == {"float32"}


@pytest.mark.shared
@pytest.mark.usefixtures("builder")
@pytest.mark.parametrize(
    "name", ["yolov7-w6-pose-eighth", "yolov5s6_kpts-narrow", "yolov5s6_kpts_ti_lite-narrow", "yolov7-lite-t-face5"]
)
def test_published_kinds(name: str, shared: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="torch is not installed; pip install trtpose[export]")
    from trtpose.export import export

    folder = "models" if name.endswith("face5") else "golden"
    source = tmp_path / "net.onnx"
    export(shared / folder / f"{name}.pt", source, imgsz=256, verify=False)
    for kind in ("fp32", "fp16"):
        assert trtpose.build(source, tmp_path / f"{kind}.engine", precision=kind).size > 1000


@pytest.mark.shared
@pytest.mark.usefixtures("builder")
def test_a_model_of_ultralytics(shared: Path, tmp_path: Path) -> None:
    """Static shape, its own metadata, no spec of ours."""
    source = shared / "models" / "yolo26n-pose-256.onnx"
    built = trtpose.build(source, tmp_path / "x.engine", precision="fp16")
    assert built.spec.layout == "channels_first"
    counts = built.network.convolutions
    assert counts["fp16"] > 10 * counts["fp32"]
    header = built.header
    assert header["description"].startswith("Ultralytics YOLO26n-pose")  # theirs stay
    assert (header["author"], header["license"][:8]) == ("Ultralytics", "AGPL-3.0")
    assert (header["names"], header["kpt_shape"], header["stride"]) == ({"0": "person"}, [17, 3], 32)
    assert (header["args"]["half"], header["args"]["int8"], header["end2end"]) == (True, False, False)
    assert header["trtpose"]["layout"] == "channels_first"


def test_nothing_is_imported_before_it_is_used() -> None:
    import subprocess

    code = (
        "import inspect, sys, trtpose; assert 'trtpose.build' not in sys.modules; build = trtpose.build; "
        "assert 'precision' in inspect.signature(build).parameters; "
        "assert not {'onnx', 'torch', 'tensorrt', 'tensorrt_rtx_bindings'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
