#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How well people are told apart from frame to frame, beside the box trackers of the package trackers.

    python benchmarks/tracking.py [--seeds N] [--every N,N] [--drawn] [--videos DIR] [--json FILE]

walks   people made of numbers (tests/python/walks.py), with keypoints missing, trembling and false
drawn   the same people drawn by tools/demo_model, found by the packaged network: --drawn; --videos keeps what was
        drawn, with the ids of each tracker on it

HOTA, MOTA and IDF1 are means over scenes and seeds, computed by the package trackers with OKS as the likeness.
``swapped`` counts the frames in which keypoints did not come back in the rows they were given in: none may be.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests" / "python"), str(ROOT / "tools")]

METHODS = ("oks", "sort", "bytetrack", "ocsort", "botsort")
RATE = 30.0
FIGURES = ("HOTA", "MOTA", "IDF1")


@dataclass
class Clip:
    """A scene: what was found, who there is to find, and the frames if it was drawn."""

    found: list[Any]
    truth: list[Any]
    frames: list[NDArray[np.uint8]] | None = None


def walks(every: int, seeds: int) -> dict[str, list[Clip]]:
    from walks import SCENES, watch

    clips: dict[str, list[Clip]] = {}
    for name, (walkers, frames, walls) in SCENES.items():
        for seed in range(seeds):
            seen = watch(walkers, frames, seed, walls=walls, every=every)
            clips.setdefault(name, []).append(Clip([f.poses for f in seen], [f.truth for f in seen]))
    return clips


class Figure:
    """One drawn person who is moved about."""

    def __init__(self, seed: int, height: float) -> None:
        from demo_model.body import EVERYDAY
        from demo_model.person import draw_person

        side = int(height * 1.6)
        rng = np.random.default_rng(seed)
        light = np.array([0.2, -0.5, 0.8], np.float32)
        drawn = draw_person(rng, side, side, (side / 2, side / 2), height, light / np.linalg.norm(light), 0.5, EVERYDAY)
        mask = np.isfinite(drawn.layer.depth)
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        self.box = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float64)
        self.color = np.clip(drawn.layer.color, 0, 255).astype(np.uint8)[..., ::-1]
        self.mask = mask
        self.points = drawn.keypoints[:, :2].astype(np.float64)

    def place(self, feet: NDArray[np.float64]) -> NDArray[np.int64]:
        """Where the layer's corner goes so that the body stands at ``feet``."""
        return np.round(feet - [(self.box[0] + self.box[2]) / 2, self.box[3]]).astype(np.int64)


def paste(
    image: NDArray[np.uint8], owner: NDArray[np.int64], figure: Figure, corner: NDArray[np.int64], who: int
) -> None:
    height, width = owner.shape
    left, top = corner.tolist()
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + figure.mask.shape[1], width), min(top + figure.mask.shape[0], height)
    if x0 >= x1 or y0 >= y1:
        return
    part = np.s_[y0 - top : y1 - top, x0 - left : x1 - left]
    mask = figure.mask[part]
    image[y0:y1, x0:x1][mask] = figure.color[part][mask]
    owner[y0:y1, x0:x1][mask] = who


def truth_of(figures: dict[int, tuple[Figure, NDArray[np.int64]]], owner: NDArray[np.int64], spec: Any) -> Any:
    """The people that can be seen, as poses with ids; keypoints that others or walls hide have confidence 0."""
    from trtpose import Poses

    height, width = owner.shape
    boxes: list[NDArray[np.float64]] = []
    points: list[NDArray[np.float64]] = []
    ids: list[int] = []
    for who, (figure, corner) in figures.items():
        seen = int((owner == who).sum())
        if seen < 0.3 * figure.mask.sum():
            continue
        xy = figure.points + corner
        inside = (xy >= 0).all(1) & (xy < [width, height]).all(1)
        cells = np.clip(xy, 0, [width - 1, height - 1]).astype(int)
        boxes.append(np.clip(figure.box + np.tile(corner, 2), 0, [width, height, width, height]))
        points.append(np.column_stack([xy, inside & (owner[cells[:, 1], cells[:, 0]] == who)]))
        ids.append(who)
    if not ids:
        return Poses.empty((height, width), spec)
    ones = np.ones(len(ids), np.float32)
    plain = np.stack(boxes).astype(np.float32), ones, np.zeros(len(ids), np.int32), np.stack(points).astype(np.float32)
    return Poses(*plain, (height, width), spec, np.array(ids))


