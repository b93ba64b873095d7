#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# gpu_bench.sh [PYTHON]: build for this machine's GPU, time the CUDA operations, and write benchmarks/results/DATE-GPU.json.
# With a PYTHON that has torch with CUDA, the same work in PyTorch is timed beside it.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${1:-python3}
if ! nvidia-smi -L >/dev/null 2>&1; then
    echo "gpu-bench: no NVIDIA GPU or driver on this machine: nothing was measured" >&2
    exit 1
fi
cmake --preset cuda -DTRTPOSE_CUDA_ARCHITECTURES=native
cmake --build --preset cuda --target trtpose_bench_cuda
gpu=$(nvidia-smi --query-gpu=name --format=csv,noheader | head -1 | tr -cs 'A-Za-z0-9\n' '-' | tr 'A-Z' 'a-z')
mkdir -p benchmarks/results
out=benchmarks/results/$(date +%F)-$gpu.json
part=$(mktemp "$out.XXXXXX")
trap 'rm -f "$part"' EXIT
"$python" benchmarks/cuda.py --binary build/cuda/benchmarks/trtpose_bench_cuda --json "$part"
mv "$part" "$out"
chmod 644 "$out"
echo "wrote $out"
