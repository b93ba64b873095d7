#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# gpu_test.sh [STAGE...]: build for this machine's GPU and test on it. Stages, all of them by default:
#   kernels    the operations against their CPU twins and reference values, the engine around a network without a library
#   arrays     arrays of cupy, torch, numba and pycuda in Python, those that are installed
#   tensorrt   engines of TensorRT: outputs, poses, memory, graphs, clones; builds them first
#   sanitize   kernels and engine under NVIDIA's compute-sanitizer
# A stage that fails does not keep the others from running; the last lines say what passed, failed and was not run.
#
# Needs a GPU, its driver, nvcc, CMake, Ninja and GoogleTest; for `arrays` and `tensorrt` Python with NumPy, OpenCV,
# pytest and pybind11. Read from the environment:
#   PYTHON                 the interpreter (default: python3)
#   TENSORRT_ROOT          TensorRT's include and lib, where neither the system nor pip has it
#   TRTPOSE_MODELS         folder of ONNX models beside the packaged one
#   TRTPOSE_GPU_PICTURES   folder of pictures (default: the packaged ones)
#   TRTPOSE_GPU_ARCH       what to compile for (default: native)
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=tools/gpu_common.sh
. tools/gpu_common.sh gpu-test

stage_kernels() {
    gpu_configure
    cmake --build "$build" --target trtpose_goldens ||
        echo "gpu-test: no reference values (they need Python with NumPy): the tests that use them are skipped"
    cmake --build "$build" --target trtpose_gpu_test trtpose_gpu_engine_test
    local status=0
    for program in trtpose_gpu_test trtpose_gpu_engine_test; do
        "$build/tests/gpu/$program" --gtest_brief=1 || status=1
    done
    return $status
}

stage_arrays() {
    gpu_configure
    gpu_python_package
    # The libraries' own deprecations are no failures here.
    "$python" -m pytest -p no:cacheprovider -W default -q tests/gpu/test_arrays.py
}

stage_tensorrt() {
    gpu_configure
    gpu_python_package
    gpu_builder
    local out=$build/engines models=()
    mkdir -p "$out"
    models=("$PWD/python/trtpose/data/demo.onnx")
    if [ -n "${TRTPOSE_MODELS:-}" ]; then
        mapfile -t -O 1 models < <(find "$TRTPOSE_MODELS" -maxdepth 1 -name '*.onnx' | sort)
    fi
    local status=0
    "$python" tests/gpu/prepare_engines.py --out "$out" "${builder[@]}" --calib "$pictures" "${models[@]}" || status=1
    export TRTPOSE_GPU_ENGINES=$out
    cmake --build "$build" --target trtpose_tensorrt_gpu_test
    "$build/tests/gpu/trtpose_tensorrt_gpu_test" --gtest_brief=1 || status=1
    "$python" -m pytest -p no:cacheprovider -W default -q -s tests/gpu/test_engines.py tests/gpu/test_plugin.py || status=1
    return $status
}

stage_sanitize() {
    command -v compute-sanitizer >/dev/null || gpu_not_run "compute-sanitizer is not on the path"
    gpu_configure
    cmake --build "$build" --target trtpose_gpu_test trtpose_gpu_engine_test
    # The tools slow kernels down a hundredfold: the scenes of thousands of candidates once, under memcheck alone.
    local all='*/cuda' short='*/cuda:-*EvaluationKeeps*:*OneScoreAbove*:*ManyCandidates*' status=0 filter tool
    for tool in memcheck racecheck initcheck synccheck; do
        filter=$short
        [ "$tool" != memcheck ] || filter=$all
        echo "=== compute-sanitizer $tool"
        compute-sanitizer --tool "$tool" --error-exitcode 9 --launch-timeout 0 \
            "$build/tests/gpu/trtpose_gpu_test" --gtest_brief=1 --gtest_filter="$filter" || status=1
        if [ "$tool" = memcheck ]; then
            compute-sanitizer --tool memcheck --leak-check full --error-exitcode 9 --launch-timeout 0 \
                "$build/tests/gpu/trtpose_gpu_engine_test" --gtest_brief=1 || status=1
        fi
    done
    return $status
}

gpu_stages "kernels arrays tensorrt sanitize" "$@"
