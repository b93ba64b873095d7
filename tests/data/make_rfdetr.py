# SPDX-License-Identifier: Apache-2.0
"""Write rfdetr.json: what rfdetr 1.11.2 makes of the outputs of a keypoint network, drawn at random.

    python -m pip install rfdetr==1.11.2
    python tests/data/make_rfdetr.py

Numbers alone. Scores of a person are kept, and boxes and keypoints in pixels of a picture.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from rfdetr.models.postprocess import PostProcess

QUERIES, CLASSES, KEYPOINTS, SIZE = 6, 3, 17, (96, 128)


def main() -> None:
    """One network's outputs; the first class is the person."""
    random = np.random.default_rng(5)
    boxes = np.concatenate([random.uniform(0.3, 0.7, (QUERIES, 2)), random.uniform(0.1, 0.4, (QUERIES, 2))], 1)
    labels = random.normal(0, 2, (QUERIES, CLASSES))
    labels[:, 1:] = -30  # nobody else
    points = random.normal(0, 1.5, (QUERIES, KEYPOINTS, 8))
    points[..., :2] = random.uniform(0.1, 0.9, (QUERIES, KEYPOINTS, 2))
    arrays = {"dets": boxes, "labels": labels, "keypoints": points}
    rounded = {name: array.astype(np.float32).round(4) for name, array in arrays.items()}
    tensors = {name: torch.from_numpy(array)[None] for name, array in rounded.items()}
    process = PostProcess(num_select=QUERIES, num_keypoints_per_class=[KEYPOINTS])
    outputs = {"pred_boxes": tensors["dets"], "pred_logits": tensors["labels"], "pred_keypoints": tensors["keypoints"]}
    (found,) = process(outputs, torch.tensor([SIZE]))
    assert not found["labels"].any()
    result = {name: found[name].numpy().astype(float).round(5).tolist() for name in ("scores", "boxes", "keypoints")}
    given = {name: array.astype(float).round(4).tolist() for name, array in rounded.items()}
    target = Path(__file__).with_name("rfdetr.json")
    target.write_text(json.dumps({"rfdetr": "1.11.2", "size": SIZE, "given": given, "found": result}) + "\n")


if __name__ == "__main__":
    main()
