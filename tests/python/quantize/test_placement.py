# SPDX-License-Identifier: Apache-2.0
"""The rules a quantised graph keeps, each on the ONNX that was written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import numpy_helper

import quantize_models as models
import rtx
from trtpose import Engine, letterbox
from trtpose.formats.onnx_graph import Graph
from trtpose.quantize import quantize
from trtpose.quantize.fp16 import to_fp16
from trtpose.quantize.insert import insert, quantise_weights
from trtpose.quantize.placement import place
from trtpose.sources import read_picture

HEADS = {"head.0", "head.1"}
MOVES = {"MaxPool", "Resize", "Slice", "Transpose", "Reshape", "Concat"}


class Written:
    """A quantised model, indexed."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.nodes = list(model.graph.node)
        self.maker = {name: node for node in self.nodes for name in node.output}
        self.constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}

    def of(self, *kinds: str) -> list[onnx.NodeProto]:
        return [node for node in self.nodes if node.op_type in kinds]

    def readers(self, name: str) -> list[onnx.NodeProto]:
        return [node for node in self.nodes if name in node.input]

    def scale(self, name: str) -> float | None:
        """Scale of the activation ``name`` where it comes out of DequantizeLinear."""
        node = self.maker.get(name)
        if node is None or node.op_type != "DequantizeLinear" or node.input[0] in self.constants:
            return None
        return float(self.constants[node.input[1]])

    def scale_above(self, name: str) -> float | None:
        """The same, looked for through operators that only move numbers; all ways up must agree."""
        found = self.scale(name)
        if found is not None:
            return found
        node = self.maker.get(name)
        if node is None or node.op_type not in MOVES:
            return None
        above = {self.scale_above(n) for n in (node.input if node.op_type == "Concat" else node.input[:1])}
        assert len(above) == 1, f"{node.name} reads {above}"
        return above.pop()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("quantize")
    models.write_small(base / "small.onnx")
    models.write_pictures(base / "pictures", 6)
    return base


@pytest.fixture(scope="module")
def made(folder: Path) -> Any:
    return quantize(folder / "small.onnx", folder / "pictures", output=folder / "int8.onnx", cache=False, measure=False)


@pytest.fixture(scope="module")
def written(made: Any) -> Written:
    return Written(onnx.load(str(made.path)))


def test_zero_points_are_zero_and_signed(written: Written) -> None:
    pairs = written.of("QuantizeLinear", "DequantizeLinear")
    assert len(pairs) > 40
    for node in pairs:
        assert len(node.input) == 3  # TensorRT 8.6 wants them spelled out
        zero = written.constants[node.input[2]]
        assert zero.dtype == np.int8
        assert not zero.any()


def test_scales_are_positive_float32(written: Written) -> None:
    for node in written.of("QuantizeLinear", "DequantizeLinear"):
        scale = written.constants[node.input[1]]
        assert scale.dtype == np.float32
        assert (scale > 0).all()


def test_weights_have_a_scale_per_channel(written: Written, folder: Path) -> None:
    original = {t.name: numpy_helper.to_array(t) for t in onnx.load(str(folder / "small.onnx")).graph.initializer}
    convolutions = [node for node in written.of("Conv") if node.name not in HEADS]
    assert len(convolutions) == 15
    for node in convolutions:
        restore = written.maker[node.input[1]]
        assert restore.op_type == "DequantizeLinear"
        assert [a.i for a in restore.attribute if a.name == "axis"] == [0]
        integers, scales = written.constants[restore.input[0]], written.constants[restore.input[1]]
        assert integers.dtype == np.int8
        assert np.abs(integers.astype(int)).max() == 127
        assert scales.shape == (len(integers),)
        # Half a step is what rounding costs.
        error = np.abs(integers * scales.reshape(-1, 1, 1, 1) - original[f"{node.name}.w"])
        assert (error.reshape(len(scales), -1).max(1) <= scales * 0.501).all()


def test_activations_have_one_scale_per_tensor(written: Written) -> None:
    for node in written.of("QuantizeLinear"):
        assert written.constants[node.input[1]].shape == ()


