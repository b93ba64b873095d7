# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# Sourced by gpu_test.sh and gpu_bench.sh with the name they speak under. Without a GPU it ends them with one sentence.
name=$1
if ! nvidia-smi -L >/dev/null 2>&1; then
    echo "$name: no NVIDIA GPU or driver on this machine: nothing was run" >&2
    exit 1
fi
python=${PYTHON:-python3}
build=$PWD/build/cuda
pictures=${TRTPOSE_GPU_PICTURES:-$PWD/python/trtpose/data/demo}
builder=()
not_run=$(mktemp)
trap 'rm -f "$not_run"' EXIT
if [ -n "${TENSORRT_ROOT:-}" ]; then
    # TensorRT's libraries find each other by it.
    export LD_LIBRARY_PATH=$TENSORRT_ROOT/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
fi

# Leave a stage without failing it; the reason goes into the summary.
gpu_not_run() {
    echo "$1" >"$not_run"
    exit 77
}

# Why Python modules cannot be built here; nothing where they can.
gpu_python_problem() {
    "$python" - <<'PY' 2>/dev/null || echo "$python does not start or has no NumPy and OpenCV"
import importlib.util, os, sysconfig
import cv2, numpy
if not os.path.exists(os.path.join(sysconfig.get_paths()["include"], "Python.h")):
    print("Python.h is missing (the development package of Python)")
elif importlib.util.find_spec("pybind11") is None:
    print("pybind11 is not installed")
PY
}

gpu_configure() {
    local options=(-DTRTPOSE_CUDA_ARCHITECTURES="${TRTPOSE_GPU_ARCH:-native}")
    options+=(-DPython_EXECUTABLE="$(command -v "$python")" -DPython3_EXECUTABLE="$(command -v "$python")")
    if [ -z "$(gpu_python_problem)" ]; then
        options+=(-DTRTPOSE_BUILD_PYTHON=ON)
    else
        options+=(-DTRTPOSE_BUILD_PYTHON=OFF)
    fi
    [ -z "${TENSORRT_ROOT:-}" ] || options+=(-DTENSORRT_ROOT="$TENSORRT_ROOT")
    cmake --preset cuda "${options[@]}"
}

# The package as it is in the sources, with the native part that was just built, on the path of Python.
gpu_python_package() {
    local problem
    problem=$(gpu_python_problem)
    [ -z "$problem" ] || gpu_not_run "$problem"
    cmake --build "$build" --target trtpose_gpu_python
    local stage=$build/python
    rm -rf "$stage/trtpose"
    mkdir -p "$stage"
    cp -r python/trtpose "$stage/"
    cp "$build"/python/bindings/_core*.so "$stage/trtpose/"
    export PYTHONPATH=$stage${PYTHONPATH:+:$PYTHONPATH}
    export TRTPOSE_GPU_TEST_MODULES=$build/tests/gpu
    # The modules of the backends lie beside the library they were built with.
    export TRTPOSE_BACKEND_DIR=$build/cpp
    local plugin
    plugin=$(find "$build/plugins" -name 'libtrtpose_plugin*.so' 2>/dev/null | sort -V | tail -1)
    [ -z "$plugin" ] || export TRTPOSE_PLUGIN=$plugin
    "$python" -m trtpose info
}

# How engines are built here: by TensorRT's Python package, or by our own program.
gpu_builder() {
    if "$python" -c 'import importlib.util as u, sys; sys.exit(u.find_spec("tensorrt") is None)' 2>/dev/null; then
        builder=()
    elif [ -x "$build/tests/gpu/trtpose_build_engine" ]; then
        builder=(--builder "$build/tests/gpu/trtpose_build_engine")
    else
        gpu_not_run "TensorRT was not found; set TENSORRT_ROOT to a folder with its include and lib"
    fi
}

# gpu_stages "KNOWN..." [STAGE...]: run each in a shell of its own and sum up. Leaves -e off: a caller that goes on sets it
# again, and does not call this as a condition, in which -e would mean nothing in the stages.
gpu_stages() {
    local known=$1 stage status start summary=() failed=0
    shift
    [ $# -gt 0 ] || read -r -a stages <<<"$known"
    [ $# -eq 0 ] || stages=("$@")
    for stage in "${stages[@]}"; do
        case " $known " in
            *" $stage "*) ;;
            *)
                echo "$name: no stage '$stage'; there are: $known" >&2
                exit 2
                ;;
        esac
    done
    nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
    for stage in "${stages[@]}"; do
        echo "=== $name $stage"
        start=$SECONDS
        set +e
        (
            set -e
            "stage_$stage"
        )
        status=$?
        case $status in
            0) summary+=("$stage: passed in $((SECONDS - start)) s") ;;
            77) summary+=("$stage: NOT RUN: $(cat "$not_run")") ;;
            *)
                summary+=("$stage: FAILED after $((SECONDS - start)) s (status $status)")
                failed=1
                ;;
        esac
    done
    echo "=== $name summary"
    printf '%s\n' "${summary[@]}"
    return $failed
}
