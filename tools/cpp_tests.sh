#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# cpp_tests.sh PRESET VENV [TEST]: build the C++ tests with a CMake preset and run them, or those of TEST alone, which is
# Suite, Suite.Name or either with * for any letters: then only the programs that have it are built.
set -euo pipefail
cd "$(dirname "$0")/.."
preset=$1 venv=$(realpath "$2") test=${3-}
build=build/$preset
export PATH="$venv/bin:$PATH"
# Memory that nobody filled holds something, and not by chance the zeros that a test may hope for (glibc's malloc).
export MALLOC_PERTURB_=165

fail() {
    echo "error: $*" >&2
    exit 1
}

configure() { cmake --preset "$preset" -DPython3_EXECUTABLE="$venv/bin/python"; }

run_all() {
    configure
    cmake --build --preset "$preset"
    ctest --test-dir "$build" --output-on-failure --no-tests=error --label-exclude single
    # ctest keeps quiet about how many tests each program ran; the programs leave that in files.
    cat "$build"/tests/*/*.counts
}

# run_one SUITE[.NAME]: in every program that has it; a suite for several devices is Device/Suite.Name/number.
run_one() {
    local suite=${1%%.*} name files programs=() program filter found=0 status=0
    suite=${suite##*/} name=${1#*.}
    [ "$1" != "${1#*.}" ] || name='*'
    files=$(grep -rlE --include='*_test.cpp' "^(TYPED_)?TEST(_F|_P)?\(${suite//\*/[A-Za-z0-9_]*}," tests) ||
        fail "no C++ test is called $1; T is a suite or one test of it, as in T=NmsTest or T=NmsTest.KeepsTheBest"
    configure >/dev/null
    for program in "$build"/test_programs/*; do
        if grep -qFxf <(echo "$files") "$program"; then programs+=("${program##*/}"); fi
    done
    [ ${#programs[@]} -gt 0 ] || fail "$1 is in ${files//$'\n'/ }, which the preset $preset does not build"
    local targets=("${programs[@]}")
    if cmake --build "$build" --target help | grep trtpose_goldens >/dev/null; then targets+=(trtpose_goldens); fi
    cmake --build "$build" --target "${targets[@]}"
    filter="$suite.$name:$suite.$name/*:*/$suite.$name:*/$suite.$name/*"
    for program in "${programs[@]}"; do
        program=$(find "$build/tests" -type f -name "$program" -perm -u+x)
        if "$program" --gtest_list_tests --gtest_filter="$filter" | grep '^  ' >/dev/null; then
            found=1
            echo "=== $program"
            "$program" --gtest_filter="$filter" || status=1
        fi
    done
    [ $found = 1 ] || fail "no C++ test is called $1; the suite is in ${files//$'\n'/ }"
    return $status
}

if [ -n "$test" ]; then run_one "$test"; else run_all; fi
