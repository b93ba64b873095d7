#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# double.sh FOLDER PYTHON: what lets an installed trtpose of this Python run engines without a GPU, into FOLDER: the library
# on emulated CUDA, taken by LD_LIBRARY_PATH, and the double of TensorRT for RTX's package, taken by PYTHONPATH.
set -euo pipefail
folder=$(realpath -m "$1") python=$2
cd "$(dirname "$0")/.."
mkdir -p "$folder"
"$python" -m venv "$folder/tools"
"$folder/tools/bin/pip" --quiet --disable-pip-version-check install --upgrade pip cmake ninja "pybind11>=3,<4"
export PATH="$folder/tools/bin:$PATH"

# The tests of C++ may have made most of it.
tree=build/cpu-dev
if [ ! -f "$tree/build.ninja" ]; then
    tree=build/double
    # Named, since the ninja that an earlier run found went with its folder.
    cmake -S . -B "$tree" -G Ninja -DCMAKE_MAKE_PROGRAM="$folder/tools/bin/ninja" -DCMAKE_BUILD_TYPE=Release \
        -DTRTPOSE_BUILD_TESTS=ON -DTRTPOSE_WITH_CUDA=OFF -DTRTPOSE_WITH_OPENVINO=OFF \
        >"$folder/configure.log" || { cat "$folder/configure.log" >&2; exit 1; }
fi
cmake --build "$tree" --target trtpose_emulated >"$folder/build.log" || { cat "$folder/build.log" >&2; exit 1; }
cp -L "$tree"/tests/emulation/installed/libtrtpose.so.*.* "$folder"
cp -r tests/emulation/installed/tensorrt_rtx_bindings "$folder"
emulation=tests/emulation
${CMAKE_CXX_COMPILER_LAUNCHER-} "${CXX:-c++}" -std=c++17 -O1 -fPIC -shared -fvisibility=hidden \
    -DTRTPOSE_WITH_CUDA=1 -DTRTPOSE_DOUBLE_TENSORRT=107 -DTRTPOSE_DOUBLE_NUMBER=10701 \
    -I$emulation/cuda/include -I$emulation/tensorrt/include -I$emulation -Icpp/include -Icpp/src \
    $(python -m pybind11 --includes) $emulation/tensorrt/{double,double_context,python_double,module}.cpp \
    "$folder"/libtrtpose.so.*.* -o "$folder/tensorrt_double.so"
