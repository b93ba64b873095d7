# SPDX-License-Identifier: Apache-2.0
"""Decode and NMS appended to an ONNX graph as a node of the TensorRT plugin."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
import pytest
from onnx import helper

import onnx_models
import rtx
import trtpose
from trtpose.build import graft as grafting
from trtpose.build.graft import DOMAIN, OUTPUTS, PLUGIN, graft
from trtpose.spec import METADATA_KEY, ModelSpec

ROOT = Path(__file__).resolve().parents[3]
DEMO = Path(trtpose.__file__).parent / "data" / "demo.onnx"
LAYOUTS = ("heads", "heads5d", "decoded", "channels_first", "final")


def load_demo() -> tuple[onnx.ModelProto, ModelSpec]:
    model = onnx.load(str(DEMO))
    text = next(entry.value for entry in model.metadata_props if entry.key == METADATA_KEY)
    return model, ModelSpec.from_json(text)


def make(tmp_path: Path, layout: str, **options: Any) -> tuple[onnx.ModelProto, ModelSpec]:
    path = onnx_models.write_model(tmp_path / f"{layout}.onnx", layout, **options)
    return onnx.load(str(path)), ModelSpec.from_dict(onnx_models.spec_fields(layout))


def attributes_of(model: onnx.ModelProto) -> dict[str, Any]:
    node = model.graph.node[-1]
    values = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
    return {key: value.decode() if isinstance(value, bytes) else value for key, value in values.items()}


def shape_of(value: onnx.ValueInfoProto) -> list[int | str]:
    return [dim.dim_value or dim.dim_param for dim in value.type.tensor_type.shape.dim]


def test_the_demo_network_gets_poses_for_outputs() -> None:
    model, spec = load_demo()
    before = model.SerializeToString()
    grafted = graft(model, spec, conf=0.4, iou=0.5, max_det=50, agnostic=True)
    assert model.SerializeToString() == before
    onnx.checker.check_model(grafted.model, full_check=True)

    node = grafted.model.graph.node[-1]
    assert (node.op_type, node.domain, list(node.input), list(node.output)) == (
        PLUGIN,
        DOMAIN,
        list(spec.outputs),
        list(OUTPUTS),
    )
    assert len(grafted.model.graph.node) == len(model.graph.node) + 1
    attributes = attributes_of(grafted.model)
    assert ModelSpec.from_json(attributes["spec"]) == spec
    # Attributes of ONNX are float32.
    assert attributes["conf"] == pytest.approx(0.4, rel=1e-6)
    frozen = {key: attributes[key] for key in ("iou", "max_det", "agnostic", "nms", "plugin_version")}
    assert frozen == {"iou": 0.5, "max_det": 50, "agnostic": 1, "nms": "iou", "plugin_version": "1"}

    kinds = {entry.name: entry.type.tensor_type.elem_type for entry in grafted.model.graph.output}
    assert kinds == {"num_dets": 6, "boxes": 1, "scores": 1, "classes": 6, "keypoints": 1}
    shapes = {entry.name: shape_of(entry) for entry in grafted.model.graph.output}
    assert shapes == {
        "num_dets": ["batch", 1],
        "boxes": ["batch", 50, 4],
        "scores": ["batch", 50],
        "classes": ["batch", 50],
        "keypoints": ["batch", 50, spec.keypoints, 3],
    }
    assert grafted.plugins == ("trtpose_decode_nms/1",)
    assert graft(model).spec == graft(model, spec).spec
    del model.metadata_props[:]
    with pytest.raises(trtpose.ModelError, match="carries no model spec"):
        graft(model)


def test_the_spec_says_what_comes_out_and_what_was_frozen() -> None:
    model, spec = load_demo()
    grafted = graft(model, spec, conf=0.4)
    texts = [entry.value for entry in grafted.model.metadata_props if entry.key == METADATA_KEY]
    assert len(texts) == 1
    again = ModelSpec.from_json(texts[0])
    assert again == grafted.spec
    assert again.outputs == OUTPUTS
    assert (again.layout, again.anchors, again.names) == (spec.layout, spec.anchors, spec.names)
    assert again.extra["nms"] == {
        "plugin": "trtpose_decode_nms/1",
        "conf": 0.4,
        "iou": 0.65,
        "max_det": 300,
        "max_candidates": 30000,
        "agnostic": False,
        "similarity": "iou",
    }
    others = {entry.key: entry.value for entry in model.metadata_props if entry.key != METADATA_KEY}
    assert {e.key: e.value for e in grafted.model.metadata_props if e.key != METADATA_KEY} == others
    with pytest.raises(trtpose.ModelError, match="has decode and NMS inside already"):
        graft(grafted.model, grafted.spec)


def test_shapes_up_to_the_node_are_still_inferred() -> None:
    model, spec = load_demo()
    inferred = onnx.shape_inference.infer_shapes(graft(model, spec).model, strict_mode=True)
    heads = {entry.name: shape_of(entry) for entry in inferred.graph.value_info}
    assert all(heads[name][1] == spec.anchors_per_cell * spec.fields for name in spec.outputs)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout(tmp_path: Path, layout: str) -> None:
    model, spec = make(tmp_path, layout, batch=2)
    grafted = graft(model, spec)
    onnx.checker.check_model(grafted.model, full_check=True)
    stated = ModelSpec.from_json(attributes_of(grafted.model)["spec"])
    assert (stated.layout, stated.imgsz, stated.anchors) == (layout, (64, 96), spec.anchors)
    assert len(grafted.model.graph.node[-1].input) == (2 if layout in ("heads", "heads5d") else 1)
    assert shape_of(grafted.model.graph.output[0]) == [2, 1]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_open_size_needs_a_grid(tmp_path: Path, layout: str) -> None:
    model, spec = make(tmp_path, layout)
    for name, dim in zip("hw", model.graph.input[0].type.tensor_type.shape.dim[2:], strict=True):
        dim.dim_param = name
    if layout in ("heads", "heads5d"):
        graft(model, spec)
        return
    with pytest.raises(trtpose.ModelError, match=f"layout {layout} does not say how large the input is"):
        graft(model, spec)
    one = SimpleNamespace(imgsz=SimpleNamespace(fixed=True, best=(128, 160)))
    node = attributes_of(graft(model, spec, shapes=one).model)  # type: ignore[arg-type]
    assert ModelSpec.from_json(node["spec"]).imgsz == (128, 160)
    ranged = SimpleNamespace(imgsz=SimpleNamespace(fixed=False, best=(128, 160)))
    with pytest.raises(trtpose.ModelError, match="build it for one size, or export raw heads"):
        graft(model, spec, shapes=ranged)  # type: ignore[arg-type]


def test_heads_are_taken_in_the_order_of_the_strides(tmp_path: Path) -> None:
    model, spec = make(tmp_path, "heads")
    names = [entry.name for entry in model.graph.output]
    fields = {**spec.to_dict(), "outputs": names}
    swapped = onnx.ModelProto()
    swapped.CopyFrom(model)
    outputs = list(swapped.graph.output)[::-1]
    del swapped.graph.output[:]
    swapped.graph.output.extend(outputs)
    assert list(graft(swapped, ModelSpec.from_dict(fields)).model.graph.node[-1].input) == names
    assert list(graft(swapped, spec).model.graph.node[-1].input) == names[::-1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"conf": 1.5}, "conf 1.5 must lie between 0 and 1"),
        ({"conf": float("nan")}, "conf nan must lie"),
        ({"iou": -1}, "iou -1 must lie"),
        ({"max_det": 0}, "max_det 0 must lie between 1 and 30000"),
        ({"max_det": 30001}, "max_det 30001"),
        ({"max_candidates": 0}, "max_candidates 0 must be at least 1"),
        ({"nms": "giou"}, "nms 'giou' is not known; use iou or oks"),
    ],
)
def test_arguments_out_of_range(arguments: dict[str, Any], words: str) -> None:
    model, spec = load_demo()
    with pytest.raises(trtpose.InputError, match=words):
        graft(model, spec, **arguments)


def test_networks_that_do_not_fit(tmp_path: Path) -> None:
    model, spec = make(tmp_path, "heads")
    with pytest.raises(trtpose.ModelError, match="NMS by OKS needs sigmas"):
        graft(model, spec, nms="oks")
    fields = spec.to_dict()
    with pytest.raises(trtpose.ModelError, match=r"outputs are .*, where layout heads needs nothing_such"):
        graft(model, ModelSpec.from_dict({**fields, "outputs": ["nothing_such", model.graph.output[0].name]}))
    with pytest.raises(trtpose.ModelError, match=r"layout heads of 1 class\(es\) and 4 keypoints has 36"):
        graft(model, ModelSpec.from_dict({**fields, "kpt_shape": [4, 3]}))
    many = ModelSpec.from_dict({**fields, "strides": [8] * 9, "anchors": [fields["anchors"][0]] * 9})
    with pytest.raises(trtpose.ModelError, match="9 heads of 2 anchors"):
        graft(model, many)
    clash = onnx.ModelProto()
    clash.CopyFrom(model)
    clash.graph.node.append(helper.make_node("Identity", [model.graph.output[0].name], ["boxes"]))
    with pytest.raises(trtpose.ModelError, match="a tensor of the graph is called boxes"):
        graft(clash, spec)


def test_the_plugin_knows_the_attributes() -> None:
    source = (ROOT / "plugins" / "attributes.hpp").read_text(encoding="utf-8")
    parts, others = source.split("static void each_other")
    known = set(re.findall(r'call\("(\w+)"', others))
    assert len(known) == 7
    model, spec = load_demo()
    written = set(attributes_of(graft(model, spec, nms="oks").model))
    assert written == known | {"plugin_version", "plugin_namespace"}
    # What the spec stands for: nodes from before it have these.
    assert len(set(re.findall(r'call\("(\w+)"', parts)) - known) == 8


# --- The library ------------------------------------------------------------------------------------------------------


class Registry:
    def __init__(self, *, known: bool = False, loads: bool = True) -> None:
        self.all_creators = [SimpleNamespace(name="ROIAlign_TRT", plugin_version="2")]
        if known:
            self.all_creators.append(SimpleNamespace(name=PLUGIN, plugin_version="1"))
        self.loads = loads
        self.loaded: list[str] = []

    def load_library(self, path: str) -> object | None:
        self.loaded.append(path)
        return object() if self.loads else None


def library(registry: Registry, version: str = "10.13.3.9", runtime: str = "tensorrt") -> Any:
    from trtpose.build.tensorrt_api import Library

    return Library(runtime, SimpleNamespace(get_plugin_registry=lambda: registry), version)


def test_the_library_is_loaded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "plugin.so"
    file.touch()
    monkeypatch.setenv("TRTPOSE_PLUGIN", str(file))
    registry = Registry()
    model, spec = load_demo()
    graft(model, spec, library=library(registry))
    assert registry.loaded == [str(file)]
    grafting.load_plugin(library(known := Registry(known=True)))
    assert known.loaded == []
    with pytest.raises(trtpose.DeviceError, match=r"TensorRT 11\.1\.0 does not load it"):
        grafting.load_plugin(library(Registry(loads=False), "11.1.0"))


def test_a_missing_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRTPOSE_PLUGIN", str(tmp_path / "none.so"))
    with pytest.raises(trtpose.DeviceError, match=r"none\.so \(TRTPOSE_PLUGIN\) does not exist; build it"):
        grafting.find_plugin(10)
    monkeypatch.delenv("TRTPOSE_PLUGIN")
    with pytest.raises(trtpose.DeviceError, match=r"libtrtpose_plugin99\.so was not found"):
        grafting.find_plugin(99)
    monkeypatch.setenv("LD_LIBRARY_PATH", f"/nowhere:{tmp_path}")
    (tmp_path / "libtrtpose_plugin99.so").touch()
    assert grafting.find_plugin(99) == tmp_path / "libtrtpose_plugin99.so"


@pytest.mark.parametrize(("version", "runtime"), [("8.6.1", "tensorrt"), ("1.7.1", "rtx")])
def test_versions_without_such_plugins(version: str, runtime: str) -> None:
    model, spec = load_demo()
    with pytest.raises(trtpose.InputError, match="has no plugins"):
        graft(model, spec, library=library(Registry(), version, runtime))


# --- The real parser and registry -------------------------------------------------------------------------------------


def test_a_parser_without_the_plugin_says_so() -> None:
    model, spec = load_demo()
    with pytest.raises(
        AssertionError, match="Plugin not found, are the plugin name, version, and namespace correct"
    ) as e:
        rtx.build(graft(model, spec).model.SerializeToString())
    assert PLUGIN in str(e.value)


_IN_THE_REGISTRY = """
import json, sys
import numpy as np
import tensorrt_rtx_bindings as trt

