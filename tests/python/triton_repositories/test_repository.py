# SPDX-License-Identifier: Apache-2.0
"""What ``trtpose triton`` writes, its configurations as Triton's own protobuf reads them, and what it refuses."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import onnx_models
from command_support import real_run
from triton_support import PLAN, PLUGIN, SPEC, engine, parse
from trtpose import Engine, InputError, ModelError, ModelSpec, Thresholds
from trtpose.triton import repository as repositories
from trtpose.triton import write_repository


def onnx_file(folder: Path, name: str = "net", **options: Any) -> Path:
    metadata = {"trtpose": json.dumps(onnx_models.spec_fields(options.get("layout", "heads")))}
    return onnx_models.write_model(folder / f"{name}.onnx", metadata=metadata, **options)


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def tensors(entries: Any) -> list[tuple[str, int, list[int]]]:
    return [(entry.name, entry.data_type, list(entry.dims)) for entry in entries]


U8, I32, F16, F32, TEXT = 2, 8, 10, 11, 13
"""Of model_config.proto's DataType."""


def test_an_engine_of_several_batches(tmp_path: Path) -> None:
    made = write_repository(engine(tmp_path), tmp_path / "models")
    assert (made.model, made.network, made.version, made.backend) == ("net", "net_network", 1, "tensorrt")
    assert made.folders == (tmp_path / "models/net_network/1", tmp_path / "models/net/1")
    assert (tmp_path / "models/net_network/1/model.plan").read_bytes() == PLAN
    spec = ModelSpec.from_dict(SPEC)
    assert ModelSpec.load(tmp_path / "models/net_network/1/model.json") == spec
    network = parse(tmp_path / "models/net_network/config.pbtxt")
    assert (network.name, network.platform, network.max_batch_size) == ("net_network", "tensorrt_plan", 8)
    assert tensors(network.input) == [("images", F32, [3, 64, 96])]
    assert tensors(network.output) == [("head_8", F32, [30, 8, 12]), ("head_16", F16, [30, 4, 6])]
    (group,) = network.instance_group
    assert (group.count, group.kind, list(group.profile)) == (1, 1, ["0"])  # KIND_GPU
    assert network.HasField("dynamic_batching")
    poses = parse(tmp_path / "models/net/config.pbtxt")
    assert (poses.name, poses.backend, poses.max_batch_size) == ("net", "python", 0)
    assert tensors(poses.input) == [("bgr", U8, [-1, -1, -1, 3]), ("rgb", U8, [-1, -1, -1, 3]), ("encoded", TEXT, [-1])]
    assert all(entry.optional for entry in poses.input)
    assert tensors(poses.output) == [
        ("counts", I32, [-1]),
        ("boxes", F32, [-1, -1, 4]),
        ("scores", F32, [-1, -1]),
        ("class_ids", I32, [-1, -1]),
        ("keypoints", F32, [-1, -1, 3, 3]),
        ("shapes", I32, [-1, 2]),
    ]
    assert poses.instance_group[0].kind == 2  # KIND_CPU
    assert ModelSpec.from_json(poses.parameters["trtpose"].string_value) == spec
    assert "trtpose" not in network.parameters


@pytest.mark.parametrize("batches", [(4, 4, 4), (2, 4, 8), (1, 1, 1)])
def test_engines_whose_shapes_have_the_batch(tmp_path: Path, batches: tuple[int, int, int]) -> None:
    """Triton joins requests only where any number of frames up to the largest is taken."""
    write_repository(engine(tmp_path, batches), tmp_path / "models")
    network = parse(tmp_path / "models/net_network/config.pbtxt")
    assert network.max_batch_size == 0
    n = batches[0] if batches[0] == batches[2] else -1
    assert list(network.input[0].dims) == [n, 3, 64, 96]
    assert list(network.output[0].dims) == [n, 30, 8, 12]
    assert not network.HasField("dynamic_batching")
    settings = json.loads((tmp_path / "models/net/1/trtpose.json").read_text())
    assert settings["network"]["batch"] == batches[2]
    assert [shape[0] for shape in settings["network"]["profile"]] == list(batches)


def test_an_engine_with_the_plugin(tmp_path: Path) -> None:
    path = engine(tmp_path, **PLUGIN)
    made = write_repository(path, tmp_path / "models", name="people")
    assert (made.model, made.network, made.decoded) == ("people", "people_network", True)
    config = parse(tmp_path / "models/people_network/config.pbtxt")
    assert tensors(config.output) == [
        ("num_dets", I32, [1]),
        ("boxes", F32, [300, 4]),
        ("scores", F32, [300]),
        ("classes", I32, [300]),
        ("keypoints", F32, [300, 3, 3]),
    ]
    assert json.loads(config.parameters["trtpose_network"].string_value)["nms"]["max_det"] == 300
    assert json.loads((tmp_path / "models/people/1/trtpose.json").read_text())["network"]["decoded"] is True
    with pytest.raises(InputError, match="has its thresholds built in"):
        write_repository(path, tmp_path / "models", name="people", thresholds=Thresholds(conf=0.5))


