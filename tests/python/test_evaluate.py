# SPDX-License-Identifier: Apache-2.0
"""COCO keypoint evaluation: the figures, and the annotation files that are none."""

from __future__ import annotations

import copy
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluate_support import K, Scene, person
from support import spec_with
from trtpose.errors import DeviceError, InputError
from trtpose.evaluate import CONF, METRICS, evaluate, table
from trtpose.skeletons import COCO
from trtpose.thresholds import Thresholds

pytest.importorskip("faster_coco_eval", reason="faster-coco-eval is not installed")


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_a_perfect_model(scene: Scene):
    large, medium = person(50, 50, 200), person(400, 300, 60)
    image = scene.add_picture((*large, 0.9), (*medium, 0.8))
    scene.annotate(image, *large)
    scene.annotate(image, *medium)
    metrics = scene.run()
    assert tuple(metrics) == METRICS
    assert list(metrics.values()) == pytest.approx([1.0] * 10)
    assert len(table(metrics).splitlines()) == 10


def test_a_model_that_finds_nothing(scene: Scene):
    image = scene.add_picture()
    scene.annotate(image, *person(50, 50, 200))
    metrics = scene.run()
    assert metrics["AP"] == 0
    assert metrics["AR"] == 0
    # Nobody of medium size is annotated: COCO's mark for no figure.
    assert metrics["APm"] == metrics["ARm"] == -1
    assert metrics["APl"] == 0


def test_precision_by_hand(scene: Scene):
    """Two annotated; found: one of them at 0.9, a false one at 0.8, the other at 0.7. Precision is 1 up to recall 0.5
    and 2/3 to recall 1; of COCO's 101 recall points 51 lie in the first part."""
    one, two, wrong = person(50, 50, 200), person(350, 200, 200), person(300, 5, 120)
    image = scene.add_picture((*one, 0.9), (*wrong, 0.8), (*two, 0.7))
    scene.annotate(image, *one)
    scene.annotate(image, *two)
    metrics = scene.run()
    assert metrics["AP50"] == pytest.approx((51 * 1 + 50 * 2 / 3) / 101, abs=1e-6)
    assert metrics["AR50"] == 1


def test_oks_with_own_sigmas(tmp_path: Path):
    """OKS = mean exp(-d² / (2 area (2σ)²)): all points 8 off in a person of area 200² with σ 0.05 give exp(-0.08) =
    0.923, which counts up to the threshold 0.90: 9 of 10. With σ 0.02 it is exp(-0.5) = 0.607: 3 of 10."""
    for sigma, part in ((0.05, 0.9), (0.02, 0.3)):
        folder = tmp_path / str(sigma)
        folder.mkdir()
        spec = spec_with(7, sigmas=[sigma] * 7)
        scene = Scene(folder, spec)
        box, points = person(100, 100, 200, 7)
        image = scene.add_picture((box, points + np.float32([8, 0]), 0.9))
        scene.annotate(image, box, points)
        assert scene.run()["AP"] == pytest.approx(part, abs=1e-6)


def test_coco_keypoints_take_coco_sigmas(scene: Scene):
    """The same with COCO's constants: the OKS is the mean over its sigmas."""
    box, points = person(100, 100, 200)
    image = scene.add_picture((box, points + np.float32([8, 0]), 0.9))
    scene.annotate(image, box, points)
    oks = np.mean([np.exp(-(8**2) / (2 * 200**2 * (2 * s) ** 2)) for s in COCO.sigmas])
    expected = sum(oks >= t for t in np.arange(0.5, 1.0, 0.05)) / 10
    assert 0.1 < expected < 1
    assert scene.run()["AP"] == pytest.approx(expected, abs=1e-6)


def test_keypoints_without_sigmas_are_refused(tmp_path: Path):
    scene = Scene(tmp_path, spec_with(7))
    scene.annotate(scene.add_picture(), *person(10, 10, 100, 7))
    with pytest.raises(InputError, match="no sigmas for its 7 keypoints"):
        scene.run()


def test_pictures_that_are_not_annotated_play_no_part(scene: Scene):
    one = person(50, 50, 200)
    image = scene.add_picture((*one, 0.9))
    scene.annotate(image, *one)
    scene.add_picture((*person(50, 50, 100), 0.99))
    scene.document["images"].pop()
    (scene.folder / "bad.jpg").write_bytes(b"never read")
    engine = scene.engine()
    assert evaluate(engine, scene.folder, scene.write())["AP"] == pytest.approx(1.0)
    assert engine.calls == [1]


