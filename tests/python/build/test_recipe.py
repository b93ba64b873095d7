# SPDX-License-Identifier: Apache-2.0
"""Recipes for ``trtpose build``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from build_support import RECIPES, nothing_but
from onnx_models import spec_fields, write_model
from trtpose import cli
from trtpose.build import engine_file
from trtpose.build import recipe as recipes
from trtpose.errors import DeviceError, InputError

pytestmark = pytest.mark.usefixtures("no_gpu")


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.stem)
def test_our_recipes(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    recipe = recipes.load_recipe(path)
    assert recipe.values["output"] == str(RECIPES / f"{path.stem}.engine")
    assert recipe.values["precision"] in path.stem
    assert Path(recipe.values["onnx"]).stem in path.stem
    readme = (RECIPES / "README.md").read_text()
    assert path.name.removeprefix("yolov7-w6-pose") in readme
    if not Path(recipe.values["onnx"]).exists():
        assert cli.main(["build", "--recipe", str(path)]) == 1
        assert f"trtpose export {recipe.values['export']} -o {recipe.values['onnx']}" in capfd.readouterr().err


@pytest.mark.slow
def test_a_recipe_builds(w6: Path, tmp_path: Path) -> None:
    """Of up to four frames per call, with limits on memory."""
    target, recipe = tmp_path / "x.engine", RECIPES / "yolov7-w6-pose-fp16-4gb.toml"
    assert cli.main(["build", str(w6), "-o", str(target), "--recipe", str(recipe), "-q"]) == 0
    engine = engine_file.read(target).engine
    assert (engine["precision"], engine["profiles"][0]["images"]["max"]) == ("fp16", [4, 3, 960, 960])


@pytest.mark.usefixtures("builder")
def test_the_command_line_wins(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_model(tmp_path / "net.onnx", metadata={"trtpose": json.dumps(spec_fields())})
    recipe = tmp_path / "net.toml"
    recipe.write_text('onnx = "net.onnx"\noutput = "recipe.engine"\nprecision = "fp16"\nbatch = 2\n')
    arguments = ["build", "--recipe", str(recipe), "--fp32"]  # two convolutions, both raw heads
    assert cli.main(arguments) == 0
    made = engine_file.read(tmp_path / "recipe.engine").engine
    assert (made["inputs"][0]["shape"], made["precision"]) == ([2, 3, 64, 96], "fp32")
    assert cli.main([*arguments, "--batch", "3", "-o", str(tmp_path / "mine.engine")]) == 0
    assert engine_file.read(tmp_path / "mine.engine").engine["inputs"][0]["shape"] == [3, 3, 64, 96]
    # With another ONNX the recipe's output does not fit.
    other = tmp_path / "other"
    other.mkdir()
    (other / "copy.onnx").write_bytes((tmp_path / "net.onnx").read_bytes())
    assert cli.main([*arguments, str(other / "copy.onnx")]) == 0
    assert nothing_but(other, "copy.onnx", "copy.engine")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('precison = "fp16"', "unknown key precison; known are batch"),
        ('precision = "fp8"', "precision = 'fp8': is not one of fp32, fp16, int8"),
        ("precision = 16", "precision = 16: is not one of"),
        ("batch = 1.5", "batch = 1.5: is not of the expected type"),
        ('batch = "4:2:1"', "batch = '4:2:1': batch 4:2:1: write a number"),
        ("tf32 = 1", "tf32 = 1: is neither true nor false"),
        ("opt_level = 9", "opt_level = 9: is not a whole number from 0 to 5"),
        ('workspace = "lots"', "workspace = 'lots': size 'lots' is not a size"),
        ("workspace = true", "workspace = True: is not a size"),
        ("spec = 3", "spec = 3: is not a text"),
        ("keep = 3", "keep = 3: is not a list of texts"),
        ('conf = "high"', "conf = 'high': is not a number"),
        ("max_det = 0", "max_det = 0: is not a whole number"),
        ("batch = ", "is not valid TOML"),
    ],
)
def test_recipes_that_cannot_be(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        recipes.load_recipe(path)
    assert f"{path}: {words}" in str(caught.value)


def test_recipes_on_python_3_10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """tomllib came with 3.11; before, the package tomli is the same."""
    (tmp_path / "r.toml").write_text("batch = 2")
    monkeypatch.setattr(recipes, "sys", SimpleNamespace(version_info=(3, 10)))
    monkeypatch.setitem(sys.modules, "tomli", pytest.importorskip("tomllib"))
    assert recipes.load_recipe(tmp_path / "r.toml").values == {"batch": 2}
    monkeypatch.setitem(sys.modules, "tomli", None)
    with pytest.raises(DeviceError, match=r'tomli.*pip install "trtpose\[build\]"'):
        recipes.load_recipe(tmp_path / "r.toml")


def test_recipes_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read the recipe"):
        recipes.load_recipe(tmp_path / "absent.toml")
    (tmp_path / "r.toml").write_bytes(b'onnx = "\xff"')
    with pytest.raises(InputError, match="is not valid TOML"):
        recipes.load_recipe(tmp_path / "r.toml")
