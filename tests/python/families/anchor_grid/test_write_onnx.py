# SPDX-License-Identifier: Apache-2.0
"""Networks as ONNX: the numbers of the original, a graph that TensorRT builds, and a file that describes itself."""

from __future__ import annotations

import ast
import dataclasses
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from torch import nn

import export_support as support
import rtx
import trtpose
from others_support import Graph
from trtpose import export
from trtpose.cost import model_cost
from trtpose.families.anchor_grid import network, verify, write_onnx
from trtpose.formats import onnx_file
from trtpose.formats.onnx_runner import Runner
from trtpose.formats.onnx_writer import Shape
from trtpose.info import model_info
from trtpose.networks import compare, translate
from trtpose.spec import METADATA_KEY, ModelSpec

GOLDEN = ("yolov7-w6-pose-eighth", "yolov5s6_kpts-narrow", "yolov5s6_kpts_ti_lite-narrow")
SMALL = {"w6": support.SMALL, "focus": support.FOCUS, "shuffle": support.SHUFFLE}
OPEN = Shape(None, None, None)


def _written(source: network.Network, shape: Shape, layout: str = "heads") -> tuple[onnx.ModelProto, ModelSpec]:
    model, spec = write_onnx.write_graph(source, shape, layout)
    onnx.checker.check_model(model, full_check=True)
    return model, spec


def _outputs(model: onnx.ModelProto, frames: Any) -> list[Any]:
    return Runner(onnx_file.checked(model, "test"))(frames)


@pytest.mark.shared
@pytest.mark.parametrize("name", GOLDEN)
@pytest.mark.parametrize("form", ["fixed", "open"])
def test_golden(name: str, form: str, shared: Path) -> None:
    """What the reference code computed in float32."""
    source = network.load(shared / "golden" / f"{name}.pt")
    with np.load(shared / "golden" / f"{name}.npz") as golden:
        frames, decoded = golden["images"], golden["decoded"]
        heads = [golden[f"head{i}"] for i in range(len(golden["strides"]))]
        np.testing.assert_array_equal(golden["anchors"], source.spec.anchors)
        np.testing.assert_array_equal(golden["strides"], source.spec.strides)
    n, _, h, w = frames.shape
    shape = Shape(n, h, w) if form == "fixed" else OPEN
    for ours, theirs in zip(_outputs(_written(source, shape)[0], frames), heads, strict=True):
        # Folding and summation order: some 1e-6 of the range; 1e-4 is what users are promised.
        assert ours.shape == theirs.shape
        assert np.abs(ours - theirs).max() < 1e-5 * np.abs(theirs).max()
    (rows,) = _outputs(_written(source, shape, "decoded")[0], frames)
    small = np.abs(decoded) < 2000
    assert rows.shape == decoded.shape
    # In pixels: float32's spacing at 2000 is 1.2e-4, and the heads' error is multiplied by twice the stride.
    assert np.abs(rows - decoded)[small].max() < 1e-3
    assert small.mean() > 0.99


@pytest.mark.shared
def test_face_network_matches_its_onnx(shared: Path) -> None:
    """The published checkpoint and an export of it by the reference code give the same raw heads on noise."""
    source = network.load(shared / "models" / "yolov7-lite-t-face5.pt")
    assert source.spec.names == ("face",)
    assert source.spec.kpt_shape == (5, 3)
    model, _ = _written(source, OPEN)
    frames = support.pictures(0, 2, 3, 192, 320)
    theirs = Runner(onnx_file.read(shared / "models" / "yolov7-lite-t-face5.onnx"))(frames)
    for a, b in zip(_outputs(model, frames), theirs, strict=True):
        assert np.abs(a - b).max() < 1e-5 * np.abs(b).max()


