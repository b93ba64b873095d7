#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the One Euro filter does to keypoints that tremble: how far from the truth they are, and how far they go from
frame to frame, with the filter as a share of without.

    python benchmarks/smoothing.py [--seeds N] [--seconds X] [--json FILE]

rest  a person who stands still
walk  one who goes by a size (the root of the box's area) a second, with limbs that swing by a tenth of it once a second
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trtpose.tracking.one_euro import OneEuro

RATE, SIZE, KEYPOINTS = 30.0, 100.0, 17
TREMBLING = 0.02
"""Standard deviation of each coordinate, in sizes of the person."""

F64 = NDArray[np.float64]


def path(moving: bool, frames: int, random: np.random.Generator) -> F64:
    """Where the keypoints are; frames x K x 2."""
    body = random.uniform(0, SIZE, (KEYPOINTS, 2))
    time = np.arange(frames)[:, None] / RATE
    points = np.repeat(body[None], frames, 0)
    if moving:
        phase = random.uniform(0, 2 * np.pi, KEYPOINTS)
        points[..., 0] += SIZE * time + 0.1 * SIZE * np.sin(2 * np.pi * time + phase)
    return points


def shares(moving: bool, frames: int, seed: int) -> tuple[float, float]:
    """Error and change from frame to frame, smoothed as a share of unsmoothed."""
    random = np.random.default_rng(seed)
    truth = path(moving, frames, random)
    seen = truth + random.normal(0, TREMBLING * SIZE, truth.shape)
    smooth, filtered = OneEuro(), np.empty_like(seen)
    sure = np.ones((KEYPOINTS, 1))
    for frame in range(frames):
        box = np.concatenate([truth[frame].min(0), truth[frame].min(0) + SIZE])[None]
        person = np.concatenate([seen[frame], sure], 1)[None]
        filtered[frame] = smooth(person, box, np.zeros(1, np.int64), frame / RATE)[0, :, :2]
    first = int(RATE)  # the filter has found its pace

    def far(values: F64) -> float:
        return float(np.sqrt((values[first:] ** 2).sum(-1)).mean())

    # Of somebody walking only what is not the walk itself is trembling.
    steps = [np.diff(values - truth, axis=0) for values in (filtered, seen)]
    return far(filtered - truth) / far(seen - truth), far(steps[0]) / far(steps[1])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    report: dict[str, dict[str, float]] = {}
    for name, moving in (("rest", False), ("walk", True)):
        found = [shares(moving, round(args.seconds * RATE), seed) for seed in range(args.seeds)]
        error, change = (round(float(np.mean(values)), 3) for values in zip(*found, strict=True))
        report[name] = {"error": error, "change": change}
        print(f"{name}: error {error:.3f}, change from frame to frame {change:.3f} of what they were")
    if args.json is not None:
        args.json.write_text(json.dumps(report, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
