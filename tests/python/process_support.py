# SPDX-License-Identifier: Apache-2.0
"""Programs of their own, for what a process does at a fork and at its end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

SECONDS = 600
"""For a program that hangs. The machine may be busy."""

_HEAD = """
import os, signal, sys, threading, time
# A suite that was started in the background ignores Ctrl-C, and so would its children.
signal.signal(signal.SIGINT, signal.default_int_handler)
import numpy as np
import trtpose
from trtpose.sources import Sources

def pictures(count):
    random = np.random.default_rng(5)
    return [random.integers(0, 256, (120, 160, 3), np.uint8) for _ in range(count)]

def values(poses):
    return [[a.tolist() for a in (p.boxes, p.scores, p.class_ids, p.keypoints)] for p in poses]
"""


def start(parts: str | tuple[str, ...], *arguments: Any) -> subprocess.Popen[str]:
    """A program of these parts, each indented as it likes; its ``sys.argv[1:]`` are ``arguments``."""
    code = "".join(textwrap.dedent(part) for part in ((parts,) if isinstance(parts, str) else parts))
    return subprocess.Popen(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", _HEAD + code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str], seconds: float = SECONDS) -> tuple[int, str, str]:
    """Its exit status, stdout and stderr. One that hangs is killed with its children, and fails the test."""
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        raise AssertionError(f"the program hangs; it said {out!r} and {err!r}") from None
    return process.returncode, out, err


def run(parts: str | tuple[str, ...], *arguments: Any) -> str:
    """Run a program that must end well and say nothing on stderr; its stdout."""
    status, out, err = finish(start(parts, *arguments))
    assert (status, err) == (0, ""), f"{out}\n{err}"
    return out


def write_pictures(folder: Path, count: int) -> Path:
    """A folder with pictures that take some time to decode."""
    from support import picture, write_picture

    folder.mkdir()
    for index in range(count):
        write_picture(folder / f"{index:03}.jpg", picture(480, 640, seed=index))
    return folder
