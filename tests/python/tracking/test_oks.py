# SPDX-License-Identifier: Apache-2.0
"""Tracking by keypoints on walks whose people are known, beside the box trackers of the package ``trackers``."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from trtpose import InputError, OneEuro, Poses, Tracker
from trtpose.agreement import similarity
from walks import SCENES, SHAPE, SPEC, Found, Walker, box_of, watch

pytest.importorskip("scipy", reason="SciPy is not installed")

BOXES = ("sort", "bytetrack", "ocsort", "botsort")
RATE = 30.0


def follow(tracker: Tracker, found: list[Found], rate: float = RATE) -> list[Poses]:
    return [tracker.update(frame.poses, number / rate) for number, frame in enumerate(found)]


def figures(tracked: list[Poses], found: list[Found]) -> dict[str, float]:
    """MOTA, IDF1 and HOTA against the people there are, alike by OKS."""
    library = pytest.importorskip("trackers.eval", reason="the package trackers is not installed")
    known = [poses[poses.ids >= 0] for poses in tracked if poses.ids is not None]
    none = np.zeros(0, np.int64)
    truth = [frame.truth for frame in found]
    lists = (
        [none if t.ids is None else t.ids for t in truth],
        [none if k.ids is None else k.ids for k in known],
        [similarity(t, k) for t, k in zip(truth, known, strict=True)],
    )
    return {
        "MOTA": library.compute_clear_metrics(*lists)["MOTA"],
        "IDF1": library.compute_identity_metrics(*lists)["IDF1"],
        "HOTA": library.compute_hota_metrics(*lists)["HOTA"],
    }


@pytest.mark.parametrize("every", [1, 3, 6])
def test_at_least_as_good_as_the_best_box_tracker(every: int) -> None:
    """Over crossing, hiding, leaving, a crowd and a meeting, at 30, 10 and 5 frames a second."""
    pytest.importorskip("trackers", reason="the package trackers is not installed")
    rate = RATE / every
    sums: dict[str, list[dict[str, float]]] = {}
    for walkers, frames, walls in SCENES.values():
        found = watch(walkers, frames, 7, walls=walls, every=every)
        for method in ("oks", *BOXES):
            tracked = follow(Tracker(method, rate=rate), found, rate)  # pyright: ignore[reportArgumentType]
            sums.setdefault(method, []).append(figures(tracked, found))
    means = {m: {k: float(np.mean([row[k] for row in rows])) for k in rows[0]} for m, rows in sums.items()}
    for figure in ("MOTA", "IDF1", "HOTA"):
        assert means["oks"][figure] >= max(means[method][figure] for method in BOXES), (figure, means)
    assert means["oks"]["IDF1"] > 0.8, means


@pytest.mark.parametrize("scene", ["crossing", "pillar", "meeting"])
def test_nobody_is_taken_for_another(scene: str) -> None:
    walkers, frames, walls = SCENES[scene]
    found = watch(walkers, frames, 3, walls=walls, miss=0.0, ghosts=0.0)
    owners: dict[int, set[int]] = {}
    for frame, poses in zip(found, follow(Tracker(), found), strict=True):
        assert poses.ids is not None
        for number, owner in zip(poses.ids.tolist(), frame.owners.tolist(), strict=True):
            if number >= 0:
                owners.setdefault(number, set()).add(owner)
    assert all(len(who) == 1 for who in owners.values()), owners
    assert len(owners) == len(walkers)


@pytest.mark.parametrize("method", ["oks", *BOXES])
def test_ids_stay_with_their_keypoints(method: str) -> None:
    """Rows come back as they went in, whatever order the tracker has them in, and every filter takes the ids along."""
    if method != "oks":
        pytest.importorskip("trackers", reason="the package trackers is not installed")
    walkers, frames, walls = SCENES["crowd"]
    found = watch(walkers, frames, 5, walls=walls)
    tracker = Tracker(method)  # pyright: ignore[reportArgumentType]
    rng = np.random.default_rng(0)
    last: dict[int, np.ndarray] = {}
    jumps = seen = 0
    for number, frame in enumerate(found):
        given = frame.poses[rng.permutation(len(frame.poses))]
        got = tracker.update(given, number / RATE)
        assert got.ids is not None
        assert given.ids is None
        for name in ("boxes", "scores", "class_ids", "keypoints"):
            assert np.array_equal(getattr(got, name), getattr(given, name)), name
        known = got[got.ids >= 0]
        assert known.ids is not None
        assert len(set(known.ids.tolist())) == len(known)
        for person in known:
            assert person.ids is not None
            row = got.ids.tolist().index(person.ids[0])
            assert np.array_equal(person.keypoints[0], given.keypoints[row])
            place = np.median(person.keypoints[0, :, :2], axis=0)
            jumps += bool(np.abs(place - last.get(int(person.ids[0]), place)).max() > 60)
            seen += 1
            last[int(person.ids[0])] = place
    # A wrong bridge would make nearly every row jump; trackers themselves confuse a few.
    assert seen > 200
    assert jumps < 0.05 * seen


def test_new_people_need_two_frames_but_for_the_first() -> None:
    walker = Walker((100, 440), (700, 440), 300, 0, 60)
    later = Walker((600, 440), (100, 440), 250, 10, 60)
    found = watch([walker, later], 14, 0, miss=0.0, ghosts=0.0)
    ids = [poses.ids.tolist() for poses in follow(Tracker(), found) if poses.ids is not None]
    assert ids[0] == [0]
    assert sorted(ids[10]) == [-1, 0]
    assert sorted(ids[11]) == [0, 1]


def test_weak_people_need_five_frames() -> None:
    found = watch([Walker((100, 440), (700, 440), 300, 0, 60)], 8, 0, miss=0.0, ghosts=0.0)
    weak = [dataclasses.replace(f, poses=dataclasses.replace(f.poses, scores=f.poses.scores * 0.5)) for f in found]
    ids = [poses.ids.tolist() for poses in follow(Tracker(), weak) if poses.ids is not None]
    assert ids == [[-1]] * 4 + [[0]] * 4


def test_somebody_gone_for_longer_than_remembered_comes_back_as_another() -> None:
    walker = Walker((100, 440), (130, 440), 300, 0, 200)
    found = watch([walker], 200, 0, miss=0.0, ghosts=0.0)
    seen = found[:20] + [dataclasses.replace(f, poses=Poses.empty(SHAPE, SPEC)) for f in found[20:110]] + found[110:]
    ids = [poses.ids.tolist() for poses in follow(Tracker(lost=2.0), seen) if poses.ids is not None]
    assert ids[19] == [0]
    assert ids[110] == [-1]
    assert ids[111] == [1]
    ids = [poses.ids.tolist() for poses in follow(Tracker(lost=5.0), seen) if poses.ids is not None]
    assert ids[110] == [0]


def test_reset_begins_anew() -> None:
    found = watch([Walker((100, 440), (700, 440), 300, 0, 60)], 5, 0, miss=0.0, ghosts=0.0)
    tracker = Tracker(smooth=True)
    first = follow(tracker, found)
    with pytest.raises(InputError, match=r"reset\(\)"):
        tracker.update(found[0].poses, 0.0)
    tracker.reset()
    again = follow(tracker, found)
    assert all(np.array_equal(a.keypoints, b.keypoints) for a, b in zip(first, again, strict=True))
    assert [p.ids.tolist() for p in again if p.ids is not None] == [[0]] * 5


@pytest.mark.parametrize("time", [float("nan"), float("inf"), 10**400])
def test_a_time_that_is_none_is_refused(time: float) -> None:
    """It would be compared with nothing ever after."""
    found = watch(SCENES["crossing"][0], 4, 3, miss=0.0)
    tracker = Tracker()
    first = tracker.update(found[0].poses, 0.0).ids
    with pytest.raises(InputError, match="give seconds"):
        tracker.update(found[1].poses, time)
    again = tracker.update(found[1].poses, 1 / RATE).ids
    assert first is not None
    assert again is not None
    assert set(first.tolist()) & set(again.tolist())


@pytest.mark.filterwarnings("error")
def test_a_very_long_break_is_one() -> None:
    found = watch(SCENES["crossing"][0], 4, 3, miss=0.0)
    tracker = Tracker()
    for frame, time in zip(found, (0.0, 1e200, 1e300, 1.7e308), strict=True):
        ids = tracker.update(frame.poses, time).ids
        assert ids is not None
        assert (ids < 0).all() or time == 0


def test_people_without_a_confident_keypoint_are_followed_by_their_boxes() -> None:
    found = watch([Walker((100, 440), (700, 440), 300, 0, 60)], 30, 0, miss=0.0, ghosts=0.0)
    tracker = Tracker()
    for number, frame in enumerate(found):
        points = frame.poses.keypoints.copy()
        points[..., 2] = 0
        ids = tracker.update(dataclasses.replace(frame.poses, keypoints=points), number / RATE).ids
        assert ids is not None
        assert ids.tolist() == [0]


def test_classes_are_not_mixed() -> None:
    spec = dataclasses.replace(SPEC, names=("person", "horse"))
    poses = dataclasses.replace(watch([Walker((300, 440), (301, 440), 300, 0, 60)], 1, 0, miss=0, ghosts=0)[0].poses)
    first = dataclasses.replace(poses, spec=spec)
    second = dataclasses.replace(poses, spec=spec, class_ids=np.ones(1, np.int32))
    tracker = Tracker()
    got = [tracker.update(poses, float(time)).ids for time, poses in enumerate((first, second, second))]
    assert [ids.tolist() for ids in got if ids is not None] == [[0], [-1], [1]]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"method": "deep"}, "method"),
        ({"lost": -1}, "lost is -1"),
        ({"lost": float("nan")}, "lost is nan"),
        ({"rate": 0}, "rate is 0"),
        ({"smooth": "yes"}, "smooth"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        Tracker(**arguments)  # pyright: ignore[reportArgumentType]


def _errors(filtered: bool, walker: Walker, frames: int) -> tuple[float, float]:
    """Root mean square of the error and of its change from frame to frame, in sizes of the person."""
    rng, euro = np.random.default_rng(0), OneEuro()
    errors: list[np.ndarray] = []
    for frame in range(frames):
        points = walker.at(frame)
        assert points is not None
        box = box_of(points)
        size = np.sqrt((box[2:] - box[:2]).prod())
        noisy = np.concatenate([points + rng.normal(0, 0.02 * size, points.shape), np.ones((len(points), 1))], 1)
        if filtered:
            noisy = euro(noisy[None], box[None], np.array([0]), frame / RATE)[0]
        errors.append((noisy[:, :2] - points) / size)
    changes = np.diff(np.stack(errors[10:]), axis=0)
    return float(np.sqrt(np.mean(np.square(errors[10:])))), float(np.sqrt(np.mean(np.square(changes))))


def test_smoothing_calms_what_rests_and_follows_what_moves() -> None:
    """At rest the error halves and trembling goes down to 0.4; walking is no worse."""
    rest, walk = Walker((400, 440), (400, 440), 300, 0, 139, pause=(0, 139)), Walker((80, 440), (780, 440), 300, 0, 139)
    (raw, shaking), (smooth, calm) = (_errors(on, rest, 140) for on in (False, True))
    assert smooth < 0.6 * raw
    assert calm < 0.4 * shaking
    (raw, shaking), (smooth, calm) = (_errors(on, walk, 140) for on in (False, True))
    assert smooth < raw
    assert calm < 0.75 * shaking


def test_smoothing_leaves_confidences_unknown_people_and_hidden_keypoints() -> None:
    rng, euro = np.random.default_rng(1), OneEuro()
    boxes, ids = np.array([[0, 0, 100, 200.0], [100, 0, 200, 200]]), np.array([4, -1])
    for frame in range(5):
        points = rng.uniform(0, 100, (2, 3, 3))
        points[..., 2] = (0.9, 0.1, 0.6)
        got = euro(points, boxes, ids, frame / RATE)
        assert np.array_equal(got[1], points[1])
        assert np.array_equal(got[..., 2], points[..., 2])
        assert np.array_equal(got[0, 1], points[0, 1])
        assert np.array_equal(got[0, 0], points[0, 0]) == (frame == 0)
