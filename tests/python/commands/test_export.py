# SPDX-License-Identifier: Apache-2.0
"""The command ``trtpose export``, the catalogue behind it, and the full-size network."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch

import export_support as support
import rtx
import trtpose
from trtpose import export
from trtpose.cli import main
from trtpose.cost import model_cost
from trtpose.families.anchor_grid import catalogue, network, write_onnx
from trtpose.formats import checkpoint
from trtpose.formats.onnx_writer import Shape


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return support.save_checkpoint(tmp_path / "small.pt", support.make_network(), support.SMALL)


def _shape(path: Path) -> list[Any]:
    dims = onnx.load(path).graph.input[0].type.tensor_type.shape.dim
    return [dim.dim_param or dim.dim_value for dim in dims]


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        (["--imgsz", "64"], [1, 3, 64, 64]),
        (["--imgsz", "64", "96", "--batch", "2"], [2, 3, 64, 96]),
        (["--imgsz", "64", "--dynamic-batch"], ["batch", 3, 64, 64]),
        (["--dynamic", "--imgsz", "64", "--layout", "decoded"], ["batch", 3, "height", "width"]),
    ],
)
def test_options(options: list[str], shape: list[Any], saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(saved), *options]) == 0
    path = saved.with_suffix(".onnx")
    assert _shape(path) == shape
    printed = capsys.readouterr().out
    assert printed.count("largest difference, noise and shapes") == 1
    assert str(path) in printed
    assert [v.name for v in onnx.load(path).graph.output] == (
        ["output"] if "decoded" in options else ["head_4", "head_8"]
    )


def test_a_file_of_others_is_replaced_only_by_name(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A checkpoint often lies beside the ONNX that its own exporter made of it."""
    command = ["export", str(saved), "--imgsz", "64", "--no-verify"]
    theirs = saved.with_suffix(".onnx")
    for content in (b"not a model", onnx.ModelProto().SerializeToString() or b"\x08\x08"):
        theirs.write_bytes(content)
        assert main(command) == 1
        assert f"{theirs}: a file that trtpose did not write is there; say where to write with -o" in (
            capsys.readouterr().err
        )
        assert theirs.read_bytes() == content
    assert main([*command, "-o", str(theirs)]) == 0
    assert main(command) == 0, "its own is replaced"


def test_output_place(saved: Path, tmp_path: Path) -> None:
    assert main(["export", str(saved), "-o", str(tmp_path / "other.onnx"), "--imgsz", "64", "--no-verify"]) == 0
    assert (tmp_path / "other.onnx").is_file()
    assert not (tmp_path / "small.onnx").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["small.pt", "--imgsz", "100"], "multiples of its largest stride"),
        (["small.pt", "--imgsz", "64", "64", "64"], "one or two numbers"),
        (["absent.pt"], "absent.pt: no such checkpoint file; check the path"),
        (["."], ".: is a folder, not a checkpoint file; give the .pt file itself"),
        (["yolov99-pose"], "known are yolov7-w6-pose"),
        (["text.pt"], "not a PyTorch checkpoint"),
        (["small.pt", "-o", "missing/a.onnx", "--imgsz", "64"], "does not exist"),
        (
            ["small.pt", "-o", "other.pt"],
            "other.pt: the name is that of a checkpoint (.pt), and an ONNX model would be",
        ),
        (["text.onnx", "-o", "text.pt"], "text.pt: the name is that of a checkpoint (.pt), and an ONNX model would be"),
        (["small.pt", "--arch", "nonsense"], "no network of this name"),
        (["text.onnx"], "not a readable ONNX model"),
        (["text.onnx", "--dynamic"], "for checkpoints"),
        (["text.onnx", "--spec", "absent.json"], "cannot read"),
        (["nonsense", "--random"], "no network of this name"),
    ],
)
def test_errors_are_one_line(
    arguments: list[str], message: str, saved: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(saved.parent)
    for name in ("text.pt", "text.onnx"):
        Path(name).write_text("this is a text")
    before = sorted(saved.parent.iterdir())
    assert main(["export", *arguments]) == 1
    printed = capsys.readouterr().err.strip()
    assert printed.startswith("error: ")
    assert message in printed
    assert "\n" not in printed
    assert sorted(saved.parent.iterdir()) == before


def test_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["export", "a.pt", "--layout", "heads5d"])
    assert caught.value.code == 2
    assert "--layout" in capsys.readouterr().err


