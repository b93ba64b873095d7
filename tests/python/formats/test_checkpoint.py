# SPDX-License-Identifier: Apache-2.0
"""Reading checkpoints: nothing in a file is ever executed, and one that is no checkpoint is refused."""

from __future__ import annotations

import io
import os
import pickle
import random
import struct
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import export_support as support
import trtpose
from trtpose.families.anchor_grid import network
from trtpose.families.anchor_grid.catalogue import Description
from trtpose.formats import checkpoint
from trtpose.formats.checkpoint import Checkpoint


@pytest.fixture(scope="module")
def small() -> network.Network:
    return support.halved(support.make_network())


@pytest.fixture(scope="module")
def saved(small: network.Network, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return support.save_checkpoint(tmp_path_factory.mktemp("saved") / "small.pt", small, support.SMALL).read_bytes()


class _Call:
    """Pickles as a call of anything."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self._call = (function, arguments)

    def __reduce__(self) -> Any:
        return self._call


def _stolen(marker: Path) -> dict[str, Any]:
    code = f"open({str(marker)!r}, 'w')"
    return {
        "system": _Call(os.system, f"touch {marker}"),
        "eval": _Call(eval, code),
        "exec": _Call(exec, code),
        "popen": _Call(subprocess.Popen, ["touch", str(marker)]),
        "open": _Call(open, str(marker), "w"),
        "import": _Call(__import__, "this"),
        "getattr": _Call(getattr, "os", "system"),
        "nested": {"model": [_Call(_Call, 1)]},
        "torch function": _Call(torch.load, str(marker)),
        "bytes": _Call(bytes, 10**12),
        "bytearray": _Call(bytearray, 10**12),
        "range": _Call(range, 10**12),
        "loader": _Call(pickle.loads, b"cos\nsystem\n(S'true'\ntR."),
    }


_NAMES = list(_stolen(Path("x")))


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "stream"])
@pytest.mark.parametrize("name", _NAMES)
def test_nothing_is_executed(name: str, zipped: bool, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    path = tmp_path / "bad.pt"
    torch.save({"model": _stolen(marker)[name]}, path, _use_new_zipfile_serialization=zipped)
    before = set(sys.modules)
    with pytest.raises(trtpose.ModelError, match="refused"):
        Checkpoint(path)
    assert not marker.exists()
    assert set(sys.modules) == before


_HAND_MADE = {
    # Opcodes of pickle, protocol 2 unless said otherwise.
    "a name of a network module that is called": (b"\x80\x02cmodels.common\nsystem\nX\x04\x00\x00\x00true\x85R.", None),
    "getattr of a module": (
        b"\x80\x02c__builtin__\ngetattr\ncmodels.common\nos\nX\x06\x00\x00\x00system\x86R.",
        "getattr",
    ),
    "an instance": (b"\x80\x02(ios\nsystem\n.", "os.system"),
    "an object": (b"\x80\x02(cos\nsystem\no.", "os.system"),
    "dotted names of protocol 4": (b"\x80\x04\x8c\x02os\x8c\x0bpath.exists\x93.", "os.path.exists"),
    "a name with odd characters": (b"\x80\x04\x8c\x06models\x8c\x05a;b()\x93.", "no name of a class"),
    "an extension": (b"\x80\x02\x82\x01.", "EXT1"),
    "state of a class": (b"\x80\x02cmodels.common\nConv\n}b.", "refused"),
    "a count of a list": (b"\x80\x02ccollections\nCounter\n]\x85R.", "counts something that is no dictionary"),
    "state of a list": (b"\x80\x02]}b.", "refused"),
    "a call of a list": (b"\x80\x02])R.", "refused"),
    "an unhashable key": (b"\x80\x02}]K\x01s.", "dictionary key"),
    "a deep key": (b"\x80\x02}" + b")" + b"\x85" * 100000 + b"K\x01s.", "dictionary key"),
    "a storage that is none": (b"\x80\x02K\x01Q.", "no tensor storage"),
    "a huge integer": (b"\x80\x02\x8b\x00\x01\x00\x00" + b"\x7f" * 256 + b".", "absurd size"),
    "nothing": (b"\x80\x02.", "damaged"),
    "two objects": (b"\x80\x02]].", "damaged"),
    "a lost list": (b"\x80\x02e.", "damaged"),
    "numbers of one hash": (
        b"\x80\x02}" + b"".join(b"\x8a\x08" + (k * (2**61 - 1)).to_bytes(8, "little") + b"Ns" for k in (1, 2)) + b".",
        "as a dictionary key",
    ),
    "many tuples as keys": (
        b"\x80\x02}" + b"".join(b"M" + k.to_bytes(2, "little") + b"\x85Ns" for k in range(1001)) + b".",
        "floats and tuples as dictionary keys",
    ),
    "many floats in a set": (
        b"\x80\x04\x8f(" + b"".join(b"G" + struct.pack(">d", k) for k in range(1001)) + b"\x90.",
        "floats and tuples as dictionary keys",
    ),
    "an attribute that is no text": (b"\x80\x02cmodels.common\nConv\n)\x81}K\x01Nsb.", "names an attribute by a int"),
    "a class of a long name": (b"\x80\x02cmodels.common\n" + b"C" * 300 + b"\n.", "absurd length"),
    "an unknown memo": (b"\x80\x02h\x07.", "damaged"),
}


@pytest.mark.parametrize("name", list(_HAND_MADE))
def test_hand_made_pickles(name: str, saved: bytes, tmp_path: Path) -> None:
    content, message = _HAND_MADE[name]
    path = tmp_path / "bad.pt"
    path.write_bytes(support.with_pickle(saved, content))
    if message is None:
        with Checkpoint(path) as opened:
            assert isinstance(opened.root, checkpoint.Skeleton)
    else:
        with pytest.raises(trtpose.ModelError, match=message):
            Checkpoint(path)


def test_cycles_and_depth(saved: bytes, tmp_path: Path) -> None:
    path = tmp_path / "bad.pt"
    module = b"cmodels.common\nConv\n)\x81q\x01}(X\x08\x00\x00\x00_modules}X\x01\x00\x00\x00ah\x01su"
    for content in (
        b"\x80\x02]q\x00h\x00a.",  # a list in itself
        b"\x80\x02" + b"]" * 200000 + b"a" * 199999 + b".",  # 200,000 lists deep
        b"\x80\x02" + module + b"b.",  # a module that is its own child
    ):
        path.write_bytes(support.with_pickle(saved, content))
        with pytest.raises(trtpose.ModelError), Checkpoint(path) as opened:
            opened.network()


_STEPS = 8000
_NAMES_OF_STATE = b"".join(b"X\x04\x00\x00\x00" + f"{k:04x}".encode() + b"N" for k in range(_STEPS))
_CONV = b"cmodels.common\nConv\n"
# Each names a long value thousands of times, at a few bytes a time.
_EXPANDING = {
    "state set again": b"(" + _NAMES_OF_STATE + b"dq\x01" + _CONV + b")\x81" + b"h\x01b" * _STEPS,
    "a set of a list": b"(" + b"N" * _STEPS + b"lq\x01c__builtin__\nset\nq\x020" + b"h\x02h\x01\x85R0" * _STEPS,
    "a size of a list": b"(" + b"N" * _STEPS + b"lq\x01ctorch\nSize\nq\x020" + b"h\x02h\x01\x85R0" * _STEPS,
    "a dictionary of a list": b"("
    + b"K\x01N\x86" * _STEPS
    + b"lq\x01ccollections\nOrderedDict\nq\x020"
    + b"h\x02h\x01\x85R0" * _STEPS,
    "a text encoded": b"X\x40\x1f\x00\x00"
    + b"a" * _STEPS
    + b"q\x01X\x06\x00\x00\x00latin1q\x02c_codecs\nencode\nq\x030"
    + b"h\x03h\x01h\x02\x86R0" * _STEPS,
}


@pytest.mark.parametrize("name", list(_EXPANDING))
def test_work_is_bounded_by_the_size(name: str, saved: bytes, tmp_path: Path) -> None:
    path = tmp_path / "bad.pt"
    path.write_bytes(support.with_pickle(saved, b"\x80\x02" + _EXPANDING[name] + b"."))
    # The reader counts its steps and the lengths of what they copy; the whole would be 64 million of them.
    with pytest.raises(trtpose.ModelError, match="far more work than a file of its size warrants"):
        Checkpoint(path)


def test_a_module_in_many_places_is_counted_in_each(saved: bytes, tmp_path: Path) -> None:
    name = b"X\x08\x00\x00\x00_modules"
    inner = _CONV + b")\x81(" + _NAMES_OF_STATE + name + b"}dbq\x01"
    children = b"".join(b"X\x04\x00\x00\x00" + f"{k:04x}".encode() + b"h\x01" for k in range(_STEPS))
    outer = _CONV + b")\x81(" + name + b"(" + children + b"ddb"
    path = tmp_path / "bad.pt"
    path.write_bytes(support.with_pickle(saved, b"\x80\x02" + inner + b"0" + outer + b"."))
    with (
        Checkpoint(path) as opened,
        pytest.raises(trtpose.ModelError, match="far more work than a file of its size warrants"),
    ):
        opened.network()


def test_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pt")
    with pytest.raises(trtpose.ModelError, match=r"pipe.pt: cannot read the checkpoint \(it is not a regular file"):
        Checkpoint(tmp_path / "pipe.pt")


def _tensor(count: int, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> bytes:
    """A pickle of a tensor on storage 0, which has 4 numbers."""

    class Storage:
        pass

    class Pickler(pickle._Pickler):  # the pure Python one, which can be made to write any global
        def persistent_id(self, obj: Any) -> Any:
            return (
                ("storage", _Global("torch", "FloatStorage"), "0", "cpu", count) if isinstance(obj, Storage) else None
            )

        def save(self, obj: Any, save_persistent_id: bool = True) -> Any:
            if isinstance(obj, _Global):
                return self.write(b"c" + f"{obj.module}\n{obj.name}\n".encode())
            return super().save(obj, save_persistent_id)

    class _Global:
        def __init__(self, module: str, name: str) -> None:
            self.module, self.name = module, name

        def __call__(self) -> None: ...

    out = io.BytesIO()
    pickler = Pickler(out, 2)
    pickler.write(b"\x80\x02")
    pickler.save(_Global("torch._utils", "_rebuild_tensor_v2"))
    pickler.save((Storage(), offset, shape, strides, False, None))
    pickler.write(b"R.")
    return out.getvalue()


@pytest.mark.parametrize(
    ("count", "offset", "shape", "strides"),
    [
        (4, 0, (5,), (1,)),  # beyond the end
        (4, 1, (4,), (1,)),
        (4, 0, (2, 2), (4, 1)),
        (4, 0, (1 << 40,), (0,)),  # one number a trillion times
        (4, 0, (1 << 20, 1 << 20, 1 << 20), (0, 0, 0)),
        (4, -1, (1,), (1,)),
        (4, 0, (-1,), (1,)),
        (4, 3, (2,), (-1,)),
        (4, 0, (2,), (1, 1)),
        (1 << 50, 0, (1,), (1,)),
        (5, 0, (5,), (1,)),  # the storage has 4
        (3, 0, (3,), (1,)),
    ],
)
def test_tensors_beyond_their_storage(
    count: int, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], tmp_path: Path
) -> None:
    path = tmp_path / "bad.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", _tensor(count, offset, shape, strides))
        archive.writestr("a/data/0", np.arange(4, dtype="<f4").tobytes())
    with pytest.raises(trtpose.ModelError), Checkpoint(path) as opened:
        opened.array(opened.root)


def test_tensor_views(tmp_path: Path) -> None:
    path = tmp_path / "good.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", _tensor(4, 0, (2, 2), (1, 2)))
        archive.writestr("a/data/0", np.arange(4, dtype=">f4").tobytes())
        archive.writestr("a/byteorder", b"big")
    with Checkpoint(path) as opened:
        assert opened.array(opened.root).tolist() == [[0, 2], [1, 3]]


def test_archives_that_are_refused(saved: bytes, tmp_path: Path) -> None:
    path = tmp_path / "bad.pt"

    def refused(content: bytes, message: str) -> None:
        path.write_bytes(content)
        with pytest.raises(trtpose.ModelError, match=message) as caught:
            network.load(path)
        assert str(path) in str(caught.value)

    refused(b"", "empty")
    refused(b"PK\x03\x04", "damaged")
    refused(b"hello, this is a text file", "not a PyTorch checkpoint")
    refused(b"\x80\x02]q\x00.", "not one that torch.save wrote")
    refused(support.repacked(saved, lambda _, data: data, zipfile.ZIP_DEFLATED), "compressed")
    refused(support.repacked(saved, lambda name, data: None if name.endswith("/data/3") else data), "lacks")
    refused(support.repacked(saved, lambda name, data: None if name.endswith(".pkl") else data), "no data.pkl")
    refused(support.repacked(saved, lambda name, data: data + b"\0" * (name.endswith("/data/3"))), "bytes where")
    refused(support.repacked(saved, lambda name, data: b"middle" if "byteorder" in name else data), "byte order")
    refused(b"\x1c\0\0\0TFL3" + bytes(20), "TensorFlow Lite; convert it to ONNX first")
    deployed = io.BytesIO()
    with zipfile.ZipFile(deployed, "w") as archive:
        archive.writestr("2024/end2end.onnx", b"\x08\x08")
    refused(deployed.getvalue(), "unpack its '2024/end2end.onnx' and give that")
    script = io.BytesIO()
    with zipfile.ZipFile(script, "w") as archive:
        archive.writestr("a/data.pkl", b"\x80\x02].")
        archive.writestr("a/constants.pkl", b"\x80\x02].")
    refused(script.getvalue(), "TorchScript")
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", b"\0" * (100 << 20))
    refused(bomb.getvalue(), "compressed|larger")
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("pickle"))
    refused(tar.getvalue(), "tar format")
    with pytest.raises(trtpose.ModelError, match="cannot read"):
        network.load(tmp_path / "absent.pt")
    with pytest.raises(trtpose.ModelError, match="cannot read"):
        network.load(tmp_path)


def test_other_checkpoints_get_a_reason(small: network.Network, tmp_path: Path) -> None:
    path = tmp_path / "a.pt"

    def refused(change: Any, message: str, yaml: dict[str, Any] | None = None) -> None:
        support.save_checkpoint(path, small, yaml or support.SMALL, change)
        with pytest.raises(trtpose.ModelError, match=message):
            network.load(path)

    def with_yaml(**values: Any) -> Any:
        def change(model: Any) -> Any:
            model.yaml.update(values)
            return {"model": model}

        return change

    def with_layer(index: int, layer: Any) -> Any:
        return with_yaml(backbone=[*support.SMALL["backbone"][:index], layer, *support.SMALL["backbone"][index + 1 :]])

    refused(lambda _: {"model": None, "epoch": 3}, "no network found")
    refused(lambda _: [1, 2], "no network found")
    refused(with_yaml(nkpt=None), "no keypoints")
    refused(with_yaml(anchors="auto"), "anchors")
    refused(with_yaml(width_multiple=1e9), "width_multiple")
    refused(with_yaml(nc="one"), "nc")
    refused(with_yaml(head=7), "head")
    refused(
        with_yaml(depth_multiple=100.0, backbone=[[-1, 1000, *row[2:]] for row in support.SMALL["backbone"]]), "blocks"
    )
    refused(with_layer(1, [-1, 1, "GhostConv", [16, 3]]), r"layer 1 \(GhostConv\)")
    refused(with_layer(1, [-1, 1, "Conv", [10**9, 3]]), "layer 1")
    refused(with_layer(1, [-1, 1, "Conv", [16, "x"]]), "layer 1")
    refused(with_layer(1, [-7, 1, "Conv", [16, 3]]), "layer 1")
    refused(with_layer(1, [-1, 1, "IKeypoint", ["nc", "anchors", "nkpt"]]), "in a place where it cannot be")
    refused(with_layer(1, [-1, 1, "Conv", [32, 3, 1]]), "shape")
    refused(with_layer(1, [-1, 1, "Conv", [16, 1, 1]]), "kernel_size")
    refused(with_layer(1, [-1, 1, "Conv", [16, 3, 1, None, 1, "nn.Tanh()"]]), "activation")

    def poisoned(name: str, value: float) -> Any:
        def change(model: Any) -> Any:
            model.state_dict()[name].view(-1)[0] = value
            return {"model": model}

        return change

    refused(poisoned("model.1.conv.weight", float("nan")), "NaN")
    refused(poisoned("model.1.bn.running_var", -1.0), "negative variance")

    def extra(model: Any) -> Any:
        model.model[1].other = torch.nn.Linear(2, 2)
        return {"model": model}

    refused(extra, "no place for")


@pytest.mark.parametrize("key", ["nc", "nkpt", "act", "anchors", "depth_multiple", "backbone", "argument", "kind"])
def test_values_nested_without_end(key: str) -> None:
    """Deep enough to exhaust the stack of whatever prints, compares or copies it."""
    deep: Any = []
    for _ in range(100000):
        deep = [deep]
    values: dict[str, Any] = {**support.SMALL, key: deep}
    if key == "argument":
        values["head"] = [[-1, 1, "Conv", [16, deep]]]
    elif key == "kind":
        values["head"] = [[-1, 1, deep, []]]
    with pytest.raises(trtpose.ModelError):
        Description.from_checkpoint(values, "test")


@pytest.mark.parametrize("package", ["yolov5", "some_fork.vendored"])
def test_networks_below_a_package_are_known_by_the_last_parts_of_their_path(
    package: str, small: network.Network, saved: bytes, tmp_path: Path
) -> None:
    def rename(name: str, content: bytes) -> bytes:
        if not name.endswith("data.pkl"):
            return content
        assert content.count(b"cmodels.") > 3  # opcodes that name a class
        return content.replace(b"cmodels.", b"c" + package.encode() + b".models.")

    path = tmp_path / "packaged.pt"
    path.write_bytes(support.repacked(saved, rename))
    made = network.load(path)
    assert package.partition(".")[0] not in sys.modules
    pictures = support.pictures(0, 1, 3, 64, 64)
    for ours, expected in zip(support.run(made, pictures), support.run(small, pictures), strict=True):
        np.testing.assert_array_equal(ours, expected)


@pytest.mark.parametrize("name", ["evil.models.run\nModel", "evil.models.yolo.deeper\nModel", "models_of.yolo\nModel"])
def test_other_names_below_a_package_are_refused(name: str, saved: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    path.write_bytes(support.with_pickle(saved, b"\x80\x02c" + name.encode() + b"\n)\x81."))
    with pytest.raises(trtpose.ModelError, match="which is refused"):
        network.load(path)


def test_ultralytics_checkpoints_get_a_hint(saved: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    path.write_bytes(support.with_pickle(saved, b"\x80\x02cultralytics.nn.tasks\nPoseModel\n)\x81."))
    with pytest.raises(trtpose.ModelError, match="Ultralytics"):
        network.load(path)


# --- Damage -----------------------------------------------------------------------------------------------------------


def _damaged(data: bytes, rng: random.Random) -> bytes:
    """One of several kinds of damage."""
    kind = rng.randrange(5)
    if kind == 0:
        return data[: rng.randrange(len(data))]
    if kind == 1:
        changed = bytearray(data)
        for _ in range(rng.choice((1, 1, 2, 8, 64))):
            changed[rng.randrange(len(changed))] = rng.randrange(256)
        return bytes(changed)
    if kind == 2:
        at = rng.randrange(len(data))
        return data[:at] + rng.randbytes(rng.randrange(1, 40)) + data[at + rng.randrange(40) :]
    if not data.startswith(b"PK"):
        return data[:50] + rng.randbytes(3) + data[50:] if kind == 3 else data[rng.randrange(1, 64) :]
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        pickled = bytearray(archive.read(next(name for name in archive.namelist() if name.endswith("data.pkl"))))
    # Damage behind a right checksum reaches the interpreter of pickles and all that uses its result.
    for _ in range(rng.choice((1, 2, 4))):
        at = rng.randrange(len(pickled))
        if kind == 3:
            pickled[at] = rng.choice(pickled) if rng.random() < 0.5 else rng.randrange(256)
        else:
            pickled[at : at + rng.randrange(12)] = pickled[
                (start := rng.randrange(len(pickled))) : start + rng.randrange(12)
            ]
    return support.with_pickle(data, bytes(pickled))


def test_a_thousand_damaged_checkpoints(seed: int, saved: bytes, small: network.Network, tmp_path: Path) -> None:
    """Each is refused with a trtpose.Error or, where the damage hits what does not matter, read; no crash, no hang."""
    stream = support.save_checkpoint(tmp_path / "stream.pt", small, support.SMALL, zipped=False).read_bytes()
    path = tmp_path / "bad.pt"
    refused = 0
    for i in range(1000):
        rng = random.Random(seed * 1000 + i)
        path.write_bytes(_damaged(stream if i % 4 == 0 else saved, rng))
        try:
            network.load(path)
        except trtpose.ModelError as error:
            refused += str(path) in str(error)
        except Exception as error:
            pytest.fail(f"case {i} of seed {seed}: {type(error).__name__}: {error}")
    print(f"seed {seed}: {refused} of 1000 refused")
    assert 600 < refused < 1000


@pytest.mark.shared
def test_published_checkpoints_cut_short(shared: Path, tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    for source in (shared / "models" / "yolov7-lite-t-face5.pt", shared / "golden" / "yolov5s6_kpts-narrow.pt"):
        data = source.read_bytes()
        path = tmp_path / source.name
        for size in (rng.randrange(len(data)) for _ in range(10)):
            path.write_bytes(data[:size])
            with pytest.raises(trtpose.ModelError):
                network.load(path)
