# SPDX-License-Identifier: Apache-2.0
"""Results drawn by several threads are those of one, in the same order."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from command_support import Run, files
from support import picture, write_picture
from trtpose.commands import drawing
from trtpose.errors import InputError
from trtpose.sinks.pictures import Pictures

CORES = 8


@pytest.fixture
def many(tmp_path: Path) -> Path:
    folder = tmp_path / "many"
    folder.mkdir()
    for index in range(30):
        write_picture(folder / f"{index:02}.png", picture(40 + index, 60, seed=index))
    write_picture(folder / "05.webp", np.zeros((2, 16000, 3), np.uint8))
    (folder / "11.png").write_bytes(b"no picture")
    return folder


def with_cores(monkeypatch: pytest.MonkeyPatch, cores: int) -> None:
    monkeypatch.setattr(drawing, "usable_cores", lambda: cores)


def results(run: Run, source: Path, out: Path, *options: str) -> tuple[int, str, str, dict[str, bytes], list[str]]:
    lines = out.with_suffix(".jsonl")
    status, said, err = run("infer", "m.onnx", source, "--out", out, "--jsonl", lines, *options)
    said, err = (text.replace(str(out), "OUT") for text in (said, err))
    written = {name: (out / name).read_bytes() for name in files(out)}
    return status, said, err, written, lines.read_text().splitlines()


def test_threads_give_what_one_gives(run: Run, many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_cores(monkeypatch, 1)
    alone = results(run, many, tmp_path / "alone")
    with_cores(monkeypatch, CORES)
    drew: set[str] = set()
    original = Pictures.encoded

    def encoded(*arguments: Any) -> bytes:
        drew.add(threading.current_thread().name)
        time.sleep(0.003)
        return original(*arguments)

    monkeypatch.setattr(Pictures, "encoded", encoded)
    together = results(run, many, tmp_path / "together")
    assert len(drew) == CORES // 2 - 1
    assert threading.current_thread().name not in drew
    assert together == alone
    status, _, err, written, lines = together
    assert status == 1
    assert err.count("error: ") == 1
    assert len(written) == 30
    assert len(lines) == 31


def test_a_format_that_cannot_hold_it_is_said_in_its_turn(
    run: Run, many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (many / "11.png").unlink()
    monkeypatch.setattr("trtpose.sinks.pictures.encode", lambda suffix, _: None if suffix == ".webp" else b"drawn")
    found = []
    for cores in (1, CORES):
        with_cores(monkeypatch, cores)
        found.append(results(run, many, tmp_path / f"{cores}"))
    assert found[0] == found[1]
    assert found[1][0] == 1
    assert "cannot be written in this format" in found[1][2]
    assert "05.webp" not in found[1][3]


@pytest.mark.parametrize("cores", [1, CORES])
def test_nothing_is_said_to_be_done_that_is_not(
    run: Run, many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cores: int
) -> None:
    with_cores(monkeypatch, cores)
    original = Pictures.write
    count = 0

    def write(*arguments: Any) -> None:
        nonlocal count
        count += 1
        if count == 4:
            raise InputError("no room left")
        original(*arguments)

    monkeypatch.setattr(Pictures, "write", write)
    out, lines = tmp_path / "out", tmp_path / "lines.jsonl"
    status, _, err = run("infer", "m.onnx", many, "--out", out, "--jsonl", lines)
    assert status == 1
    assert "no room left" in err
    done = [json.loads(line)["source"] for line in lines.read_text().splitlines()[1:]]
    assert [Path(source).name for source in done] == ["00.png", "01.png", "02.png"]
    assert files(out) == ["00.png", "01.png", "02.png"]
    limit = time.monotonic() + 120
    while any(thread.name.startswith("trtpose-drawing") for thread in threading.enumerate()):
        assert time.monotonic() < limit
        time.sleep(0.01)


def test_few_large_pictures_wait_at_the_same_time(
    run: Run, many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_cores(monkeypatch, CORES)
    monkeypatch.setattr("trtpose.commands.infer._MAX_BYTES", 1)
    begun, most = 0, 0
    begin, finish = drawing.Drawing.begin, Pictures.write

    def counted(*arguments: Any) -> Any:
        nonlocal begun, most
        begun += 1
        most = max(most, begun)
        return begin(*arguments)

    def written(*arguments: Any) -> None:
        nonlocal begun
        begun -= 1
        finish(*arguments)

    monkeypatch.setattr(drawing.Drawing, "begin", counted)
    monkeypatch.setattr(Pictures, "write", written)
    run("infer", "m.onnx", many, "--out", tmp_path / "out")
    assert most == 1
