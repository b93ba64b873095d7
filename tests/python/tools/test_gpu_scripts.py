# SPDX-License-Identifier: Apache-2.0
"""The scripts that test and measure on a GPU, as far as they go without one."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import trtpose

ROOT = Path(__file__).resolve().parents[3]
SCRIPTS = ("gpu_test", "gpu_bench")

pytestmark = pytest.mark.skipif(not (ROOT / "tools" / "gpu_common.sh").is_file(), reason="not the source tree")


def fake_gpu(folder: Path) -> Path:
    """A folder with an nvidia-smi that sees a GPU."""
    folder.mkdir()
    program = folder / "nvidia-smi"
    program.write_text('#!/bin/sh\ncase "$*" in *query-gpu*) echo "Fake GPU";; esac\n')
    program.chmod(0o755)
    return folder


def run(command: list[str], path: str, **env: str) -> subprocess.CompletedProcess[str]:
    values = {**os.environ, "PATH": path, **env}
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=values, check=False, timeout=600)


def plain_path(folder: Path) -> str:
    """What the scripts need of the system, and no nvidia-smi."""
    folder.mkdir()
    for name in ("bash", "dirname", "env", "mktemp", "rm", "cat"):
        found = shutil.which(name)
        assert found, name
        (folder / name).symlink_to(found)
    return str(folder)


@pytest.mark.parametrize("script", SCRIPTS)
def test_without_a_gpu_they_say_so(script: str, tmp_path: Path):
    done = run([f"tools/{script}.sh"], plain_path(tmp_path / "bin"))
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == f"{script.replace('_', '-')}: no NVIDIA GPU or driver on this machine: nothing was run\n"


def test_a_stage_that_is_none(tmp_path: Path):
    path = f"{fake_gpu(tmp_path / 'gpu')}:{os.environ['PATH']}"
    done = run(["tools/gpu_test.sh", "everything"], path)
    assert done.returncode == 2
    assert "no stage 'everything'; there are: kernels arrays tensorrt sanitize" in done.stderr


def test_stages_go_on_after_a_failure(tmp_path: Path):
    script = tmp_path / "stages.sh"
    script.write_text(
        "set -euo pipefail\n"
        ". tools/gpu_common.sh try\n"
        "stage_bad() { false; echo 'went on'; }\n"
        "stage_none() { gpu_not_run 'there is no such thing'; }\n"
        "stage_good() { echo works; }\n"
        'gpu_stages "bad none good" "$@"\n'
        "status=$?\n"
        'echo "status $status"\n'
    )
    path = f"{fake_gpu(tmp_path / 'gpu')}:{os.environ['PATH']}"
    done = run(["bash", str(script)], path)
    assert "went on" not in done.stdout
    lines = done.stdout.splitlines()[-5:]
    assert lines[0] == "=== try summary"
    assert lines[1].startswith("bad: FAILED after ")
    assert lines[2] == "none: NOT RUN: there is no such thing"
    assert lines[3].startswith("good: passed in ")
    assert lines[4] == "status 1"
    assert run(["bash", str(script), "good"], path).stdout.splitlines()[-1] == "status 0"


@pytest.fixture(scope="module")
def gpu() -> ModuleType:
    spec = importlib.util.spec_from_file_location("trtpose_benchmarks_gpu", ROOT / "benchmarks" / "gpu.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))  # as where the script is run
        spec.loader.exec_module(module)
    return module


def figures(batch: int, **ratios: float) -> dict[str, Any]:
    return {
        "batch": batch,
        "stages": {"total": {"median_ms": 2.0}},
        "ratios": {"total_to_network": 1.2, "throughput_to_network": 0.97, **ratios},
        "memory": {"vram": {"risen_bytes": 512 << 20}},
    }


def test_the_goals(gpu: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    engines = [
        {"name": "w6-pose-fp16", "precision": "fp16", "batch": None, "bench": figures(1)},
        {
            "name": "w6-pose-fp16-batch",
            "precision": "fp16",
            "batch": "1:16:16",
            "bench": {"batches": [figures(1, total_to_network=1.1), {"batch": 4, "problem": "no room"}, figures(16)]},
        },
        {"name": "w6-pose-int8", "problem": "could not be built"},
        {"name": "other-fp16", "precision": "fp16", "batch": None, "bench": figures(1)},
    ]
    parts = tmp_path / "parts"
    parts.mkdir()
    (parts / "engines.json").write_text(json.dumps({"engines": engines}))
    assert gpu.merge(parts, tmp_path / "out.json") == 0
    written = json.loads((tmp_path / "out.json").read_text())
    assert [(goal["goal"].split(":")[0], goal["met"]) for goal in written["goals"]] == [
        ("w6-pose-fp16 batch 1", False),
        ("w6-pose-fp16 batch 1", True),
        ("w6-pose-fp16-batch batch 1", True),
        ("w6-pose-fp16-batch batch 1", True),
        ("w6-pose-fp16-batch batch 16", True),
    ]
    assert "1.2 of 1.1: MISSED" in capsys.readouterr().out
    for engine in engines:
        gpu.report(engine)
    out = capsys.readouterr().out
    assert "no room" in out
    assert "could not be built" in out


def test_nothing_measured_is_nothing_written(gpu: ModuleType, tmp_path: Path):
    assert gpu.merge(tmp_path, tmp_path / "out.json") == 1
    assert not (tmp_path / "out.json").exists()


BUILDER = """#!{python}
import json, pathlib, sys
if sys.argv[1:] == ["--version"]:
    print(json.dumps({{"runtime": "tensorrt", "version": "{version}", "strongly_typed": {typed}}}))
    sys.exit()
