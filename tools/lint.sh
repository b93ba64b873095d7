#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# lint.sh VENV: every check of the sources that needs no run of them.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=$(realpath "$1")
export PATH="$venv/bin:$PATH"
status=0
step() { echo "== $1"; shift; "$@" || status=1; }

step "clang-format" bash -c 'git ls-files -- "*.hpp" "*.cpp" "*.cu" "*.h" | xargs clang-format --dry-run --Werror'
step "ruff check" ruff check .
step "ruff format" ruff format --check .
step "pyright" pyright --pythonpath "$venv/bin/python"
step "layers of the native code" python tools/check_includes.py
step "layers of the package" python tools/check_imports.py
step "sizes" python tools/check_sizes.py
step "stubs" python tools/gen_stubs.py --check
if command -v hadolint >/dev/null; then
    step "Dockerfiles" hadolint tools/docker/*.Dockerfile
else
    echo "== Dockerfiles: not checked, hadolint has no package for this machine"
fi
if command -v mkdocs >/dev/null; then
    step "site of docs/" env NO_MKDOCS_2_WARNING=1 mkdocs build
else
    echo "== site of docs/: not built, its packages want Python 3.11"
fi
if command -v nvcc >/dev/null; then
    step "CUDA kernels" python tools/kernel_report.py --check
else
    echo "== CUDA kernels: not compiled, there is no nvcc"
fi
exit $status
