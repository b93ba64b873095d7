# SPDX-License-Identifier: Apache-2.0
"""The documentation speaks of what is there: paths, commands, public names, and every TRTPOSE_ variable."""

from __future__ import annotations

import argparse
import functools
import re
import shlex
from pathlib import Path

import pytest

import trtpose
from trtpose import cli

ROOT = Path(__file__).resolve().parents[2]
DEBUG = ROOT / "docs" / "how-to" / "debug.md"
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *(
        ROOT / folder / "README.md"
        for folder in ("engines", "findings", "tests", "tests/emulation", "tools/demo_model")
    ),
]
SOURCES = ("cpp", "plugins", "python", "tests", "tools", "benchmarks", "examples", "cmake")

QUOTED = re.compile(r"[\"'](TRTPOSE_[A-Z0-9_]+)[\"']")
SHELL = re.compile(r"\$\{?(TRTPOSE_[A-Z0-9_]+)")
CMAKE = re.compile(
    r"option\(\s*(TRTPOSE_[A-Z0-9_]+)|set\(\s*(TRTPOSE_[A-Z0-9_]+)[^)]*\bCACHE\b|ENV\{(TRTPOSE_[A-Z0-9_]+)\}"
)
READ_IN = {
    **dict.fromkeys((".py", ".cpp", ".hpp", ".cu", ".h"), QUOTED),
    ".sh": SHELL,
    **dict.fromkeys((".txt", ".cmake"), CMAKE),
}


def variables() -> set[str]:
    """Variables of the environment and options of CMake that the sources read."""
    found: set[str] = set()
    files = [ROOT / "CMakeLists.txt", *(path for folder in SOURCES for path in (ROOT / folder).rglob("*"))]
    for path in files:
        pattern = READ_IN.get(path.suffix)
        if pattern and path.is_file() and path != Path(__file__):
            for match in pattern.finditer(path.read_text(encoding="utf-8", errors="replace")):
                found.update(name for name in match.groups() if name)
    return found


def test_debug_lists_every_variable_and_no_other():
    listed = re.findall(r"^\| `(TRTPOSE_\w+)` \|", DEBUG.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted(set(listed))
    assert {"TRTPOSE_SEED", "TRTPOSE_GPU_ARCH", "TRTPOSE_WITH_CUDA"} <= variables()  # of C++, shell and CMake
    assert set(listed) == variables()


LINK = re.compile(r"\]\(([^)#\s]+)(?:#([^)\s]+))?\)|\]\(#([^)\s]+)\)")
CODE = re.compile(r"`([^`\n]+)`")
TOP = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")} - {"build", "out"}
STANDS_FOR_A_NAME = re.compile(r"(?<![A-Za-z])(?:X|Y|NAME|FOLDER|MODULE|DATE|GPU|WHAT|MACHINE)(?![A-Za-z])")
# Other roots that the text speaks of: what is included as such, and the package's own folders.
ROOTS = (ROOT, ROOT / "cpp" / "src", ROOT / "cpp" / "include", ROOT / "python" / "trtpose", ROOT / "tests")


def anchors(page: Path) -> set[str]:
    """What GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path):
    wrong: list[str] = []
    for match in LINK.finditer(page.read_text(encoding="utf-8")):
        target, anchor, own = match.groups()
        if target and re.match(r"[a-z]+:", target):
            continue
        path = page.parent / target if target else page
        if not path.exists() or ((anchor or own) and path.suffix == ".md" and (anchor or own) not in anchors(path)):
            wrong.append(match[0])
    assert wrong == []


def test_the_reference_has_every_public_name():
    page = (ROOT / "docs" / "reference" / "python.md").read_text(encoding="utf-8")
    shown = set(re.findall(r"^::: trtpose\.(?:build\.)?(\w+)$", page, re.MULTILINE))
    assert set(trtpose.__all__) - {"__version__"} <= shown


SHELL_BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)


def usages(text: str) -> list[str]:
    """What stands behind ``trtpose`` in the lines of shell blocks."""
    lines = (line for block in SHELL_BLOCK.findall(text) for line in block.replace("\\\n", " ").splitlines())
    return [" ".join(shlex.split(line, comments=True)) for line in lines if re.match(r"(\S*/)?trtpose ", line)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_commands_are_understood(page: Path, capsys: pytest.CaptureFixture[str]):
    """Every ``trtpose ...`` of a shell block, with what stands in brackets, by the command's own parser."""
    wrong: list[str] = []
    for line in usages(page.read_text(encoding="utf-8")):
        words = re.split(r" (?:&&|[|;>]) ", line.replace("[", "").replace("]", ""))[0].split()[1:]
        verb = next((word for word in words if not word.startswith("-")), None)
        try:
            cli._parser(verb).parse_args(words)
        except SystemExit as left:
            if left.code:
                wrong.append(f"{line}: {capsys.readouterr().err.splitlines()[-1]}")
    assert wrong == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_verbs_and_options_exist(page: Path):
    """Of ``trtpose VERB --option`` in the text."""
    wrong: list[str] = []
    for code in CODE.findall(page.read_text(encoding="utf-8")):
        words = code.split()
        if len(words) < 2 or words[0] != "trtpose" or words[1] in ("VERB", "+gpu") or not words[1].islower():
            continue
        known = verbs().get(words[1])
        options = [word.partition("=")[0] for word in words[2:] if re.match(r"--\w", word)]
        if known is None or not set(options) <= known:
            wrong.append(code)
    assert wrong == []


@functools.cache
def verbs() -> dict[str, set[str]]:
    """The options of every verb."""
    parser = cli._parser(None, whole=True)
    choices = next(action.choices for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return {name: set(verb._option_string_actions) for name, verb in choices.items()}


def is_path(word: str) -> bool:
    """``cpp/src/ops``, ``tools/lint.sh``, ``tests/python/test_x.py::test_y``: begins with a folder of ours."""
    return word.partition("/")[0] in TOP and re.fullmatch(r"[\w./*{},-]+", word) is not None and "/" in word


def exists(word: str) -> bool:
    """Whether a file fits, also of ``ops/{nms,peaks}.cpp``, ``engines/*.toml`` and ``ops/X_cpu.cpp``."""
    pattern = re.sub(r"\{[^}]*\}", "*", STANDS_FOR_A_NAME.sub("*", word)).rstrip("/")
    return any(next(root.glob(pattern), None) is not None for root in ROOTS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_paths_exist(page: Path):
    text = page.read_text(encoding="utf-8")
    words = {
        word.partition("::")[0].rstrip(".,:;)")
        for code in CODE.findall(text)
        for word in code.split()
        if "://" not in word
    }
    assert [word for word in sorted(words) if is_path(word) and not exists(word)] == []
