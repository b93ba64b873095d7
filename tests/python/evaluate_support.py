# SPDX-License-Identifier: Apache-2.0
"""Annotated pictures with a stand-in that finds what it is told, and what COCO's own evaluation makes of them."""

from __future__ import annotations

import contextlib
import copy
import io
import json
from pathlib import Path
from typing import Any

import numpy as np

from support import PERSON, FakeEngine, picture, write_picture
from trtpose.evaluate import METRICS, evaluate
from trtpose.results import Poses
from trtpose.spec import ModelSpec

SHAPE = (480, 640)
K = PERSON.keypoints


def person(left: float, top: float, size: float, keypoints: int = K) -> tuple[list[float], np.ndarray]:
    """A box (left, top, width, height) and keypoints on a grid within it."""
    steps = np.arange(keypoints)
    points = np.stack(
        [left + size * (0.1 + 0.8 * (steps % 4) / 3), top + size * (0.1 + 0.8 * steps / keypoints)], axis=1
    )
    return [left, top, size, size], points.astype(np.float32)


class Scene:
    """Pictures, what is annotated in them, and what the stand-in finds."""

    def __init__(self, folder: Path, spec: ModelSpec = PERSON) -> None:
        self.folder = folder
        self.spec = spec
        self.document: dict[str, Any] = {
            "images": [],
            "annotations": [],
            "categories": [{"id": 1, "name": "person"}],
        }
        self.found: list[list[tuple[list[float], np.ndarray, float]]] = []

    def add_picture(self, *found: tuple[list[float], np.ndarray, float], name: str | None = None) -> int:
        number = len(self.found)
        name = name or f"{number:03}.png"
        image = picture(*SHAPE, seed=1)
        # The stand-in tells the pictures apart by this pixel, which PNG keeps.
        image[0, 0] = (number % 256, number // 256, 7)
        write_picture(self.folder / name, image)
        self.found.append(list(found))
        self.document["images"].append({"id": 1000 + number, "file_name": name, "height": 480, "width": 640})
        return 1000 + number

    def annotate(self, image_id: int, box: list[float], points: np.ndarray, **fields: Any) -> None:
        keypoints = np.concatenate([points, np.full((len(points), 1), 2.0)], axis=1)
        self.document["annotations"].append(
            {
                "id": len(self.document["annotations"]) + 1,
                "image_id": image_id,
                "category_id": 1,
                "bbox": box,
                "area": box[2] * box[3],
                "iscrowd": 0,
                "num_keypoints": len(points),
                "keypoints": keypoints.reshape(-1).tolist(),
                **fields,
            }
        )

    def engine(self, **options: Any) -> FakeEngine:
        def answer(frame: np.ndarray) -> Poses:
            number = int(frame[0, 0, 0]) + 256 * int(frame[0, 0, 1])
            found = self.found[number]
            if not found:
                return Poses.empty(SHAPE, self.spec)
            boxes = [[b[0], b[1], b[0] + b[2], b[1] + b[3]] for b, _, _ in found]
            points = np.stack([np.concatenate([p, np.ones((len(p), 1))], axis=1) for _, p, _ in found])
            return Poses(boxes, [s for *_, s in found], np.zeros(len(found), int), points, SHAPE, self.spec)

        return FakeEngine(spec=self.spec, answer=answer, **options)

    def write(self) -> Path:
        path = self.folder / "people.json"
        path.write_text(json.dumps(self.document))
        return path

    def run(self, **options: Any) -> dict[str, float]:
        return evaluate(self.engine(), self.folder, self.write(), **options)

    def reference(self, sigmas: tuple[float, ...]) -> dict[str, float]:
        """The figures of pycocotools, whose annotations must have every field."""
        import pycocotools.coco
        import pycocotools.cocoeval

        results: list[dict[str, Any]] = []
        for entry, found in zip(self.document["images"], self.found, strict=True):
            for box, points, score in found:
                corners = np.float32([box[0], box[1], box[0] + box[2], box[1] + box[3]]).tolist()
                keypoints = np.concatenate([points, np.ones((len(points), 1))], axis=1, dtype=np.float32)
                results.append(
                    {
                        "image_id": entry["id"],
                        "category_id": 1,
                        "bbox": [*corners[:2], corners[2] - corners[0], corners[3] - corners[1]],
                        "keypoints": keypoints.reshape(-1).tolist(),
                        "score": float(np.float32(score)),
                    }
                )
        with contextlib.redirect_stdout(io.StringIO()):
            truth = pycocotools.coco.COCO()
            truth.dataset = copy.deepcopy(self.document)
            truth.createIndex()
            judge = pycocotools.cocoeval.COCOeval(truth, truth.loadRes(results), "keypoints")
            judge.params.kpt_oks_sigmas = np.array(sigmas)
            judge.evaluate()
            judge.accumulate()
            judge.summarize()
        return dict(zip(METRICS, judge.stats.tolist(), strict=True))
