# SPDX-License-Identifier: Apache-2.0
"""ONNX files from strangers: what every verb refuses, and the weights in files beside a model that all of them read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import external_data_helper
from PIL import Image

import onnx_models
import trtpose
from command_support import real_run
from trtpose import _core
from trtpose.build import onnx_model
from trtpose.cost import model_cost
from trtpose.formats import onnx_file, onnx_graph

_VERBS: dict[str, list[str]] = {
    "info": ["info", "MODEL"],
    "infer": ["infer", "MODEL", "IMAGES"],
    "bench": ["bench", "MODEL", "--runs", "1"],
    "eval": ["eval", "MODEL", "--images", "IMAGES", "--annotations", "ANNOTATIONS"],
    "check reference": ["check", "MODEL", "GOOD", "--images", "IMAGES"],
    "check candidate": ["check", "GOOD", "MODEL", "--images", "IMAGES"],
    "export": ["export", "MODEL", "-o", "OUT"],
    "export with a spec": ["export", "MODEL", "--spec", "SPEC", "-o", "OUT"],
    "quantize": ["quantize", "MODEL", "--calib", "IMAGES", "-o", "OUT"],
    "build": ["build", "MODEL", "--fp32", "--runtime", "rtx", "-o", "OUT"],
}


def _outside(model: onnx.ModelProto, location: str, offset: int = 0) -> None:
    """Keep the first weights in another file."""
    tensor = next(t for t in model.graph.initializer if t.raw_data and len(t.raw_data) > 64)
    size = len(tensor.raw_data)
    external_data_helper.set_external_data(tensor, location, offset=offset, length=size)
    tensor.ClearField("raw_data")


def _opset(domain: str, version: int) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        kept = [entry for entry in model.opset_import if entry.domain != domain]
        del model.opset_import[:]
        model.opset_import.extend([*kept, onnx.helper.make_opsetid(domain, version)])

    return change


def _large_output(model: onnx.ModelProto) -> None:
    dims = model.graph.output[0].type.tensor_type.shape.dim
    for at in (1, 2):
        dims[at].dim_value = 1 << 16


_REFUSED: dict[str, tuple[Callable[[onnx.ModelProto], None], str]] = {
    "a path upwards": (lambda m: _outside(m, "../w.bin"), "leads out of the model's folder"),
    "an absolute path": (lambda m: _outside(m, "/etc/hostname"), "is an absolute path"),
    "a link": (lambda m: _outside(m, "link.bin"), "reached through a link"),
    "a pipe": (lambda m: _outside(m, "pipe.bin"), "not a regular file"),
    "no file": (lambda m: _outside(m, "none.bin"), "No such file"),
    "a short file": (lambda m: _outside(m, "short.bin"), "and should hold"),
    "an opset of tomorrow": (_opset("", 27), "uses opset 27 of ai.onnx"),
    "an opset of another domain": (_opset("ai.onnx.ml", 6), "uses opset 6 of ai.onnx.ml"),
    "an IR version of tomorrow": (lambda m: setattr(m, "ir_version", 14), "IR version 14"),
    "an output without bounds": (_large_output, "more than 2147483647 numbers"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("strangers")
    onnx_models.write_model(root / "good.onnx", metadata={"trtpose": json.dumps(onnx_models.spec_fields())})
    good = onnx.load(root / "good.onnx")
    (root / "w.bin").write_bytes(bytes(100000))
    models = root / "models"
    models.mkdir()
    (models / "link.bin").symlink_to(root / "w.bin")
    os.mkfifo(models / "pipe.bin")
    (models / "short.bin").write_bytes(b"short")
    for name, (change, _) in _REFUSED.items():
        bad = onnx.ModelProto()
        bad.CopyFrom(good)
        change(bad)
        (models / f"{name}.onnx").write_bytes(bad.SerializeToString())
    (root / "images").mkdir()
    Image.new("RGB", (64, 48), (90, 120, 30)).save(root / "images" / "a.png")
    (root / "spec.json").write_text(json.dumps(onnx_models.spec_fields()))
    (root / "annotations.json").write_text("{}")
    return root


@pytest.mark.parametrize("case", list(_REFUSED))
@pytest.mark.parametrize("verb", list(_VERBS))
def test_every_verb_refuses(
    verb: str, case: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def seen(*_: object, **__: object) -> None:
        pytest.fail("a library saw the model")

    good = folder / "good.onnx"
    for name in ("parse", "runtime_session", "openvino_model", "parse_with_tensorrt"):
        monkeypatch.setattr(onnx_file, name, seen)
    model = folder / "models" / f"{case}.onnx"
    places = {
        "MODEL": model, "GOOD": good, "IMAGES": folder / "images", "ANNOTATIONS": folder / "annotations.json",
        "SPEC": folder / "spec.json", "OUT": tmp_path / "out.onnx",
    }  # fmt: skip
    status, _, err = real_run(capsys, *(places.get(word, word) for word in _VERBS[verb]))
    assert status != 0
    assert str(model) in err
    assert _REFUSED[case][1] in err
    assert not (tmp_path / "out.onnx").exists()


def test_weights_beside_a_model_are_read(folder: Path, tmp_path: Path) -> None:
    whole = folder / "good.onnx"
    model = onnx.load(whole)
    (tmp_path / "below").mkdir()
    split = tmp_path / "split.onnx"
    onnx.save_model(
        model, split, save_as_external_data=True, location="below/weights.bin", size_threshold=0,
        all_tensors_to_one_file=True,
    )  # fmt: skip
    assert split.stat().st_size < whole.stat().st_size
    described, same = _core.read_model_file(str(split)), _core.read_model_file(str(whole))
    assert (described["parameters"], described["weight_bytes"]) == (same["parameters"], same["weight_bytes"])
    assert model_cost(split) == model_cost(whole)
    frame = np.random.default_rng(0).integers(0, 255, (70, 90, 3), np.uint8)
    (ours,), (theirs,) = (trtpose.Engine(path, conf=0.01).infer(frame) for path in (split, whole))
    assert len(ours)
    np.testing.assert_array_equal(ours.keypoints, theirs.keypoints)
    read = onnx_graph.load(split)
    assert not any(tensor.external_data for tensor in read.graph.initializer)
    onnx.checker.check_model(read)
    # What is kept of an earlier run belongs to the weights, not only to the graph.
    before = onnx_model.load(split, None).sha256
    weights = tmp_path / "below" / "weights.bin"
    weights.write_bytes(bytes([weights.read_bytes()[0] ^ 1]) + weights.read_bytes()[1:])
    assert onnx_model.load(split, None).sha256 != before


def test_only_checked_bytes_are_taken(folder: Path) -> None:
    with pytest.raises(TypeError, match=r"made by read\(\) and checked\(\)"):
        onnx_file.OnnxBytes(b"", "x", None)
    model = onnx.load(folder / "good.onnx")
    _outside(model, "w.bin")
    with pytest.raises(trtpose.ModelError, match=r"made here: weight .* which a model in memory cannot have"):
        onnx_file.checked(model, "made here")
    with pytest.raises(trtpose.ModelError, match="is not a regular file"):
        onnx_file.read(folder)


_WRITER = """
import sys, threading, time
import trtpose
from trtpose import _core
from trtpose.build import onnx_model
path = sys.argv[1]
whole = open(path, "rb").read()
stop = threading.Event()
def write():
    while not stop.is_set():
        for size in (len(whole) // 3, 0, len(whole)):
            with open(path, "r+b") as file:
                file.truncate(size)
                if size == len(whole):
                    file.write(whole)
            time.sleep(0.0005)
thread = threading.Thread(target=write)
thread.start()
counts = {"opened": 0, "refused": 0}
def attempt(work):
    try:
        work()
        counts["opened"] += 1
    except trtpose.ModelError:
        counts["refused"] += 1
for _ in range(200):
    attempt(lambda: _core.read_model_file(path))
    attempt(lambda: _core.read_onnx(path))
for _ in range(10):
    attempt(lambda: trtpose.Engine(path))
stop.set()
thread.join()
print(counts["opened"], counts["refused"])
"""


def test_a_model_that_is_written_while_it_is_opened(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "living.onnx"
    path.write_bytes((folder / "good.onnx").read_bytes())
    done = subprocess.run([sys.executable, "-c", _WRITER, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    opened, refused = map(int, done.stdout.split())
    assert opened + refused == 410
    assert refused > 0
