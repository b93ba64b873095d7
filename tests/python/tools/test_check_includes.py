# SPDX-License-Identifier: Apache-2.0
"""tools/check_includes.py on made-up trees."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parents[3] / "tools" / "check_includes.py"


def check(root: Path, name: str, line: str) -> tuple[int, str]:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"// A file.\n{line}\n")
    done = subprocess.run([sys.executable, TOOL, root], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.returncode, done.stdout


UPWARD = [
    ("core", "cpp/src/core/x.hpp", "engine/pipeline.hpp"),
    ("core", "cpp/src/core/x.hpp", "model/literal.hpp"),
    ("core", "cpp/src/core/x.hpp", "trtpose/model_spec.hpp"),
    ("ops", "cpp/src/ops/x_cuda.cu", "families/family.hpp"),
    ("math", "cpp/include/trtpose/math/x.hpp", "trtpose/types.hpp"),
    ("model", "cpp/src/model/x.cpp", "engine/pipeline.hpp"),
    ("model", "cpp/src/model/x.cpp", "families/one/reader.hpp"),
    ("plugins", "plugins/x.cpp", "families/one/reader.hpp"),
    ("plugins", "plugins/x.cpp", "engine/pipeline.hpp"),
    ("families", "cpp/src/families/one/x.cpp", "engine/pipeline.hpp"),
    ("families", "cpp/src/families/one/x.cpp", "backends/backend.hpp"),
    ("engine", "cpp/src/engine/x.cpp", "families/one/reader.hpp"),
    ("backends", "cpp/src/backends/x.cpp", "ops/dispatch.hpp"),
    ("openvino", "cpp/src/backends/openvino/x.cpp", "backends/tensorrt/api.hpp"),
    ("bindings", "python/bindings/x.cpp", "engine/pipeline.hpp"),
]


@pytest.mark.parametrize(("layer", "name", "target"), UPWARD)
def test_an_upward_include_fails(tmp_path: Path, layer: str, name: str, target: str):
    assert check(tmp_path, name, f'#include "{target}"') == (1, f"{name}:2: layer {layer} must not include {target}\n")


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("cpp/src/engine/x.cpp", "families/family.hpp"),
        ("cpp/src/families/one/x.cpp", "families/family.hpp"),
        ("cpp/src/families/one/x.cpp", "families/one/y.hpp"),
        ("cpp/src/families/one/x.cpp", "trtpose/ops/nms.hpp"),
        ("cpp/src/families/registry.cpp", "families/one/y.hpp"),
        ("cpp/src/core/x.cpp", "trtpose/types.hpp"),
        ("plugins/x.cpp", "families/family.hpp"),
    ],
)
def test_a_downward_include_passes(tmp_path: Path, name: str, target: str):
    assert check(tmp_path, name, f'#include "{target}"') == (0, "includes: 1 files follow the layers\n")


def test_a_family_includes_no_other(tmp_path: Path):
    name, target = "cpp/src/families/one/x.cpp", "families/two/y.hpp"
    assert check(tmp_path, name, f'#include "{target}"') == (
        1,
        f"{name}:2: a family must not include another one's {target}; what several share is an operation, in ops\n",
    )


def test_a_path_that_hides_its_layer_fails(tmp_path: Path):
    name = "cpp/src/core/x.cpp"
    assert check(tmp_path, name, '#include "../engine/pipeline.hpp"') == (
        1,
        f"{name}:2: ../engine/pipeline.hpp hides its layer; write the path from cpp/src\n",
    )


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("cpp/src/engine/x.cpp", "NvInfer.h"),
        ("cpp/src/families/one/reader.cpp", "cuda_runtime.h"),
        ("cpp/src/ops/x_cpu.cpp", "openvino/openvino.hpp"),
        ("cpp/src/core/x.cpp", "pybind11/pybind11.h"),
    ],
)
def test_a_vendor_header_stays_in_its_folder(tmp_path: Path, name: str, target: str):
    status, output = check(tmp_path, name, f"#include <{target}>")
    assert status == 1
    assert f"{name}:2: {target} belongs in " in output
