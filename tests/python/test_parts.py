# SPDX-License-Identifier: Apache-2.0
"""Temporary files beside the results they become: those of dead processes go, those of living ones stay."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from trtpose import _files, _parts, _run
from trtpose.errors import InputError

WRITER = """
import sys
from pathlib import Path
from trtpose import _parts
with _parts.create(Path(sys.argv[1])) as part:
    part.write_text("half")
    print(part, flush=True)
    sys.stdin.read()
"""


def _writer(target: Path) -> tuple[subprocess.Popen[str], Path]:
    """A process that is writing ``target``, and its temporary file."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(target)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


@pytest.mark.parametrize("name", ["poses.json", "poses", "a.b.onnx", "名" * 80 + ".jpg", f"long.{'x' * 100}"])
def test_a_dead_process_leaves_nothing_for_long(name: str, tmp_path: Path):
    process, part = _writer(tmp_path / name)
    with process:
        assert part.read_text() == "half"
        with _run.run():
            _files.write_text(tmp_path / name, "of another run")
        assert part.exists(), "its process is alive"
        process.send_signal(signal.SIGKILL)
    with _run.run():
        _files.check_writable(tmp_path / "new")
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("call", ["atomic_path", "check_writable", "make_folder"])
def test_whatever_writes_removes(call: str, tmp_path: Path):
    process, part = _writer(tmp_path / "x.json")
    with process:
        process.kill()
    with _run.run():
        if call == "make_folder":
            _files.make_folder(tmp_path)
        elif call == "check_writable":
            _files.check_writable(tmp_path / "y")
        else:
            with _files.atomic_path(tmp_path / "y"):
                assert not part.exists()
    assert not part.exists()


def test_what_may_be_alive_elsewhere_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Another system's, unless the folder is on a disk that only this one can have open."""
    own = tmp_path / f".a.{_parts._boot()}-01234567.part.json"
    other = tmp_path / ".b.0123abcd-01234567.part.json"
    for path in (own, other):
        path.write_text("")
    monkeypatch.setattr(_parts, "_is_local", lambda _: False)
    _parts.remove_stale(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [other.name]
    monkeypatch.setattr(_parts, "_is_local", lambda _: True)
    _parts.remove_stale(tmp_path)
    assert not list(tmp_path.iterdir())


def test_where_files_cannot_be_locked_nothing_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    part = tmp_path / f".a.{_parts._boot()}-01234567.part.json"
    part.write_text("")
    monkeypatch.setattr(_parts, "_lock", lambda _: None)
    _parts.remove_stale(tmp_path)
    assert part.exists()
    _files.write_text(tmp_path / "whole", "text")
    assert (tmp_path / "whole").read_text() == "text"


def test_files_of_others_stay(tmp_path: Path):
    boot = _parts._boot()
    outside = tmp_path / "outside"
    outside.write_text("kept")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / f".link.{boot}-01234567.part").symlink_to(outside)
    (folder / f".folder.{boot}-01234567.part").mkdir()
    os.mkfifo(folder / f".pipe.{boot}-01234567.part")
    for name in (".a.part", ".a.01234567.part.json", f"a.{boot}-01234567.part", f".a.{boot}-01234567.part.txt.gz"):
        (folder / name).write_text("")
    before = sorted(path.name for path in folder.iterdir())
    _parts.remove_stale(folder)
    assert sorted(path.name for path in folder.iterdir()) == before
    assert outside.read_text() == "kept"


def test_a_result_is_read_after_it_was_written(tmp_path: Path):
    """As an engine that a build compares with its ONNX."""
    with _run.run():
        _files.check_writable(tmp_path / "x")
        _files.write_text(tmp_path / "x", "made")
        _run.reads(tmp_path / "x")


def test_an_input_that_is_found_late(tmp_path: Path):
    (tmp_path / "x").write_text("an input")
    with _run.run():
        _files.check_writable(tmp_path / "x")
        with pytest.raises(InputError, match="is one of the inputs"):
            _run.reads(tmp_path / "x")
        # Whoever took the error for that of one picture cannot go on to replace it.
        with pytest.raises(InputError, match="is one of the inputs"):
            _files.write_text(tmp_path / "x", "a result")


def test_an_input_that_is_found_while_the_result_is_written(tmp_path: Path):
    (tmp_path / "x").write_text("an input")

    def write() -> None:
        with _files.atomic_path(tmp_path / "x") as part:
            part.write_text("a result")
            _run.reads(tmp_path / "x")

    with _run.run(), pytest.raises(InputError, match="is one of the inputs"):
        write()
    assert (tmp_path / "x").read_text() == "an input"
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_outside_of_a_run_nothing_is_remembered(tmp_path: Path):
    (tmp_path / "x").write_text("an input")
    _run.reads(tmp_path / "x")
    _files.write_text(tmp_path / "x", "a result")
    with _run.run():
        _run.reads(tmp_path / "x")
    _files.write_text(tmp_path / "x", "another")


def test_a_number_given_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A file that is gone may have left its number to one that is no input."""
    gone, new = tmp_path / "gone", tmp_path / "new"
    gone.write_text("")
    with _run.run():
        _run.reads(gone)
        number = _run.identity(gone)
        gone.unlink()
        new.write_text("")
        real = _run.identity
        monkeypatch.setattr(_run, "identity", lambda path: number if path == new else real(path))
        _files.write_text(new, "a result")
    assert new.read_text() == "a result"
