# SPDX-License-Identifier: Apache-2.0
"""The Dockerfiles, which no test builds: what they would run is run here, and what they would copy is there."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from trtpose import cli

from .conftest import Start

ROOT = Path(__file__).resolve().parents[3]
FILES = sorted((ROOT / "tools" / "docker").glob("*.Dockerfile"))
PORT = "8000"


def words(text: str, instruction: str) -> list[list[str]]:
    """The arguments of every such instruction in its exec form, in order."""
    joined = text.replace("\\\n", " ")
    return [json.loads(found) for found in re.findall(rf"^{instruction} .*?(\[.*\])$", joined, re.MULTILINE)]


def stage(path: Path, name: str) -> str:
    """The instructions of one stage."""
    stages = re.split(r"(?m)^(?=FROM )", path.read_text(encoding="utf-8"))
    return next(text for text in stages if text.partition("\n")[0].endswith(f" AS {name}"))


def test_there_is_one_for_each_kind_of_machine():
    assert [path.stem for path in FILES] == ["cpu", "cuda", "jetson"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_server_of_a_container_takes_these_arguments(path: Path):
    serve = stage(path, "serve")
    (entry,), (default,) = words(serve, "ENTRYPOINT"), words(serve, "CMD")[-1:]
    assert entry[0] == "trtpose"
    args = cli._parser("serve").parse_args([*entry[1:], *default])
    assert (args.verb, args.host, args.port) == ("serve", "0.0.0.0", int(PORT))
    assert f"EXPOSE {PORT}" in serve


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_nobody_is_root_and_signals_reach_the_process(path: Path):
    text = path.read_text(encoding="utf-8")
    assert re.findall(r"^USER (.*)$", text, re.MULTILINE) == ["10001"]
    assert text.index("USER 10001") > text.index("AS run")
    assert not re.findall(r"^(?:ENTRYPOINT|CMD) [^\[]", text, re.MULTILINE)  # the form that puts a shell in between


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_container_knows_whether_its_server_is_well(path: Path, start: Start):
    check = next(line for line in words(stage(path, "serve"), "HEALTHCHECK") if line)[1:]

    def status(port: str) -> int:
        command = [word.replace(f":{PORT}/", f":{port}/") for word in check]
        assert command != check
        return subprocess.run([sys.executable, *command], capture_output=True, timeout=60, check=False).returncode

    assert status(start(token="a long token").rpartition(":")[2]) == 0
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        assert status(str(nobody.getsockname()[1])) == 1


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_its_extras_are_there(path: Path):
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    known = set(re.findall(r"^(\w+) = \[", text.partition("[project.optional-dependencies]")[2], re.MULTILINE))
    wanted = re.findall(r"^ARG (?:EXTRAS|RUNTIME)=(.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    assert wanted
    assert set(",".join(wanted).split(",")) <= known


def test_what_is_copied_is_there():
    kept = re.findall(r"^!(.*)$", (ROOT / ".dockerignore").read_text(encoding="utf-8"), re.MULTILINE)
    assert [name for name in kept if not (ROOT / name).exists()] == []
    # CMake and the package's metadata name what they read.
    read = re.findall(r"add_subdirectory\((?!tests|benchmarks)([\w/]+)", (ROOT / "CMakeLists.txt").read_text())
    assert {name.partition("/")[0] for name in read} | {"README.md", "LICENSE", "docs/licences"} <= set(kept)