@pytest.mark.shared
def test_face_network_finds_the_same_faces(shared: Path, tmp_path: Path) -> None:
    """On a photograph, through the engine: every keypoint within half a pixel."""
    cv2 = pytest.importorskip("cv2")
    frame = cv2.imread(str(shared / "images" / "group.jpg"))
    output = tmp_path / "face.onnx"
    export.export(shared / "models" / "yolov7-lite-t-face5.pt", output, imgsz=640)
    data = Path(__file__).parents[3] / "data" / "yolov7-lite-t-face5.json"
    theirs = trtpose.Engine(shared / "models" / "yolov7-lite-t-face5.onnx", spec=data, imgsz=640).infer([frame])[0]
    ours = trtpose.Engine(output).infer([frame])[0]
    assert len(ours.boxes) == len(theirs.boxes) > 3
    assert np.abs(ours.keypoints[..., :2] - theirs.keypoints[..., :2]).max() < 0.5
    assert np.abs(ours.scores - theirs.scores).max() < 1e-3


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("layout", ["heads", "decoded"])
@pytest.mark.parametrize("shape", [Shape(2, 64, 96), Shape(None, 64, 96), OPEN], ids=["fixed", "batch", "open"])
def test_small_networks(name: str, layout: str, shape: Shape) -> None:
    source = support.make_network(SMALL[name])
    model, spec = _written(source, shape, layout)
    frames = support.pictures(1, 2, 3, 64, 96)
    expected = support.run(source, frames)
    if layout == "decoded":
        expected = [verify.decode(expected, source.spec)]
    found = _outputs(model, frames)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-6 * np.abs(theirs).max() + 1e-5)
    if shape.batch is None:
        # Slot k of a batch equals that frame alone, up to the blocking of the matrix products.
        for ours, alone in zip(found, _outputs(model, frames[1:]), strict=True):
            np.testing.assert_allclose(ours[1:], alone, rtol=0, atol=2e-6 * np.abs(alone).max() + 1e-5)
    if shape == OPEN:
        other = support.pictures(2, 1, 3, 32, 128)
        expected = support.run(source, other)
        if layout == "decoded":
            expected = [verify.decode(expected, source.spec)]
        for ours, theirs in zip(_outputs(model, other), expected, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-6 * np.abs(theirs).max() + 1e-5)
    assert spec.layout == layout


def test_decode_by_hand() -> None:
    """One cell of one anchor, computed here from the published formulas."""
    spec = dataclasses.replace(
        support.make_network().spec, strides=(8,), anchors=(((10.0, 20.0),),), outputs=("head_8",)
    )
    head = np.zeros((1, spec.fields, 2, 3), np.float32)
    head[0, :, 1, 2] = np.linspace(-1, 1, spec.fields)
    t = head[0, :, 1, 2].astype(np.float64)
    s = 1 / (1 + np.exp(-t))
    row = verify.decode([head], spec)[0, 5]
    expected = [
        (2 * s[0] - 0.5 + 2) * 8,
        (2 * s[1] - 0.5 + 1) * 8,
        (2 * s[2]) ** 2 * 10,
        (2 * s[3]) ** 2 * 20,
        s[4],
        s[5],
    ]
    for k in range(3):
        x, y, c = (6 + 3 * k + i for i in range(3))
        expected += [(2 * t[x] - 0.5 + 2) * 8, (2 * t[y] - 0.5 + 1) * 8, s[c]]
    np.testing.assert_allclose(row, expected, rtol=1e-6)


def test_graph_is_clean() -> None:
    model, spec = _written(support.make_network(), Shape(1, 64, 64))
    kinds = Counter(node.op_type for node in model.graph.node)
    assert set(kinds) == {"Conv", "Sigmoid", "Mul", "Concat", "MaxPool", "Resize", "Add"}
    assert [v.name for v in model.graph.input] == ["images"]
    assert [v.name for v in model.graph.output] == ["head_4", "head_8"] == list(spec.outputs)
    assert [[d.dim_value for d in v.type.tensor_type.shape.dim] for v in model.graph.output] == [
        [1, 2 * 15, 16, 16],
        [1, 2 * 15, 8, 8],
    ]
    assert model.opset_import[0].version == 17
    assert model.ir_version == 8
    # The head's nodes are recognisable by name, for those who keep it out of quantisation.
    assert sum(node.op_type == "Conv" and node.name.startswith("head.") for node in model.graph.node) == 2 * 13
    # Space to depth went into the first convolution: kernel 6, stride 2.
    first = next(node for node in model.graph.node if node.op_type == "Conv")
    attributes = {a.name: list(a.ints) for a in first.attribute}
    assert attributes["kernel_shape"] == [6, 6]
    assert attributes["strides"] == [2, 2]
    assert first.input[0] == "images"
    # Poolings of 5, 9 and 13 became a chain of three of 5.
    assert kinds["MaxPool"] == 3
    pools = [node for node in model.graph.node if node.op_type == "MaxPool"]
    assert [list(a.ints) for node in pools for a in node.attribute if a.name == "kernel_shape"] == [[5, 5]] * 3
    assert [node.input[0] for node in pools[1:]] == [node.output[0] for node in pools[:2]]