def test_a_listed_picture_without_people_counts(scene: Scene):
    one = person(50, 50, 200)
    scene.annotate(scene.add_picture((*one, 0.5)), *one)
    perfect = scene.run()["AP"]
    scene.add_picture((*person(50, 50, 100), 0.99))
    assert scene.run()["AP"] < perfect


def test_people_without_keypoints_and_crowds_are_ignored(scene: Scene):
    one, far = person(50, 50, 200), person(400, 200, 150)
    image = scene.add_picture((*one, 0.9), (*far, 0.95))
    scene.annotate(image, *one)
    scene.annotate(image, *far, keypoints=[0] * (3 * K), num_keypoints=0)
    assert scene.run()["AP"] == pytest.approx(1.0)
    scene.document["annotations"][1]["iscrowd"] = 1
    assert scene.run()["AP"] == pytest.approx(1.0)


def test_the_best_20_count(scene: Scene):
    """As in COCO: a person found in the 20th place counts, one in the 21st does not."""
    one = person(50, 50, 200)
    for place, figure in ((20, 1 / 20), (21, 0.0)):
        wrong = [(*person(300, 5 + i, 120), 0.9 - i / 100) for i in range(place - 1)]
        scene.document["images"].clear()
        scene.document["annotations"].clear()
        scene.annotate(scene.add_picture(*wrong, (*one, 0.3), *[(*one, 0.2)] * 30), *one)
        assert scene.run()["AP50"] == pytest.approx(figure)


def test_thresholds_reach_the_engine(scene: Scene):
    scene.annotate(scene.add_picture(), *person(50, 50, 200))
    engine = scene.engine()
    evaluate(engine, scene.folder, scene.write())
    evaluate(engine, scene.folder, scene.write(), conf=0.3, iou=0.5, max_det=20)
    evaluate(engine, scene.folder, scene.write(), thresholds=Thresholds(max_det=7, nms="oks"), agnostic=True)
    assert engine.given == [
        {"thresholds": Thresholds(conf=CONF)},
        {"thresholds": Thresholds(conf=0.3, iou=0.5, max_det=20)},
        {"thresholds": Thresholds(max_det=7, nms="oks", agnostic=True)},
    ]


def test_an_engines_own_thresholds_are_kept_but_for_conf(scene: Scene):
    scene.annotate(scene.add_picture(), *person(50, 50, 200))
    engine = scene.engine(thresholds=Thresholds(conf=0.5, iou=0.4, max_det=50))
    evaluate(engine, scene.folder, scene.write())
    assert engine.given == [{"thresholds": Thresholds(conf=CONF, iou=0.4, max_det=50)}]


def test_thresholds_that_are_none(scene: Scene):
    scene.annotate(scene.add_picture(), *person(50, 50, 200))
    with pytest.raises(TypeError, match="unexpected keyword argument 'confidence'"):
        scene.run(confidence=0.5)
    with pytest.raises(InputError, match=r"thresholds is of type float; give a trtpose\.Thresholds"):
        scene.run(thresholds=0.5)


@pytest.mark.parametrize("batch", [1, 2, 3, 7])
def test_the_figures_do_not_depend_on_the_batch(scene: Scene, batch: int):
    for index in range(5):
        box, points = person(10 + 20 * index, 10, 150)
        image = scene.add_picture((box, points + np.float32([2 * index, 0]), 0.5 + 0.1 * index))
        scene.annotate(image, box, points)
    steps: list[tuple[int, int]] = []
    engine = scene.engine(batch=batch)
    metrics = evaluate(engine, scene.folder, scene.write(), progress=lambda done, total: steps.append((done, total)))
    assert metrics == scene.run()
    assert max(engine.calls) == min(batch, 5)
    assert sum(engine.calls) == 5
    assert steps == [(i, 5) for i in range(1, 6)]