def test_biases_stay_float(written: Written) -> None:
    for node in written.of("Conv"):
        assert written.constants[node.input[2]].dtype == np.float32


def test_nothing_between_a_convolution_and_its_activation(written: Written) -> None:
    for node in written.of("Sigmoid", "Relu"):
        assert written.maker[node.input[0]].op_type == "Conv"
    for node in written.of("Mul"):
        assert {written.maker[name].op_type for name in node.input} == {"Conv", "Sigmoid"}


def test_convolution_outputs_are_quantised_only_where_another_convolution_reads_them(written: Written) -> None:
    quantised = [n for n in written.of("QuantizeLinear") if n.input[0] in written.maker]
    directly = [n for n in quantised if written.maker[n.input[0]].op_type == "Conv"]
    assert [written.maker[n.input[0]].name for n in directly] == ["deep.1"]


def test_one_scale_over_a_concat_and_what_reads_it(written: Written) -> None:
    concats = written.of("Concat")
    assert {node.name for node in concats} == {"reorg", "elan", "spp", "neck"}
    for node in concats:
        above = {written.scale_above(name) for name in node.input}
        assert len(above) == 1
        assert None not in above
        for reader in written.readers(node.output[0]):
            assert reader.op_type == "QuantizeLinear"
            assert float(written.constants[reader.input[1]]) in above


def test_an_addition_reads_the_quantised_skip_branch(written: Written) -> None:
    (add,) = written.of("Add")
    scales = [written.scale(name) for name in add.input]
    assert scales[0] is not None  # e, which a convolution reads as well
    assert scales[1] is None  # fused with its convolution
    assert written.maker[add.input[1]].name == "res.1.silu"


def test_an_addition_of_two_quantised_branches_has_one_scale() -> None:
    net = models.Net()
    a = net.conv("images", 3, 8, "a", act="relu")
    b = net.conv(a, 8, 8, "b", act="relu")
    total = net.op("Add", [a, b], "sum")
    # b is read by a convolution too, so both are quantised.
    c = net.op("Concat", [net.conv(total, 8, 8, "c", act="relu"), net.conv(b, 8, 8, "d", act="relu")], "cat", axis=1)
    net.conv(net.conv(c, 16, 8, "e", act="relu"), 8, 8, "out")
    graph = Graph(_finish(net))
    placement = place(graph)
    assert placement.scales["a.relu:0"] == placement.scales["b.relu:0"]
    assert placement.scales["a.relu:0"] != placement.scales["sum:0"]
    reach = {name: 1.0 + number for number, name in enumerate(placement.scales)}
    written = Written(insert(graph, placement, reach))
    (add,) = written.of("Add")
    assert written.scale(add.input[0]) == written.scale(add.input[1]) is not None


def _finish(net: models.Net) -> onnx.ModelProto:
    from onnx import TensorProto, helper

    out = net.nodes[-1].output[0]
    return net.model(
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 16, 16])],
        [helper.make_tensor_value_info(out, TensorProto.FLOAT, None)],
    )


def test_numbers_pass_pools_resizes_slices_and_transposes_unchanged(written: Written) -> None:
    seen = set()
    for node in written.of("MaxPool", "Resize", "Slice", "Transpose", "Reshape"):
        above = written.scale_above(node.input[0])
        assert above is not None, node.name
        seen.add(node.op_type)
        for reader in written.readers(node.output[0]):
            if reader.op_type == "QuantizeLinear":
                assert float(written.constants[reader.input[1]]) == above
    assert seen == {"MaxPool", "Resize", "Slice", "Transpose", "Reshape"}


def test_a_linear_resize_makes_new_numbers() -> None:
    placement = place(Graph(models.small(resize="linear")))
    assert "up:0" in placement.scales
    assert "up:0" not in place(Graph(models.small())).scales


def test_every_convolution_but_the_raw_heads_is_quantised(written: Written) -> None:
    for node in written.of("Conv"):
        inside = [written.maker.get(name) for name in node.input[:2]]
        kinds = [None if maker is None else maker.op_type for maker in inside]
        if node.name in HEADS:
            assert "DequantizeLinear" not in kinds
        else:
            assert kinds == ["DequantizeLinear"] * 2