# --- The file ---------------------------------------------------------------------------------------------------------


def test_metadata(tmp_path: Path) -> None:
    source = support.make_network()
    made = export.export_network(source, tmp_path / "a.onnx", imgsz=(64, 96))
    model = onnx.load(made.path)
    props = {entry.key: entry.value for entry in model.metadata_props}
    spec = ModelSpec.from_json(props[METADATA_KEY])
    assert spec == made.spec
    assert spec.imgsz == (64, 96)
    assert spec.anchors == source.spec.anchors
    literal = {
        key: ast.literal_eval(props[key])
        for key in ("stride", "imgsz", "names", "kpt_shape", "batch", "channels", "args")
    }
    assert literal["stride"] == 8
    assert literal["imgsz"] == [64, 96]
    assert literal["names"] == {0: "person"}
    assert literal["kpt_shape"] == [3, 3]
    assert literal["batch"] == 1
    assert literal["channels"] == 3
    assert literal["args"]["dynamic"] is False
    assert props["task"] == "pose"
    assert set(props) >= {"description", "author", "version", "license"}
    assert [line.split(":")[0] for line in made.report] == ["noise and shapes"]


def test_engine_reads_it(tmp_path: Path) -> None:
    """The spec in the file is all an engine needs, for every layout and form."""
    frame = (support.pictures(5, 70, 90, 3) * 255).astype(np.uint8)
    people: list[Any] = []
    for name, options in {
        "heads": {},
        "decoded": {"layout": "decoded"},
        "dynamic": {"dynamic": True},
        "both": {"layout": "decoded", "dynamic": True},
    }.items():
        path = tmp_path / f"{name}.onnx"
        export.export_network(support.make_network(), path, imgsz=64, **options)
        engine = trtpose.Engine(path, conf=0.4, iou=0.5)
        assert engine.spec.kpt_shape == (3, 3)
        assert engine.imgsz == (64, 64)
        people.append(engine.infer([frame])[0])
    assert len(people[0].boxes) > 0
    for other in people[1:]:
        assert len(other.boxes) == len(people[0].boxes)
        # Candidates of nearly equal score may change places, so the sets are compared.
        np.testing.assert_allclose(np.sort(other.scores), np.sort(people[0].scores), atol=1e-4)
        np.testing.assert_allclose(np.sort(other.boxes, axis=0), np.sort(people[0].boxes, axis=0), atol=1e-2)


def test_a_decoded_file_without_metadata_runs(tmp_path: Path) -> None:
    """The workflow of most tutorials: one tensor `output` of 57 numbers a row, and nothing said about it."""
    source = network.random_network("yolov5s6-pose-ti-lite")
    model, spec = write_onnx.write_graph(source, Shape(1, 128, 192), "decoded")
    assert spec.outputs == ("output",)
    assert spec.fields == 57
    path = tmp_path / "tutorial.onnx"
    path.write_bytes(model.SerializeToString())
    frame = (support.pictures(5, 120, 160, 3) * 255).astype(np.uint8)
    poses = trtpose.Engine(path, conf=0.001, max_det=5).infer([frame])[0]
    assert poses.keypoints.shape[1:] == (17, 3)
    assert len(poses.boxes) == 5