@pytest.mark.parametrize(
    ("options", "backend", "batch", "dims"),
    [
        ({}, "onnxruntime", 6, [3, 64, 96]),
        ({"dynamic": True}, "onnxruntime", 6, [3, -1, -1]),
        ({"batch": 2}, "onnxruntime", 0, [2, 3, 64, 96]),
        ({}, "openvino", 0, [-1, 3, 64, 96]),
    ],
)
def test_onnx_for_cpus(tmp_path: Path, options: dict[str, Any], backend: str, batch: int, dims: list[int]) -> None:
    path = onnx_file(tmp_path, **options)
    write_repository(path, tmp_path / "models", backend=backend, batch=6, instances=3)
    config = parse(tmp_path / "models/net_network/config.pbtxt")
    assert (config.backend, config.default_model_filename, config.max_batch_size) == (backend, "model.onnx", batch)
    assert list(config.input[0].dims) == dims
    assert config.instance_group[0].kind == 2
    assert parse(tmp_path / "models/net/config.pbtxt").instance_group[0].count == 3
    # What lies there is a model that trtpose runs too.
    written = Engine(tmp_path / "models/net_network/1/model.onnx")
    frame = np.random.default_rng(5).integers(0, 256, (48, 64, 3), np.uint8)
    assert written.infer(frame)[0].to_dict() == Engine(path).infer(frame)[0].to_dict()


def test_one_frame_at_a_time_is_said_where_more_could_be_joined(tmp_path: Path) -> None:
    """Left open, ONNX Runtime's backend would join four, and miss an axis in the shapes."""
    write_repository(onnx_file(tmp_path), tmp_path / "models", batch=1)
    config = parse(tmp_path / "models/net_network/config.pbtxt")
    assert (config.max_batch_size, list(config.input[0].dims)) == (1, [3, 64, 96])
    assert not config.HasField("dynamic_batching")


def test_weights_beside_the_onnx_are_taken_in(tmp_path: Path) -> None:
    path = onnx_file(tmp_path)
    onnx.save_model(onnx.load(str(path)), str(path), save_as_external_data=True, location="net.data", size_threshold=0)
    write_repository(path, tmp_path / "models")
    (tmp_path / "net.data").unlink()
    assert Engine(tmp_path / "models/net_network/1/model.onnx").spec.keypoints == 3


def test_versions_are_counted_up(tmp_path: Path) -> None:
    models = tmp_path / "models"
    first = write_repository(onnx_file(tmp_path), models)
    before = tree(models)
    assert first.version == 1
    (models / "net_network" / "7").mkdir()  # somebody's, or what is left of one whose other half was removed
    second = write_repository(onnx_file(tmp_path, seed=1), models)
    assert second.version == 8
    after = tree(models)
    assert all(after[name] == content for name, content in before.items() if "config" not in name)
    assert after["net/8/model.py"] == before["net/1/model.py"]
    assert after["net_network/8/model.onnx"] != before["net_network/1/model.onnx"]
    assert not (models / ".trtpose-triton").exists()
    assert {entry.name for entry in (models / "net_network").iterdir()} == {"1", "7", "8", "config.pbtxt"}


def foreign(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "config.pbtxt").write_text('name: "net"\n')


def changed(folder: Path) -> None:
    config = folder / "config.pbtxt"
    config.write_text(config.read_text().replace("count: 2", "count: 5"))


def file_there(folder: Path) -> None:
    folder.parent.mkdir(parents=True)
    folder.write_text("x")


def without_configuration(folder: Path) -> None:
    (folder / "1").mkdir(parents=True)


@pytest.mark.parametrize(
    ("prepare", "written", "words"),
    [
        (foreign, False, "net: is not of trtpose triton; give another --name"),
        (file_there, False, "net: is not of trtpose triton"),
        (without_configuration, False, "net: is not of trtpose triton"),
        (changed, True, "was changed since trtpose triton wrote it"),
    ],
)
def test_what_is_somebody_elses(tmp_path: Path, prepare: Callable[[Path], None], written: bool, words: str) -> None:
    models = tmp_path / "models"
    if written:
        write_repository(onnx_file(tmp_path), models)
    prepare(models / "net")
    before = tree(models)
    with pytest.raises(InputError) as error:
        write_repository(onnx_file(tmp_path), models)
    assert words in str(error.value)
    assert tree(models) == before
    assert not (models / "net_network" / "2").exists()
    assert write_repository(onnx_file(tmp_path), models, name="other").version == 1


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ("net", "net_network", "net_network: is the network behind another model; give another --name"),
        ("net_network", "net", "net_network: takes pictures itself; give another --name"),
    ],
)
def test_a_model_does_not_replace_the_network_of_another(tmp_path: Path, first: str, second: str, words: str) -> None:
    models = tmp_path / "models"
    write_repository(onnx_file(tmp_path), models, name=first)
    before = tree(models)
    with pytest.raises(InputError) as error:
        write_repository(onnx_file(tmp_path), models, name=second)
    assert words in str(error.value)
    assert tree(models) == before
    assert write_repository(onnx_file(tmp_path), models, name=first).version == 2


