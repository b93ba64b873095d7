#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Build the wheel, install it alone in an empty environment and use it there: catches what an editable install hides,
# such as a file left out of the wheel or a library found only in the build tree.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/build"
"$work/build/bin/pip" --quiet --disable-pip-version-check install --upgrade pip build
"$work/build/bin/python" -m build --wheel --outdir "$work/dist" . >"$work/build.log" 2>&1 || { tail -50 "$work/build.log"; exit 1; }
python3 -m venv "$work/use"
"$work/use/bin/pip" --quiet --disable-pip-version-check install "$work"/dist/*.whl
cd "$work"
wheel=$(ls dist/*.whl)
echo "wheel: $(basename "$wheel"), $(stat -c %s "$wheel") bytes"
use/bin/trtpose info
use/bin/trtpose demo --out "$work/demo" --json "$work/demo.json"
use/bin/python - "$work" <<'PY'
import json, pathlib, sys

import trtpose

work = pathlib.Path(sys.argv[1])
assert work in pathlib.Path(trtpose.__file__).parents, f"{trtpose.__file__} is not the installed package"
report = json.loads((work / "demo.json").read_text())
people = sum(len(image["poses"]) for image in report["images"])
assert people >= len(report["images"]) > 0, f"{people} people in {len(report['images'])} pictures"
assert len(list((work / "demo").iterdir())) >= len(report["images"])
print(f"wheel smoke test: {len(report['images'])} passed, 0 failed")
PY
