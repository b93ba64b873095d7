#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# faster-coco-eval 1.8.0 leaves people out of a keypoint evaluation whose annotation has no num_keypoints: the AP rises.
#
# Expected: num_keypoints is the count of the keypoints that are labelled, which the annotation has as well.
# pycocotools 2.0.11, of which faster-coco-eval is a drop-in replacement with the same numbers, raises KeyError where
# it is missing.
# Seen: faster-coco-eval takes a missing num_keypoints for 0, and a person with 0 keypoints is ignored: not to be
# found, and no fault to find. If a set without that field, as some tools write them, is merged into one with it, the
# AP counts the latter's people only: 1.0 in place of 0.5 for a model that finds none of the others. Where no
# annotation has it every number is -1.
# What helps: fill in num_keypoints before the evaluation, or check that each annotation has it.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" --quiet --disable-pip-version-check install \
    faster-coco-eval==1.8.0 pycocotools==2.0.11 numpy==2.4.6
"$work/venv/bin/python" - <<'PYTHON'
import contextlib
import copy
import importlib.metadata
import io
import sys

import faster_coco_eval
import numpy as np
import pycocotools.coco
import pycocotools.cocoeval

KEYPOINTS, PEOPLE, SIDE = 17, 4, 100
rng = np.random.default_rng(0)
people = []
for number in range(PEOPLE):
    points = rng.uniform(5, SIDE - 5, (KEYPOINTS, 2)) + (number * SIDE, 0)
    people.append(
        {
            "id": number + 1,
            "image_id": 1,
            "category_id": 1,
            "keypoints": np.column_stack((points, np.full(KEYPOINTS, 2))).ravel().tolist(),
            "num_keypoints": KEYPOINTS,
            "bbox": [number * SIDE, 0, SIDE, SIDE],
            "area": float(SIDE * SIDE),
            "iscrowd": 0,
        }
    )
truth = {
    "images": [{"id": 1, "width": PEOPLE * SIDE, "height": SIDE}],
    "annotations": people,
    "categories": [{"id": 1, "name": "person", "keypoints": [str(k) for k in range(KEYPOINTS)], "skeleton": []}],
}
# The first half of the people is found exactly, the other half is not found.
found = [
    {"image_id": 1, "category_id": 1, "keypoints": person["keypoints"], "score": 0.9} for person in people[: PEOPLE // 2]
]


def without(numbers):
    """The truth in which the people of `numbers` have no num_keypoints."""
    result = copy.deepcopy(truth)
    for number in numbers:
        del result["annotations"][number]["num_keypoints"]
    return result


def evaluate(data, load, evaluator):
    with contextlib.redirect_stdout(io.StringIO()):
        gold = load()
        gold.dataset = copy.deepcopy(data)
        gold.createIndex()
        run = evaluator(gold, gold.loadRes(copy.deepcopy(found)), "keypoints")
        run.evaluate()
        run.accumulate()
        run.summarize()
    return float(run.stats[0]), float(run.stats[5])


versions = {name: importlib.metadata.version(name) for name in ("faster-coco-eval", "pycocotools")}
print(", ".join(f"{name} {version}" for name, version in versions.items()))
as_described = True
for name, data, known, seen in (
    ("all have num_keypoints", truth, True, 0.5),
    ("those not found lack it", without(range(PEOPLE // 2, PEOPLE)), False, 1.0),
    ("all lack it", without(range(PEOPLE)), False, -1.0),
):
    try:
        ap, ar = evaluate(data, pycocotools.coco.COCO, pycocotools.cocoeval.COCOeval)
        slow = f"AP {ap:.3f}, AR {ar:.3f}"
        as_described &= known and abs(ap - seen) < 0.01
    except KeyError as error:
        slow = f"KeyError {error}"
        as_described &= not known and error.args == ("num_keypoints",)
    ap, ar = evaluate(data, faster_coco_eval.COCO, faster_coco_eval.COCOeval_faster)
    print(f"    {name}: pycocotools {slow}; faster-coco-eval AP {ap:.3f}, AR {ar:.3f}")
    as_described &= abs(ap - seen) < 0.01
print("    as described" if as_described else "    not as described")
sys.exit(not as_described)
PYTHON
