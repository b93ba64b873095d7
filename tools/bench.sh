#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# bench.sh VENV: build the CPU benchmarks and write their figures to benchmarks/results.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=$(realpath "$1")
export PATH="$venv/bin:$PATH"
cmake --preset cpu-dev -DPython3_EXECUTABLE="$venv/bin/python" >/dev/null
cmake --build --preset cpu-dev --target trtpose_bench_cpu
name=$(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -1 | tr -c 'A-Za-z0-9\n' '-' | tr 'A-Z' 'a-z')
python benchmarks/cpu.py --json "benchmarks/results/$(date +%F)-cpu-$name.json"