class Log(trt.ILogger):
    def __init__(self):
        super().__init__()
        self.lines = []
    def log(self, severity, msg):
        self.lines.append(msg)

log = Log()
builder = trt.Builder(log)
registry = builder.get_plugin_registry()
assert registry.load_library(sys.argv[1]) is not None, log.lines
creator = registry.get_creator("trtpose_decode_nms", "1", "")
fields = trt.PluginFieldType
def field(name, value):
    if isinstance(value, str):
        return trt.PluginField(name, np.frombuffer(value.encode(), np.int8), fields.CHAR)
    values = value if isinstance(value, list) else [value]
    kind, dtype = (fields.INT32, np.int32) if isinstance(values[0], int) else (fields.FLOAT32, np.float32)
    return trt.PluginField(name, np.array(values, dtype), kind)
def create(given):
    kept = [field(name, value) for name, value in given.items() if value != ""]
    plugin = creator.create_plugin("node", trt.PluginFieldCollection(kept), trt.TensorRTPhase.BUILD)
    return plugin is not None
given = json.loads(sys.argv[2])
result = {"fields": [f.name for f in creator.field_names], "made": create(given)}
del log.lines[:]
result["refused"] = not create({**given, "max_det": 0})
result["said"] = list(log.lines)
print(json.dumps(result))
"""


def test_the_library_in_a_real_registry() -> None:
    """TensorRT for RTX has the registry of TensorRT 11, though no layer for plugins."""
    rtx.load()
    try:
        path = grafting.find_plugin(11)
    except trtpose.DeviceError:
        pytest.skip("the plugin for TensorRT 11 is not built; name it with TRTPOSE_PLUGIN")
    model, spec = load_demo()
    attributes = attributes_of(graft(model, spec).model)
    # In a process of its own: a library that does not fit may well take the process with it.
    done = subprocess.run(
        [sys.executable, "-c", _IN_THE_REGISTRY, str(path), json.dumps(attributes)],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert len(result["fields"]) == 15
    assert set(attributes) <= {*result["fields"], "plugin_version", "plugin_namespace"}
    assert result["made"]
    assert result["refused"]
    assert any("max_det is 0, expected 1 to 30000" in line for line in result["said"] + done.stderr.splitlines())


def test_rtx_is_refused_before_anything_is_built(tmp_path: Path) -> None:
    rtx.load()
    target = tmp_path / "demo.engine"
    with pytest.raises(trtpose.InputError, match=r"TensorRT for RTX .* has no plugins, which nms_in_engine needs"):
        trtpose.build(DEMO, target, precision="fp32", runtime="rtx", nms_in_engine=True)
    assert not target.exists()
