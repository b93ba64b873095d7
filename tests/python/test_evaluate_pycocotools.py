# SPDX-License-Identifier: Apache-2.0
"""The figures beside those of COCO's own evaluation, pycocotools, over annotations as people have them."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluate_support import Scene, person
from support import PERSON, spec_with
from trtpose.evaluate import METRICS
from trtpose.skeletons import COCO, skeleton_for
from trtpose.spec import ModelSpec

pytest.importorskip("faster_coco_eval", reason="faster-coco-eval is not installed")
pytest.importorskip("pycocotools", reason="pycocotools is not installed")

KEYPOINTS = (1, 4, 5, len(COCO), 21)


def spec_of(keypoints: int) -> ModelSpec:
    if keypoints == len(COCO):
        return PERSON
    rng = random.Random(keypoints)
    return spec_with(keypoints, sigmas=[rng.uniform(0.02, 0.12) for _ in range(keypoints)])


def fill(scene: Scene, rng: random.Random, *, crowds: float = 0.0, unlabelled: float = 0.0, ties: bool = False) -> None:
    """Pictures with persons of all sizes, found with errors of all sizes, and with false poses among them."""
    keypoints = scene.spec.keypoints
    for _ in range(5):
        found: list[tuple[list[float], np.ndarray, float]] = []
        people: list[tuple[list[float], np.ndarray]] = []
        for _ in range(rng.randrange(7)):
            size = rng.choice((12, 30, 40, 80, 150, 300))
            box, points = person(rng.uniform(0, 300), rng.uniform(0, 150), size, keypoints)
            people.append((box, points))
            for _ in range(rng.choice((0, 1, 1, 1, 2))):
                off = np.float32([[rng.gauss(0, 0.04 * size) for _ in range(2)] for _ in range(keypoints)])
                found.append((box, points + off, rng.uniform(0.1, 1)))
        found += [
            (*person(rng.uniform(0, 400), 9, 70, keypoints), rng.uniform(0, 0.8)) for _ in range(rng.randrange(4))
        ]
        if ties:
            found = [(box, points, rng.choice((0.25, 0.5, 0.75))) for box, points, _ in found]
        # An engine gives the best first.
        image = scene.add_picture(*sorted(found, key=lambda one: -one[2]))
        for box, points in people:
            scene.annotate(image, box, points, area=0.6 * box[2] * box[3] * rng.uniform(0.5, 1))
            entry = scene.document["annotations"][-1]
            entry["keypoints"][2::3] = [rng.choice((0, 1, 2)) if rng.random() < 0.3 else 2 for _ in range(keypoints)]
            if rng.random() < unlabelled:
                entry["keypoints"] = [0] * (3 * keypoints)
            entry["num_keypoints"] = sum(value > 0 for value in entry["keypoints"][2::3])
            entry["iscrowd"] = int(rng.random() < crowds)
    if not any(entry["num_keypoints"] and not entry["iscrowd"] for entry in scene.document["annotations"]):
        scene.annotate(1000, *person(10, 10, 100, keypoints))


def expect_the_same(scene: Scene) -> None:
    found = scene.run(on_warning=lambda _: None)
    expected = scene.reference(skeleton_for(scene.spec).sigmas)
    assert found == pytest.approx(expected, abs=2e-6)
    assert tuple(found) == METRICS


@pytest.mark.parametrize("keypoints", KEYPOINTS)
@pytest.mark.parametrize(
    "kind",
    [{}, {"crowds": 0.4}, {"unlabelled": 0.4}, {"ties": True}, {"crowds": 0.3, "unlabelled": 0.3, "ties": True}],
    ids=["plain", "crowds", "unlabelled", "ties", "all of it"],
)
def test_the_figures_are_those_of_coco(tmp_path: Path, keypoints: int, kind: dict[str, Any], seed: int):
    print(f"seed {seed}")
    scene = Scene(tmp_path, spec_of(keypoints))
    fill(scene, random.Random(f"{seed}{keypoints}{kind}"), **kind)
    expect_the_same(scene)


@pytest.mark.parametrize("field", ["iscrowd", "num_keypoints", "area", "id", "all"])
def test_a_field_that_is_missing_is_filled_in(tmp_path: Path, field: str, seed: int):
    """COCO's own evaluation fails without; ours gives what it gives with the field written out."""
    print(f"seed {seed}")
    scene = Scene(tmp_path, spec_of(len(COCO)))
    rng = random.Random(f"{seed}{field}")
    fill(scene, rng, unlabelled=0.2)
    fields = ("iscrowd", "num_keypoints", "area", "id") if field == "all" else (field,)
    entries = scene.document["annotations"]
    written = [dict(entry) for entry in entries]
    for number, entry in enumerate(entries):
        for name in fields:
            if rng.random() < 0.5 or number == 0:
                del entry[name]
                # What the field stands for: nobody is a crowd, and 0.53 of the box is the person.
                if name == "area":
                    written[number]["area"] = 0.53 * entry["bbox"][2] * entry["bbox"][3]
    found = scene.run(on_warning=lambda _: None)
    scene.document["annotations"] = written
    assert found == pytest.approx(scene.reference(COCO.sigmas), abs=2e-6)


def test_areas_of_0_among_others(tmp_path: Path, seed: int):
    print(f"seed {seed}")
    scene = Scene(tmp_path, spec_of(5))
    fill(scene, random.Random(seed))
    for entry in scene.document["annotations"][1::2]:
        entry["area"] = 0
    scene.annotate(1000, *person(10, 10, 100, 5))
    expect_the_same(scene)


def test_a_count_of_keypoints_that_is_not_that_of_the_labels(tmp_path: Path, seed: int):
    """Who is left out goes by the file's own ``num_keypoints``."""
    print(f"seed {seed}")
    scene = Scene(tmp_path, spec_of(5))
    rng = random.Random(seed)
    fill(scene, rng, unlabelled=0.3)
    for entry in scene.document["annotations"]:
        entry["num_keypoints"] = rng.choice((0, 3, 5))
    scene.annotate(1000, *person(10, 10, 100, 5))
    expect_the_same(scene)


def test_more_than_20_found_in_a_picture_and_equal_scores_at_the_end(tmp_path: Path):
    scene = Scene(tmp_path, spec_of(5))
    one, two = person(50, 50, 200, 5), person(300, 100, 150, 5)
    wrong = [(*person(300, 5 + i, 120, 5), 0.5) for i in range(30)]
    for place in (5, 18, 19, 25):
        image = scene.add_picture(*wrong[:place], (*one, 0.5), (*two, 0.5), *wrong[place:])
        scene.annotate(image, *one)
        scene.annotate(image, *two)
    expect_the_same(scene)
