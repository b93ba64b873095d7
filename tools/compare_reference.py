#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Export the reference of YOLOv7-pose at full size with trtpose, and compare what both say.

    pip install "trtpose[export]" torch==2.13.0 pandas pyyaml requests scipy matplotlib
    pip install --no-deps sas-yolov7-pose==1.0.5
    python tools/compare_reference.py [--imgsz 960] [--seed 0] [--json FILE]

The package is the reference as PyPI has it (GPL-3.0, used here and copied nowhere): 80 million parameters, random
weights. Its checkpoint names the modules below a package, `sas_yolov7_pose.models.yolo.Model`. Compared are the raw
heads and, with the decode in the graph, the rows in pixels. Exit status 1 where they differ by more than the bounds.

The reference's raw heads are taken in training mode with batch normalisation frozen: in evaluation mode their keypoint
fields are overwritten by the decoded ones (findings/sas-yolov7-pose-raw-heads-hold-decoded-keypoints.sh).
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import types
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

from trtpose.export import export

BOX_TOLERANCE = 1e-5
"""Of the box, objectness and class fields of the raw heads, relative to the largest of each head."""
PIXEL_TOLERANCE = 1e-3
"""Of decoded boxes and keypoints, in pixels."""


def reference(seed: int) -> Any:
    """The network of the package with weights that make its outputs differ from place to place."""
    # Imported by the package for functions that are not called here; its wheel wants another build of PyTorch.
    torchvision = types.ModuleType("torchvision")
    torchvision.ops = types.ModuleType("torchvision.ops")  # type: ignore[attr-defined]
    sys.modules.setdefault("torchvision", torchvision)
    sys.modules.setdefault("torchvision.ops", torchvision.ops)
    import sas_yolov7_pose
    from sas_yolov7_pose.models.yolo import Model

    torch.manual_seed(seed)
    model = Model(str(Path(sas_yolov7_pose.__file__).parent / "cfg" / "yolov7-w6-pose.yaml")).float()
    # Averages over random pictures, as training would have left them: those of a new network are 0 and 1, with which
    # signals die out on the way.
    norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None
    model.train()
    with torch.no_grad():
        for _ in range(2):
            model(torch.rand(1, 3, 384, 384))
    for norm in norms:
        norm.momentum = 0.03
    return model.eval()


def answers(model: Any, picture: torch.Tensor) -> tuple[list[np.ndarray[Any, Any]], np.ndarray[Any, Any]]:
    """Raw heads as N × A × h × w × F, and decoded rows N × M × F."""
    head = model.model[-1]
    with torch.no_grad():
        head.training = True
        raw = [level.clone().numpy() for level in model(picture)]
        head.training = False
        return raw, model(picture)[0].numpy()


def run(file: Path, picture: torch.Tensor) -> list[np.ndarray[Any, Any]]:
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    return [np.asarray(out) for out in session.run(None, {session.get_inputs()[0].name: picture.numpy()})]


def compare(folder: Path, imgsz: int, seed: int) -> dict[str, float]:
    """Largest differences; heads are relative, the rest in pixels or probabilities."""
    model = reference(seed)
    checkpoint = folder / "reference.pt"
    torch.save({"epoch": -1, "model": model}, checkpoint)
    generator = torch.Generator().manual_seed(seed)
    picture = torch.rand(1, 3, imgsz, imgsz, generator=generator)
    raw, rows = answers(model, picture)
    out = {"parameters": float(sum(p.numel() for p in model.parameters()))}
    fields = rows.shape[2]
    box = 5 + len(model.names)
    export(checkpoint, folder / "heads.onnx", imgsz=imgsz, verify=False)
    boxes, points = [0.0], [0.0]
    for mine, theirs in zip(run(folder / "heads.onnx", picture), raw, strict=True):
        n, anchors, height, width, _ = theirs.shape
        mine = mine.reshape(n, anchors, fields, height, width).transpose(0, 1, 3, 4, 2)
        for part, numbers in ((slice(None, box), boxes), (slice(box, None), points)):
            scale = np.abs(theirs[..., part]).max()
            numbers.append(float(np.abs(mine[..., part] - theirs[..., part]).max() / scale))
    out |= {"head_boxes": max(boxes), "head_keypoints": max(points)}
    export(checkpoint, folder / "decoded.onnx", imgsz=imgsz, layout="decoded", verify=False)
    decoded = run(folder / "decoded.onnx", picture)[0]
    difference = np.abs(decoded - rows)
    keypoints = difference[..., box:].reshape(*difference.shape[:2], -1, 3)
    out |= {
        "spread_objectness": float(rows[..., 4].max() - rows[..., 4].min()),
        "decoded_boxes_px": float(difference[..., :4].max()),
        "decoded_scores": float(difference[..., 4:box].max()),
        "decoded_keypoints_px": float(keypoints[..., :2].max()),
        "decoded_confidences": float(keypoints[..., 2].max()),
    }
    return out


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--imgsz", type=int, default=960)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = compare(Path(folder), args.imgsz, args.seed)
    for name, value in figures.items():
        print(f"{name:<22} {value:.3g}")
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    pixels = max(figures["decoded_boxes_px"], figures["decoded_keypoints_px"])
    bad = figures["head_boxes"] > BOX_TOLERANCE or pixels > PIXEL_TOLERANCE
    print("error: they differ" if bad else "they agree")
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
