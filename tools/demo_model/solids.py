# SPDX-License-Identifier: Apache-2.0
"""Shaded round solids with a depth buffer, and what is painted on them.

Axes: x to the right and y down as in the picture, z away from the viewer; lengths in pixels, colours RGB 0..255.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
TILE = 64
"""Side of a pattern of cloth, in its pixels."""


def smooth_noise(rng: np.random.Generator, size: int, octaves: int = 4, base: int = 4) -> F32:
    """Periodic value noise of ``size`` × ``size`` in 0..1."""
    total = np.zeros((size, size), np.float32)
    weight = 1.0
    for octave in range(octaves):
        cells = min(size, base << octave)
        grid = rng.random((cells, cells), np.float32)
        pos = np.arange(size, dtype=np.float32) * cells / size
        i = pos.astype(int)
        f = pos - i
        f = f * f * (3 - 2 * f)
        j = (i + 1) % cells
        rows = grid[i] * (1 - f)[:, None] + grid[j] * f[:, None]
        total += weight * (rows[:, i] * (1 - f) + rows[:, j] * f)
        weight *= 0.55
    total -= total.min()
    return total / max(float(total.max()), 1e-6)


def cloth_tiles() -> list[F32]:
    """Patterns of two colours, 0..1, indexed along and across a limb."""
    rng = np.random.default_rng(7)
    y, x = np.mgrid[0:TILE, 0:TILE].astype(np.float32)
    tiles: list[F32] = [np.zeros((TILE, TILE), np.float32)]
    for period in (8, 16, 32):
        tiles.append((y % period < period / 2).astype(np.float32))
        tiles.append((x % period < period / 2).astype(np.float32))
        tiles.append((y % period < period / 6).astype(np.float32))
        tiles.append(((x % period < period / 2) * 0.5 + (y % period < period / 2) * 0.5).astype(np.float32))
        tiles.append(((x + y) % period < period / 2).astype(np.float32))
        tiles.append(
            (((x % period - period / 2) ** 2 + (y % period - period / 2) ** 2) < (period / 3.5) ** 2).astype(np.float32)
        )
    for _ in range(6):
        noise = smooth_noise(rng, TILE, 3, 4)
        tiles.append((noise > np.median(noise)).astype(np.float32))
        tiles.append(noise)
    for _ in range(8):  # bands and blocks, as on sports clothes
        tile = np.zeros((TILE, TILE), np.float32)
        for _ in range(int(rng.integers(1, 4))):
            a, b = sorted(rng.integers(0, TILE, 2))
            if rng.random() < 0.6:
                tile[a:b] = rng.random()
            else:
                tile[:, a:b] = rng.random()
        tiles.append(tile)
    return tiles


TILES = cloth_tiles()
FOLDS = [smooth_noise(np.random.default_rng(100 + i), TILE, 4, 3) - 0.5 for i in range(8)]


@dataclass
class Paint:
    """Colour of a solid: ``first`` and ``second`` mixed by a tile; from ``change`` on along the axis, ``after``."""

    first: F32
    second: F32
    tile: F32
    fold: F32
    fold_depth: float = 0.25
    repeat: float = 1.0
    shine: float = 0.0
    change: float = 2.0
    after: F32 | None = None

    def on(
        self, t: F32, across: F32, slenderness: float, normal: tuple[F32, F32, F32], light: F32, ambient: float
    ) -> tuple[F32, F32, F32]:
        """Colour before the light, light, and shade of points at ``t`` (0..1) along and ``across`` (-1..1) a solid."""
        nx, ny, nz = normal
        row = (t * slenderness * 10 * self.repeat).astype(np.int32) % TILE
        col = ((across + 1) * 0.5 * (TILE - 1) * self.repeat).astype(np.int32) % TILE
        lit = nx * light[0] + ny * light[1] + nz * light[2]
        lit += self.fold_depth * self.fold[row, col]
        shade = ambient + (1 - ambient) * np.maximum(lit, 0)
        shade *= 0.72 + 0.28 * nz
        mix = self.tile[row, col][:, None]
        color = self.first + (self.second - self.first) * mix
        if self.after is not None:
            color = np.where((t > self.change)[:, None], self.after, color)
        return color, lit, shade


class Layer:
    """One person's pixels: colour (RGB 0..255), depth (infinite where empty)."""

    def __init__(self, height: int, width: int) -> None:
        self.color = np.zeros((height, width, 3), np.float32)
        self.depth = np.full((height, width), np.inf, np.float32)
        self.box = [width, height, 0, 0]

    def solid(
        self,
        a: F32,
        b: F32,
        profile: F32,
        paint: Paint,
        light: F32,
        ambient: float,
        head: tuple[F32, Head, F32] | None = None,
    ) -> None:
        """Draw a round solid about the axis a-b (x, y, z in pixels); ``profile`` holds radii at even steps along it.

        ``head``: rotation, description and centre of the head that is painted on it by direction.
        """
        height, width = self.depth.shape
        reach = float(profile.max()) + 1
        x0, x1 = int(max(0, min(a[0], b[0]) - reach)), int(min(width, max(a[0], b[0]) + reach + 1))
        y0, y1 = int(max(0, min(a[1], b[1]) - reach)), int(min(height, max(a[1], b[1]) + reach + 1))
        if x0 >= x1 or y0 >= y1:
            return
        x = np.arange(x0, x1, dtype=np.float32) + (0.5 - a[0])
        y = (np.arange(y0, y1, dtype=np.float32) + (0.5 - a[1]))[:, None]
        dx, dy = float(b[0] - a[0]), float(b[1] - a[1])
        square = dx * dx + dy * dy + 1e-3
        t = np.clip((x * dx + y * dy) / square, 0, 1)
        ex, ey = x - t * dx, y - t * dy
        steps = len(profile) - 1
        if steps > 1:
            r = np.interp(t, np.linspace(0, 1, steps + 1, dtype=np.float32), profile).astype(np.float32)
        else:
            r = profile[0] + (profile[1] - profile[0]) * t
        u2 = (ex * ex + ey * ey) / (r * r)
        depth = self.depth[y0:y1, x0:x1]
        inside = u2 < 1
        nz = np.sqrt(np.maximum(1 - u2, 0))
        z = a[2] + (b[2] - a[2]) * t - r * nz
        inside &= z < depth
        k = np.nonzero(inside)
        if not len(k[0]):
            return
        t, r, nz, z = t[k], r[k], nz[k], z[k]
        normal = ex[k] / r, ey[k] / r, nz
        length = np.sqrt(square)
        across = (normal[1] * dx - normal[0] * dy) / length
        color, lit, shade = paint.on(t, across, length / max(float(profile.mean()), 1.0), normal, light, ambient)
        if head is not None:
            rows, cols = k
            out = np.stack([cols + (x0 + 0.5 - head[2][0]), rows + (y0 + 0.5 - head[2][1]), z - head[2][2]], 1).astype(
                np.float32
            )
            out /= np.sqrt((out * out).sum(1, keepdims=True)) + 1e-6
            color = head[1].paint(out @ head[0], color)
        color = color * shade[:, None]
        if paint.shine:
            color += 255 * paint.shine * np.maximum(lit, 0)[:, None] ** 8
        rows, cols = k[0] + y0, k[1] + x0
        self.color[rows, cols] = color
        self.depth[rows, cols] = z
        self.grow(x0, y0, x1, y1)

    def grow(self, x0: int, y0: int, x1: int, y1: int) -> None:
        self.box = [min(self.box[0], x0), min(self.box[1], y0), max(self.box[2], x1), max(self.box[3], y1)]


