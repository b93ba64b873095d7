#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# pip 26.3 and 23.2.1 install a requirement marked `extra != "gpu"` for a package that is asked for with [gpu].
#
# Expected: of a requirement only that part counts whose marker is true, and `extra` stands for the extra that was asked for
# (https://packaging.python.org/en/latest/specifications/dependency-specifiers/). With [gpu] the marker is false, so the
# requirement should stay away, and be there without the extra. packaging's own Marker says so of both.
# Seen: it is installed both times. A package with an extra is resolved as the package without it and as the extra's
# additions, and for the first of the two the marker is true. So an extra can only add, and no marker makes a default.
# What helps: nothing in one distribution; a variant of it, or another name.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/package"
touch "$work/package/example_of_an_extra.py"
cat >"$work/package/pyproject.toml" <<'TOML'
[build-system]
requires = ["setuptools==82.0.1"]
build-backend = "setuptools.build_meta"

[project]
name = "example-of-an-extra"
version = "0"
dependencies = ["six==1.17.0; extra != 'gpu'"]

[project.optional-dependencies]
gpu = []
TOML
status=0
for version in 23.2.1 26.3; do
    for extra in "" "[gpu]"; do
        rm -rf "$work/env"
        python3 -m venv "$work/env"
        "$work/env/bin/pip" --quiet --disable-pip-version-check install "pip==$version" packaging==26.0
        "$work/env/bin/pip" --quiet --disable-pip-version-check install "$work/package$extra"
        marker=$("$work/env/bin/python" -c "
from packaging.markers import Marker
print(Marker(\"extra != 'gpu'\").evaluate({'extra': '${extra//[\[\]]/}'}))")
        installed=$("$work/env/bin/python" -c "import importlib.util; print(importlib.util.find_spec('six') is not None)")
        echo "pip $version, example-of-an-extra$extra: the marker is $marker, six installed: $installed"
        [ "$installed" = True ] || status=1
    done
done
[ $status = 0 ] && echo "    as described" || echo "    not as described"
exit $status