@pytest.mark.parametrize("batch", [1, 2, 4])
def test_missing_and_damaged_pictures(scene: Scene, batch: int):
    for index in range(4):
        one = person(50, 50 + index, 200)
        scene.annotate(scene.add_picture((*one, 0.9)), *one)
    (scene.folder / "001.png").unlink()
    (scene.folder / "003.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    problems: list[InputError] = []
    metrics = evaluate(scene.engine(batch=batch), scene.folder, scene.write(), on_error=problems.append)
    # The two that could be read are perfect; the others are left out, not held against the model.
    assert metrics["AP"] == pytest.approx(1.0)
    assert [str(p).partition(": ")[0] for p in problems] == [str(scene.folder / n) for n in ("001.png", "003.png")]
    with pytest.raises(InputError, match=r"001\.png: no such file"):
        scene.run()


def test_no_picture_at_all(scene: Scene):
    scene.annotate(scene.add_picture(), *person(50, 50, 200))
    (scene.folder / "000.png").unlink()
    with pytest.raises(InputError, match="none of the 1 annotated pictures could be used"):
        scene.run(on_error=lambda _: None)
    with pytest.raises(InputError, match="no such folder of pictures"):
        evaluate(scene.engine(), scene.folder / "none", scene.write())


def test_file_names_with_the_folder_of_the_set(scene: Scene):
    one = person(50, 50, 200)
    scene.annotate(scene.add_picture((*one, 0.9)), *one)
    scene.document["images"][0]["file_name"] = "val2017/000.png"
    assert scene.run()["AP"] == pytest.approx(1.0)
    (scene.folder / "val2017").mkdir()
    (scene.folder / "000.png").rename(scene.folder / "val2017" / "000.png")
    assert scene.run()["AP"] == pytest.approx(1.0)


def test_file_names_that_look_like_patterns(scene: Scene):
    one = person(50, 50, 200)
    scene.annotate(scene.add_picture((*one, 0.9), name="a[1]*.png"), *one)
    assert scene.run()["AP"] == pytest.approx(1.0)


def test_categories(scene: Scene):
    one = person(50, 50, 200)
    scene.annotate(scene.add_picture((*one, 0.9)), *one, category_id=77)
    # By name among several; the annotations of others are left alone, whatever they hold.
    scene.document["categories"] = [{"id": 3, "name": "car"}, {"id": 77, "name": "person"}]
    scene.document["annotations"].append({"category_id": 3, "image_id": "?", "keypoints": "?"})
    assert scene.run()["AP"] == pytest.approx(1.0)
    # The only one for the only class.
    scene.document["categories"] = [{"id": 77, "name": "people"}]
    assert scene.run()["AP"] == pytest.approx(1.0)
    scene.document["categories"] = [{"id": 77, "name": "people"}, {"id": 3, "name": "car"}]
    with pytest.raises(InputError, match="has no category 'person', a class of the model; it has car, people"):
        scene.run()


def test_annotations_without_area(scene: Scene):
    one = person(50, 50, 200)
    scene.annotate(scene.add_picture((*one, 0.9)), *one)
    for entry in scene.document["annotations"]:
        del entry["area"]
    said: list[str] = []
    assert scene.run(on_warning=said.append)["AP"] == pytest.approx(1.0)
    with pytest.warns(UserWarning, match=r"1 of 1 annotated persons, the first annotations\[0\], without `area`"):
        scene.run()
    assert len(said) == 1


@pytest.mark.parametrize("lacking", [{}, {"area": None}], ids=["no field", "null"])
def test_a_missing_area_touches_its_own_person_alone(scene: Scene, lacking: dict[str, Any]):
    """Two persons of 200², each found 8 px off; only the first has no area. 0.53 of its box makes its OKS worse; the
    other keeps its own, whatever the first is counted by."""
    sides = person(20, 100, 200), person(350, 100, 200)
    image = scene.add_picture(*[(box, points + np.float32([8, 0]), 0.9) for box, points in sides])
    for side in sides:
        scene.annotate(image, *side)
    whole = scene.run()["AP"]
    first = scene.document["annotations"][0]
    del first["area"]
    first.update(lacking)
    said: list[str] = []
    missing = scene.run(on_warning=said.append)["AP"]
    assert len(said) == 1
    assert "1 of 2 annotated persons, the first annotations[0], without `area`; counted by 0.53 of the box" in said[0]
    first["area"] = 0.53 * 200 * 200
    written = scene.run()["AP"]
    assert missing == written < whole
    for entry in scene.document["annotations"]:
        entry["area"] = 0.53 * 200 * 200
    assert scene.run()["AP"] < missing  # as all of them were counted once


@pytest.mark.parametrize("fields", [{"area": 0}, {"area": 0.0}, {"area": None, "bbox": [50, 50, 0, 90]}])
def test_areas_that_are_all_0_are_refused(scene: Scene, fields: dict[str, Any]):
    one, far = person(50, 50, 200), person(350, 200, 200)
    image = scene.add_picture((*one, 0.9))
    scene.annotate(image, *one, **fields)
    scene.annotate(image, *far, iscrowd=1)  # a crowd has an area of its own and nobody has to find it
    scene.annotate(image, *far, keypoints=[0] * (3 * K), num_keypoints=0)
    with pytest.raises(InputError, match="every annotated person has an area of 0, by which OKS divides") as caught:
        scene.run()
    assert str(caught.value).startswith(f"{scene.folder / 'people.json'}: ")
    assert "leave `area` out to count by the boxes" in str(caught.value)


def test_an_area_of_0_among_others_is_told(scene: Scene):
    one, two = person(50, 50, 200), person(350, 200, 200)
    image = scene.add_picture((*one, 0.9), (two[0], two[1] + 1, 0.8))
    scene.annotate(image, *one, area=0)
    scene.annotate(image, *two, area=0)
    scene.annotate(scene.add_picture(), *two)
    said: list[str] = []
    # The one without any error matches, the one that is a pixel off does not; the third is not found.
    assert scene.run(on_warning=said.append)["AR50"] == pytest.approx(1 / 3, abs=1e-6)
    assert len(said) == 1
    assert "2 of 3 annotated persons, the first annotations[0], with an area of 0" in said[0]


def test_repeated_annotation_ids_do_no_harm(scene: Scene):
    for index in range(3):
        one = person(50 + index, 50, 200)
        scene.annotate(scene.add_picture((*one, 0.9)), *one, id=0)
    assert scene.run()["AP"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not valid JSON"),
        ("{", "not valid JSON"),
        ("[]", "holds a list"),
        ("null", "holds a NoneType"),
        ("{}", "has no list `images`"),
        ('{"images": {}, "annotations": [], "categories": []}', "has no list `images`"),
        ('{"images": [], "annotations": [1], "categories": []}', "has no list `annotations`"),
        ('{"images": [], "annotations": [], "categories": []}', "lists no picture"),
        ('{"images": NaN}', "NaN is not a number"),
        ("[" * 100_000, "not valid JSON"),
        ("\ufeff{}", "has no list `images`"),
    ],
)
def test_files_that_are_no_annotations(scene: Scene, text: str, message: str):
    path = scene.folder / "x.json"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        evaluate(scene.engine(), scene.folder, path)
    assert str(caught.value).startswith(f"{path}: ")