def test_keep_leaves_nodes_floating(folder: Path) -> None:
    made = quantize(
        folder / "small.onnx",
        folder / "pictures",
        output=folder / "kept.onnx",
        keep=["elan.*", "stem.0"],
        cache=False,
        measure=False,
    )
    assert {"elan.a", "elan.b", "elan.c", "elan.out", "stem.0"} <= set(made.report.kept)
    written = Written(onnx.load(str(made.path)))
    for node in written.of("Conv"):
        if node.name in made.report.kept:
            assert node.input[1] in written.constants
    # Nobody reads these in INT8 any more.
    assert all("reorg" not in node.name and "images" not in node.name for node in written.of("QuantizeLinear"))


@pytest.mark.parametrize("options", [{}, {"batch": "n"}, {"batch": "n", "dynamic": True}, {"batch": 2}])
def test_names_shapes_and_metadata_are_kept(options: dict[str, Any], folder: Path, tmp_path: Path) -> None:
    path = models.write_small(tmp_path / "x.onnx", **options)
    made = quantize(path, folder / "pictures", cache=False, measure=False)
    assert made.path == tmp_path / "x.int8.onnx"
    before, after = onnx.load(str(path)), onnx.load(str(made.path))
    onnx.checker.check_model(after, full_check=True)
    assert list(after.graph.input) == list(before.graph.input)
    assert list(after.graph.output) == list(before.graph.output)
    assert after.opset_import == before.opset_import
    assert after.ir_version == before.ir_version
    extra = {p.key: p.value for p in after.metadata_props}
    assert "percentile" in extra.pop("trtpose_int8")
    assert extra == {p.key: p.value for p in before.metadata_props}


def _run(model: bytes, data: Any) -> list[Any]:
    options = ort.SessionOptions()
    options.add_session_config_entry("session.disable_quant_qdq", "1")  # as written, not fused
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return session.run(None, {"images": data})


def _input(folder: Path) -> Any:
    return letterbox(read_picture(folder / "pictures" / "003.png"), models.SPEC.imgsz, spec=models.SPEC)[None]


def test_outputs_are_near_those_of_the_float_network(folder: Path, made: Any) -> None:
    data = _input(folder)
    first = _run((folder / "small.onnx").read_bytes(), data)
    second = _run(made.path.read_bytes(), data)
    for a, b in zip(first, second, strict=True):
        # 14 layers with steps of a 127th of the range each; broken scales give as much error as signal.
        assert np.sqrt(((a - b) ** 2).mean()) < 0.1 * a.std()
        assert (a != b).any()


