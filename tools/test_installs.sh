#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# test_installs.sh WHEEL GPU_WHEEL: every combination of packages that docs/guide.md lists, each in an empty environment:
# pip check is clean, an OpenCV that was there before is untouched, the demo runs. GPU_WHEEL is the variant +gpu.
set -euo pipefail
wheel=$(realpath "$1") gpu=$(realpath "$2")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0

# environment PACKAGE...: a new one with these.
environment() {
    rm -rf "$work/env"
    python3 -m venv "$work/env"
    [ $# -eq 0 ] || add "$@"
}
add() { "$work/env/bin/pip" --quiet --disable-pip-version-check install "$@" 2>"$work/pip.log" || { cat "$work/pip.log" >&2; exit 1; }; }
check() { "$work/env/bin/pip" check; }
size() { du -sm --exclude=pip --exclude='pip-*' --exclude=setuptools --exclude='setuptools-*' --exclude=__pycache__ \
    "$work/env"/lib/python3*/site-packages | cut -f1; }
demo() { (cd "$work" && "$work/env/bin/trtpose" demo --out "$work/demo" --json "$work/demo.json" >/dev/null); }
# Every file of the OpenCV that is installed, as its own record has it.
whole() {
    "$work/env/bin/python" - <<'PY'
import importlib.metadata, sys
found = [d for d in importlib.metadata.distributions() if (d.name or "").lower().startswith("opencv")]
assert len(found) == 1, [d.name for d in found]
bad = [f for f in found[0].files or [] if f.size is not None and f.locate().stat().st_size != f.size]
assert not bad, bad
import cv2
gui = next(line.split(":")[1].strip() for line in cv2.getBuildInformation().splitlines() if line.strip().startswith("GUI:"))
assert ("headless" in found[0].name) == (gui == "NONE"), (found[0].name, gui)
print(f"    {found[0].name} {found[0].version} is whole, windows: {gui}")
PY
}
video() {
    "$work/env/bin/python" - "$work/v.mp4" <<'PY'
import pathlib, sys, numpy
from trtpose.sinks.video import Video
from trtpose.sources import Frame, Sources
image = numpy.zeros((48, 64, 3), numpy.uint8)
frames = [Frame(image, "v", fps=10.0, time=index / 10) for index in range(5)]
video = Video(pathlib.Path(sys.argv[1]), 64, 48, frames[0])
for frame in frames:
    video.add(image, frame)
video.close()
with Sources([sys.argv[1]]) as read:
    assert [(frame.error, frame.time) for frame in read] == [(None, frame.time) for frame in frames]
PY
}
# Without PyAV the sentence that says what to install.
no_video() {
    : >"$work/none.mp4"
    "$work/env/bin/python" - "$work/none.mp4" <<'PY'
import sys
from trtpose.sources import Sources
with Sources([sys.argv[1]]) as frames:
    (frame,) = frames
assert "pip install av" in str(frame.error), frame.error
PY
}
done_with() { passed=$((passed + 1)); echo "    ok, $(size) MB"; }

for opencv in opencv-python opencv-python-headless opencv-contrib-python opencv-contrib-python-headless; do
    echo "=== $opencv, then trtpose"
    environment "$opencv"
    add "$wheel"
    check && whole && no_video && demo && done_with
    echo "=== $opencv, then trtpose[video]"
    add "$wheel[video]"
    check && whole && video && demo && done_with
done
echo "=== trtpose alone"
environment "$wheel"
check && demo
! "$work/env/bin/python" -c "import cv2" 2>/dev/null
done_with
echo "=== trtpose[video]"
environment "$wheel[video]"
! "$work/env/bin/python" -c "import cv2" 2>/dev/null
check && video && demo && done_with
echo "=== trtpose[opencv]"
environment "$wheel[opencv]"
check && whole && demo && done_with
echo "=== the variant +gpu"
environment "$gpu"
check
# The sentence, and no traceback.
"$work/env/bin/trtpose" demo --out "$work/none" >"$work/out" 2>&1 && exit 1
grep -q "pip install openvino==" "$work/out"
done_with
echo "=== the variant +gpu, then trtpose[cpu]"
add "trtpose[cpu]"
"$work/env/bin/pip" list 2>/dev/null | grep -q "^trtpose .*+gpu"
check && demo && done_with
echo "=== the variant +gpu, then trtpose"
environment "$gpu"
add "$wheel"
"$work/env/bin/pip" list 2>/dev/null | grep "^trtpose" | grep -qv "+gpu"
check && demo && done_with
echo "=== installs: $passed combinations passed, 0 failed"