def test_nothing_else_imports_torch() -> None:
    code = (
        "import sys, trtpose, trtpose.cli, trtpose.cost; assert not {'torch', 'onnx', 'onnxruntime'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=600)


def test_without_torch(saved: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    real = export.require

    def without(module: str, **texts: str) -> Any:
        return real("a_module_that_is_not_installed" if module == "torch" else module, **texts)

    monkeypatch.setattr(export, "require", without)
    assert main(["export", str(saved)]) == 1
    assert 'pip install "trtpose[export]"' in capsys.readouterr().err


# --- The catalogue ----------------------------------------------------------------------------------------------------


def _light(name: str, path: Path) -> Path:
    """A network of the catalogue as ONNX with quick random numbers, which has the same size and cost."""
    entry = catalogue.lookup(name)
    built, strides = network.build(entry.description, name)
    built.to_empty(device="cpu")
    with torch.no_grad():
        for value in built.state_dict().values():
            if value.is_floating_point():
                value.uniform_(0.5, 1)
    built.spec = network.make_spec(name, entry.description, strides, entry.names, entry.imgsz)
    path.write_bytes(write_onnx.write_graph(built, Shape(None, None, None), "heads")[0].SerializeToString())
    return path


@pytest.mark.parametrize(
    ("name", "published"),
    [
        # GMACs by side, from the tables of the YOLO-Pose repository.
        ("yolov5s6-pose", {640: 10.2, 960: 22.8}),
        pytest.param("yolov5m6-pose", {960: 66.3}, marks=pytest.mark.slow),
        pytest.param("yolov5l6-pose", {960: 145.6}, marks=pytest.mark.slow),
        ("yolov5s6-pose-ti-lite", {640: 8.6, 960: 19.3, 1280: 34.4}),
        pytest.param("yolov5m6-pose-ti-lite", {640: 26.1, 960: 58.7}, marks=pytest.mark.slow),
    ],
)
def test_published_costs(name: str, published: dict[int, float], tmp_path: Path) -> None:
    path = _light(name, tmp_path / "a.onnx")
    for side, expected in published.items():
        # They also count batch norm and activations, about 1%.
        assert model_cost(path, side)["macs"] / 1e9 == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("name", catalogue.CATALOGUE)
def test_every_entry_builds(name: str) -> None:
    entry = catalogue.CATALOGUE[name]
    built, strides = network.build(entry.description, name)
    assert strides == tuple(8 << i for i in range(len(strides)))
    assert len(strides) == len(entry.description.anchors)
    assert entry.imgsz % max(strides) == 0
    if name == "yolov7-w6-pose":
        assert built.parameters_count == 80238452


@pytest.mark.shared
@pytest.mark.parametrize(
    ("file", "name", "differing"),
    [
        ("golden/yolov7-w6-pose-eighth", "yolov7-w6-pose", {"width"}),
        ("golden/yolov5s6_kpts-narrow", "yolov5s6-pose", {"width"}),
        ("golden/yolov5s6_kpts_ti_lite-narrow", "yolov5s6-pose-ti-lite", {"width"}),
        ("models/yolov7-lite-t-face5", "yolov7-lite-t-face", set()),
    ],
)
def test_catalogue_agrees_with_checkpoints(file: str, name: str, differing: set[str], shared: Path) -> None:
    """Our descriptions and those inside published checkpoints are the same layers."""
    with checkpoint.Checkpoint(shared / f"{file}.pt") as opened:
        theirs = catalogue.Description.from_checkpoint(opened.network().attributes["yaml"], file)
    ours = catalogue.CATALOGUE[name].description

    def plain(layer: catalogue.Layer, index: int) -> Any:
        sources = layer.source if isinstance(layer.source, tuple) else (layer.source,)
        arguments = [a for a in layer.arguments if a not in (None, "None")]
        places = [s % index if index else s for s in sources]
        if "face" in name and layer.kind in ("SPPF", "IKeypoint"):
            # The published weights are older than the configuration file published beside them: they pool by 3 instead
            # of 5, and their head reads each level one layer earlier.
            return layer.kind
        return places, layer.repeats, layer.kind, arguments

    for i, (a, b) in enumerate(zip(ours.layers, theirs.layers, strict=True)):
        assert plain(a, i) == plain(b, i)
    fields = ("classes", "keypoints", "anchors", "depth", "width", "activation", "deep_keypoints")
    assert {key for key in fields if getattr(ours, key) != getattr(theirs, key)} == differing


def test_random_networks_are_repeatable_and_calm() -> None:
    """Activations neither vanish nor explode through a hundred layers, so that what is measured means something."""
    frames = support.pictures(0, 1, 3, 128, 128)
    a, b, c = (support.run(network.random_network("yolov7-lite-t-face", seed), frames) for seed in (1, 1, 2))
    assert all((x == y).all() for x, y in zip(a, b, strict=True))
    assert any((x != y).any() for x, y in zip(a, c, strict=True))
    for heads in (a, support.run(network.random_network("yolov5s6-pose-ti-lite"), frames)):
        for head in heads:
            assert 0.1 < head.std() < 3
            objectness = head.reshape(1, 3, -1, *head.shape[2:])[:, :, 4]
            assert objectness.max() < 1


@pytest.mark.slow
def test_full_size_network(tmp_path: Path) -> None:
    """80 million parameters with random weights: exported within the promised time and memory, built by TensorRT."""
    path = tmp_path / "w6.onnx"
    began = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "trtpose", "export", "yolov7-w6-pose", "--random", "-o", str(path)],
        check=True,
        timeout=600,
    )
    print(f"exported in {time.monotonic() - began:.0f} s")
    # Kilobytes of the largest child of this process; the tests before run their children on small networks.
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    print(f"peak memory {peak:.1f} GiB")
    assert peak < 6
    cost = model_cost(path)
    assert cost["parameters"] == pytest.approx(80.2e6, rel=0.001)
    assert cost["macs"] / 1e9 == pytest.approx(114, rel=0.01)
    spec = trtpose.model_info(path)["spec"] if hasattr(trtpose, "model_info") else None
    assert spec is None or spec["name"] == "yolov7-w6-pose"
    assert len(rtx.build(path)) > 80e6 * 4
