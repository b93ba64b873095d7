# SPDX-License-Identifier: Apache-2.0
"""Skeleton tables and how one is chosen."""

from __future__ import annotations

import pytest

from support import PERSON, spec_with
from trtpose.skeletons import COCO, FACE, KNOWN, Skeleton, skeleton_for


@pytest.mark.parametrize("skeleton", KNOWN.values(), ids=len)
def test_tables_are_consistent(skeleton: Skeleton):
    count = len(skeleton)
    assert len(set(skeleton.names)) == count
    assert {index for edge in skeleton.edges for index in edge} <= set(range(count))
    assert len({frozenset(edge) for edge in skeleton.edges}) == len(skeleton.edges)
    assert all(a != b for a, b in skeleton.edges)
    # Mirroring twice changes nothing, and it exchanges left and right.
    assert [skeleton.flip[skeleton.flip[index]] for index in range(count)] == list(range(count))
    exchange = {"left": "right", "right": "left", "": ""}
    assert [exchange[side] for side in skeleton.sides] == [skeleton.sides[index] for index in skeleton.flip]
    # The drawing is symmetric.
    edges = {frozenset(edge) for edge in skeleton.edges}
    assert {frozenset(skeleton.flip[index] for index in edge) for edge in skeleton.edges} == edges
    assert len(skeleton.sigmas) in (0, count)


def test_coco_against_the_annotations(shared):
    import json

    category = json.loads((shared / "images" / "person_keypoints.json").read_text())["categories"][0]
    assert list(COCO.names) == category["keypoints"]
    assert {frozenset(e) for e in COCO.edges} == {frozenset((a - 1, b - 1)) for a, b in category["skeleton"]}


def test_the_choice():
    assert skeleton_for(PERSON) == COCO
    assert skeleton_for(spec_with(len(FACE), names=["face"])).edges == FACE.edges
    assert skeleton_for(spec_with(len(FACE), kpt_names=list(FACE.names))).edges == FACE.edges
    # Five points of a person may be any.
    five = skeleton_for(spec_with(len(FACE)))
    assert (five.names, five.edges, five.flip) == (("0", "1", "2", "3", "4"), (), ())
    plain = skeleton_for(spec_with(9))
    assert (len(plain), plain.edges, plain.sigmas, set(plain.sides)) == (9, (), (), {""})
    own = skeleton_for(spec_with(len(COCO), skeleton=[[0, 1]], sigmas=[0.1] * len(COCO)))
    assert own.edges == ((0, 1),)
    assert own.sigmas == (0.1,) * len(COCO)
    assert own.names == COCO.names
    other = skeleton_for(spec_with(len(COCO), kpt_names=[f"joint {i}" for i in range(len(COCO))]))
    assert (other.edges, other.sigmas) == ((), ())


@pytest.mark.parametrize(
    ("edge", "side"), [((5, 7), "left"), ((6, 8), "right"), ((5, 6), ""), ((0, 1), "left"), ((0, 2), "right")]
)
def test_sides_of_limbs(edge: tuple[int, int], side: str):
    assert COCO.edge_side(edge) == side


def test_sides_of_names():
    names = ("left_knee", "Right Eye", "knee-right", "l_hip", "r_hip", "leftover", "nose", "bright")
    assert Skeleton(names).sides == ("left", "right", "right", "left", "right", "", "", "")
