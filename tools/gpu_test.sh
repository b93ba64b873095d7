#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# gpu_test.sh: build for this machine's GPU, run the tests on it, then run them under NVIDIA's compute-sanitizer.
# Needs a GPU, its driver, nvcc, CMake, Ninja and GoogleTest; Python with NumPy and OpenCV for the reference values.
set -euo pipefail
cd "$(dirname "$0")/.."
if ! nvidia-smi -L >/dev/null 2>&1; then
    echo "gpu-test: no NVIDIA GPU or driver on this machine: nothing was run" >&2
    exit 1
fi
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
build=build/cuda
cmake --preset cuda -DTRTPOSE_CUDA_ARCHITECTURES=native
cmake --build --preset cuda --target trtpose_gpu_test
cmake --build --preset cuda --target trtpose_goldens 2>/dev/null ||
    echo "gpu-test: no reference values (they need Python with NumPy and OpenCV): the tests that use them are skipped"
test=$build/tests/gpu/trtpose_gpu_test
"$test" --gtest_brief=1

if ! command -v compute-sanitizer >/dev/null; then
    echo "gpu-test: compute-sanitizer is not on the path: memcheck, racecheck, initcheck and synccheck not run" >&2
    exit 1
fi
# The tools slow kernels down a hundredfold: the scenes of thousands of candidates once, under memcheck alone.
all='*/cuda'
short='*/cuda:-*EvaluationKeeps*:*OneScoreAbove*:*ManyCandidates*'
for tool in memcheck racecheck initcheck synccheck; do
    filter=$short
    [ "$tool" != memcheck ] || filter=$all
    echo "=== compute-sanitizer $tool"
    compute-sanitizer --tool "$tool" --error-exitcode 9 --launch-timeout 0 "$test" --gtest_brief=1 --gtest_filter="$filter"
done
echo "=== gpu-test: all passed"