def test_annotation_files_that_cannot_be_read(scene: Scene):
    with pytest.raises(InputError, match="cannot be read"):
        evaluate(scene.engine(), scene.folder, scene.folder / "none.json")
    with pytest.raises(InputError, match="cannot be read"):
        evaluate(scene.engine(), scene.folder, scene.folder)
    (scene.folder / "x.json").write_bytes(b"\xff\xfe\x00binary")
    with pytest.raises(InputError, match="not valid JSON"):
        evaluate(scene.engine(), scene.folder, scene.folder / "x.json")


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        ("images", {"id": "1000"}, r"images\[0\] lacks a whole `id`"),
        ("images", {"id": True}, r"images\[0\] lacks a whole `id`"),
        ("images", {"file_name": None}, r"images\[0\] lacks"),
        ("images", {"file_name": "a\0b"}, r"images\[0\] lacks"),
        ("categories", {"id": None}, r"categories\[0\] lacks a whole `id`"),
        ("annotations", {"keypoints": [1, 2]}, "has 2 keypoint numbers where"),
        ("annotations", {"keypoints": "abc"}, "are not a list of numbers"),
        ("annotations", {"keypoints": [None] * 3 * K}, "are not a list of numbers"),
        ("annotations", {"keypoints": [1e300] * 3 * K}, "are not a list of numbers"),
        ("annotations", {"image_id": 5}, "belongs to picture 5, which is not listed"),
        ("annotations", {"bbox": [1, 2, 3]}, "lacks a `bbox` of left, top"),
        ("annotations", {"bbox": [1, 2, -3, 4]}, "lacks a `bbox`"),
        ("annotations", {"area": -1}, "has an `area` that is not"),
        ("annotations", {"bbox": None}, "lacks a `bbox`"),
        ("annotations", {"iscrowd": 2}, "has iscrowd 2"),
        ("annotations", {"num_keypoints": -1}, "has num_keypoints -1, not a whole number"),
        ("annotations", {"num_keypoints": "all"}, "has num_keypoints 'all'"),
        ("annotations", {"area": "big"}, "has an `area` that is not a number"),
        ("annotations", {"category_id": None}, "annotates nobody"),
        ("annotations", {"category_id": 9}, "annotates nobody"),
    ],
)
def test_entries_that_are_wrong(scene: Scene, part: str, change: dict[str, Any], message: str):
    scene.annotate(scene.add_picture(), *person(50, 50, 200))
    scene.document[part][0].update(change)
    with pytest.raises(InputError, match=message):
        scene.run()


