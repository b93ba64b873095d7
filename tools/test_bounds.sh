#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# test_bounds.sh [WHEEL]: the Python tests with the oldest releases that the package allows, then with the newest. Takes a
# wheel or builds one. What a release at one end does not have a wheel for on this Python is an error of pip, and says so.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
wheel=${1:-}
if [ -z "$wheel" ]; then
    python3 -m venv "$work/build"
    "$work/build/bin/pip" --quiet --disable-pip-version-check wheel --no-deps --wheel-dir "$work" . >"$work/build.log" 2>&1 ||
        { tail -50 "$work/build.log" >&2; exit 1; }
    wheel=$(ls "$work"/*.whl)
fi
extras=${TRTPOSE_BOUNDS_EXTRAS:-opencv,video,build,quantize,eval,supervision,rtx,track,parquet,dataframe,serve}

# The requirements of the wheel with these extras: ">=2.3" as "==2.3.*" for the oldest, without an upper end for the newest.
requirements() {
    python3 - "$wheel" "$extras" "$1" <<'PY'
import re, sys, zipfile
from email import message_from_bytes

wheel, extras, end = sys.argv[1], sys.argv[2].split(","), sys.argv[3]
with zipfile.ZipFile(wheel) as archive:
    name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
    required = message_from_bytes(archive.read(name)).get_all("Requires-Dist") or []
for line in required:
    requirement, _, marker = line.partition(";")
    extra = re.search(r"extra == ['\"]([^'\"]+)['\"]", marker)
    if extra and extra.group(1) not in extras:
        continue
    requirement = requirement.strip()
    if end == "oldest":
        requirement = re.sub(r">=([0-9.]+)", r"==\1.*", requirement)
    # What else the marker says still counts.
    rest = " and ".join(part for part in re.split(r"\s+and\s+", marker.strip()) if part and "extra ==" not in part)
    print(f"{requirement}; {rest}" if rest else requirement)
PY
}

# torch is 2 GB at the oldest end: its tests are left to make test.
without=$(grep -rlE '^(import torch|from torch)' tests/python | sed 's/^/--ignore=/')
tests=${TRTPOSE_BOUNDS_TESTS:-tests/python --ignore=tests/python/tools}
status=0
for end in ${TRTPOSE_BOUNDS_ENDS:-oldest newest}; do
    env=$work/$end
    python3 -m venv "$env"
    requirements "$end" >"$work/$end.txt"
    echo "=== $end"
    "$env/bin/pip" --quiet --disable-pip-version-check install --upgrade --requirement "$work/$end.txt" "$wheel" \
        pytest==9.0.3 lizard==1.24.3
    "$env/bin/pip" check
    "$env/bin/pip" list --format=freeze 2>/dev/null |
        grep -iE '^(numpy|pillow|tqdm|av=|opencv|openvino|onnx|faster|supervision|tensorrt|scipy|pyarrow|pandas|starlette|uvicorn)' | tr '\n' ' '
    echo
    # shellcheck disable=SC2086
    "$env/bin/python" -m pytest -q -p no:cacheprovider $without $tests 2>&1 | tail -40 || status=1
done
exit $status
