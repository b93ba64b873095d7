# SPDX-License-Identifier: Apache-2.0
"""Histograms of what a network computes on the calibration pictures, kept for the next run."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .. import _files
from .._run import one_run
from ..errors import InputError
from ..spec import ModelSpec
from . import ranges
from .pictures import Pictures, open_pictures
from .placement import place
from .source import Progress, Say, Source, no_progress, open_source, silent

__all__ = ["calibrate", "histograms"]

_CACHE_VERSION = 1


@one_run
def calibrate(
    model: str | Path,
    calib: str | Path,
    *,
    count: int | None = None,
    imgsz: Any = None,
    batch: int = 1,
    spec: ModelSpec | Mapping[str, Any] | str | Path | None = None,
    cache: bool | str | Path = True,
    report: Say | None = None,
    progress: Progress | None = None,
    on_error: Callable[[InputError], None] | None = None,
) -> dict[str, ranges.Histogram]:
    """Histograms of the tensors that :func:`quantize` gives a scale, by name; arguments and errors as there."""
    source = open_source(model, spec, imgsz)
    pictures = open_pictures(calib, source.spec, source.size, count=count, on_error=on_error)
    found, _ = histograms(source, pictures, batch, cache, report or silent, progress or no_progress)
    return found


def _cache_file(source: Source, pictures: Pictures, cache: bool | str | Path) -> Path | None:
    if cache is False:
        return None
    folder = _files.cache_folder() / "calibration" if cache is True else Path(cache)
    key = {
        "version": _CACHE_VERSION,
        "model": source.digest,
        "pictures": pictures.digests,
        "size": source.size,
        "letterbox": [
            *(source.spec.color, source.spec.mean, source.spec.std, source.spec.pad),
            *(source.spec.placement, source.spec.rounding, source.spec.sizing),
        ],
    }
    name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]
    return folder / f"{name}.npz"


def histograms(
    source: Source, pictures: Pictures, batch: int, cache: bool | str | Path, say: Say, progress: Progress
) -> tuple[dict[str, ranges.Histogram], bool]:
    """Histograms, and whether they came from the cache."""
    wanted = list(place(source.graph).scales)
    file = _cache_file(source, pictures, cache)
    if file is not None and file.is_file():
        try:
            # np.load leaves a file it opened itself open where it is damaged.
            with file.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
                found = ranges.unpack(stored)
            if found.keys() == set(wanted):
                say(f"ranges from an earlier run: {file}")
                return found, True
        except Exception:  # damaged, whatever zipfile, zlib or NumPy call it: made again and overwritten
            say(f"{file} is damaged and is made again")
    began = time.monotonic()
    found = ranges.collect(
        source.graph,
        wanted,
        pictures,
        str(source.path),
        batch=batch,
        progress=lambda done, total: progress("calibrating", done, total),
    )
    say(f"calibrated on {len(pictures)} pictures in {time.monotonic() - began:.0f} s")
    if file is not None:
        _store(file, found, say)
    return found, False


def _store(file: Path, found: Mapping[str, ranges.Histogram], say: Say) -> None:
    try:
        _files.make_folder(file.parent)
        with _files.atomic_path(file) as temporary, temporary.open("wb") as stream:
            np.savez_compressed(stream, **ranges.pack(found))  # pyright: ignore[reportArgumentType]
    except (InputError, OSError) as error:
        # Work that is done must not be lost because it cannot be kept.
        say(f"the ranges could not be kept for the next run ({error})")
