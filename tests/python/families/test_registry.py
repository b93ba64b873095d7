# SPDX-License-Identifier: Apache-2.0
"""What knows no family asks the registry, and finds a second one that is a folder and a line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

import onnx_models
import trtpose
from tiny_family import TinyFamily
from trtpose import spec as specs
from trtpose.build.graft import graft
from trtpose.export import export, export_network
from trtpose.families import registry
from trtpose.families.family import Family
from trtpose.spec import LAYOUTS, METADATA_KEY, ModelSpec


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> Family:
    """The registry with one line more. The native side knows no such family, so its check is asked without the name."""
    family = TinyFamily()
    check = specs._check

    def without_name(fields: Any, source: str) -> None:
        check({key: value for key, value in fields.items() if (key, value) != ("family", family.name)}, source)

    monkeypatch.setattr(specs, "_check", without_name)
    monkeypatch.setattr(registry, "FAMILIES", (*registry.FAMILIES, family))
    return family


def fields_of(**changes: Any) -> dict[str, Any]:
    return {**onnx_models.spec_fields("decoded", keypoints=4), "outputs": ["points"], **changes}


def network(width: int, metadata: dict[str, str] | None = None, output: str = "points") -> onnx.ModelProto:
    graph = helper.make_graph(
        [helper.make_node("Identity", ["rows"], [output])],
        "tiny",
        [
            helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 64, 96]),
            helper.make_tensor_value_info("rows", TensorProto.FLOAT, [1, 5, width]),
        ],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, [1, 5, width])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, metadata or {})
    return model


def test_names_are_unlike() -> None:
    names = [family.name for family in registry.FAMILIES]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch("[a-z][a-z0-9_]*", name) for name in names)
    entries = [name for family in registry.FAMILIES for name in family.catalogue]
    assert len(set(entries)) == len(entries)


def test_a_spec_without_a_family_is_of_the_first() -> None:
    spec = ModelSpec.from_dict(onnx_models.spec_fields())
    assert registry.family_of(spec) is registry.FAMILIES[0]
    assert "family" not in spec.to_dict()
    assert ModelSpec.from_dict({**spec.to_dict(), "family": spec.family}) == spec


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_has_heads(layout: str) -> None:
    spec = ModelSpec.from_dict(onnx_models.spec_fields(layout))
    heads = registry.family_of(spec).heads(spec)
    assert heads.count == (len(spec.strides) if heads.sized else 1)
    assert 0 < heads.axis < heads.rank
    assert heads.width > spec.keypoints


def test_the_second_family_is_known_by_its_spec(tiny: Family) -> None:
    spec = ModelSpec.from_dict(fields_of(family="tiny"))
    assert registry.family_of(spec) is tiny
    assert spec.to_dict()["family"] == "tiny"
    assert ModelSpec.from_json(spec.to_json()) == spec


def test_a_family_that_is_not_there_is_named(tiny: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = ModelSpec.from_dict(fields_of(family=tiny.name))
    monkeypatch.setattr(registry, "FAMILIES", registry.FAMILIES[:1])
    with pytest.raises(trtpose.ModelError, match="family is 'tiny', known are anchor_grid; check"):
        registry.family_of(spec)


def test_catalogues_are_asked_together(tiny: Family) -> None:
    assert registry.family_named("tiny-pose") is tiny
    assert registry.family_named("yolov7-w6-pose") is registry.FAMILIES[0]
    assert registry.family_named(None) is registry.FAMILIES[0]
    assert "tiny-pose" in registry.catalogue()


def test_graft_takes_the_heads_of_the_second_family(tiny: Family) -> None:
    spec = ModelSpec.from_dict(fields_of(family=tiny.name))
    made = graft(network(12), spec)
    assert list(made.model.graph.node[-1].input) == ["points"]
    assert made.spec.family == "tiny"
    with pytest.raises(trtpose.ModelError, match="has 12 in dimension 2"):
        graft(network(13), spec)
    with pytest.raises(trtpose.ModelError, match="has 18 in dimension 2"):
        graft(network(12), ModelSpec.from_dict(fields_of()))


def test_export_hands_a_file_to_its_family(tiny: Family, tmp_path: Path) -> None:
    spec = ModelSpec.from_dict(fields_of(family=tiny.name))
    plain, described = tmp_path / "plain.onnx", tmp_path / "described.onnx"
    onnx.save(network(12), plain)
    onnx.save(network(12, {METADATA_KEY: spec.to_json()}), described)
    assert export(plain, spec=spec).action == "took it as tiny"
    assert export(described).action == "took it as tiny"
    with pytest.raises(trtpose.ModelError, match=r"plain\.onnx: is no tiny-pose that the tiny family knows"):
        export(plain, arch="tiny-pose")


@pytest.mark.usefixtures("tiny")
def test_a_family_takes_the_files_it_claims(tmp_path: Path) -> None:
    mine, other = tmp_path / "mine.onnx", tmp_path / "other.onnx"
    onnx.save(network(12, output="tiny_points"), mine)
    onnx.save(network(12), other)
    with pytest.raises(trtpose.ModelError, match=r"mine\.onnx: is no None that the tiny family knows"):
        export(mine)
    with pytest.raises(trtpose.ModelError, match=r"is no tiny that the tiny family knows"):
        export(other, arch="tiny")
    with pytest.raises(trtpose.ModelError) as refused:
        export(other)
    assert "tiny" not in str(refused.value)
    (tmp_path / "broken.onnx").write_bytes(b"no ONNX")
    with pytest.raises(trtpose.ModelError, match=r"broken\.onnx"):
        export(tmp_path / "broken.onnx")


@pytest.mark.usefixtures("tiny")
def test_a_checkpoint_goes_to_the_family_that_claims_it(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed; pip install trtpose[export]")
    for key in ("tiny", "other"):
        torch.save({key: 1}, tmp_path / f"{key}.pt")
    with pytest.raises(trtpose.ModelError, match=r"tiny\.pt: no checkpoints of the family tiny are read"):
        export(tmp_path / "tiny.pt")
    with pytest.raises(trtpose.ModelError) as refused:
        export(tmp_path / "other.pt")
    assert "family" not in str(refused.value)


@pytest.mark.usefixtures("tiny")
def test_what_two_families_claim_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Twin(TinyFamily):
        name = "twin"

    monkeypatch.setattr(registry, "FAMILIES", (*registry.FAMILIES, Twin()))
    mine = tmp_path / "mine.onnx"
    onnx.save(network(12, output="tiny_points"), mine)
    with pytest.raises(trtpose.ModelError, match=r"mine\.onnx: may be a network of the families tiny and twin; say "):
        export(mine)
    with pytest.raises(trtpose.ModelError, match="is no twin that"):
        export(mine, arch="twin")


def test_a_family_with_one_form_has_no_layouts(tiny: Family, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="torch is not installed; pip install trtpose[export]")

    class Network:
        spec = ModelSpec.from_dict(fields_of(family=tiny.name))
        license = ""

    with pytest.raises(trtpose.InputError, match="layout heads: networks of the family tiny have one form; leave it"):
        export_network(Network(), tmp_path / "a.onnx", layout="heads")
    with pytest.raises(trtpose.ModelError, match="networks of the family tiny are not written as ONNX"):
        export_network(Network(), tmp_path / "a.onnx")


def test_what_a_family_does_not_offer_is_refused(tiny: Family, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="torch is not installed; pip install trtpose[export]")
    with pytest.raises(trtpose.InputError, match="family tiny has no networks with random weights"):
        export("tiny-pose", tmp_path / "a.onnx", random=True)
    (tmp_path / "weights.pt").write_bytes(b"x")
    with pytest.raises(trtpose.ModelError, match=r"weights\.pt: no checkpoints of the family tiny are read"):
        export(tmp_path / "weights.pt", arch=tiny.name + "-pose")
    assert [path.name for path in tmp_path.iterdir()] == ["weights.pt"]
