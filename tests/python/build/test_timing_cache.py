# SPDX-License-Identifier: Apache-2.0
"""Timings that are kept for the next build, with stand-ins for TensorRT."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

import fake_tensorrt
import trtpose
from build_support import EVERY, GPU
from trtpose.build.timing_cache import TimingCache, default_path


@pytest.mark.parametrize("version", EVERY)
def test_timings_are_kept(version: str, use: Any, cache: Path, model: Path, tmp_path: Path) -> None:
    use(version)
    trtpose.build(model, tmp_path / "x.engine", precision="fp32")
    number = fake_tensorrt.VERSIONS[version]
    path = cache / "timing" / f"tensorrt-{number}-nvidia-rtx-a2000-8.6.cache"
    assert path == default_path(number, GPU.name, GPU.compute_capability)
    assert path.read_bytes() == f"{number}\ntiming of 5 layers".encode()
    path.write_bytes(path.read_bytes() + b"\nof another build")
    trtpose.build(model, tmp_path / "x.engine", precision="fp32")
    assert path.read_bytes().split(b"\n")[1:] == [b"of another build", b"timing of 5 layers"]
    path.write_bytes(b"damaged")
    trtpose.build(model, tmp_path / "x.engine", precision="fp32")
    assert path.read_bytes() == f"{number}\ntiming of 5 layers".encode()
    assert {entry.name for entry in path.parent.iterdir()} == {path.name, path.name + ".lock"}


def test_builds_at_the_same_time_lose_no_timings(use: Any, tmp_path: Path) -> None:
    module = use("10")
    path = tmp_path / "timings"

    def one(number: int) -> None:
        config = module.Builder(module.ILogger()).create_builder_config()
        timings = TimingCache(path)
        timings.attach(config)
        config.get_timing_cache().lines.add(b"build %d" % number)
        timings.keep(config)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(path.read_bytes().split(b"\n")[1:]) == {b"build %d" % number for number in range(16)}


def test_timing_cache_by_choice(use: Any, cache: Path, model: Path, tmp_path: Path) -> None:
    use("11")
    trtpose.build(model, tmp_path / "x.engine", precision="fp32", timing_cache="none")
    assert not cache.exists()
    trtpose.build(model, tmp_path / "x.engine", precision="fp32", timing_cache=tmp_path / "mine" / "cache")
    assert (tmp_path / "mine" / "cache").is_file()
    assert not cache.exists()


def test_timings_that_cannot_be_kept(use: Any, model: Path, tmp_path: Path) -> None:
    use("10")
    (tmp_path / "file").write_text("")
    lines: list[str] = []
    built = trtpose.build(
        model, tmp_path / "x.engine", precision="fp32", timing_cache=tmp_path / "file" / "cache", report=lines.append
    )
    assert built.path.is_file()
    assert any("the timings are not kept" in line for line in lines)


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from trtpose._files import cache_folder

    monkeypatch.delenv("TRTPOSE_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "trtpose"
    monkeypatch.setenv("TRTPOSE_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"
