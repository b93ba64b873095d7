#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# run.sh BUILD [MODEL.onnx]: install what lies in BUILD, build consumer/ against it through find_package and through
# pkg-config, and run both; with MODEL on that model.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
build=$(cd "$1" && pwd)
shift
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
prefix=$work/prefix

[ $# -gt 0 ] || echo "not run: inference (no model given)"
cmake --install "$build" --prefix "$prefix" >"$work/install.log"

echo "== find_package"
cmake -S "$here" -B "$work/build" -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_BUILD_TYPE=Release >"$work/configure.log" ||
  { cat "$work/configure.log" && exit 1; }
cmake --build "$work/build" >"$work/build.log" || { cat "$work/build.log" && exit 1; }
"$work/build/consumer" "$@"

echo "== find_package after the installation has moved"
mv "$prefix" "$work/moved"
prefix=$work/moved
rm -rf "$work/build"
cmake -S "$here" -B "$work/build" -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_BUILD_TYPE=Release >"$work/configure.log" ||
  { cat "$work/configure.log" && exit 1; }
cmake --build "$work/build" >"$work/build.log" || { cat "$work/build.log" && exit 1; }
"$work/build/consumer"

if ! command -v pkg-config >/dev/null; then
  echo "not run: pkg-config is not installed"
  exit 0
fi
echo "== pkg-config"
libdir=$(dirname "$(find "$prefix" -name libtrtpose.so | head -n 1)")
export PKG_CONFIG_PATH=$libdir/pkgconfig
read -r -a flags <<<"$(pkg-config --cflags --libs trtpose)"
"${CXX:-c++}" -std=c++17 -Wall -Wextra -Werror "$here/main.cpp" "${flags[@]}" "-Wl,-rpath,$libdir" -o "$work/with_pkg_config"
"$work/with_pkg_config" "$@"
