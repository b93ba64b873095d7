# SPDX-License-Identifier: Apache-2.0
"""Classes of single keypoints want no category of the annotations."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trtpose import InputError, ModelSpec
from trtpose.formats.annotations import load


def spec(**more: object) -> ModelSpec:
    names = ["person", "head", "hand"]
    fields = {"family": "kapao", "form": "decoded", "imgsz": [64, 64], "strides": [64], "kpt_shape": [2, 2]}
    return ModelSpec.from_dict({**fields, "names": names, **more})


def annotations(path: Path) -> Path:
    person = {"id": 1, "image_id": 1, "category_id": 7, "bbox": [1, 2, 30, 40], "area": 1200, "iscrowd": 0}
    category = {"id": 7, "name": "person", "keypoints": ["head", "hand"]}
    image = {"id": 1, "file_name": "a.png", "height": 64, "width": 64}
    entry = {**person, "keypoints": [5, 5, 2, 9, 9, 2], "num_keypoints": 2}
    path.write_text(json.dumps({"images": [image], "annotations": [entry], "categories": [category]}))
    return path


def test_only_the_person_is_asked_for(tmp_path: Path) -> None:
    file = annotations(tmp_path / "a.json")
    assert load(file, spec(kpt_names=["head", "hand"])).categories == {0: 7}
    with pytest.raises(InputError, match="has no category 'head', a class of the model"):
        load(file, spec())
