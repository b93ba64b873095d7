# SPDX-License-Identifier: Apache-2.0
"""Poses against poses: that the comparison passes where it should, and that it can fail."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from support import make_poses, spec_with
from trtpose.agreement import MATCH, Agreement, Limits, Side, compare, match, similarity
from trtpose.errors import InputError
from trtpose.results import Poses
from trtpose.skeletons import COCO

SIDE = Side("a.onnx", "stand-in", "cpu", "f32", "f32", (64, 96))


def moved(poses: Poses, by: tuple[float, float] = (0.0, 0.0), **fields: Any) -> Poses:
    keypoints = poses.keypoints.copy()
    keypoints[..., :2] += by
    values = {
        "boxes": poses.boxes,
        "scores": poses.scores,
        "class_ids": poses.class_ids,
        "keypoints": keypoints,
        "shape": poses.shape,
        "spec": poses.spec,
        **fields,
    }
    return Poses(**values)


def confident(count: int, seed: int = 0) -> Poses:
    """People whose scores and keypoints all count."""
    poses = make_poses(count, seed=seed)
    keypoints = poses.keypoints.copy()
    keypoints[..., 2] = 0.9
    return moved(poses, keypoints=keypoints, scores=np.linspace(0.95, 0.6, count, dtype=np.float32))


def judged(first: Poses, second: Poses, tolerance: float = 0.5, **options: Any) -> Agreement:
    return compare([("x.jpg", first, second)], SIDE, SIDE, limits=Limits(tolerance), **options)


def test_the_same_poses_agree():
    poses = confident(4)
    result = judged(poses, poses)
    assert result.passed
    assert (result.poses, result.matched, result.extra) == (4, 4, 0)
    assert result.keypoint_px.count == 4 * len(COCO)
    assert (result.keypoint_px.median, result.keypoint_px.worst) == (0, 0)
    assert result.box_iou.worst == pytest.approx(1)
    assert result.verdict.endswith("the two agree")


def test_the_keypoint_error_is_the_distance():
    poses = confident(2)
    result = judged(poses, moved(poses, (0.3, 0.4)))
    assert result.passed
    for value in (result.keypoint_px.median, result.keypoint_px.p95, result.keypoint_px.worst):
        assert value == pytest.approx(0.5, abs=1e-4)  # float32 coordinates of a few hundred pixels


def test_too_far_is_said():
    poses = confident(2)
    result = judged(poses, moved(poses, (3, 4)))
    assert not result.passed
    assert result.problems == ("the median keypoint is 5 px off, more than 0.5",)


def test_only_keypoints_that_both_are_confident_of():
    poses = confident(1)
    first, second = poses.keypoints.copy(), poses.keypoints.copy()
    first[0, 3, 2] = 0.49
    second[0, 4, 2] = 0.49
    second[0, 3:5, :2] += 9
    result = judged(moved(poses, keypoints=first), moved(poses, keypoints=second))
    assert result.keypoint_px.count == len(COCO) - 2
    assert result.keypoint_px.worst == 0


def test_no_keypoint_to_compare_is_no_agreement():
    poses = confident(1)
    vague = poses.keypoints.copy()
    vague[..., 2] = 0.1
    result = judged(poses, moved(poses, keypoints=vague))
    assert result.matched == 1
    assert "none could be compared" in result.verdict


def test_missing_and_extra_poses():
    poses = confident(4)
    fewer = judged(poses, poses[:3])
    assert fewer.problems == ("1 of 4 poses are not found again",)
    assert [score for _, score in fewer.pictures[0].missing] == [pytest.approx(0.6)]
    more = judged(poses[:3], poses)
    assert more.problems == ("1 pose(s) are found that the reference has not",)
    assert more.pictures[0].extra[0][0] == tuple(np.round(poses.boxes[3].astype(float), 2))
    assert judged(poses[:3], poses, tolerance=0.5).limits.extra == 0
    allowed = compare([("x.jpg", poses, poses[:3])], SIDE, SIDE, limits=Limits(0.5, matched=0.75))
    assert allowed.passed


def test_a_score_about_the_threshold_has_its_partner():
    """A pose of 0.51 in one model and 0.49 in the other is no disagreement, in either direction."""
    poses = confident(1)
    high, low = moved(poses, scores=[0.51]), moved(poses, scores=[0.49])
    there, back = judged(high, low), judged(low, high)
    assert there.passed
    assert (there.poses, there.matched) == (1, 1)
    assert there.score_difference.worst == pytest.approx(0.02, abs=1e-4)
    assert back.extra == 0


@pytest.mark.parametrize("side", ["reference", "candidate"])
def test_scores_that_are_no_probabilities_are_no_agreement(side: str):
    """Logits pass every threshold; both models would find the same people everywhere."""
    poses = confident(3)
    logits = moved(poses, scores=np.array([7.3, 2.0, 1.5], np.float32))
    result = judged(*((logits, poses) if side == "reference" else (poses, logits)))
    assert not result.passed
    assert f"the {side} gives scores of up to 7.3, and a probability is 1 at most" in result.verdict
    assert sum("probability" in problem for problem in result.problems) == 1


def test_nobody_to_compare_is_no_agreement():
    nobody = Poses.empty((240, 320), make_poses(1).spec)
    result = judged(nobody, nobody)
    assert not result.passed
    assert "nothing to compare" in result.verdict


def test_pairs_are_the_most_alike():
    """Two people so close that each is similar to both: the pairs are right whatever the order of the scores."""
    poses = confident(1)
    near = moved(poses, (2.0, 0.0))
    both = Poses(
        np.concatenate([poses.boxes, near.boxes]),
        [0.9, 0.8],
        [0, 0],
        np.concatenate([poses.keypoints, near.keypoints]),
        poses.shape,
        poses.spec,
    )
    turned = moved(both[[1, 0]], scores=[0.9, 0.8])
    assert (similarity(both, turned) > MATCH).all()
    assert match(both, turned) == [(0, 1), (1, 0)]


def test_classes_do_not_mix():
    spec = spec_with(len(COCO), names=["person", "statue"])
    poses = confident(1)
    first = moved(poses, spec=spec)
    other = moved(poses, spec=spec, class_ids=[1])
    assert match(first, first) == [(0, 0)]
    assert match(first, other) == []


def test_oks_is_cocos():
    """One keypoint off by its own spread 2σs has exp(-1/2), the rest 1."""
    poses = confident(1)
    area = float(np.prod(poses.boxes[0, 2:] - poses.boxes[0, :2]))
    keypoints = poses.keypoints.copy()
    keypoints[0, 5, 0] += 2 * COCO.sigmas[5] * np.sqrt(area)
    expected = (len(COCO) - 1 + np.exp(-0.5)) / len(COCO)
    assert similarity(poses, moved(poses, keypoints=keypoints))[0, 0] == pytest.approx(expected, rel=1e-4)


def test_without_sigmas_boxes_are_compared():
    spec = spec_with(3)
    poses = make_poses(1, spec=spec)
    shifted = poses.boxes.copy()
    shifted[:, ::2] += (poses.boxes[:, 2] - poses.boxes[:, 0]) / 3
    other = moved(poses, (500, 500), boxes=shifted)
    assert similarity(poses, other)[0, 0] == pytest.approx(0.5, abs=1e-4)  # two thirds of four thirds


def test_ap_is_compared():
    poses = confident(1)
    frames = [("x.jpg", poses, poses)]
    first, second = (Side(**{**SIDE.__dict__, "metrics": {"AP": ap}}) for ap in (0.5, 0.47))
    result = compare(frames, first, second, limits=Limits(0.5))
    assert result.ap_drop == pytest.approx(3)
    assert result.problems == ("3.00 points of AP are lost, more than 1",)
    assert compare(frames, first, second, limits=Limits(0.5, max_drop=3)).passed
    assert compare(frames, second, first, limits=Limits(0.5)).passed


@pytest.mark.parametrize("wrong", [{"tolerance_px": -1}, {"matched": 1.1}, {"extra": -0.1}, {"max_drop": float("nan")}])
def test_limits_that_are_none(wrong: dict[str, float]):
    with pytest.raises(InputError, match=next(iter(wrong))):
        Limits(**{"tolerance_px": 1.0, **wrong})
