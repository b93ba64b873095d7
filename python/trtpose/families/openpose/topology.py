# SPDX-License-Identifier: Apache-2.0
"""What the published networks of Lightweight OpenPose share (``cpp/src/families/openpose/public_networks.hpp``, which a
test compares)."""

from __future__ import annotations

from typing import Any

__all__ = ["IMGSZ", "LIMBS", "MAPS", "STRIDE", "fields"]

MAPS, STRIDE = 18, 8
"""Keypoints that have a heatmap, and pixels per cell."""

IMGSZ = (256, 456)
"""Height and width that the reference's script writes ONNX for."""

LIMBS = (
    *((1, 2, 12), (1, 5, 20), (2, 3, 14), (3, 4, 16), (5, 6, 22), (6, 7, 24), (1, 8, 0), (8, 9, 2), (9, 10, 4)),
    *((1, 11, 6), (11, 12, 8), (12, 13, 10), (1, 0, 28), (0, 14, 30), (14, 16, 34), (0, 15, 32), (15, 17, 36)),
    *((2, 16, 18), (5, 17, 26)),
)
"""From, to, channel of the field's x. The last :data:`_FILLING` join ears and shoulders."""

_FILLING = 2
_COCO_MAPS = (0, 15, 14, 17, 16, 5, 2, 6, 3, 7, 4, 11, 8, 12, 9, 13, 10)


def fields() -> dict[str, Any]:
    """The family's own keys of the spec."""
    return {
        "form": "maps",
        "maps": MAPS,
        "limbs": [list(limb) for limb in LIMBS],
        "filling": _FILLING,
        "keypoint_maps": list(_COCO_MAPS),
        "enlarge": 4,
        "rule": "own",
    }