onnx, plan, *options = sys.argv[1:]
assert pathlib.Path(onnx).read_bytes()
pathlib.Path(plan).write_bytes(b"ftrt" + bytes(100))
print(json.dumps({{
    "runtime": "tensorrt", "version": "{version}", "gpu": {{"name": "Fake GPU", "compute_capability": "8.6"}},
    "activations": 1000, "inputs": [], "outputs": [], "options": options,
}}))
"""


@pytest.mark.parametrize(("version", "asked"), [("10.9.0", "fp32"), ("10.9.0", "fp16"), ("8.6.1", "fp16")])
def test_the_small_builder_gets_what_trtpose_build_makes(tmp_path: Path, version: str, asked: str):
    pytest.importorskip("onnx", reason="onnx is not installed; pip install trtpose[build]")
    import build_engine

    import onnx_models
    from trtpose.build import engine_file

    builder = tmp_path / "builder"
    builder.write_text(BUILDER.format(python=sys.executable, version=version, typed=version.startswith("10")))
    builder.chmod(0o755)
    fields = {"trtpose": json.dumps(onnx_models.spec_fields())}
    model = onnx_models.write_model(tmp_path / "m.onnx", dynamic=True, metadata=fields)
    output = tmp_path / "m.engine"
    made = build_engine.build(
        model, output, builder=builder, asked=asked, batch="1:2:4", imgsz="64", workspace_mib=7, time_runs=3
    )
    options = made["options"]
    assert options[options.index("--precision") + 1] == asked
    assert options[options.index("--shape") + 1 :][:4] == ["images", "1x3x64x64", "2x3x64x64", "4x3x64x64"]
    assert options[options.index("--workspace") + 1] == "7"
    assert options[options.index("--time") + 1] == "3"
    assert "--opt-level" not in options
    read = engine_file.read(output)
    about = read.header[engine_file.ENGINE_KEY]
    assert about["device"] == {"name": "Fake GPU", "compute_capability": "8.6"}
    assert (about["version"], about["precision"], about["memory"]["activations"]) == (version, asked, 1000)
    assert about["memory"]["weights"] > 0
    assert trtpose.ModelSpec.from_dict(read.header["trtpose"]).layout == "heads"
    assert made["file_bytes"] == output.stat().st_size


@pytest.mark.parametrize(
    ("name", "precision", "batch", "device", "predicted"),
    [
        ("w6-pose", "fp16", 1, "NVIDIA H100 80GB HBM3", True),
        ("w6-pose", "int8", 1, "NVIDIA H100 80GB HBM3", False),
        ("w6-pose", "fp16", 16, "NVIDIA H100 80GB HBM3", False),
        ("w6-pose", "fp16", 1, "Fake GPU", False),
    ],
)
def test_a_prediction_where_there_is_one(
    gpu: ModuleType, name: str, precision: str, batch: int, device: str, predicted: bool
) -> None:
    found = gpu.predicted_ms(device, {"name": name, "precision": precision}, {"batch": batch})
    assert (found is not None) == predicted
    assert found is None or 0.5 < found < 10
