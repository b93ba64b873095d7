# SPDX-License-Identifier: Apache-2.0
"""Compiled networks that are kept for the next start: the same answers, whatever becomes of what is kept."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

import quantize_models as models
from process_support import run
from support import picture
from trtpose import Engine, InputError, ModelError, _core

LONG_AGO = time.time() - 24 * 3600


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of its own, in which small networks are kept too."""
    monkeypatch.setenv("TRTPOSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TRTPOSE_MODEL_CACHE", "all")
    monkeypatch.delenv("TRTPOSE_MODEL_CACHE_MIB", raising=False)
    return tmp_path / "cache"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return models.write_small(tmp_path / "small.onnx")


def answers(model: Path, **options: Any) -> list[NDArray[Any]]:
    poses = Engine(model, device="cpu", conf=0.001, **options).infer(picture(90, 120))[0]
    return [poses.boxes, poses.scores, poses.class_ids, poses.keypoints]


def assert_same(found: list[NDArray[Any]], expected: list[NDArray[Any]]) -> None:
    assert len(expected[0]), "nothing found, so nothing is compared"
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def without(model: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> list[NDArray[Any]]:
    with monkeypatch.context() as patch:
        patch.setenv("TRTPOSE_MODEL_CACHE", "off")
        return answers(model, **options)


def kept(cache: Path) -> list[Path]:
    return sorted((cache / "openvino").iterdir()) if (cache / "openvino").is_dir() else []


def changed(model: Path, to: Path) -> Path:
    """The network with one other number, in a file of the same size."""
    network = onnx.load(model)
    weights = next(t for t in network.graph.initializer if len(t.dims) == 4)
    values = numpy_helper.to_array(weights).copy()
    values.flat[0] += 0.25
    weights.CopyFrom(numpy_helper.from_array(values, weights.name))
    onnx.save(network, to)
    assert to.stat().st_size == model.stat().st_size
    return to


def test_each_stream_takes_the_same_entry(model: Path, cache: Path, monkeypatch: pytest.MonkeyPatch):
    options = {"streams": 3, "threads": 4}  # of two, one and one threads

    def of_streams() -> list[list[NDArray[Any]]]:
        engine = Engine(model, device="cpu", conf=0.001, **options)
        found = []
        for _ in range(4):
            tickets = [engine.submit(picture(90, 120)) for _ in range(engine.max_in_flight)]
            found += [poses for ticket in tickets for poses in engine.collect(ticket)]
        return [[poses.boxes, poses.scores, poses.class_ids, poses.keypoints] for poses in found]

    with monkeypatch.context() as patch:
        patch.setenv("TRTPOSE_MODEL_CACHE", "off")
        expected = of_streams()
    for _ in range(2):
        for ours, theirs in zip(of_streams(), expected, strict=True):
            assert_same(ours, theirs)
        assert len(kept(cache)) == 1
    answers(model)  # with one stream it is another entry
    assert len(kept(cache)) == 2


def test_the_same_answers_bit_for_bit(cache: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = without(model, monkeypatch)
    assert not cache.exists()
    assert_same(answers(model), expected)
    (entry,) = kept(cache)
    assert stat.S_IMODE(entry.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(entry.stat().st_mode) == 0o600
    before = entry.stat()
    os.utime(entry, (LONG_AGO, LONG_AGO))
    assert_same(answers(model), expected)
    (again,) = kept(cache)
    # It was taken, which is noted, and not made again.
    assert again.stat().st_ino == before.st_ino
    assert again.stat().st_mtime > LONG_AGO + 3600
    clone = Engine(model, device="cpu", conf=0.001).clone()
    np.testing.assert_array_equal(clone.infer(picture(90, 120))[0].keypoints, expected[-1])


def test_what_a_session_says_of_itself_is_the_same(cache: Path, model: Path) -> None:
    first, second = Engine(model, device="cpu"), Engine(model, device="cpu")
    assert len(kept(cache)) == 1
    assert first.memory == second.memory
    assert first.spec == second.spec
    assert repr(first) == repr(second)


def test_another_file_or_another_option_is_another_network(
    cache: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers(model)
    other = changed(model, tmp_path / "other.onnx")
    os.utime(other, (model.stat().st_atime, model.stat().st_mtime))
    expected = without(other, monkeypatch)
    assert_same(answers(other), expected)
    assert len(kept(cache)) == 2
    answers(model, threads=1)
    assert len(kept(cache)) == 3
    # A copy is the same network, and what stands in the place of the first is not.
    assert_same(answers(Path(shutil.copy(other, tmp_path / "copy.onnx"))), expected)
    assert len(kept(cache)) == 3
    shutil.copy(other, model)
    assert_same(answers(model), expected)
    assert len(kept(cache)) == 3


def broken(entry: Path, how: str) -> None:
    data = entry.read_bytes()
    if how == "link":
        elsewhere = entry.parent.parent / "elsewhere"
        entry.rename(elsewhere)
        entry.symlink_to(elsewhere)
        return
    middle = bytearray(data)
    middle[len(data) // 2] ^= 1
    facts = bytearray(data)
    facts[70] ^= 0x40
    signs = bytearray(data)
    for word in range(4):  # of the same sum: two that are changed alike must not make up for each other
        signs[len(data) // 64 * 32 + 32 * word + 7] ^= 0x80
    swapped = bytearray(data)
    swapped[4096:4160] = data[4128:4160] + data[4096:4128]
    entry.write_bytes(
        {
            "empty": b"",
            "header": data[:40],
            "short": data[:-1],
            "long": data + b"\0",
            "half": data[: len(data) // 2],
            "bit": bytes(middle),
            "signs": bytes(signs),
            "swapped": bytes(swapped),
            "facts": bytes(facts),
            "zeros": bytes(len(data)),
            "text": b"not a network\n" * 500,
        }[how]
    )


BROKEN = ["empty", "header", "short", "long", "half", "bit", "signs", "swapped", "facts", "zeros", "text", "link"]


@pytest.mark.parametrize("how", BROKEN)
def test_what_is_not_whole_is_made_again(cache: Path, model: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    expected = without(model, monkeypatch)
    answers(model)
    (entry,) = kept(cache)
    size = entry.stat().st_size
    broken(entry, how)
    assert_same(answers(model), expected)
    (again,) = kept(cache)
    assert again == entry
    assert not again.is_symlink()
    # OpenVINO numbers the nodes that it makes through all networks of a process.
    assert again.stat().st_size == pytest.approx(size, rel=0.01)
    os.utime(again, (LONG_AGO, LONG_AGO))
    assert_same(answers(model), expected)
    assert again.stat().st_mtime > LONG_AGO + 3600


def test_another_networks_entry_under_the_name_is_made_again(
    cache: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole as it is: what a file holds says whose it is."""
    answers(changed(model, tmp_path / "other.onnx"))
    (wrong,) = kept(cache)
    expected = without(model, monkeypatch)
    answers(model)
    (entry,) = set(kept(cache)) - {wrong}
    shutil.copyfile(wrong, entry)
    os.utime(entry, (LONG_AGO, LONG_AGO))
    assert_same(answers(model), expected)
    assert entry.read_bytes() != wrong.read_bytes()


@pytest.mark.parametrize("how", ["file", "link", "cache is a file"])
def test_without_a_place_it_works_without(
    cache: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    expected = without(model, monkeypatch)
    if how == "cache is a file":
        cache.write_text("")
    else:
        cache.mkdir()
        (tmp_path / "elsewhere").mkdir()
        if how == "file":
            (cache / "openvino").write_text("")
        else:
            (cache / "openvino").symlink_to(tmp_path / "elsewhere")
    assert_same(answers(model), expected)
    assert_same(answers(model), expected)
    assert not (tmp_path / "elsewhere").exists() or not [*(tmp_path / "elsewhere").iterdir()]


def test_a_file_is_checked_whatever_is_kept(cache: Path, model: Path) -> None:
    answers(model)
    data = model.read_bytes()
    model.write_bytes(data[: len(data) // 2])
    with pytest.raises(ModelError, match="small"):
        Engine(model, device="cpu")
    assert len(kept(cache)) == 1


def test_switched_off_or_too_small_nothing_is_kept(cache: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("off", "", "on"):
        monkeypatch.setenv("TRTPOSE_MODEL_CACHE", value)
        answers(model)
        assert not cache.exists(), value
    monkeypatch.setenv("TRTPOSE_MODEL_CACHE", "all")
    monkeypatch.setenv("TRTPOSE_MODEL_CACHE_MIB", "0")
    answers(model)
    assert not kept(cache)


@pytest.mark.parametrize(("name", "value"), [("TRTPOSE_MODEL_CACHE", "yes"), ("TRTPOSE_MODEL_CACHE_MIB", "-1")])
def test_a_value_that_cannot_be_is_named(
    cache: Path, model: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=f"{name} '{value}'"):
        Engine(model, device="cpu")
    assert not kept(cache)


def test_all_that_is_kept_is_bounded(cache: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers(model)
    (first,) = kept(cache)
    # So much that another one of this size does not fit.
    padding = first.with_name("older.network")
    padding.write_bytes(bytes((1 << 20) - first.stat().st_size // 2))
    os.utime(padding, (LONG_AGO, LONG_AGO))
    monkeypatch.setenv("TRTPOSE_MODEL_CACHE_MIB", "1")
    answers(changed(model, tmp_path / "other.onnx"))
    assert not padding.exists()
    assert first.exists()
    assert sum(entry.stat().st_size for entry in kept(cache)) <= 1 << 20


_BUILDS = """
from pathlib import Path
from trtpose import Engine
model, entries, *folders = map(Path, sys.argv[1:])

def told():
    Engine(model, device="cpu")
    print(len([*entries.iterdir()]))

told()
for folder in folders:
    os.environ["TRTPOSE_BACKEND_DIR"] = str(folder)
    told()
# Another build takes the place of the one that runs.
(folders[-1] / "libtrtpose_openvino.so").rename(folders[0] / "libtrtpose_openvino.so")
os.environ["TRTPOSE_BACKEND_DIR"] = str(folders[0])
told()
"""


def test_the_build_that_runs_counts_whatever_its_file_says(cache: Path, model: Path, tmp_path: Path) -> None:
    module = Path(_core.__file__).parent / "lib" / "libtrtpose_openvino.so"
    code, note = bytearray(module.read_bytes()), b"\4\0\0\0\x14\0\0\0\3\0\0\0GNU\0"
    copies = [tmp_path / "again" / module.name, tmp_path / "other" / module.name]
    for copy in copies:
        copy.parent.mkdir()
        copy.write_bytes(code)
        code[code.index(note) + len(note)] ^= 1
    os.utime(copies[1], ns=(module.stat().st_atime_ns, module.stat().st_mtime_ns))
    out = run(_BUILDS, model, cache / "openvino", *(copy.parent for copy in copies))
    # The same build with another date is the same, and another one of the same size and date is not.
    assert out.split() == ["1", "1", "2", "2"]


_START = """
import sys
import numpy as np
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_model_cache import answers
print(sum(float(np.float64(a).sum()) for a in answers(Path(sys.argv[1]))))
"""


def test_starts_at_the_same_time(cache: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = Path(__file__).parent
    path = os.pathsep.join([str(here), str(here.parent)])
    started = [
        subprocess.Popen(
            [sys.executable, "-c", _START, str(model), str(here)],
            env={**os.environ, "PYTHONPATH": path},
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    told = {process.communicate(timeout=300)[0] for process in started}
    assert [process.returncode for process in started] == [0] * 3
    assert len(told) == 1
    assert float(told.pop()) == sum(float(np.float64(a).sum()) for a in without(model, monkeypatch))
    assert len(kept(cache)) == 1