def test_same_bytes_every_time(tmp_path: Path) -> None:
    first = export.export_network(support.make_network(), tmp_path / "a.onnx", verify=False).path.read_bytes()
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r}); import export_support as s;"
        "from trtpose import export;"
        f"export.export_network(s.make_network(), {str(tmp_path / 'b.onnx')!r}, verify=False)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)  # with another hash seed
    assert (tmp_path / "b.onnx").read_bytes() == first


def test_a_wrong_file_is_not_left(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The comparison must be able to fail."""
    path = tmp_path / "a.onnx"
    path.write_bytes(b"something older")
    folded = translate.Translator._scaled

    def wrong(self: Any, value: Any, scale: Any, offset: Any, name: str) -> Any:
        return folded(self, value, scale, offset + 0.01 * (name == "model.3.cv2.bn"), name)

    monkeypatch.setattr(translate.Translator, "_scaled", wrong)
    for layout in ("heads", "decoded"):
        with pytest.raises(trtpose.ModelError, match="differs from the network"):
            export.export_network(support.make_network(), path, layout=layout)
    assert path.read_bytes() == b"something older"
    assert [p.name for p in tmp_path.iterdir()] == ["a.onnx"]


def _compared(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shapes of the pictures that networks are compared on from now on."""
    found: list[tuple[int, ...]] = []
    draw = compare.sample_pictures

    def drawn(shape: tuple[int, int, int, int], seed: int) -> dict[str, Any]:
        found.append(shape)
        return draw(shape, seed)

    monkeypatch.setattr(compare, "sample_pictures", drawn)
    return found


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({"imgsz": (256, 512)}, (128, 160)),
        ({"imgsz": (96, 512)}, (96, 160)),
        ({"imgsz": 64}, (64, 64)),
        ({"imgsz": (256, 512), "layout": "decoded"}, (256, 512)),
        ({"dynamic": True}, (32, 32)),
    ],
)
def test_graphs_of_any_size_are_compared_at_a_small_one(
    options: dict[str, Any], size: tuple[int, int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Others are at their own; the file keeps its size."""
    compared = _compared(monkeypatch)
    made = export.export_network(support.make_network(), tmp_path / "a.onnx", **options)
    assert [shape[2:] for shape in compared] == [size]
    assert made.report
    if isinstance(options.get("imgsz"), tuple):
        assert onnx_file.runtime_session(onnx_file.read(made.path), extra="", purpose="").get_inputs()[0].shape[2:] == [
            *options["imgsz"]
        ]


def test_outputs_that_the_file_gives_another_size_are_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(write_onnx, "cells", lambda shape, stride: [shape.height // stride, shape.width // stride + 1])
    with pytest.raises(trtpose.ModelError, match=r"head_4 is to be 64x129, which does not fit 32x40 for .* 128x160"):
        export.export_network(support.make_network(), tmp_path / "a.onnx", imgsz=(256, 512))
    assert not list(tmp_path.iterdir())


def test_nan_fails_the_comparison(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    source = support.make_network()
    monkeypatch.setattr(compare, "sample_pictures", lambda shape, **_: {"nan": np.full(shape, np.nan, np.float32)})
    with pytest.raises(trtpose.ModelError, match="differs"):
        export.export_network(source, tmp_path / "a.onnx")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"imgsz": 100}, "multiples of its largest stride 8, such as 96x96|104x104"),
        ({"imgsz": (64, 0)}, "is not a size; give one number of pixels from 1"),
        ({"imgsz": -8}, "is not a size"),
        ({"imgsz": 1 << 20}, "larger"),
        ({"batch": 0}, "batch 0"),
        ({"layout": "heads5d"}, "layout 'heads5d'"),
    ],
)
def test_impossible_options(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(trtpose.InputError, match=message):
        export.export_network(support.make_network(), tmp_path / "a.onnx", **options)
    assert not list(tmp_path.iterdir())


def test_impossible_places(tmp_path: Path) -> None:
    with pytest.raises(trtpose.InputError, match="does not exist"):
        export.export_network(support.make_network(), tmp_path / "absent" / "a.onnx")


# --- TensorRT ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("layout", ["heads", "decoded"])
@pytest.mark.parametrize("shape", [Shape(1, 64, 64), Shape(None, 64, 64), OPEN], ids=["fixed", "batch", "open"])
def test_tensorrt_builds(name: str, layout: str, shape: Shape) -> None:
    model, _ = write_onnx.write_graph(support.make_network(SMALL[name]), shape, layout)
    low = (1, 3, 64, 64) if shape.height else (1, 3, 32, 32)
    profile = None if shape.batch else {"images": (low, (2, 3, 64, 64), (4, 3, 64, 64))}
    assert len(rtx.build(model.SerializeToString(), profile)) > 1000


@pytest.mark.shared
@pytest.mark.parametrize("name", [f"golden/{name}" for name in GOLDEN] + ["models/yolov7-lite-t-face5"])
@pytest.mark.parametrize("layout", ["heads", "decoded"])
def test_tensorrt_builds_the_published_kinds(name: str, layout: str, shared: Path) -> None:
    model, _ = write_onnx.write_graph(network.load(shared / f"{name}.pt"), Shape(1, 256, 256), layout)
    assert len(rtx.build(model.SerializeToString())) > 1000


# --- Cost -------------------------------------------------------------------------------------------------------------


def test_cost_by_hand(tmp_path: Path) -> None:
    made = export.export_network(support.make_network(), tmp_path / "a.onnx", imgsz=64, dynamic=True)
    source = support.make_network()
    total = 0

    def count(module: nn.Conv2d, _: Any, output: Any) -> None:
        nonlocal total
        total += output[0].numel() * module.weight[0].numel()

    handles = [m.register_forward_hook(count) for m in source.modules() if isinstance(m, nn.Conv2d)]
    support.run(source, support.pictures(0, 1, 3, 96, 64))
    for handle in handles:
        handle.remove()
    cost = model_cost(made.path, (96, 64))
    assert cost["macs"] == total
    # Batch norm's two numbers per channel became one bias; the scales of two upsamplings are counted as well.
    weights = sum(m.weight.numel() + m.out_channels for m in source.modules() if isinstance(m, nn.Conv2d))
    assert weights <= cost["parameters"] <= weights + 16
    assert model_cost(made.path, 64)["macs"] * 3 == total * 2
    with pytest.raises(trtpose.ModelError, match="any input size"):
        model_cost(made.path)
    with pytest.raises(trtpose.InputError, match="positive"):
        model_cost(made.path, 0)


def test_cost_of_fixed_models(tmp_path: Path) -> None:
    one = export.export_network(support.make_network(), tmp_path / "1.onnx", imgsz=64).path
    four = export.export_network(support.make_network(), tmp_path / "4.onnx", imgsz=64, batch=4).path
    assert model_cost(one) == model_cost(four) == model_cost(one, 64)
    with pytest.raises(trtpose.InputError, match="64x64"):
        model_cost(one, 128)
    for content in (b"", b"no model"):
        one.write_bytes(content)
        with pytest.raises(trtpose.ModelError):
            model_cost(one)
    with pytest.raises(trtpose.ModelError, match="No such file"):
        model_cost(tmp_path / "absent.onnx")


@pytest.mark.parametrize("sides", [(32, 48), ("h", "w")])
@pytest.mark.parametrize("channels", [1, 3])
def test_cost_of_a_network_with_its_channels_last(sides: tuple[Any, Any], channels: int, tmp_path: Path) -> None:
    graph = Graph()
    graph.node("Transpose", ["images"], "pixels", perm=[0, 3, 1, 2])
    kernel = graph.constant("kernel", np.zeros((8, channels, 3, 3), np.float32))
    graph.node("Conv", ["pixels", kernel], "output", pads=[1, 1, 1, 1])
    path = graph.write(tmp_path / "a.onnx", {"output": [1, 8, *sides]}, shape=[1, *sides, channels])
    assert model_cost(path, (32, 48))["macs"] == 8 * channels * 9 * 32 * 48
    info = model_info(path, imgsz=None if sides == (32, 48) else (32, 48))
    assert (info["macs"], info["macs_imgsz"]) == (8 * channels * 9 * 32 * 48, [32, 48])
    if sides != (32, 48):
        with pytest.raises(trtpose.ModelError, match="any input size"):
            model_cost(path)