def test_repeated_picture_ids(scene: Scene):
    scene.annotate(scene.add_picture(), *person(50, 50, 200))
    scene.document["images"].append(dict(scene.document["images"][0]))
    with pytest.raises(InputError, match="repeats the id 1000"):
        scene.run()


def test_damaged_annotations_give_an_error_or_figures(scene: Scene, seed: int):
    """1,000 seeded damages of the text and of its structure."""
    print(f"seed {seed}")
    one, two = person(50, 50, 200), person(300, 200, 90)
    for _ in range(2):
        image = scene.add_picture((*one, 0.9), (*two, 0.6))
        scene.annotate(image, *one)
        scene.annotate(image, *two)
    engine = scene.engine()
    # The pictures are not read again and again: it is the annotations that are at stake.
    path = scene.folder / "damaged.json"
    text = json.dumps(scene.document).encode()
    rng = random.Random(seed)
    values = [None, True, -1, 0, 2, 1e308, 1 << 70, 0.5, "", "x", [], {}, [[]], {"id": 1}]
    good = bad = 0
    for number in range(1000):
        if number % 2:
            data = bytearray(text)
            for _ in range(rng.choice((1, 2, 5))):
                data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            if number % 8 == 1:
                data = data[: rng.randrange(len(data))]
            path.write_bytes(bytes(data))
        else:
            document = copy.deepcopy(scene.document)
            entry: Any = rng.choice(document[rng.choice(["images", "annotations", "categories"])])
            key = rng.choice(sorted(entry))
            kind = rng.randrange(3)
            if kind == 0:
                del entry[key]
            elif kind == 1 and isinstance(entry[key], list):
                entry[key][rng.randrange(len(entry[key]))] = rng.choice(values)
            else:
                entry[key] = rng.choice(values)
            path.write_text(json.dumps(document))
        try:
            metrics = evaluate(engine, scene.folder, path, on_error=lambda _: None, on_warning=lambda _: None)
        except InputError:
            bad += 1
        else:
            good += 1
            assert tuple(metrics) == METRICS
            assert all(-1 <= value <= 1 for value in metrics.values())
    assert good > 50
    assert bad > 300


def test_without_faster_coco_eval(scene: Scene, monkeypatch: pytest.MonkeyPatch):
    import sys

    scene.annotate(scene.add_picture(), *person(50, 50, 200))
    monkeypatch.setitem(sys.modules, "faster_coco_eval", None)
    with pytest.raises(DeviceError, match=r'faster-coco-eval.*pip install "trtpose\[eval\]"'):
        scene.run()


def test_the_photographs(shared: Path):
    """An independent script got AP50 0.832 and AP 0.331 for this model and set at confidence 0.05."""
    trtpose = pytest.importorskip("trtpose")
    engine = trtpose.Engine(shared / "models" / "yolo26n-pose-256.onnx", threads=2)
    images = shared / "images"
    metrics = evaluate(engine, images, images / "person_keypoints.json", conf=0.05)
    assert metrics["AP50"] >= 0.80
    assert metrics["AP"] >= 0.30
    # What the lower default adds to the curve can only add area.
    assert evaluate(engine, images, images / "person_keypoints.json")["AP"] >= metrics["AP"] - 1e-6
