# SPDX-License-Identifier: Apache-2.0
"""Engine files: written, read, damaged."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import trtpose
from build_support import DEMO
from onnx_models import spec_fields
from trtpose import _core
from trtpose.build import engine_file
from trtpose.errors import InputError, ModelError
from trtpose.spec import ModelSpec

pytestmark = pytest.mark.usefixtures("no_gpu")


def plan(size: int = 1000) -> bytes:
    return b"ftrt" + bytes(20) + bytes([10, 13, 3, 9]) + bytes(range(256)) * (size // 256)


HEADER: dict[str, Any] = {
    "names": {"0": "person ü"},
    "trtpose": spec_fields(),
    "trtpose_engine": {
        "format": 1,
        "runtime": "tensorrt",
        "version": "10.13.3.9",
        "precision": "fp16",
        "layers": {"fp16": 3},
        "inputs": [{"name": "images", "dtype": "float32", "shape": [1, 3, 64, 96]}],
        "outputs": [
            {"name": f"head_{stride}", "dtype": "float32", "shape": [1, 30, 64 // stride, 96 // stride]}
            for stride in (8, 16)
        ],
        "profiles": [{"images": {"min": [1, 3, 64, 96], "opt": [1, 3, 64, 96], "max": [1, 3, 64, 96]}}],
    },
}


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "x.engine"
    size = engine_file.write(path, HEADER, plan())
    assert path.stat().st_size == size
    data = path.read_bytes()
    length = struct.unpack("<i", data[:4])[0]
    assert data[4 : 4 + length].decode("ascii")
    assert (4 + length) % 64 == 0  # where it can be read in place
    assert data[4 + length :] == plan()
    found = engine_file.read(path)
    assert found.plan() == plan()
    assert (found.runtime, found.version, found.offset) == ("tensorrt", "10.13.3.9", 4 + length)
    assert found.spec == ModelSpec.from_dict(spec_fields())
    written = found.engine.pop("plan")
    assert written["bytes"] == len(plan())
    assert {**found.header, "trtpose_engine": {**found.engine, "plan": 0}} == {
        **HEADER,
        "trtpose_engine": {**HEADER["trtpose_engine"], "plan": 0},
    }


def test_the_engine_reads_what_is_written(tmp_path: Path) -> None:
    """The reader in C++ and the writer in Python agree."""
    path = tmp_path / "x.engine"
    engine_file.write(path, HEADER, plan())
    facts = _core.read_model_file(str(path))
    assert facts["kind"] == "engine"
    assert facts["inputs"] == HEADER["trtpose_engine"]["inputs"]
    assert facts["outputs"] == HEADER["trtpose_engine"]["outputs"]
    assert json.loads(_core.find_spec(str(path), "")[0])["layout"] == "heads"
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    for read in (engine_file.read, lambda path: _core.read_model_file(str(path))):
        with pytest.raises(ModelError, match="is damaged"):
            read(path)


@pytest.mark.usefixtures("builder")
def test_the_engine_reads_what_is_built(tmp_path: Path) -> None:
    built = trtpose.build(DEMO, tmp_path / "x.engine", precision="fp16", batch="1:1:2")
    facts = _core.read_model_file(str(built.path))
    assert facts["inputs"] == built.header["trtpose_engine"]["inputs"]
    assert facts["outputs"] == built.header["trtpose_engine"]["outputs"]
    text, _ = _core.find_spec(str(built.path), "")
    assert ModelSpec.from_json(text) == built.spec


def test_files_of_others(tmp_path: Path) -> None:
    path = tmp_path / "x.engine"
    path.write_bytes(plan())
    bare = engine_file.read(path)
    assert (dict(bare.header), bare.offset, bare.size, bare.spec) == ({}, 0, len(plan()), None)
    theirs = json.dumps({"task": "pose", "names": {"0": "person"}}).encode()
    path.write_bytes(struct.pack("<i", len(theirs)) + theirs + b"vtrt" + plan()[4:])
    found = engine_file.read(path)
    assert (found.header["task"], found.runtime, found.engine) == ("pose", "rtx", {})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda _: b"", "is not an engine file"),
        (lambda _: b"abc", "is not an engine file"),
        (lambda _: b"\x08\x07" * 50, "is not an engine file"),
        (lambda data: data[:40], "ends within its header"),
        (lambda data: data[:4] + b"[" + data[5:], "is not an engine file"),
        (lambda data: data[:-10], "bytes where .* were written"),
        (lambda data: data + b"more", "bytes where .* were written"),
        (lambda data: data[:-1] + b"\x00", "wrong checksum"),
        (lambda data: data.replace(b"ftrt", b"FTRT"), "no TensorRT plan follows"),
        (lambda data: data.replace(b'"format": 1', b'"format": 2'), "of format 2, this trtpose reads format 1"),
        (lambda data: data.replace(b'"crc32": ', b'"crc99": '), "description of the plan is damaged"),
        (lambda data: data.replace(b'"tensorrt"', b'"tensorRT"'), "of different kinds"),
    ],
)
def test_damaged_files(change: Callable[[bytes], bytes], words: str, tmp_path: Path) -> None:
    path = tmp_path / "x.engine"
    engine_file.write(path, HEADER, plan())
    changed = change(path.read_bytes())
    assert changed != path.read_bytes()
    path.write_bytes(changed)
    with pytest.raises(ModelError, match=words) as caught:
        engine_file.read(path)
    assert str(caught.value).startswith(str(path))


def test_absent_files(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        engine_file.read(tmp_path / "absent.engine")
    with pytest.raises(InputError, match="does not exist"):
        engine_file.write(tmp_path / "absent" / "x.engine", HEADER, plan())
    path = tmp_path / "x.engine"
    engine_file.write(path, HEADER, plan())
    found = engine_file.read(path)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(ModelError, match="has become shorter"):
        found.plan()
    with pytest.raises(ModelError, match="not a JSON object"):
        _ = replace(found, header={"trtpose": 3}).spec
