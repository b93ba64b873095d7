# SPDX-License-Identifier: Apache-2.0
"""tools/release_wheels.sh --check: which wheels may go out."""

import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
LICENCES = ("LICENSE", "docs/licences/README.md", "docs/licences/pybind11.txt")
CUDA = "docs/licences/nvidia-cuda.txt"
pytestmark = pytest.mark.skipif(
    not (shutil.which("cc") and shutil.which("readelf")), reason="needs a C compiler and readelf"
)


def compile_library(file, *link, text="nothing"):
    """A library with a text in it."""
    source = file.with_suffix(".c")
    source.write_text(f'const char *trtpose_text(void) {{ return "{text}"; }}\n')
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(file), str(source), *link], check=True)
    return file.read_bytes()


def check(folder, core, library, licences=LICENCES, name="libtrtpose.so.0.1", more=()):
    """The exit status and message of the check of a wheel with these parts."""
    wheel = folder / "trtpose-0.1.0-cp310-cp310-manylinux_2_28_x86_64.whl"
    with zipfile.ZipFile(wheel, "w") as file:
        file.writestr("trtpose/_core.cpython-310-x86_64-linux-gnu.so", core)
        file.writestr(f"trtpose/lib/{name}", library)
        for other, content in more:
            file.writestr(f"trtpose/lib/{other}", content)
        for licence in licences:
            file.writestr(f"trtpose-0.1.0.dist-info/licenses/{licence}", "terms")
    run = subprocess.run(
        [str(ROOT / "tools/release_wheels.sh"), "--check", str(wheel)], capture_output=True, text=True, check=False
    )
    return run.returncode, run.stderr


@pytest.fixture
def parts(tmp_path):
    core = compile_library(tmp_path / "core.so", "-Wl,-rpath,$ORIGIN/lib")
    return core, compile_library(tmp_path / "library.so", "-Wl,-soname,libtrtpose.so.0.1")


def test_a_clean_wheel_may_go_out(tmp_path, parts):
    assert check(tmp_path, *parts) == (0, "")


@pytest.mark.parametrize("tag", ["--enable-new-dtags", "--disable-new-dtags"])
def test_a_run_path_outside_the_wheel_is_refused(tmp_path, parts, tag):
    core = compile_library(tmp_path / "other.so", f"-Wl,{tag},-rpath,$ORIGIN/lib:/usr/local/openvino/libs")
    status, message = check(tmp_path, core, parts[1])
    assert status == 1
    assert "_core.cpython-310-x86_64-linux-gnu.so looks for libraries in /usr/local/openvino/libs" in message


@pytest.mark.parametrize("path", ["/build/x/include/openvino/core/any.hpp", f"{ROOT}/build/release"])
def test_a_path_of_the_build_is_refused(tmp_path, parts, path):
    library = compile_library(tmp_path / "other.so", "-Wl,-soname,libtrtpose.so.0.1", text=f"{path} failed")
    status, message = check(tmp_path, parts[0], library)
    assert status == 1
    assert f"libtrtpose.so.0.1 holds paths of the build ({path})" in message


def test_a_library_under_another_name_is_refused(tmp_path, parts):
    status, message = check(tmp_path, *parts, name="libtrtpose.so.0.1.0")
    assert status == 1
    assert "has trtpose/lib/libtrtpose.so.0.1.0 for the SONAME libtrtpose.so.0.1" in message
    assert check(tmp_path, *parts, more=[("libtrtpose.so", parts[1])])[0] == 1, "a copy in the place of a link"


def test_the_cuda_runtime_as_a_library_is_refused(tmp_path, parts):
    compile_library(tmp_path / "cudart.so", "-Wl,-soname,libcudart.so.13")
    module = compile_library(tmp_path / "module.so", "-Wl,--no-as-needed", str(tmp_path / "cudart.so"))
    status, message = check(tmp_path, *parts, more=[("libtrtpose_tensorrt10.so", module)])
    assert status == 1
    assert "libtrtpose_tensorrt10.so needs CUDA's runtime beside it" in message


@pytest.mark.parametrize("missing", LICENCES)
def test_a_missing_licence_is_refused(tmp_path, parts, missing):
    status, message = check(tmp_path, *parts, licences=[licence for licence in LICENCES if licence != missing])
    assert status == 1
    assert f"the licence {missing} is not in the wheel" in message


def test_cuda_inside_asks_for_its_licence(tmp_path, parts):
    library = compile_library(tmp_path / "cuda.so", "-Wl,-soname,libtrtpose.so.0.1", text="cudaErrorCudartUnloading")
    status, message = check(tmp_path, parts[0], library)
    assert status == 1
    assert f"the licence {CUDA} is not in the wheel" in message
    assert check(tmp_path, parts[0], library, licences=(*LICENCES, CUDA))[0] == 0
