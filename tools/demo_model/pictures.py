# SPDX-License-Identifier: Apache-2.0
"""Write drawn pictures as JPEG files with their annotations in COCO's keypoint format.

Usage::

    python -m tools.demo_model.pictures --out out/held-out-plain --plain
    python -m tools.demo_model.pictures --out out/held-out
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from pathlib import Path

import cv2
from tqdm import tqdm

from .pool import HELD_OUT_SEED
from .scene import Scene, coco, draw_scene, is_plain

SHAPES = ((384, 512), (512, 384), (448, 448))
"""Height and width of the held-out pictures, in turn."""


def held_out(index: int, seed: int = HELD_OUT_SEED) -> Scene:
    """Held-out picture ``index``."""
    return draw_scene(seed, index, *SHAPES[index % len(SHAPES)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=500, help="pictures to write (default: %(default)s)")
    parser.add_argument("--plain", action="store_true", help="only plain pictures, see scene.plain")
    parser.add_argument("--indices", help="these pictures instead of the first ones, separated by commas")
    parser.add_argument("--seed", type=int, default=HELD_OUT_SEED)
    parser.add_argument("--quality", type=int, default=92, help="of the JPEG files (default: %(default)s)")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    indices = [int(i) for i in args.indices.split(",")] if args.indices else itertools.count()
    count = len(indices) if isinstance(indices, list) else args.count
    scenes: list[tuple[str, Scene]] = []
    with tqdm(total=count, unit="picture", disable=not sys.stderr.isatty()) as bar:
        for index in indices:
            scene = held_out(index, args.seed)
            if args.plain and not is_plain(scene):
                continue
            name = f"demo_{index:06d}.jpg"
            cv2.imwrite(str(args.out / name), scene.image, [cv2.IMWRITE_JPEG_QUALITY, args.quality])
            scenes.append((name, scene))
            bar.update()
            if len(scenes) == count:
                break
    temporary = args.out / "annotations.tmp"
    temporary.write_text(json.dumps(coco(scenes)) + "\n")
    temporary.replace(args.out / "annotations.json")


if __name__ == "__main__":
    main()
