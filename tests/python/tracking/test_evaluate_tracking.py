# SPDX-License-Identifier: Apache-2.0
"""Tracking figures on annotated videos whose outcome is known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluate_support import Scene, person
from trtpose import InputError
from trtpose.skeletons import COCO
from trtpose.tracking.evaluate import FIGURES, evaluate_tracking

pytest.importorskip("scipy", reason="SciPy is not installed")
pytest.importorskip("trackers", reason="the package trackers is not installed")


def walk(scene: Scene, frames: int, *, video: int = 1, gone: range = range(0), ids: tuple[int, int] = (7, 9)) -> None:
    """Two people who pass each other at some distance; the second is not found in the frames of ``gone``."""
    for frame in range(frames):
        first, second = person(20 + 5.0 * frame, 40, 150), person(440 - 5.0 * frame, 250, 160)
        found = [(*first, 0.9)] + ([] if frame in gone else [(*second, 0.8)])
        image = scene.add_picture(*found)
        scene.document["images"][-1].update(vid_id=video, frame_id=frame)
        for track, (box, points) in zip(ids, (first, second), strict=True):
            scene.annotate(image, box, points, track_id=track)


def run(scene: Scene, **options: Any) -> dict[str, float]:
    path = scene.folder / "tracks.json"
    path.write_text(json.dumps(scene.document))
    return evaluate_tracking(scene.engine(), scene.folder, path, **options)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("method", ["oks", "bytetrack"])
def test_everybody_followed(tmp_path: Path, method: str) -> None:
    scene = Scene(tmp_path)
    walk(scene, 20)
    figures = run(scene, method=method)
    assert list(figures) == list(FIGURES)
    assert figures["IDSW"] == 0
    # ByteTrack says nobody's id in the first frame.
    assert figures["MOTA"] == figures["IDF1"] == 1.0 if method == "oks" else figures["MOTA"] >= 0.9
    if method == "oks":
        assert figures["HOTA"] == pytest.approx(1.0, abs=1e-5)


def test_somebody_who_comes_back_as_another_costs_what_the_definitions_say(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    walk(scene, 120, gone=range(20, 90))  # longer than anybody is remembered
    figures = run(scene)
    # Of 240 people 70 are not found and 1 has no id yet: 169 found, none wrong. Of the one who comes back the longer
    # part counts for the identity: 120 + 29 of (240 + 169) / 2; the new id is one switch.
    assert figures["MOTA"] == pytest.approx((169 - 1) / 240, abs=1e-6)
    assert figures["IDF1"] == pytest.approx(2 * (120 + 29) / (240 + 169), abs=1e-6)
    assert figures["IDSW"] == 1


def test_ids_of_two_videos_are_not_one_person(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    walk(scene, 10, video=1)
    walk(scene, 10, video=2, ids=(9, 7))
    figures = run(scene)
    assert (figures["MOTA"], figures["IDF1"], figures["IDSW"]) == (1.0, 1.0, 0)


def test_crowds_count_neither_for_nor_against(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    walk(scene, 10)
    plain = run(scene)
    for entry in scene.document["annotations"]:
        if entry["track_id"] == 9:
            entry["iscrowd"] = 1
            del entry["track_id"]
    assert run(scene) == plain
    scene.document["annotations"] = [entry for entry in scene.document["annotations"] if not entry["iscrowd"]]
    assert run(scene)["MOTA"] == 0.0  # where nothing is annotated, each found is a false one


def test_keypoints_go_by_their_names(tmp_path: Path) -> None:
    """PoseTrack has 17 keypoints too, of which three are others; taken by position they would be wrong."""
    scene = Scene(tmp_path)
    walk(scene, 10)
    plain = run(scene)
    order = np.random.default_rng(0).permutation(len(COCO))
    names = [COCO.names[i] for i in order]
    names[names.index("left_eye")], names[names.index("right_eye")] = "head_bottom", "head_top"
    scene.document["categories"][0]["keypoints"] = names
    for entry in scene.document["annotations"]:
        entry["keypoints"] = np.reshape(entry["keypoints"], (-1, 3))[order].reshape(-1).tolist()
    notes: list[str] = []
    assert run(scene, on_warning=notes.append) == plain
    assert len(notes) == 1
    assert "15 of them the model's 17 by name" in notes[0]
    assert "left_eye, right_eye" in notes[0]


def test_frames_without_labels_are_followed_and_not_counted(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    walk(scene, 20)
    for entry in scene.document["images"][1::2]:
        entry["is_labeled"] = False
        scene.document["annotations"] = [a for a in scene.document["annotations"] if a["image_id"] != entry["id"]]
    figures = run(scene)
    assert (figures["MOTA"], figures["IDF1"]) == (1.0, 1.0)


def test_frames_go_by_their_numbers(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    walk(scene, 20)
    scene.document["images"] = [scene.document["images"][i] for i in np.random.default_rng(1).permutation(20)]
    assert run(scene)["IDF1"] == 1.0


@pytest.mark.parametrize(
    ("part", "number", "fields", "words"),
    [
        ("images", 3, {"vid_id": None}, "images[3] lacks a video"),
        ("images", 3, {"frame_id": "x"}, "images[3] lacks a video"),
        ("images", 3, {"frame_id": 2}, "are both frame 2 of video 1"),
        ("annotations", 5, {"track_id": None}, "annotations[5] lacks a whole `track_id`"),
        ("annotations", 5, {"track_id": 7}, "two persons of one `track_id`"),
    ],
)
def test_what_lacks_videos_or_ids_is_refused(
    tmp_path: Path, part: str, number: int, fields: dict[str, Any], words: str
) -> None:
    scene = Scene(tmp_path)
    walk(scene, 6)
    scene.document[part][number].update(fields)
    with pytest.raises(InputError) as error:
        run(scene)
    assert words in str(error.value)
