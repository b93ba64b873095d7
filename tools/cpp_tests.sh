#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# cpp_tests.sh PRESET VENV: build the C++ tests with a CMake preset and run them.
set -euo pipefail
cd "$(dirname "$0")/.."
preset=$1 venv=$(realpath "$2")
export PATH="$venv/bin:$PATH"
cmake --preset "$preset" -DPython3_EXECUTABLE="$venv/bin/python"
cmake --build --preset "$preset"
ctest --test-dir "build/$preset" --output-on-failure --no-tests=error
# ctest keeps quiet about how many tests each program ran; the programs leave that in files.
cat "build/$preset"/tests/*/*.counts
