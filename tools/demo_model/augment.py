# SPDX-License-Identifier: Apache-2.0
"""Training samples from the pool: a random view of a picture, mirrored, recoloured, blurred and noisy."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from .body import F32
from .person import FLIP
from .pool import shard_path


@dataclass(frozen=True)
class Stage:
    """A stretch of the training.

    Attributes:
        size: input height and width.
        steps: how many.
        least, most: range of the scale of the views; at 1 a picture fills the input.
        calm: half of the pictures keep their colours and sharpness, and none are coarsely sampled.
    """

    size: int
    steps: int
    least: float
    most: float
    calm: bool = False

    @classmethod
    def parse(cls, text: str) -> Stage:
        """From ``SIZE:STEPS:LEAST:MOST[:calm]``."""
        size, steps, least, most, *rest = text.split(":")
        if rest not in ([], ["calm"]):
            raise ValueError(text)
        return cls(int(size), int(steps), float(least), float(most), bool(rest))


Key = tuple[int, int, Stage]
"""Epoch, picture, and the stage of the training."""
Sample = tuple[NDArray[np.uint8], F32, F32, F32, NDArray[np.bool_]]


def _warp(
    rng: np.random.Generator,
    image: NDArray[np.uint8],
    matrix: NDArray[np.float64],
    scale: float,
    boxes: F32,
    stage: Stage,
) -> NDArray[np.uint8]:
    """The picture under the similarity ``matrix``, on a border of some kind."""
    size, width = stage.size, image.shape[1]
    border = (114, 114, 114) if rng.random() < 0.7 else tuple(int(v) for v in rng.integers(0, 256, 3))
    how = cv2.INTER_LINEAR if scale > 0.8 else cv2.INTER_AREA
    if rng.random() < 0.15 and not stage.calm:
        how = cv2.INTER_NEAREST
    mode = cv2.BORDER_CONSTANT if rng.random() < 0.8 else cv2.BORDER_REFLECT
    if (
        mode == cv2.BORDER_REFLECT
        and len(boxes)
        and (boxes[:, :2].min() < 0.35 * width or boxes[:, 2:].max() > 0.65 * width)
    ):
        mode = cv2.BORDER_CONSTANT  # no mirrored people without annotations
    return cv2.warpAffine(
        image,
        matrix,
        (size, size),
        flags=cv2.INTER_LINEAR if how == cv2.INTER_AREA else how,
        borderMode=mode,
        borderValue=border,
    )


def _moved_boxes(
    boxes: F32, old: F32, moved: F32, labelled: NDArray[np.bool_], matrix: NDArray[np.float64], scale: float, flip: bool
) -> F32:
    """Boxes under the similarity ``matrix``, about keypoints moved from ``old`` (NaN: not known) to ``moved``."""
    corners = boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2) @ matrix[:, :2].T.astype(np.float32) + matrix[
        :, 2
    ].astype(np.float32)
    out = np.concatenate([corners.min(1), corners.max(1)], 1)
    for i in np.flatnonzero(labelled.any(1)):
        # A rotated box grows; what surrounds the keypoints does not.
        hull = np.concatenate([np.nanmin(old[i], 0), np.nanmax(old[i], 0)])
        margin = (np.abs(boxes[i] - hull) * scale)[[2, 1, 0, 3] if flip else [0, 1, 2, 3]]
        inside = moved[i][labelled[i]]
        out[i] = np.concatenate([inside.min(0) - margin[:2], inside.max(0) + margin[2:]])
    return out


def view(
    rng: np.random.Generator,
    image: NDArray[np.uint8],
    people: tuple[F32, F32, F32, NDArray[np.bool_]],
    stage: Stage,
) -> Sample:
    """Map the picture into the stage's input by a random similarity.

    ``people``: boxes, keypoints, areas, ignored as in :class:`scene.Scene`. Who is cut to less than 15 % is ignored.
    """
    size = stage.size
    boxes, points, areas, ignored = (v.copy() for v in people)
    height, width = image.shape[:2]
    scale = float(np.exp(rng.uniform(np.log(stage.least), np.log(stage.most)))) * size / max(height, width)
    angle = float(np.clip(rng.normal(0, 7), -25, 25))
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), angle, scale)
    room = abs(1 - scale * max(height, width) / size) / 2 + 0.06
    matrix[:, 2] += size / 2 - np.array([width, height]) / 2 + rng.uniform(-room, room, 2) * size
    flip = rng.random() < 0.5
    if flip:
        matrix[0] = -matrix[0]
        matrix[0, 2] += size
    image = _warp(rng, image, matrix, scale, boxes, stage)
    if not len(boxes):
        return image, boxes, points, areas, ignored
    labelled = points[..., 2] > 0
    moved = points[..., :2] @ matrix[:, :2].T.astype(np.float32) + matrix[:, 2].astype(np.float32)
    if flip:
        moved, labelled = moved[:, list(FLIP)], labelled[:, list(FLIP)]
        points = points[:, list(FLIP)]
    old = np.where((points[..., 2] > 0)[..., None], points[..., :2], np.nan)
    out = _moved_boxes(boxes, old, moved, labelled, matrix, scale, flip)
    whole = (out[:, 2:] - out[:, :2]).prod(1)
    out = out.clip(0, size)
    kept = (out[:, 2:] - out[:, :2]).prod(1) / np.maximum(whole, 1e-6)
    seen = labelled & (moved >= 0).all(2) & (moved < size).all(2)
    points = np.concatenate([np.where(seen[..., None], moved, 0), (points[..., 2] * seen)[..., None]], 2).astype(
        np.float32
    )
    areas = areas * scale * scale * kept
    side = (out[:, 2:] - out[:, :2]).min(1)
    ignored = ignored | (seen.sum(1) < 3) | (kept < 0.15) | (np.sqrt(areas) < 7)
    points[ignored] = 0
    keep = side > 2
    return image, out[keep].astype(np.float32), points[keep], areas[keep].astype(np.float32), ignored[keep]


def recolour(rng: np.random.Generator, image: NDArray[np.uint8], calm: bool) -> NDArray[np.uint8]:
    """Colour, contrast, blur, noise, compression; ``calm``: for half of the pictures, the first two of them alone."""
    if calm and rng.random() < 0.5:
        gain = rng.uniform(0.8, 1.2) * rng.uniform(0.95, 1.05, 3)
        return np.clip(image * gain, 0, 255).astype(np.uint8)
    if rng.random() < 0.2:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.6))
    if rng.random() < 0.1:
        small = max(32, int(image.shape[0] * rng.uniform(0.35, 0.8)))
        image = cv2.resize(cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA), image.shape[1::-1])
    saturation = 0.0 if rng.random() < 0.1 else rng.uniform(0.3, 1.4)
    grey = np.float32([0.114, 0.587, 0.299])
    mix = saturation * np.eye(3, dtype=np.float32) + (1 - saturation) * grey[None]
    if rng.random() < 0.3:  # turn the hues: a random rotation about the grey axis
        a = rng.uniform(-np.pi, np.pi)
        c, s = np.cos(a), np.sin(a) / np.sqrt(3)
        turn = np.full((3, 3), (1 - c) / 3) + c * np.eye(3) + s * np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]])
        mix = mix @ turn.astype(np.float32)
    gain = rng.uniform(0.6, 1.4) * rng.uniform(0.88, 1.12, 3)
    mix = (mix * gain[:, None]).astype(np.float32)
    offset = np.full((3, 1), rng.uniform(-30, 30) + 127 * (1 - gain.mean()) * 0.7, np.float32)
    image = cv2.transform(image, np.concatenate([mix, offset], 1))
    if rng.random() < 0.3:
        gamma = np.exp(rng.uniform(-0.5, 0.5))
        image = cv2.LUT(image, (255 * (np.arange(256) / 255) ** gamma).astype(np.uint8))
    if rng.random() < 0.25:
        noise = rng.integers(-128, 128, image.shape, np.int8).astype(np.int16)
        image = np.clip(image + (noise * int(rng.integers(4, 40)) >> 8), 0, 255).astype(np.uint8)
    if rng.random() < 0.25:
        image = cv2.imdecode(
            cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 90))])[1], cv2.IMREAD_COLOR
        )
    return image


class PoolData(Dataset[Sample]):
    """Samples by :data:`Key`: the same key always gives the same sample. All of ``folders``, in their order."""

    def __init__(self, folders: list[Path], seed: int) -> None:
        self.seed = seed
        self.pictures: list[tuple[Path, int, int]] = []
        for folder in folders:
            shards = len(list(folder.glob("shard_*.npy")))
            if not shards:
                raise SystemExit(f"error: no pictures in {folder}; draw them with python -m tools.demo_model.pool")
            for number in range(shards):
                count = len(_shard(folder, number)[1]["start"]) - 1
                self.pictures += [(folder, number, i) for i in range(count)]

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, key: Key) -> Sample:
        epoch, picture, stage = key
        rng = np.random.default_rng([self.seed, epoch, picture])
        folder, number, index = self.pictures[picture]
        images, people = _shard(folder, number)
        a, b = people["start"][index : index + 2]
        mine = tuple(people[name][a:b] for name in ("boxes", "keypoints", "areas", "ignored"))
        image, boxes, points, areas, ignored = view(rng, images[index], mine, stage)
        return recolour(rng, image, stage.calm), boxes, points, areas, ignored


@functools.lru_cache(maxsize=256)
def _shard(folder: Path, number: int) -> tuple[NDArray[np.uint8], dict[str, NDArray]]:
    path = shard_path(folder, number)
    with np.load(path.with_suffix(".npz")) as data:
        people = {k: data[k] for k in data.files}
    return np.load(path, mmap_mode="r"), people


class Steps(Sampler[list[Key]]):
    """Batches from step ``first`` on, with a new permutation in every epoch.

    ``part``: which share of every batch, of how many.
    """

    def __init__(
        self, count: int, batch: int, first: int, last: int, seed: int, stages: Sequence[Stage], part: tuple[int, int]
    ) -> None:
        self.count, self.batch, self.first, self.last, self.seed, self.part = count, batch, first, last, seed, part
        self.stages = [stage for stage in stages for _ in range(stage.steps)]

    def __len__(self) -> int:
        return self.last - self.first

    def __iter__(self) -> Iterator[list[Key]]:
        per_epoch = self.count // self.batch
        order: NDArray[np.int64] | None = None
        current = -1
        for step in range(self.first, self.last):
            epoch, k = divmod(step, per_epoch)
            if epoch != current or order is None:
                order, current = np.random.default_rng([self.seed, epoch]).permutation(self.count), epoch
            chosen = order[k * self.batch : (k + 1) * self.batch][self.part[0] :: self.part[1]]
            yield [(epoch, int(i), self.stages[step]) for i in chosen]


def collate(samples: list[Sample]) -> tuple[Tensor, dict[str, Tensor]]:
    """Images N × 3 × H × W uint8 RGB and the targets of :func:`losses.pose_loss`."""
    images = torch.from_numpy(np.stack([s[0][..., ::-1] for s in samples])).permute(0, 3, 1, 2)
    boxes = np.concatenate([s[1] for s in samples])
    boxes = np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], 1)
    return images, {
        "picture": torch.from_numpy(np.repeat(np.arange(len(samples)), [len(s[1]) for s in samples])),
        "boxes": torch.from_numpy(boxes),
        "keypoints": torch.from_numpy(np.concatenate([s[2] for s in samples])),
        "areas": torch.from_numpy(np.concatenate([s[3] for s in samples])),
        "ignored": torch.from_numpy(np.concatenate([s[4] for s in samples])),
    }