@pytest.mark.parametrize("written", [False, True])
@pytest.mark.parametrize("step", range(4))
def test_nothing_is_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: bool, step: int) -> None:
    """Whichever step fails: the two renamings of folders, or the two configurations."""
    models = tmp_path / "models"
    if written:
        write_repository(onnx_file(tmp_path), models)
    before = tree(models)
    steps = [0]

    def failing(real: Callable[..., Any]) -> Callable[..., Any]:
        def work(*arguments: Any, **options: Any) -> Any:
            steps[0] += 1
            if steps[0] == step + 1:
                raise OSError(28, os.strerror(28))
            return real(*arguments, **options)

        return work

    monkeypatch.setattr(Path, "rename", failing(Path.rename))
    monkeypatch.setattr(Path, "write_text", failing(Path.write_text))
    with pytest.raises(InputError, match="No space left on device"):
        write_repository(onnx_file(tmp_path, seed=1), models)
    assert steps[0] == step + 1
    assert tree(models) == before
    assert models.exists() == written
    monkeypatch.undo()
    assert write_repository(onnx_file(tmp_path), models).version == 1 + written


def test_what_a_killed_run_left_is_removed(tmp_path: Path) -> None:
    models = tmp_path / "models"
    left = models / "net" / "new-0123456789abcdef"
    left.mkdir(parents=True)
    (left / "model.py").write_text("half")
    (models / "net" / ".config.00000000-01234567.part.pbtxt").write_text("half")
    assert write_repository(onnx_file(tmp_path), models).version == 1
    assert not left.exists()


def test_one_writes_at_a_time(tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    with repositories._alone(models), pytest.raises(InputError, match="another trtpose triton writes there"):
        write_repository(onnx_file(tmp_path), models)


def bare(folder: Path) -> Path:
    path = folder / "net.engine"
    path.write_bytes(PLAN)
    (folder / "net.json").write_text(json.dumps(SPEC))
    return path


@pytest.mark.parametrize(
    ("make", "options", "kind", "words"),
    [
        (bare, {}, ModelError, "does not name its tensors"),
        (lambda f: engine(f, runtime="rtx", plan=b"vtrt" + PLAN[4:]), {}, ModelError, "of TensorRT for RTX"),
        (lambda f: engine(f, plugins=["other/1"]), {}, ModelError, "needs the plugins other/1"),
        (engine, {"backend": "openvino"}, InputError, "is an engine file, which TensorRT's backend runs"),
        (onnx_file, {"backend": "torch"}, InputError, "backend 'torch' is not known"),
        (onnx_file, {"name": "../net"}, InputError, "name is '../net'"),
        (onnx_file, {"name": ".net"}, InputError, "name is '.net'"),
        (onnx_file, {"batch": 0}, InputError, "batch 0"),
        (onnx_file, {"instances": 0}, InputError, "instances 0"),
        (onnx_file, {"thresholds": 5}, InputError, "thresholds is of type int"),
        (lambda f: f / "none.onnx", {}, ModelError, "none.onnx"),
    ],
)
def test_what_is_refused(
    tmp_path: Path, make: Callable[[Path], Path], options: dict[str, Any], kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind) as error:
        write_repository(make(tmp_path), tmp_path / "models", **options)
    assert words in str(error.value)
    assert not (tmp_path / "models").exists()


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = onnx_file(tmp_path, "my net")
    status, out, err = real_run(capsys, "triton", path, "--repository", tmp_path / "models", "--conf", "0.4")
    assert (status, err) == (0, "")
    assert out.splitlines() == [
        f"wrote {tmp_path / 'models/my_net_network/1'}",
        f"wrote {tmp_path / 'models/my_net/1'}",
        "clients name my_net; it needs trtpose in the Python of Triton's container",
    ]
    settings = json.loads((tmp_path / "models/my_net/1/trtpose.json").read_text())
    assert settings["thresholds"] == {"conf": 0.4, "iou": 0.65, "max_det": 300, "agnostic": False, "nms": "iou"}
    status, _, err = real_run(capsys, "triton", engine(tmp_path), "--repository", path)
    assert status == 1
    assert "is a file; give the name of a folder" in err


def test_a_file_of_the_repository_is_not_lost(tmp_path: Path) -> None:
    """A model may be taken from the repository that it is written to."""
    models = tmp_path / "models"
    write_repository(onnx_file(tmp_path), models)
    source = models / "net_network/1/model.onnx"
    before = hashlib.sha256(source.read_bytes()).digest()
    assert write_repository(source, models, name="net").version == 2
    assert hashlib.sha256((models / "net_network/2/model.onnx").read_bytes()).digest() == before
