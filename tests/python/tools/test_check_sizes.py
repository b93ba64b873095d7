# SPDX-License-Identifier: Apache-2.0
"""tools/check_sizes.py on made-up trees."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parents[3] / "tools" / "check_sizes.py"
EXCUSED = "tools/excused_sizes.txt"


def check(root: Path, **files: str) -> tuple[int, str]:
    """Exit status and output with the files, whose names are written with __ for / and _DOT_ for the last dot."""
    for name, text in files.items():
        path = root / name.replace("__", "/").replace("_DOT_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    done = subprocess.run([sys.executable, TOOL, root], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.returncode, done.stdout


def excuse(root: Path, *lines: str) -> None:
    path = root / EXCUSED
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("# head\n" + "".join(f"{line}\n" for line in lines))


def python(lines: int, name: str = "f") -> str:
    return f"def {name}():\n" + "    x = 1\n" * (lines - 1)


def cpp(lines: int, head: str = "int f(int x)") -> str:
    return f"namespace trtpose {{\n\n{head} {{\n" + "    x += 1;\n" * (lines - 2) + "}\n\n}  // namespace trtpose\n"


def shell(lines: int) -> str:
    return "f() {\n" + "    true\n" * (lines - 2) + "}\nf\n"


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("python__trtpose__x_DOT_py", python),
        ("tests__python__x_DOT_py", python),
        ("cpp__src__x_DOT_cpp", cpp),
        ("cpp__src__x_DOT_hpp", cpp),
        ("plugins__x_DOT_cu", cpp),
        ("tools__x_DOT_sh", shell),
    ],
)
def test_a_function_of_61_lines_fails_and_one_of_60_does_not(tmp_path: Path, name: str, write):
    path = name.replace("__", "/").replace("_DOT_", ".")
    status, output = check(tmp_path, **{name: write(60)})
    assert (status, output) == (0, "sizes: 1 files, 0 excused\n")
    status, output = check(tmp_path, **{name: write(61)})
    assert status == 1
    assert output.startswith(f"{path}:")
    assert "function f has 61 lines, 1 over the limit of 60: divide it" in output


@pytest.mark.parametrize(
    ("head", "name"),
    [
        ("__global__ void __launch_bounds__(256) f_kernel(const int* __restrict__ x)", "f_kernel"),
        ("template <typename T, int N> T Buffer<T>::f(T x) const noexcept", "Buffer<T>::f"),
        ("TEST_P(NmsTest, KeepsTheBest)", "NmsTest.KeepsTheBest"),
        ("TEST(Literal, Nested)", "Literal.Nested"),
    ],
)
def test_functions_of_cuda_templates_and_tests_are_seen(tmp_path: Path, head: str, name: str):
    status, output = check(tmp_path, cpp__x_DOT_cu=cpp(61, head))
    assert status == 1
    assert f"function {name} has 61 lines" in output


def test_a_lambda_counts_where_it_stands(tmp_path: Path):
    inner = "    auto g = [&](int y) {\n" + "        x += y;\n" * 57 + "    };\n"
    status, output = check(tmp_path, cpp__x_DOT_cpp=f"void f(int x) {{\n{inner}}}\n")
    assert status == 1
    assert "function f has 61 lines" in output


def test_documentation_and_nested_functions_count(tmp_path: Path):
    text = (
        'class A:\n    def f(self):\n        """Words.\n'
        + "\n" * 56
        + '        """\n        def g():\n            pass\n'
    )
    status, output = check(tmp_path, python__x_DOT_py=text)
    assert status == 1
    assert output == "python/x.py:2: function A.f has 61 lines, 1 over the limit of 60: divide it\n"


@pytest.mark.parametrize("name", ["python__x_DOT_py", "cpp__x_DOT_hpp", "tools__x_DOT_sh"])
def test_a_file_of_501_lines_fails_and_one_of_500_does_not(tmp_path: Path, name: str):
    assert check(tmp_path, **{name: "\n" * 500})[0] == 0
    status, output = check(tmp_path, **{name: "\n" * 501})
    assert status == 1
    assert "the file has 501 lines, 1 over the limit of 500: divide it" in output


def test_an_excused_one_passes(tmp_path: Path):
    excuse(tmp_path, "python/x.py::f 70 - a table", "tools/y.py 501 - a table")
    status, output = check(tmp_path, python__x_DOT_py=python(70), tools__y_DOT_py="\n" * 501)
    assert (status, output) == (0, "sizes: 2 files, 2 excused\n")


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        (71, "python/x.py:1: function f has 71 lines, 70 are excused in {}: divide it, the list only shrinks"),
        (69, "{}:2: python/x.py::f has 69 lines, 70 are written: write 69"),
        (60, "{}:2: python/x.py::f has 60 lines, no longer over the limit of 60: take the line out"),
    ],
)
def test_the_list_follows_what_it_excuses(tmp_path: Path, lines: int, sentence: str):
    excuse(tmp_path, "python/x.py::f 70 - a table")
    assert check(tmp_path, python__x_DOT_py=python(lines)) == (1, sentence.format(EXCUSED) + "\n")


def test_what_is_excused_exists(tmp_path: Path):
    excuse(tmp_path, "python/x.py::g 70 - a table", "python/y.py 600 - a table")
    assert check(tmp_path, python__x_DOT_py=python(3)) == (
        1,
        f"{EXCUSED}:2: python/x.py::g does not exist: take the line out\n"
        f"{EXCUSED}:3: python/y.py does not exist: take the line out\n",
    )


def test_an_excuse_says_why_and_stands_once(tmp_path: Path):
    excuse(tmp_path, "python/x.py::f 70", "python/x.py::g 70 - a table", "python/x.py::g 70 - a table")
    status, output = check(tmp_path, python__x_DOT_py=python(70, "g"))
    assert status == 1
    assert f"{EXCUSED}:2: 'python/x.py::f 70' is not 'path[::function] lines - reason'" in output
    assert f"{EXCUSED}:4: python/x.py::g stands twice; take one line out" in output
