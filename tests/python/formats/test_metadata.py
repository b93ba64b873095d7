# SPDX-License-Identifier: Apache-2.0
"""What model files say of themselves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import onnx_models
import trtpose
from trtpose.formats.metadata import description, find_spec, literal, metadata, spec_text, stated_spec
from trtpose.spec import METADATA_KEY, ModelSpec

SPEC = ModelSpec.from_dict(onnx_models.spec_fields())


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[17, 3]", [17, 3]),
        ("{0: 'person'}", {0: "person"}),
        ("True", True),
        ("pose", "pose"),
        ("{1, 2}", "{1, 2}"),
        ("1e999", "1e999"),
        ("[" * 10000, "[" * 10000),
        ("", ""),
    ],
)
def test_literals(text: str, value: object) -> None:
    assert literal(text) == value


def test_what_is_written_is_read_again() -> None:
    texts = metadata(SPEC, (None, 64, 96), "MIT")
    assert stated_spec(texts, "a") == SPEC
    values = {key: literal(text) for key, text in texts.items() if key != METADATA_KEY}
    assert values == description(SPEC, (None, 64, 96), "MIT")
    assert values["args"]["dynamic"] is True
    assert stated_spec({"task": "pose"}, "a") is None
    with pytest.raises(trtpose.ModelError, match=r"^a\.onnx: not valid JSON"):
        stated_spec({METADATA_KEY: "{"}, "a.onnx")


def test_a_spec_may_be_given_in_four_ways(tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    file.write_text(SPEC.to_json(), encoding="utf-8")
    assert spec_text(None) == ""
    assert spec_text(file) == str(file)
    assert json.loads(spec_text(SPEC)) == json.loads(spec_text(SPEC.to_dict())) == SPEC.to_dict()
    demo = Path(trtpose.__file__).parent / "data" / "demo.onnx"
    own = find_spec(demo)
    assert own.origin == "metadata of trtpose"
    assert ModelSpec.from_dict(own.fields) == own.spec
    given = find_spec(demo, own.spec)
    assert (given.spec, given.origin) == (own.spec, "the caller")
    with pytest.raises(trtpose.ModelError, match="does not fit this model"):
        find_spec(demo, {**own.fields, "outputs": ["nothing_such", "a", "b", "c"]})