def test_repeated_pairs_change_no_number(folder: Path) -> None:
    graph = Graph(models.small())
    placement = place(graph)
    reach = {name: 3.0 + number % 5 for number, name in enumerate(placement.scales)}
    data = _input(folder)
    outputs = [
        _run(insert(graph, placement, reach, repeat=repeat).SerializeToString(), data) for repeat in (True, False)
    ]
    for a, b in zip(*outputs, strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_engine_computes_what_the_graph_says(folder: Path, made: Any) -> None:
    """OpenVINO's integer kernels against ONNX Runtime, which computes the pairs as they are written."""
    data = _input(folder)
    expected = _run(made.path.read_bytes(), data)
    poses = Engine(made.path, device="cpu", conf=0.01, iou=1.0, max_det=1000).infer(data)[0]
    reference = Engine(folder / "small.onnx", device="cpu", conf=0.01, iou=1.0, max_det=1000).infer(data)[0]
    scores = np.sort(poses.scores)[::-1]

    def best(heads: list[Any]) -> Any:
        found = []
        for head in heads:
            fields = head.reshape(2, -1, head.shape[2] * head.shape[3])
            found.append((1 / (1 + np.exp(-fields[:, 4])) * (1 / (1 + np.exp(-fields[:, 5])))).reshape(-1))
        return np.sort(np.concatenate(found))[::-1]

    wanted = best(expected)[: len(scores)]
    # A number that falls between two steps may be rounded the other way; wrong scales move scores by tenths.
    assert np.abs(scores - wanted).mean() < 0.01
    assert len(poses) == len(reference)


def test_quantising_is_reproducible(folder: Path, made: Any) -> None:
    again = quantize(folder / "small.onnx", folder / "pictures", output=folder / "2.onnx", cache=False, measure=False)
    assert again.path.read_bytes() == made.path.read_bytes()


def test_a_network_with_a_batch_of_its_own_has_the_same_ranges(folder: Path, tmp_path: Path) -> None:
    path = models.write_small(tmp_path / "b.onnx", batch=4)  # 6 pictures: the last batch is filled up
    other = quantize(path, folder / "pictures", method="max", cache=False, measure=False)
    one = quantize(
        folder / "small.onnx", folder / "pictures", output=tmp_path / "1.onnx", method="max", cache=False, measure=False
    )
    scales = [
        {t.name: numpy_helper.to_array(t) for t in m.model.graph.initializer if t.name.endswith("/scale")}
        for m in (other, one)
    ]
    for name, value in scales[0].items():
        np.testing.assert_allclose(value, scales[1][name], rtol=1e-4)  # float32 sums in another order


def test_all_zero_channels_and_tensors_keep_positive_scales() -> None:
    integers, scales = quantise_weights(np.zeros((4, 3, 1, 1), np.float32))
    assert not integers.any()
    assert (scales > 0).all()
    assert np.isfinite(1 / scales).all()


@pytest.mark.parametrize("options", [{}, {"batch": "n", "dynamic": True}])
def test_tensorrt_builds_it(options: dict[str, Any], folder: Path, tmp_path: Path) -> None:
    """Both with float32 scales and with FP16 around INT8."""
    path = models.write_small(tmp_path / "x.onnx", **options)
    shapes = tuple((n, 3, *models.SPEC.imgsz) for n in (1, 2, 4))
    profiles = {"images": shapes} if options else None
    for half in (False, True):
        made = quantize(path, folder / "pictures", output=tmp_path / "y.onnx", fp16=half, cache=False, measure=False)
        assert len(rtx.build(made.path, profiles)) > 10_000


def test_fp16_scales(made: Any) -> None:
    half = Written(to_fp16(made.model).model)
    onnx.checker.check_model(half.model, full_check=True)
    assert half.model.opset_import[0].version == 19
    pairs = half.of("QuantizeLinear", "DequantizeLinear")
    assert {half.constants[node.input[1]].dtype for node in pairs} == {np.dtype(np.float16)}
    assert [v.type.tensor_type.elem_type for v in half.model.graph.output] == [onnx.TensorProto.FLOAT] * 2


def test_subgraphs_keep_their_names(folder: Path, tmp_path: Path) -> None:
    """A tensor that is quantised is read within an If as well."""
    from onnx import TensorProto, helper

    model = models.small()
    choice = helper.make_tensor("choice", TensorProto.BOOL, [], [True])
    model.graph.initializer.append(choice)
    inner = [
        helper.make_graph(
            [helper.make_node(kind, ["stem.1.relu:0"], [f"{name}:out"])],
            name,
            [],
            [helper.make_tensor_value_info(f"{name}:out", TensorProto.FLOAT, None)],
        )
        for kind, name in (("Identity", "then"), ("Neg", "else"))
    ]
    node = helper.make_node("If", ["choice"], ["chosen"], name="if", then_branch=inner[0], else_branch=inner[1])
    at = [n.name for n in model.graph.node].index("elan.a")
    model.graph.node.insert(at, node)
    reader = next(n for n in model.graph.node if n.name == "elan.a")
    reader.input[0] = "chosen"
    path = tmp_path / "if.onnx"
    onnx.save(model, str(path))
    made = quantize(path, folder / "pictures", cache=False, measure=False)
    onnx.checker.check_model(made.model, full_check=True)
    data = _input(folder)
    for a, b in zip(_run(path.read_bytes(), data), _run(made.path.read_bytes(), data), strict=True):
        assert np.sqrt(((a - b) ** 2).mean()) < 0.1 * a.std()
    onnx.checker.check_model(to_fp16(made.model).model, full_check=True)
