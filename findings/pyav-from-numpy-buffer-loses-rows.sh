#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# PyAV 18.1.0 takes a yuv420p array of 147 rows, a picture 98 pixels high, for one of 96, without a word.
#
# Expected: an array of 3/2 h rows is a picture of h rows, for every even h. VideoFrame.from_ndarray reads it so, and
# to_ndarray of a frame of 98 rows gives an array of 147, which from_numpy_buffer should take back.
# Seen: VideoFrame.from_numpy_buffer counts rows // 6 * 4, which is two too few where h is no multiple of 4. The planes of the
# colours are then looked for two rows too early, so that the colours of what is left are wrong too.
# What helps: from_ndarray, which copies, or planes that are padded to a multiple of 4 rows.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" --quiet --disable-pip-version-check install av==18.1.0 numpy==2.4.6
"$work/env/bin/python" - <<'PY'
import sys

import av
import numpy as np

print(f"PyAV {av.__version__}, NumPy {np.__version__}")
as_described = True
for height in (96, 98, 100, 102):
    grey = np.full((height, 64), 128, np.uint8)
    frame = av.VideoFrame.from_ndarray(grey, format="gray").reformat(format="yuv420p")
    array = frame.to_ndarray()
    copied = av.VideoFrame.from_ndarray(array, format="yuv420p")
    wrapped = av.VideoFrame.from_numpy_buffer(array, format="yuv420p")
    print(f"height {height}, array {array.shape}: from_ndarray {copied.height}, from_numpy_buffer {wrapped.height}")
    as_described &= copied.height == height and wrapped.height == (height if height % 4 == 0 else height - 2)
print("    as described" if as_described else "    not as described")
sys.exit(not as_described)
PY
