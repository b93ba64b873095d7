# SPDX-License-Identifier: Apache-2.0
"""tools/fuzz.py on programs that behave as libFuzzer's do."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import fuzz

PROGRAM = """
import sys
from pathlib import Path

options = dict(argument[1:].split("=", 1) for argument in sys.argv[1:] if argument.startswith("-"))
units = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
found = {found!r}
if "artifact_prefix" not in options:
    print(f"Executed {{units[0]}} in {alone_ms} ms", file=sys.stderr)
    sys.exit({alone_status})
print("INFO: Loaded 1 modules   (900 inline 8-bit counters)")
print("#2	INITED cov: 12 ft: 13 corp: 1/1b exec/s: 0 rss: 30Mb")
if found:
    Path(options["artifact_prefix"] + found).write_bytes(b"input")
print("#4096	DONE   cov: 345 ft: 400 corp: 9/99b lim: 80 exec/s: 4096 rss: 30Mb")
if {counts}:
    print("stat::number_of_executed_units: 4097")
sys.exit({status})
"""


def run(
    folder: Path, found: str = "", status: int = 0, alone_ms: int = 5, alone_status: int = 0, counts: bool = True
) -> fuzz.Outcome:
    program = folder / "program.py"
    program.write_text(
        PROGRAM.format(found=found, status=status, alone_ms=alone_ms, alone_status=alone_status, counts=counts)
    )
    return fuzz.fuzz(fuzz.Target("some", (sys.executable, str(program))), 1, folder)


def test_what_a_target_did_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    outcome = run(tmp_path)
    assert (outcome.executions, outcome.edges, outcome.faults) == (4097, 345, [])
    assert fuzz.report([outcome], {"other": "there is no clang++; install clang"}) == 0
    said = capsys.readouterr().out
    assert "1 targets run, 4097 executions; 0 with faults; 1 not run" in said
    assert "not run: other (there is no clang++; install clang)" in said
    assert run(tmp_path, counts=False).executions == 4096


@pytest.mark.parametrize("kind", ["crash", "leak", "oom"])
def test_an_input_that_ends_a_target_fails_and_is_named(kind: str, tmp_path: Path):
    outcome = run(tmp_path, found=f"{kind}-0a1b", status=77)
    (fault,) = outcome.faults
    unit = tmp_path / "found" / f"some-{kind}-0a1b"
    assert fault.startswith(f"{kind}: {unit}")
    assert fault.endswith(f"program.py {unit}")
    assert unit.exists()
    assert fuzz.report([outcome], {}) == 1


@pytest.mark.parametrize("kind", ["slow-unit", "timeout"])
def test_an_input_is_slow_if_it_is_so_alone(kind: str, tmp_path: Path):
    status = 70 if kind == "timeout" else 0
    assert run(tmp_path, found=f"{kind}-0a1b", status=status, alone_ms=900).faults == []
    assert not list((tmp_path / "found").iterdir())
    (fault,) = run(tmp_path, found=f"{kind}-0a1b", status=status, alone_ms=1200).faults
    assert fault.startswith("takes 1200 ms: ")
    (fault,) = run(tmp_path, found=f"{kind}-2c3d", status=status, alone_status=70).faults
    assert fault.startswith("does not end within ")


def test_an_end_without_an_input_fails(tmp_path: Path):
    (fault,) = run(tmp_path, status=1).faults
    assert fault.startswith("it ended with 1: ")
    assert "cov: 345" in fault


def test_without_the_tools_nothing_is_run_and_all_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fuzz.shutil, "which", lambda _: None)
    monkeypatch.setattr(fuzz.importlib.util, "find_spec", lambda _: None)
    targets, missing = fuzz.prepare(tmp_path, [*fuzz.NATIVE, *fuzz.PYTHON])
    assert targets == []
    assert set(missing) == {*fuzz.NATIVE, *fuzz.PYTHON}
    assert "install clang" in missing["onnx"]
    assert "atheris is not installed" in missing["checkpoint"]


def test_every_target_is_known():
    folder = fuzz.ROOT / "tests/fuzz"
    native = {path.stem for path in folder.glob("*.cpp") if "LLVMFuzzerTestOneInput" in path.read_text()}
    python = {path.stem for path in folder.glob("*.py") if "support.run(" in path.read_text()}
    assert (native, python) == (set(fuzz.NATIVE), set(fuzz.PYTHON))
    assert f"foreach(_name {' '.join(fuzz.NATIVE)})" in (folder / "CMakeLists.txt").read_text()
    assert {path.stem for path in folder.glob("dictionaries/*.dict")} <= native | python


def test_a_target_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        fuzz.main(["onx"])
    assert "no target is called onx; there are engine, " in capsys.readouterr().err
