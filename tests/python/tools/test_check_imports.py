# SPDX-License-Identifier: Apache-2.0
"""tools/check_imports.py: the layers of the package itself, and of made-up ones."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import check_imports
import trtpose
from check_imports import GATE, across, circles, graph, openers, upward

PACKAGE = Path(trtpose.__file__).parent


@pytest.fixture(scope="module")
def edges() -> dict[str, set[str]]:
    return graph(PACKAGE)


def test_the_walk_sees_the_package(edges: dict[str, set[str]]):
    assert {"trtpose", "trtpose.cli", "trtpose.commands.infer", "trtpose.sources.reader"} <= set(edges)
    assert "trtpose.commands.infer" in edges["trtpose.cli"]
    assert "trtpose.draw" in edges["trtpose.results"]  # within a function
    assert "trtpose.sources.reader" in edges["trtpose.sources.sources"]


def test_the_library_knows_no_command_line(edges: dict[str, set[str]]):
    assert upward(edges) == []


def test_families_are_reached_through_the_registry(edges: dict[str, set[str]]):
    assert across(edges) == []


def test_no_circle(edges: dict[str, set[str]]):
    assert circles(edges) == []


def package(folder: Path, **modules: str) -> dict[str, set[str]]:
    root = folder / "trtpose"
    for name, text in modules.items():
        path = root / f"{name.replace('__in__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return graph(root)


@pytest.mark.parametrize(
    "text",
    [
        "import argparse",
        "def f():\n    from argparse import Namespace",
        "from .cli import main",
        "from . import cli",
        "import trtpose.commands.infer",
        "def f():\n    from .commands import infer",
        "import importlib\nimportlib.import_module('.commands.infer', __package__)",
        "__import__('trtpose.cli')",
        "from importlib import import_module as load\nload('.cli', 'trtpose')",
        "import importlib\nimportlib.import_module(name='.cli', package=__package__)",
        "import importlib\nimportlib.import_module(f'.{name}', __package__)",
    ],
)
def test_an_upward_import_is_found(tmp_path: Path, text: str):
    assert len(upward(package(tmp_path, cli="", commands__in__infer="", check=text))) == 1


def test_what_is_no_upward_import(tmp_path: Path):
    text = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import argparse\n    from .cli import main\n"
    assert (
        upward(package(tmp_path, cli="import argparse\nfrom .check import x", check=text + "from .errors import y"))
        == []
    )


@pytest.mark.parametrize(
    "back",
    [
        "from .a import x",
        "from . import a",
        "def f():\n    import trtpose.a",
        "import importlib\ndef f():\n    importlib.import_module('.a', __package__)",
    ],
)
def test_a_circle_is_found(tmp_path: Path, back: str):
    assert circles(package(tmp_path, a="from .b import y", b="from .c import z", c=back)) == [
        ["trtpose.a", "trtpose.b", "trtpose.c"]
    ]
    assert circles(package(tmp_path, c="")) == []


@pytest.mark.parametrize(
    ("modules", "found"),
    [
        (
            {"families__in__one__in__a": "from ..two.b import x"},
            ["trtpose.families.one.a imports trtpose.families.two.b"],
        ),
        ({"families__in__one__in__a": "from ..one.c import x\nfrom ..family import y"}, []),
        ({"families__in__registry": "from .one.c import x\nfrom .two.b import y"}, []),
        ({"formats__in__a": "from ..families.one import c"}, ["trtpose.formats.a imports trtpose.families.one.c"]),
        ({"formats__in__a": "from ..families.family import y"}, []),
    ],
)
def test_an_import_past_the_registry_is_found(tmp_path: Path, modules: dict[str, str], found: list[str]):
    both = {"families__in__one__in__c": "", "families__in__two__in__b": "", "families__in__family": ""}
    assert across(package(tmp_path, **both, **modules)) == found


def test_one_module_alone_opens_models(tmp_path: Path):
    assert openers(PACKAGE) == []
    package(
        tmp_path,
        a="import onnxruntime\nx = onnxruntime.InferenceSession",
        b="from openvino import Core\ndef f(p): return Core().read_model(p)",
        c="import onnx\nonnx.load('x')",
        d="from onnx import load_model as l",
        e="def f(parser, data): parser.parse(data)",
        f="import json\njson.load(x)\nargs.parse(y)",
        **{GATE.removeprefix("trtpose.").replace(".", "__in__"): "import onnx\nonnx.load('x')"},
    )
    assert [line.partition(":")[0] for line in openers(tmp_path / "trtpose")] == [
        "trtpose.a uses InferenceSession",
        "trtpose.b uses read_model",
        "trtpose.c uses load",
        "trtpose.d uses load_model",
        "trtpose.e uses parse",
    ]


def test_the_tool_fails_with_a_sentence(tmp_path: Path):
    package(tmp_path, cli="", check="from .cli import main", a="from .b import x", b="from .a import y")
    run = [sys.executable, check_imports.__file__, tmp_path / "trtpose"]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout == (
        "trtpose.check imports trtpose.cli: the library must not import its command line\n"
        "trtpose.a, trtpose.b import each other in a circle\n"
    )
