# SPDX-License-Identifier: Apache-2.0
"""Export pose networks with Ultralytics in every way it has, and compare trtpose with its own predictions.

    pip install "trtpose[export,opencv]" torch==2.13.0 pyyaml requests psutil polars matplotlib onnxslim
    pip install --no-deps ultralytics==8.4.190 ultralytics-thop
    PYTHONPATH=tools python -m compare_ultralytics PICTURE PICTURE [--all] [--json FILE]

PyTorch as its build for CPUs. Ultralytics is AGPL-3.0, used here as a program and copied nowhere. By default a cover
of the matrix in which every two settings meet; with --all every combination. Exit status 1 where a box differs by more
than 0.05 pixels of the picture or a keypoint by more than 0.25.

Where 16-bit files are compared, the other program runs the same weights in 32 bits: in 16 it gives coordinates to an
eighth of a pixel of the input.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import torch

from . import peer
from .compare import Picture, Result, run
from .matrix import SIZE, Case, everything, pairwise


def results(cases: Iterable[Case], pictures: Sequence[Picture]) -> Iterable[Result]:
    """Run the cases; a network is made once for the cases in a row that share it."""
    network, model = None, None
    for case in cases:
        with tempfile.TemporaryDirectory() as folder:
            if case.network != network:
                network, model = case.network, peer.build(case.network, Path(folder), pictures, SIZE)
            yield run(case, model, Path(folder), pictures)


def told(result: Result) -> str:
    if result.refused:
        return f"{result.case}: refused: {result.refused}"
    total = result.total
    figures = f"{total.poses:3} poses, box {total.box:.1e} px, keypoint {total.keypoint:.1e} px"
    return f"{result.case}: {figures}, score {total.score:.1e} {total.problem}".rstrip()


def as_json(found: Sequence[Result]) -> list[dict[str, Any]]:
    return [
        {
            "version": result.case.network.version,
            "option": result.case.option,
            "keypoints": list(result.case.network.keypoints),
            "classes": result.case.network.classes,
            "refused": result.refused,
            "ways": {name: asdict(way) for name, way in result.ways.items()},
        }
        for result in found
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", nargs="+", metavar="PICTURE")
    parser.add_argument("--all", action="store_true", help="every combination instead of every two settings")
    parser.add_argument("--only", default="", help="those whose line begins with this text")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    pictures = [cv2.imread(name) for name in args.pictures]
    cases = [case for case in (everything() if args.all else pairwise()) if str(case).startswith(args.only)]
    found: list[Result] = []
    for result in results(cases, pictures):
        print(told(result), flush=True)
        found.append(result)
        if args.json:
            args.json.write_text(json.dumps(as_json(found), indent=1) + "\n", encoding="utf-8")
    ran = [result for result in found if not result.refused]
    box, keypoint = (max((getattr(r.total, name) for r in ran), default=0.0) for name in ("box", "keypoint"))
    bad = [result for result in ran if not result.total.small]
    print(
        f"{len(found)} exports, {len(found) - len(ran)} refused; largest: box {box:.2g} px, keypoint {keypoint:.2g} px"
    )
    print(f"error: {len(bad)} differ" if bad else "they agree")
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