@dataclass
class Head:
    """What is painted on the head, by direction in the head's own axes (front is -z, up is -y)."""

    hair: F32
    hairline: float
    back: float
    bald: bool
    hat: F32 | None
    beard: F32 | None
    glasses: F32 | None

    def paint(self, n: F32, color: F32) -> F32:
        up, front, side = -n[:, 1], -n[:, 2], np.abs(n[:, 0])
        if self.beard is not None:
            color = np.where(
                ((up < -0.35) & (front > -0.1) & ~((up > -0.55) & (side < 0.2)))[:, None], self.beard, color
            )
        eyes = (np.abs(up - 0.1) < 0.09) & (np.abs(side - 0.40) < 0.13) & (front > 0)
        color = np.where(
            (eyes & (side < 0.46) & (side > 0.33))[:, None],
            np.float32([30, 24, 22]),
            np.where(eyes[:, None], color * 0.55 + 90, color),
        )
        brow = (np.abs(up - 0.27) < 0.045) & (np.abs(side - 0.40) < 0.17) & (front > 0)
        color = np.where(brow[:, None], self.hair * 0.8, color)
        mouth = (np.abs(up + 0.45) < 0.05) & (side < 0.24) & (front > 0)
        color = np.where(mouth[:, None], color * np.float32([0.75, 0.45, 0.45]), color)
        if self.glasses is not None:
            band = (np.abs(up - 0.1) < 0.15) & (front > -0.2)
            color = np.where(band[:, None], self.glasses, color)
        if not self.bald:
            hair = (up > self.hairline + 0.25 * front) | ((front < self.back) & (up > -0.55))
            color = np.where(hair[:, None], self.hair, color)
        if self.hat is not None:
            color = np.where((up > 0.36 + 0.1 * front)[:, None], self.hat, color)
        return color
