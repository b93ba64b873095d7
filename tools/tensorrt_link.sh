#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# tensorrt_link.sh [-o FOLDER] INCLUDE[=LIBRARY[,LIBRARY...]]...: compile what of trtpose uses TensorRT against real
# headers, warnings being errors, link it, and hold it against real libraries. Needs no GPU and calls nothing of a
# library that would want one: its version, and on the way to an engine file what must come before that.
#
#   INCLUDE  a folder of TensorRT headers (8.6, 10 or 11); with NvOnnxParser.h in it or in the next one the builder of
#            tests/gpu is compiled too
#   LIBRARY  libnvinfer.so.N, libnvinfer_lean.so.N, libtensorrt_rtx.so.1 or libnvonnxparser.so.N
# For example: tools/tensorrt_link.sh trt8/include=trt8/lib/libnvinfer.so.8,trt8/lib/libnvonnxparser.so.8 \
#                trt10.1/include trt11.1/include=site/tensorrt_rtx_libs/libtensorrt_rtx.so.1
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
out=$root/build/tensorrt-link
if [ "${1:-}" = -o ]; then
    out=$2
    shift 2
fi
[ $# -gt 0 ] || { sed -n '3,12s/^# \?//p' "$0" >&2; exit 2; }
cuda=${CUDA_HOME:-/usr/local/cuda}
[ -d "$cuda/include" ] || cuda=$(dirname "$(dirname "$(readlink -f "$(command -v nvcc)")")")
[ -f "$cuda/include/cuda_runtime_api.h" ] || cuda=$(ls -d /usr/local/cuda-* | tail -1)
cudart=$(find -L "$cuda" -name libcudart_static.a 2>/dev/null | head -1)
[ -n "$cudart" ] || { echo "tensorrt-link: no libcudart_static.a below $cuda; set CUDA_HOME" >&2; exit 1; }
CXX=${CXX:-g++}
strict=(-std=c++17 -O1 -fPIC -fvisibility=hidden -Wall -Wextra -Wshadow -Wconversion -Wno-sign-conversion -Werror
    -DTRTPOSE_WITH_CUDA=1 -I"$root/cpp/include" -I"$root/cpp/src" -I"$root" -isystem "$cuda/include")
mkdir -p "$out"

echo "=== the core"
cmake -S "$root" -B "$out/core" -DCMAKE_BUILD_TYPE=Release -DTRTPOSE_WITH_CUDA=OFF -DTRTPOSE_WITH_OPENVINO=OFF \
    -DTRTPOSE_WERROR=ON >"$out/core.log"
cmake --build "$out/core" --target trtpose >>"$out/core.log" || { tail -50 "$out/core.log" >&2; exit 1; }
core=$out/core/cpp
# What a core built with CUDA has and this one has not.
shared=()
for source in backends/tensorrt/{kept_file,messages,plan,session,vendor_library} core/cuda_device; do
    $CXX "${strict[@]}" -c "$root/cpp/src/$source.cpp" -o "$out/${source##*/}.o"
    shared+=("$out/${source##*/}.o")
done

# Asks the core about the libraries, then opens an engine file made up for the version.
cat >"$out/probe.cpp" <<'CPP'
#include <cstdio>
#include <fstream>
#include <string>

#include "trtpose/error.hpp"
#include "trtpose/session.hpp"

int main(int argc, char** argv) {
    for (const auto& status : trtpose::backends()) {
        if (status.name == argv[1])
            std::printf("    %s %s: %s\n", argv[1], status.version.c_str(), status.problem.c_str());
        if (status.name == argv[1] && argc > 2 && status.version.find(argv[2]) == std::string::npos) return 1;
    }
    if (argc < 3) return 0;
    int version[3] = {};
    std::sscanf(argv[2], "%d.%d.%d", &version[0], &version[1], &version[2]);
    std::string plan(256, '\0');
    plan.replace(0, 4, std::string(argv[1]) == "tensorrt" ? "ftrt" : "vtrt");
    for (int i = 0; i < 3; ++i) plan[24 + static_cast<size_t>(i)] = static_cast<char>(version[i]);
    std::ofstream(argv[3], std::ios::binary) << plan;
    try {
        trtpose::open_session(trtpose::read_model_file(argv[3]), {});
        std::printf("    opened an engine out of nothing\n");
        return 1;
    } catch (const trtpose::Error& error) {
        std::printf("    %s\n", error.what());
    }
}
CPP
$CXX -std=c++17 -O1 -I"$root/cpp/include" "$out/probe.cpp" -L"$core" -ltrtpose -Wl,-rpath,"$core" -o "$out/probe"

checked=0
for argument in "$@"; do
    include=${argument%%=*} libraries=
    [ "$include" = "$argument" ] || libraries=${argument#*=}
    [ -f "$include/NvInferRuntime.h" ] || { echo "tensorrt-link: no NvInferRuntime.h in $include" >&2; exit 1; }
    number() { sed -nE "s/#define (NV_TENSORRT_$1|TRT_$1_ENTERPRISE) ([0-9]+).*/\2/p" "$include/NvInferVersion.h"; }
    major=$(number MAJOR) version=$(number MAJOR).$(number MINOR).$(number PATCH)
    echo "=== headers of TensorRT $version"
    folder=$out/$version
    mkdir -p "$folder"
    module=$folder/libtrtpose_tensorrt$major.so
    $CXX "${strict[@]}" -isystem "$include" -c "$root/cpp/src/backends/tensorrt/native.cpp" -o "$folder/native.o"
    $CXX -shared -Wl,--no-undefined "$folder/native.o" "${shared[@]}" \
        -L"$core" -ltrtpose "$cudart" -ldl -lrt -lpthread -Wl,-rpath,"$core" -o "$module"
    if nm -uC "$module" | grep -E "nvinfer|createInfer|getInferLib|getPluginRegistry"; then
        echo "tensorrt-link: $module needs TensorRT to be loaded" >&2
        exit 1
    fi
    echo "    module: compiled without warnings, links without TensorRT"
    checked=$((checked + 1))
    if [ "$major" -ge 10 ]; then
        for source in "$root"/plugins/*.cpp; do
            $CXX "${strict[@]}" -isystem "$include" -fsyntax-only "$source"
        done
        echo "    plugin: compiles without warnings"
    fi
    runtimes=() parser=
    IFS=, read -ra given <<<"$libraries"
    for library in "${given[@]}"; do
        case ${library##*/} in *onnxparser*) parser=$library ;; *) runtimes+=("$library") ;; esac
    done
    for library in "${runtimes[@]}"; do
        for symbol in createInferRuntime_INTERNAL getInferLibVersion; do
            nm -D --defined-only "$library" | grep -q " T $symbol$" ||
                { echo "tensorrt-link: $library has no $symbol" >&2; exit 1; }
        done
        kind=tensorrt
        [[ ${library##*/} != *rtx* ]] || kind=tensorrt-rtx
        found=$(TRTPOSE_BACKEND_DIR=$folder TRTPOSE_TENSORRT_LIB=$library "$out/probe" $kind)
        echo "    ${library##*/} has what is looked up by name and is found as:"
        echo "$found"
        number=$(sed -nE "s/.*$kind ([0-9]+\.[0-9]+\.[0-9]+).*/\1/p" <<<"$found")
        TRTPOSE_BACKEND_DIR=$folder TRTPOSE_TENSORRT_LIB=$library "$out/probe" $kind "$number" "$folder/made-up.engine" |
            tail -1
    done
    for parser_include in "$include" "$include/../parser"; do
        [ -f "$parser_include/NvOnnxParser.h" ] && [ -f "$root/tests/gpu/build_engine.cpp" ] || continue
        $CXX "${strict[@]}" -isystem "$include" -isystem "$parser_include" -c "$root/tests/gpu/build_engine.cpp" \
            -o "$folder/build_engine.o"
        echo "    builder of tests/gpu: compiles without warnings"
        builder=
        for library in "${runtimes[@]}"; do
            nm -D --defined-only "$library" | grep -q " T createInferBuilder_INTERNAL$" && builder=$library && break
        done
        if [ -n "$parser" ] && [ -n "$builder" ]; then
            $CXX "$folder/build_engine.o" "$builder" "$parser" "$cudart" -ldl -lrt -lpthread \
                -Wl,--no-undefined,--allow-shlib-undefined -o "$folder/build_engine"
            echo "    builder of tests/gpu: links with ${builder##*/} and ${parser##*/}"
        fi
        break
    done
done
echo "=== tensorrt-link: $checked sets of headers, no warnings"
