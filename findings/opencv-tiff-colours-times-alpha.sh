#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# OpenCV 5.0.0 multiplies the colours of an RGBA TIFF by its alpha, also where it is asked for the picture unchanged.
#
# Expected: imdecode(..., IMREAD_UNCHANGED) gives the four channels as they are stored, as for PNG and WebP, and IMREAD_COLOR
# the three colours. The file says that its alpha is not associated (ExtraSamples 2): the colours are not multiplied yet.
# Pillow 13.0.0 gives what is stored.
# Seen: from a TIFF come colours times alpha / 255, black where alpha is 0, in both modes. What was there is lost.
# What helps: write such pictures as PNG, or without alpha; or read them with Pillow.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" --quiet --disable-pip-version-check install \
    opencv-python-headless==5.0.0.93 pillow==13.0.0 numpy==2.4.6
"$work/venv/bin/python" - <<'PYTHON'
import io
import sys

import cv2
import numpy as np
from PIL import Image

print(f"OpenCV {cv2.__version__}, Pillow {Image.__version__}")
COLOUR = (200, 100, 40)
EXTRA_SAMPLES, UNASSOCIATED = 338, 2


def stored(kind, alpha):
    """A file of 4 x 4 pixels of one colour and alpha."""
    pixels = np.full((4, 4, 4), (*COLOUR, alpha), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def by_opencv(data, mode):
    """Red, green, blue of a pixel."""
    return tuple(int(v) for v in cv2.imdecode(np.frombuffer(data, np.uint8), mode)[0, 0, 2::-1])


as_described = True
for alpha in (255, 128, 0):
    for kind in ("PNG", "TIFF"):
        data = stored(kind, alpha)
        with Image.open(io.BytesIO(data)) as image:
            by_pillow = image.getpixel((0, 0))[:3]
            if kind == "TIFF":
                assert image.tag_v2[EXTRA_SAMPLES] in (UNASSOCIATED, (UNASSOCIATED,))
        assert by_pillow == COLOUR
        seen = [by_opencv(data, mode) for mode in (cv2.IMREAD_COLOR, cv2.IMREAD_UNCHANGED)]
        times_alpha = tuple(round(value * alpha / 255) for value in COLOUR)
        expected = times_alpha if kind == "TIFF" else COLOUR
        print(f"alpha {alpha:3} {kind:4} stored {by_pillow}, IMREAD_COLOR {seen[0]}, IMREAD_UNCHANGED {seen[1]}")
        as_described &= all(abs(a - b) <= 1 for one in seen for a, b in zip(one, expected))
if not as_described:
    print("OpenCV does otherwise by now: this finding is done with or wants another version")
sys.exit(0 if as_described else 1)
PYTHON
