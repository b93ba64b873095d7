#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# wheel_test.sh VENV | WHEEL [PYTHON]: install the wheel, or one made now in the environment VENV, alone in an empty environment and use it
# there: catches what an editable install hides, such as a file left out of the wheel or a library found only in the build tree. Then, with TensorRT
# for RTX beside it, an engine is built there and run on the double (tests/emulation/run_installed.py).
set -euo pipefail
given=$(realpath -m "${1:?usage: wheel_test.sh VENV | WHEEL [PYTHON]}")
python=${2:-python3}
[ -e "$given" ] || { echo "wheel-test: $given is not there; tools/release_wheels.sh makes wheels" >&2; exit 1; }
cd "$(dirname "$0")/.."
root=$PWD
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
wheel=$given
if [ -d "$given" ]; then
    # Of what tools/setup.sh compiled there, with the packages that pyproject.toml says are needed and no others at that time.
    "$given/bin/python" -m pip --disable-pip-version-check wheel --no-deps --no-build-isolation --config-settings build-dir=build/editable \
        --wheel-dir "$work/dist" . >"$work/build.log" 2>&1 || { tail -50 "$work/build.log"; exit 1; }
    wheel=$(ls "$work"/dist/*.whl)
    python=$given/bin/python
fi
"$python" -m venv "$work/use"
# From wheels alone: who installs one needs no compiler.
"$work/use/bin/pip" --quiet --disable-pip-version-check install --only-binary :all: "$wheel"
cd "$work"

# with_engine EXTRA...: the packages for engines beside it, and an engine built and run.
with_engine() {
    local extras
    extras=$(IFS=,; echo "$*")
    use/bin/pip --quiet --disable-pip-version-check install --only-binary :all: "$wheel[$extras]"
    use/bin/pip --disable-pip-version-check check
    "$root/tools/double.sh" "$work/double" "$work/use/bin/python"
    use/bin/python "$root/tests/emulation/run_installed.py" "$work/double" "$work"
}

echo "wheel: $(basename "$wheel"), $(stat -c %s "$wheel") bytes, in $(use/bin/python --version)"
use/bin/pip --disable-pip-version-check check
use/bin/trtpose info
if [[ $(basename "$wheel") == *+gpu-* ]]; then
    # Nothing here runs a network without OpenVINO: a sentence says how to get it.
    ! use/bin/trtpose demo --out "$work/demo" >"$work/demo.log" 2>&1
    grep "pip install openvino==" "$work/demo.log" || { cat "$work/demo.log"; exit 1; }
    with_engine build rtx cpu
    echo "wheel smoke test: 1 passed, 0 failed"
    exit
fi
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
with_engine build rtx
