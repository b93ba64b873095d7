# SPDX-License-Identifier: Apache-2.0
"""Write rtmo.json: what rtmlib 0.0.16 makes of the small network of tests/python/rtmo_models.py.

    python -m pip install rtmlib==0.0.16 onnx onnxruntime opencv-python
    PYTHONPATH=tests/python python tests/data/make_rtmo.py

Numbers alone: pictures are made from the seeds that stand in the file.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import onnx
from rtmlib.tools.pose_estimation.rtmo import RTMO

import rtmo_models

KEYPOINTS = 3
FRAMES = [(96, 128), (64, 64), (150, 90)]
THRESHOLDS = [(0.7, 0.45), (0.3, 0.45), (0.95, 0.2)]


def main() -> None:
    """Run rtmlib on every frame at every pair of score and IoU."""
    cases = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rtmo.onnx"
        onnx.save(rtmo_models.rtmo(KEYPOINTS), path)
        network = RTMO(str(path), model_input_size=(rtmo_models.SIDE, rtmo_models.SIDE))
        for seed, (height, width) in enumerate(FRAMES):
            for score, iou in THRESHOLDS:
                points, scores = network(rtmo_models.picture(height, width, seed), iou, score)
                # rtmlib answers nobody with one pose of zeros.
                empty = len(points) == 1 and not points.any()
                cases.append({
                    "seed": seed,
                    "frame": [height, width],
                    "conf": score,
                    "iou": iou,
                    "keypoints": [] if empty else points.round(3).tolist(),
                    "scores": [] if empty else scores.round(6).tolist(),
                })  # fmt: skip
    target = Path(__file__).with_name("rtmo.json")
    target.write_text(json.dumps({"rtmlib": "0.0.16", "cases": cases}) + "\n")
    print([len(case["keypoints"]) for case in cases])


if __name__ == "__main__":
    main()
