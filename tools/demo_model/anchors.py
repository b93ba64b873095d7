# SPDX-License-Identifier: Apache-2.0
"""k-means of the boxes in augmented training samples: three anchors for each stride.

Usage::

    python -m tools.demo_model.anchors --pool /tmp/demo-pool --count 4000
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from .augment import PoolData
from .network import STRIDES


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pool", type=Path, required=True)
    parser.add_argument("--count", type=int, default=4000)
    parser.add_argument("--size", type=int, default=256)
    args = parser.parse_args()
    data = PoolData(args.pool, args.count, 0)
    sides = []
    for i in range(args.count):
        _, boxes, _, _, ignored = data[(0, i, args.size)]
        sides.append((boxes[:, 2:] - boxes[:, :2])[~ignored])
    logs = np.log(np.concatenate(sides).clip(4))
    rng = np.random.default_rng(0)
    means = logs[rng.choice(len(logs), 3 * len(STRIDES), replace=False)]
    for _ in range(100):
        nearest = ((logs[:, None] - means[None]) ** 2).sum(2).argmin(1)
        means = np.stack([logs[nearest == k].mean(0) if (nearest == k).any() else means[k] for k in range(len(means))])
    anchors = np.exp(means)
    anchors = anchors[np.argsort(anchors.prod(1))].round()
    ratio = np.exp(np.abs(logs[:, None] - np.log(anchors)[None]).max(2))
    print(
        f"{len(logs)} boxes; within a ratio of 3: {(ratio < 3).any(1).mean():.4f}, "
        f"anchors each: {(ratio < 3).sum(1).mean():.2f}"
    )
    for level in anchors.reshape(len(STRIDES), 3, 2).tolist():
        print("    (" + ", ".join(f"({w}, {h})" for w, h in level) + "),")


if __name__ == "__main__":
    main()
