# SPDX-License-Identifier: Apache-2.0
"""Write drawn pictures as JPEG files with their annotations in COCO's keypoint format.

Usage::

    python -m tools.demo_model.pictures --out out/held-out
    python -m tools.demo_model.pictures --out out/held-out-hard --kind hard
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import cv2
from tqdm import tqdm

from .pool import HELD_OUT_SEED
from .scene import KINDS, Scene, coco, draw_scene

SHAPES = ((384, 512), (512, 384), (448, 448))
"""Height and width of the held-out pictures, in turn."""


def held_out(index: int, seed: int = HELD_OUT_SEED, kind: str = "everyday") -> Scene:
    """Held-out picture ``index``."""
    return draw_scene(seed, index, *SHAPES[index % len(SHAPES)], kind)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=500, help="pictures to write (default: %(default)s)")
    parser.add_argument(
        "--kind", choices=tuple(KINDS), default="everyday", help="see scene.KINDS (default: %(default)s)"
    )
    parser.add_argument("--indices", help="these pictures instead of the first ones, separated by commas")
    parser.add_argument("--seed", type=int, default=HELD_OUT_SEED)
    parser.add_argument("--quality", type=int, default=92, help="of the JPEG files (default: %(default)s)")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    indices = [int(i) for i in args.indices.split(",")] if args.indices else range(args.count)
    scenes: list[tuple[str, Scene]] = []
    for index in tqdm(indices, unit="picture", disable=not sys.stderr.isatty()):
        scene = held_out(index, args.seed, args.kind)
        name = f"demo_{index:06d}.jpg"
        cv2.imwrite(str(args.out / name), scene.image, [cv2.IMWRITE_JPEG_QUALITY, args.quality])
        scenes.append((name, scene))
    temporary = args.out / "annotations.tmp"
    temporary.write_text(json.dumps(coco(scenes)) + "\n")
    temporary.replace(args.out / "annotations.json")


if __name__ == "__main__":
    main()
