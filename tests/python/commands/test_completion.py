# SPDX-License-Identifier: Apache-2.0
"""The command ``trtpose completion``: what it prints, tried in the shells themselves."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from command_support import Run
from trtpose import cli
from trtpose.commands import completion

PATIENCE = 60
"""Seconds for a shell to answer, which takes one of a second; only a shell that answers nothing needs them."""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("net.onnx", "net.engine", "weights.pt", "a.jpg", "card.toml"):
        (tmp_path / name).touch()
    (tmp_path / "photos").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def script(place: Path, run: Run, request: pytest.FixtureRequest) -> Path:
    """The completion of the shell that the test is for, in a file."""
    pytest.importorskip("shtab")
    status, out, err = run("completion", request.param)
    assert (status, err) == (0, "")
    path = place / "scripts" / "_trtpose"
    path.parent.mkdir()
    path.write_text(out)
    return path


def shell(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


BASH = """
source "$1"; shift
function=$(complete -p trtpose | sed 's/.*-F \\([^ ]*\\).*/\\1/')
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
"$function" trtpose "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.mark.parametrize("script", ["bash"], indirect=True)
def test_bash_completes(script: Path):
    bash = shell("bash")

    def offered(*words: str) -> set[str]:
        done = subprocess.run(
            [bash, "--norc", "-c", BASH, "bash", script, "trtpose", *words], capture_output=True, text=True, check=True
        )
        # Outside of a prompt bash says that compopt has nothing to set.
        assert "syntax error" not in done.stderr
        return set(done.stdout.split())

    assert offered("") == {verb.name for verb in cli._VERBS}
    assert offered("inf") == {"infer", "info"}
    assert offered("infer", "") == {"net.onnx", "net.engine", "photos", "scripts"}
    assert offered("infer", "net.onnx", "") >= {"a.jpg", "photos", "weights.pt"}
    assert offered("infer", "net.onnx", "a.jpg", "--out", "p") == {"photos"}
    assert offered("infer", "net.onnx", "a.jpg", "--tracker", "o") == {"oks", "ocsort"}
    assert offered("infer", "--pre") == {"--precision"}
    assert offered("bench", "net.onnx", "--device", "c") == {"cpu", "cuda", "cuda:0"}
    assert offered("build", "--recipe", "c") == {"card.toml"}
    assert offered("export", "w") == {"weights.pt"}
    assert offered("completion", "") == set(completion.SHELLS)


# Not by a fork of ours: this process has threads.
ON_ITS_OWN_TERMINAL = """
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


class Terminal:
    """A shell that believes somebody types."""

    def __init__(self, command: list[str]) -> None:
        self._terminal, side = pty.openpty()
        self._process = subprocess.Popen(
            [sys.executable, "-c", ON_ITS_OWN_TERMINAL, *command],
            stdin=side,
            stdout=side,
            stderr=side,
            env={**os.environ, "TERM": "dumb", "HISTFILE": ""},
        )
        os.close(side)

    def types(self, text: str, until: str) -> str:
        """Type ``text``; what the terminal shows up to and with ``until``."""
        os.write(self._terminal, text.encode())
        shown = ""
        end = time.monotonic() + PATIENCE
        while until not in shown:
            ready, _, _ = select.select([self._terminal], [], [], max(0.0, end - time.monotonic()))
            assert ready, f"{until!r} was not shown: {shown!r}"
            shown += os.read(self._terminal, 65536).decode(errors="replace")
        return shown

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._terminal)


@pytest.fixture
def zsh(script: Path) -> Iterator[Terminal]:
    terminal = Terminal([shell("zsh"), "-f", "-i"])
    # The command's two halves, so that its echo is not taken for its answer.
    terminal.types(f"PS1='>' fpath=({script.parent} $fpath); autoload -U compinit; compinit -u -D\n", ">")
    terminal.types("print rea''dy\n", "ready")
    yield terminal
    terminal.close()


@pytest.mark.parametrize("script", ["zsh"], indirect=True)
def test_zsh_completes(zsh: Terminal):
    zsh.types("trtpose qua\t", "trtpose quantize ")
    zsh.types("\x15trtpose infer net.o\t", "net.onnx ")
    zsh.types("a.jpg --tracker byt\t", "bytetrack ")
    zsh.types("--out ph\t", "photos")
    zsh.types("\x15trtpose serve net.onnx --ho\t", "--host")


FISH = """
source $argv[1]
for line in $argv[2..]
    echo "$line=" (complete -C "$line" | string split -f 1 \\t)
end
"""


@pytest.mark.parametrize("script", ["fish"], indirect=True)
def test_fish_completes(script: Path):
    lines = {
        "trtpose qua": "quantize",
        "trtpose infer net.o": "net.onnx",
        "trtpose infer net.onnx a.jpg --tracker byt": "bytetrack",
        "trtpose infer net.onnx a.jpg --out ph": "photos/",
        "trtpose serve net.onnx --ho": "--host",
    }
    command = [shell("fish"), "--no-config", "-c", FISH, str(script), *lines]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [f"{line}= {offered}" for line, offered in lines.items()]


@pytest.mark.parametrize("script", ["tcsh"], indirect=True)
def test_tcsh_takes_it(script: Path):
    done = subprocess.run(
        [shell("tcsh"), "-f", "-c", f"source {script}; complete"], capture_output=True, text=True, check=True
    )
    assert "trtpose" in done.stdout
    assert "quantize" in done.stdout
    assert not done.stderr


def test_without_the_package_it_says_how_to_get_it(run: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "shtab", None)
    status, out, err = run("completion", "bash")
    assert (status, out) == (1, "")
    assert 'pip install "trtpose[completion]"' in err


def test_wrong_shell(run: Run):
    status, _, err = run("completion", "nosuch")
    assert status == 2
    assert "'bash', 'zsh', 'tcsh', 'fish'" in err


def test_every_value_is_known_to_be_a_file_or_not():
    """An argument with a new word for its value needs a line in ``completion``."""
    actions = list(completion.arguments(cli._parser(None, whole=True)))
    assert len(actions) > 100
    assert {completion.kind(action) for action in actions} == {"choice", "file", "folder", "free"}
