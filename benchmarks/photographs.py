# SPDX-License-Identifier: Apache-2.0
"""The photographs that benchmarks read."""

from __future__ import annotations

import shutil
from pathlib import Path

PHOTOS = 400


def photographs(folder: str | Path) -> list[Path]:
    """The pictures of a folder, by name."""
    found = sorted(path for path in Path(folder).iterdir() if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    if not found:
        raise SystemExit(f"{folder}: holds no .jpg and no .png; give a folder of photographs")
    return found


def copies(pictures: list[Path], folder: Path, count: int) -> Path:
    """A new folder with ``count`` files: the pictures again and again."""
    folder.mkdir()
    for index in range(count):
        picture = pictures[index % len(pictures)]
        shutil.copyfile(picture, folder / f"{index:04}{picture.suffix}")
    return folder
