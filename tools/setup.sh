#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# setup.sh package|test|lint|fuzz VENV: bring a machine with Python 3.10 or newer and a C++17 compiler to where the rest works.
set -euo pipefail
cd "$(dirname "$0")/.."
what=$1 venv=$2

# Debian packages that Python's registry does not carry; asked for only where they are missing.
need_apt() {
    local missing=()
    command -v c++ >/dev/null || missing+=(g++)
    python3 -c 'import venv, ensurepip' 2>/dev/null || missing+=(python3-venv)
    if [ "$what" = test ]; then
        [ -e /usr/include/gtest/gtest.h ] || missing+=(libgtest-dev)
        command -v pkg-config >/dev/null || missing+=(pkg-config)
    fi
    [ ${#missing[@]} -eq 0 ] && return
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
    else
        echo "error: this needs the packages ${missing[*]}; install them (sudo apt-get install ${missing[*]}) and run again" >&2
        exit 1
    fi
}

# Clang with libFuzzer, whose package bears the version. Without it the native targets are skipped, so nothing fails here.
try_clang() {
    local version
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then return; fi
    if ! command -v clang++ >/dev/null; then
        apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends clang || return 0
    fi
    [ ! -e "$(clang++ -print-resource-dir)/include/fuzzer/FuzzedDataProvider.h" ] || return 0
    version=$(clang++ -dumpversion)
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "libclang-rt-${version%%.*}-dev" || true
}

pip() { "$venv/bin/python" -m pip --quiet --disable-pip-version-check "$@"; }

need_apt
if [ ! -x "$venv/bin/python" ]; then
    python3 -m venv "$venv"
    pip install --upgrade "pip>=25.1"
fi
case $what in
    package)
        # Not isolated: the build then sees the same OpenVINO that the package runs with.
        pip install cmake ninja $("$venv/bin/python" tools/build_requires.py)
        pip install --no-build-isolation --editable ".[eval,opencv,video]" --config-settings "build-dir=build/editable"
        ;;
    test) pip install --group test; pip install --no-deps --group trackers ;;
    lint) pip install --group lint ;;
    fuzz) try_clang; pip install --group fuzz ;;
    *) echo "usage: setup.sh package|test|lint|fuzz VENV" >&2; exit 2 ;;
esac