def drawn(every: int, seeds: int) -> dict[str, list[Clip]]:
    """The walks, drawn and found by the packaged network."""
    from trtpose import Engine
    from walks import SCENES, SHAPE

    engine = Engine(ROOT / "python" / "trtpose" / "data" / "demo.onnx", imgsz=(384, 640), batch=1)
    clips: dict[str, list[Clip]] = {}
    for name, (walkers, frames, walls) in SCENES.items():
        for seed in range(seeds):
            figures = [Figure(100 * seed + n, walker.height) for n, walker in enumerate(walkers)]
            back = background(seed, SHAPE)
            clip = Clip([], [], [])
            for frame in range(0, frames, every):
                image, owner = back.copy(), np.full(SHAPE, -1, np.int64)
                there: dict[int, tuple[Figure, NDArray[np.int64]]] = {}
                for who in sorted(range(len(walkers)), key=lambda n: walkers[n].start[1]):
                    body = walkers[who].at(frame)
                    if body is not None:
                        feet = np.array([body[11:13, 0].mean(), body[15:17, 1].max()])
                        there[who] = figures[who], figures[who].place(feet)
                        paste(image, owner, *there[who], who)
                for left, right in walls:
                    image[:, int(left) : int(right)] = (90, 110, 120)
                    owner[:, int(left) : int(right)] = -1
                (poses,) = engine.infer(image, conf=0.25)
                clip.found.append(poses)
                clip.truth.append(truth_of(there, owner, engine.spec))
                assert clip.frames is not None
                clip.frames.append(image)
            clips.setdefault(name, []).append(clip)
    return clips


def background(seed: int, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """A wall and a floor with some grain."""
    rng = np.random.default_rng(seed)
    image = np.empty((*shape, 3), np.float64)
    horizon = int(shape[0] * 0.6)
    image[:horizon], image[horizon:] = rng.uniform(120, 220, 3), rng.uniform(60, 120, 3)
    return np.clip(image + rng.normal(0, 6, image.shape), 0, 255).astype(np.uint8)


def measure(clip: Clip, method: str, rate: float) -> tuple[dict[str, float], list[Any], float]:
    """The figures, the tracked poses, and the microseconds a frame takes."""
    from trackers import eval as figures

    from trtpose import Tracker
    from trtpose.agreement import similarity

    tracker = Tracker(method, rate=rate)  # pyright: ignore[reportArgumentType]
    begin = time.perf_counter()
    tracked = [tracker.update(poses, number / rate) for number, poses in enumerate(clip.found)]
    micros = (time.perf_counter() - begin) / max(len(tracked), 1) * 1e6
    known = [poses[poses.ids >= 0] for poses in tracked]
    none = np.zeros(0, np.int64)
    lists = (
        [none if truth.ids is None else truth.ids for truth in clip.truth],
        [poses.ids for poses in known],
        [
            similarity(truth, poses).reshape(len(truth), len(poses))
            for truth, poses in zip(clip.truth, known, strict=True)
        ],
    )
    values = {
        **figures.compute_hota_metrics(*lists),
        **figures.compute_clear_metrics(*lists),
        **figures.compute_identity_metrics(*lists),
    }
    swapped = sum(
        not np.array_equal(got.keypoints, given.keypoints) for got, given in zip(tracked, clip.found, strict=True)
    )
    return {**{name: float(values[name]) for name in FIGURES}, "swapped": swapped}, tracked, micros


def write_video(path: Path, clip: Clip, tracked: list[Any], rate: float) -> None:
    import av

    assert clip.frames is not None
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=round(rate))
        stream.height, stream.width = clip.frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for image, poses in zip(clip.frames, tracked, strict=True):
            shown = np.ascontiguousarray(poses[poses.ids >= 0].draw(image))
            out.mux(stream.encode(av.VideoFrame.from_ndarray(shown, format="bgr24")))
        out.mux(stream.encode())


def compare(clips: dict[str, list[Clip]], rate: float, videos: Path | None) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for method in METHODS:
        rows: list[dict[str, float]] = []
        scenes: dict[str, float] = {}
        times: list[float] = []
        for name, group in clips.items():
            measured = [measure(clip, method, rate) for clip in group]
            rows += [figures for figures, _, _ in measured]
            times += [micros for _, _, micros in measured]
            scenes[name] = round(float(np.mean([figures["IDF1"] for figures, _, _ in measured])), 4)
            if videos is not None and group[0].frames is not None:
                videos.mkdir(parents=True, exist_ok=True)
                write_video(videos / f"{name}-{method}-{rate:g}.mp4", group[0], measured[0][1], rate)
        table[method] = {
            **{name: round(float(np.mean([row[name] for row in rows])), 4) for name in FIGURES},
            "swapped": int(sum(row["swapped"] for row in rows)),
            "microseconds_per_frame": round(float(np.median(times)), 1),
            "IDF1_by_scene": scenes,
        }
        figures = "  ".join(f"{name} {table[method][name]:.4f}" for name in FIGURES)
        row = table[method]
        print(f"  {method:<10} {figures}  swapped {row['swapped']}  {row['microseconds_per_frame']} us")
    return table


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--every", default="1,3,6", help="take each n-th frame of 30 a second")
    parser.add_argument("--drawn", action="store_true")
    parser.add_argument("--videos", type=Path)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    from importlib.metadata import version

    report: dict[str, Any] = {
        "command": " ".join(["python", "benchmarks/tracking.py", *sys.argv[1:]]),
        "date": f"{dt.date.today()}",
        "trackers": version("trackers"),
        "seeds": args.seeds,
    }
    for every in (int(part) for part in args.every.split(",")):
        rate = RATE / every
        for kind, make in (("walks", walks), ("drawn", drawn)):
            if kind == "walks" or args.drawn:
                print(f"{kind}, {rate:g} frames a second")
                report[f"{kind}_{rate:g}"] = compare(make(every, args.seeds), rate, args.videos)
    if args.json is not None:
        args.json.write_text(json.dumps(report, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
