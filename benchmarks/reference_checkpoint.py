#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A checkpoint of the YOLOv7-pose reference package with random weights, for benchmarks/peers.py.

    python benchmarks/reference_checkpoint.py FILE PICTURE [--imgsz N]

Prints {"imgsz": N, "conf": X}: X is the score that CANDIDATES of the picture's rows pass, so that the selection of
both programs has something to do.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

CANDIDATES = 100


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file")
    parser.add_argument("picture")
    parser.add_argument("--imgsz", type=int, default=960)
    args = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tools"))
    import cv2
    import torch
    from peer_programs import letterbox

    from compare_reference import reference

    model = reference(seed=0)
    torch.save({"epoch": -1, "model": model}, args.file)
    picture = letterbox(cv2.imread(args.picture), args.imgsz)[0]
    with torch.inference_mode():
        rows = model(torch.from_numpy(picture))[0][0]
    # With one class the score is the objectness times the class's own.
    scores = (rows[:, 4] * rows[:, 5]).sort(descending=True).values
    print(json.dumps({"imgsz": args.imgsz, "conf": float(scores[CANDIDATES])}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
