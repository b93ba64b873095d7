# SPDX-License-Identifier: Apache-2.0
"""The command ``trtpose completion``."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

from .._optional import require

__all__ = ["FREE", "SHELLS", "SUMMARY", "add_arguments", "arguments", "kind", "run"]

SHELLS = ("bash", "zsh", "tcsh", "fish")

SUMMARY = "Print what lets a shell complete trtpose's verbs, options, choices and files with the Tab key."

_HOW = """\
bash:  trtpose completion bash > ~/.local/share/bash-completion/completions/trtpose
zsh:   trtpose completion zsh > "${fpath[1]}/_trtpose"
tcsh:  trtpose completion tcsh > ~/.trtpose.tcsh, and in ~/.tcshrc: source ~/.trtpose.tcsh
fish:  trtpose completion fish > ~/.config/fish/completions/trtpose.fish
New shells complete. Print it again after an update."""

_NETWORKS = ("*.onnx", "*.engine")
_FILES: dict[str, tuple[str, ...]] = {
    "FILE": (),
    "FILE|none": (),
    "FILE.toml": ("*.toml",),
    "MODEL": _NETWORKS,
    "MODEL.engine": ("*.engine",),
    "MODEL.onnx": ("*.onnx",),
    "OUT.onnx": ("*.onnx",),
    "PICTURE": (),
    "SOURCE": (),
    "WEIGHTS": ("*.pt", "*.pth", "*.onnx"),
}
"""What stands for a file in the help, and which names it has; none: any. Folders are always offered, to go on in."""

_VALUES: dict[str, tuple[str, ...]] = {"device": ("auto", "cpu", "cuda", "cuda:0")}
"""Options whose values are offered though others are taken too."""

FREE = frozenset({
    "0..5", "HOST:PORT", "I/N", "LIST", "MS", "N", "N,N", "N|HxW", "N|HxW|MIN:OPT:MAX", "N|MIN:OPT:MAX", "NAME", "NODE",
    "PATTERN", "PX", "S", "SIZE", "URL", "X",
})  # fmt: skip
"""What stands in the help for a value that no shell can know."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.description = SUMMARY
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _HOW
    parser.add_argument("shell", choices=SHELLS, help="the shell it is for")


def run(args: argparse.Namespace) -> int:
    """Print it; returns the exit status.

    ``args.parser`` makes the parser of the whole command, which is above this module.

    Raises:
        DeviceError: the package shtab is not installed.
    """
    shtab = require("shtab", package="shtab", extra="completion", purpose="trtpose completion")
    parser: argparse.ArgumentParser = args.parser()
    for action in arguments(parser):
        _offer(shtab, action)
    print(shtab.complete(parser, args.shell))
    return 0


def arguments(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Every argument of a parser and of its verbs that takes a value."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for verb in action.choices.values():
                yield from arguments(verb)
        elif action.nargs != 0:
            yield action


def kind(action: argparse.Action) -> str:
    """What the value of an argument is: ``choice``, ``folder``, ``file``, ``free``; else the help's word for it."""
    name = str(action.metavar)
    if action.choices is not None or action.dest in _VALUES:
        return "choice"
    if name == "DIR":
        return "folder"
    if name in _FILES:
        return "file"
    return "free" if name in FREE or action.metavar is None else name


def _offer(shtab: Any, action: argparse.Action) -> None:
    """Say to shtab what an argument can be. The parser is not used for anything else, so that it may be changed."""
    what = kind(action)
    if what == "choice":
        action.choices = action.choices or _VALUES[action.dest]
    elif what == "folder":
        action.complete = shtab.DIRECTORY  # pyright: ignore[reportAttributeAccessIssue]
    elif what == "file":
        names = _FILES[str(action.metavar)]
        action.complete = shtab.glob(*names) if names else shtab.FILE  # pyright: ignore[reportAttributeAccessIssue]
