# SPDX-License-Identifier: Apache-2.0
"""The model spec in Python: the native check decides, and what only Python reads is checked here."""

from __future__ import annotations

import dataclasses
import json
import time
from typing import Any

import numpy as np
import pytest

import onnx_models
import trtpose
from trtpose import ModelError, ModelSpec, _core
from trtpose import spec as specs
from trtpose.spec import METADATA_KEY, PLACEMENTS, ROUNDINGS, SIZINGS


def fields(**changes: Any) -> dict[str, Any]:
    return {**onnx_models.spec_fields(keypoints=3), **changes}


@pytest.mark.parametrize(
    "wrong",
    [
        {"layout": "rows"},
        {"imgsz": [64]},
        {"imgsz": [60, 96]},
        {"strides": []},
        {"strides": [0, 16]},
        {"names": []},
        {"names": "person"},
        {"kpt_shape": [3, 4]},
        {"anchors": []},
        {"sigmas": [0.1]},
        {"sigmas": [0.1, 0.1, -1]},
        {"color": "grey"},
        {"std": [0, 1, 1]},
        {"pad": 256},
        {METADATA_KEY: 3},
        {"placement": "bottom"},
        {"rounding": "up"},
        {"sizing": 7},
        {"family": "nothing_such"},
    ],
)
def test_the_native_check_decides(wrong: dict[str, Any]) -> None:
    values = fields(**wrong)
    with pytest.raises(trtpose.ModelError) as native:
        _core.normalise_spec(json.dumps(values), "a.json")
    with pytest.raises(trtpose.ModelError) as ours:
        ModelSpec.from_dict(values, source="a.json")
    assert str(ours.value) == str(native.value)
    assert str(ours.value).startswith("a.json: ")


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"kpt_names": ["nose"]}, "kpt_names has 1 entries for 3 keypoints"),
        ({"kpt_names": [1, 2, 3]}, "kpt_names is .* not of the expected type"),
        ({"flip_idx": [0, 1, 1]}, "flip_idx is not a permutation"),
        ({"flip_idx": [0, 1]}, "flip_idx has 2 entries"),
        ({"skeleton": [[0, 3]]}, r"skeleton points outside 0\.\.2"),
        ({"skeleton": [[0, 1, 2]]}, "skeleton is .* not of the expected type"),
        ({"kpt_names": {1, 2}}, "what JSON cannot"),
    ],
)
def test_descriptions_of_keypoints(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(trtpose.ModelError, match=rf"a\.json: .*{words}"):
        ModelSpec.from_dict(fields(**wrong), source="a.json")


def test_a_spec_made_by_hand_is_checked_as_well() -> None:
    spec = ModelSpec.from_dict(fields(name="mine"))
    with pytest.raises(trtpose.ModelError, match="model spec mine: names is empty"):
        dataclasses.replace(spec, names=())
    with pytest.raises(trtpose.ModelError, match="model spec mine: imgsz 60×96 is no multiple"):
        dataclasses.replace(spec, imgsz=(60, 96))


def test_fields_keep_their_places() -> None:
    """A field that is new stands behind those that programs may give by their place."""
    spec = ModelSpec.from_dict(fields(more={"x": 1}))
    places = [getattr(spec, field.name) for field in dataclasses.fields(spec)]
    assert ModelSpec(*places[:17]).extra == {"more": {"x": 1}}


def test_the_usual_form_of_input_is_not_said() -> None:
    spec = ModelSpec.from_dict(fields())
    assert (spec.placement, spec.rounding, spec.sizing) == (PLACEMENTS[0], ROUNDINGS[0], SIZINGS[0])
    assert not {"placement", "rounding", "sizing"} & set(spec.to_dict())
    assert spec.to_dict()[METADATA_KEY] == 1
    assert json.loads(_core.normalise_spec(spec.to_json(), "a"))[METADATA_KEY] == 1


@pytest.mark.parametrize("form", [{"placement": "top_left"}, {"rounding": "down"}, {"sizing": "height"}])
def test_another_form_is_of_a_version_that_older_readers_refuse(form: dict[str, str]) -> None:
    spec = ModelSpec.from_dict(fields(**form))
    stated = spec.to_dict()
    assert stated[METADATA_KEY] == 2
    assert {"placement", "rounding", "sizing"} < set(stated)
    assert ModelSpec.from_json(_core.normalise_spec(spec.to_json(), "a")) == spec
    assert spec != ModelSpec.from_dict(fields())


def test_a_layout_is_of_the_first_family_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    values = fields(more=1)
    del values["layout"]
    with pytest.raises(trtpose.ModelError, match="lacks layout"):
        ModelSpec.from_dict(values)
    with pytest.raises(trtpose.ModelError, match="lacks layout"):
        ModelSpec(imgsz=(64, 64), strides=(8,), names=("person",), kpt_shape=(3, 3))
    for key in ("anchors", "strides"):
        del values[key]
    monkeypatch.setattr(specs, "_check", lambda *_: None)  # the native side knows no such family
    spec = ModelSpec.from_dict({**values, "family": "another", "form": "wide"})
    assert (spec.layout, spec.anchors, spec.max_stride) == ("", (), 1)
    assert not {"layout", "anchors"} & set(spec.to_dict())
    assert spec.to_dict()["form"] == "wide"
    assert spec != dataclasses.replace(spec, extra={**spec.extra, "form": "narrow"})
    assert hash(spec) == hash(dataclasses.replace(spec))


def test_numbers_of_numpy_are_numbers() -> None:
    spec = ModelSpec.from_dict(fields(sigmas=[0.5, 0.25, 1.0]))
    values: dict[str, Any] = {"sigmas": np.array([0.5, 0.25, 1.0], np.float32), "imgsz": tuple(np.array(spec.imgsz))}
    assert dataclasses.replace(spec, **values).to_json() == spec.to_json()


def test_there_and_back() -> None:
    spec = ModelSpec.from_dict(fields(kpt_names=["a", "b", "c"], skeleton=[[0, 1]], flip_idx=[1, 0, 2], more={"x": 1}))
    assert ModelSpec.from_json(spec.to_json()) == spec
    assert spec.extra == {"more": {"x": 1}}
    assert spec.skeleton == ((0, 1),)
    assert all(isinstance(side, float) for level in spec.anchors for pair in level for side in pair)
    assert json.loads(_core.normalise_spec(spec.to_json(), "a"))["more"] == {"x": 1}


def test_a_key_that_stands_there_twice_is_found_in_one_pass() -> None:
    """Of the processor's time a fraction of a second; by comparing each key with all others it was minutes."""
    keys = ", ".join(f'"k{i}": 0' for i in range(100_000))
    begin = time.process_time()
    with pytest.raises(ModelError, match="'k99999' stands there twice"):
        ModelSpec.from_json(f'{{{keys}, "k99999": 0}}')
    assert time.process_time() - begin < 60
    with pytest.raises(ModelError, match="'a' stands there twice"):
        ModelSpec.from_json('{"layout": "heads", "more": {"a": 1, "b": 2, "a": 1}}')
