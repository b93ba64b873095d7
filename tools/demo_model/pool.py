# SPDX-License-Identifier: Apache-2.0
"""Draw the pictures of a training run once and keep them in shards on the disk.

Usage::

    python -m tools.demo_model.pool --out out/everyday

A shard that is there already is kept, so an interrupted run goes on where it stopped.
"""

from __future__ import annotations

import argparse
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from .scene import KINDS, draw_scene

TRAIN_SEED = 1
"""Seed of the training pictures; the held-out ones have :data:`HELD_OUT_SEED`, so that no picture is in both."""
HELD_OUT_SEED = 2

SHARD = 500


def shard_path(folder: Path, number: int) -> Path:
    return folder / f"shard_{number:04d}.npy"


def draw_shard(folder: Path, seed: int, number: int, size: int, kind: str) -> int:
    """Draw pictures ``number * SHARD`` and on; returns the shard's number."""
    cv2.setNumThreads(1)
    target = shard_path(folder, number)
    if target.exists():
        return number
    scenes = [draw_scene(seed, number * SHARD + i, size, size, kind) for i in range(SHARD)]
    temporary = target.with_suffix(f".{os.getpid()}.tmp")
    people = {
        "start": np.cumsum([0] + [len(s.boxes) for s in scenes]),
        "boxes": np.concatenate([s.boxes for s in scenes]),
        "keypoints": np.concatenate([s.keypoints for s in scenes]),
        "areas": np.concatenate([s.areas for s in scenes]),
        "ignored": np.concatenate([s.ignored for s in scenes]),
    }
    with temporary.open("wb") as file:
        np.savez(file, **people)
    temporary.replace(target.with_suffix(".npz"))
    with temporary.open("wb") as file:
        np.save(file, np.stack([s.image for s in scenes]))
    temporary.replace(target)
    return number


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for the shards")
    parser.add_argument("--count", type=int, default=14000, help="pictures to draw (default: %(default)s)")
    parser.add_argument("--size", type=int, default=320, help="height and width in pixels (default: %(default)s)")
    parser.add_argument(
        "--kind", choices=tuple(KINDS), default="everyday", help="see scene.KINDS (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=TRAIN_SEED)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    shards = -(-args.count // SHARD)
    with (
        ProcessPoolExecutor(args.workers) as pool,
        tqdm(total=shards * SHARD, unit="picture", disable=not sys.stderr.isatty()) as bar,
    ):
        for future in [pool.submit(draw_shard, args.out, args.seed, n, args.size, args.kind) for n in range(shards)]:
            future.result()
            bar.update(SHARD)


if __name__ == "__main__":
    main()
