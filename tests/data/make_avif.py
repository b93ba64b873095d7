# SPDX-License-Identifier: Apache-2.0
"""The files in tests/data/avif, written by Pillow: one drawn picture of 80 by 48, stored turned and mirrored in every
way, with what undoes it in the container (irot, imir). Files are named by the orientation that EXIF would give.

    python tests/data/make_avif.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

FOLDER = Path(__file__).parent / "avif"
ORIENTATION = 0x0112


def drawn() -> NDArray[np.uint8]:
    """(48, 80, 3), RGB: red top left, green top right, blue bottom left, light grey bottom right."""
    picture = np.empty((48, 80, 3), np.uint8)
    picture[:24, :40], picture[:24, 40:] = (220, 30, 30), (30, 200, 30)
    picture[24:, :40], picture[24:, 40:] = (30, 30, 220), (250, 250, 250)
    return picture


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    shown = Image.fromarray(drawn())
    undone = {6: 8, 8: 6}
    for orientation in range(1, 9):
        undoing = shown.copy()
        undoing.getexif()[ORIENTATION] = undone.get(orientation, orientation)
        exif = Image.Exif()
        exif[ORIENTATION] = orientation
        stored = ImageOps.exif_transpose(undoing)
        stored.save(FOLDER / f"turned-{orientation}.avif", exif=exif.tobytes(), quality=90, subsampling="4:4:4")


if __name__ == "__main__":
    main()
