#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# gpu_bench.sh [STAGE...]: build for this machine's GPU, measure, and write benchmarks/results/DATE-GPU.json. Stages, all
# of them by default:
#   ops        letterbox, decode and NMS, beside the bytes they cannot do without; the same work in PyTorch, and
#              TensorRT's EfficientNMS where its plugins are
#   prepare    export YOLOv7-w6-pose with random weights at 960, and build FP16 and INT8 engines of it and of the models
#              of TRTPOSE_MODELS
#   engines    latency, throughput, stages and memory of these engines beside the bare network; how far they agree with
#              ONNX Runtime
# A stage that fails does not keep the others from running, and what was measured is written all the same. The
# environment is that of gpu_test.sh; TRTPOSE_BENCH_MODEL=w6.onnx takes another network than the exported one.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=tools/gpu_common.sh
. tools/gpu_common.sh gpu-bench
parts=$build/bench
mkdir -p "$parts"

stage_ops() {
    gpu_configure
    cmake --build "$build" --target trtpose_bench_cuda
    local options=()
    [ ! -x "$build/tests/gpu/trtpose_build_engine" ] || options+=(--builder "$build/tests/gpu/trtpose_build_engine")
    "$python" benchmarks/cuda.py --binary "$build/benchmarks/trtpose_bench_cuda" --json "$parts/ops.json" "${options[@]}"
}

stage_prepare() {
    gpu_configure
    gpu_python_package
    gpu_builder
    local model=${TRTPOSE_BENCH_MODEL:-$parts/w6-pose.onnx} models=() status=0
    if [ ! -f "$model" ]; then
        "$python" -m trtpose export yolov7-w6-pose --random --imgsz 960 --dynamic-batch --no-verify -o "$model" || return 1
    fi
    [ -z "${TRTPOSE_MODELS:-}" ] || mapfile -t models < <(find "$TRTPOSE_MODELS" -maxdepth 1 -name '*.onnx' | sort)
    "$python" tests/gpu/prepare_engines.py --out "$parts/w6" "${builder[@]}" --calib "$pictures" \
        --precision fp16 int8 --batch 1:16:16 --batch-precision fp16 "$model" || status=1
    if [ ${#models[@]} -gt 0 ]; then
        "$python" tests/gpu/prepare_engines.py --out "$parts/models" "${builder[@]}" --calib "$pictures" \
            --precision fp16 int8 --batch 1:16:16 --batch-precision fp16 "${models[@]}" || status=1
    fi
    return $status
}

stage_engines() {
    gpu_configure
    gpu_python_package
    local lists=() list
    for list in "$parts"/*/engines.json; do
        [ ! -f "$list" ] || lists+=("$list")
    done
    [ ${#lists[@]} -gt 0 ] || gpu_not_run "there are no engines; run the stage prepare"
    "$python" benchmarks/gpu.py measure --json "$parts/engines.json" --pictures "$pictures" "${lists[@]}"
}

gpu_stages "ops prepare engines" "$@"
status=$?
set -e
gpu=$(nvidia-smi --query-gpu=name --format=csv,noheader | head -1 | tr -cs 'A-Za-z0-9\n' '-' | tr 'A-Z' 'a-z')
out=benchmarks/results/$(date +%F)-${gpu%-}.json
mkdir -p benchmarks/results
"$python" benchmarks/gpu.py merge --json "$out" "$parts" || status=1
exit $status
