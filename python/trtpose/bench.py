# SPDX-License-Identifier: Apache-2.0
"""Timing of an engine, stage by stage."""

from __future__ import annotations

import contextlib
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ._machine import cpu_name, usable_cores
from .errors import InputError
from .sources import decode_picture

if TYPE_CHECKING:
    from .engine import Engine

__all__ = ["STAGES", "bench", "machine", "synthetic_picture", "table"]

STAGES = ("letterbox", "network", "decode", "nms", "total")
"""Stages of one ``infer``, in order; ``total`` is the whole call."""


def synthetic_picture(height: int = 1080, width: int = 1920, *, seed: int = 1) -> bytes:
    """A JPEG of smooth shapes and noise, to time with where no photograph is given; the same for the same seed."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 40 + 1, width // 40 + 1, 3), dtype=np.uint8)
    picture = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.int16)
    picture += rng.integers(-12, 13, picture.shape, dtype=np.int16)
    good, data = cv2.imencode(".jpg", np.clip(picture, 0, 255).astype(np.uint8))
    assert good
    return data.tobytes()


def machine() -> dict[str, Any]:
    """What a figure depends on: processor, cores this process may use, system and versions."""
    info: dict[str, Any] = {
        "cpu": cpu_name(),
        "cores": os.cpu_count() or 1,
        "usable_cores": usable_cores(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "opencv": cv2.__version__,
    }
    memory = _memory_total()
    if memory is not None:
        info["memory_bytes"] = memory
    return info


def bench(
    engine: Engine,
    pictures: Sequence[bytes] | None = None,
    *,
    runs: int = 50,
    warmup: int = 5,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Time an engine on full batches.

    Decoding the picture files is timed apart: in a run it overlaps with the network.

    Args:
        engine: the model; its batch size is used.
        pictures: picture files in memory, taken in turn; without them one synthetic 1080p picture.
        runs: timed calls, at least 1.
        warmup: calls before them that are not timed.
        progress: called with the number of calls done and their total.

    Returns:
        ``model``, ``device``, ``backend``, ``precision``, ``imgsz`` (height, width), ``batch``, ``frames`` ([height,
        width] of each picture), ``poses`` (mean per frame), ``runs``, ``warmup``; ``stages`` with ``median_ms``,
        ``p99_ms`` and ``mean_ms`` per call for ``file`` (one picture) and each of :data:`STAGES`; ``throughput_fps``
        (frames per second of ``infer`` alone); ``memory`` with ``peak_rss_bytes`` (of the whole process),
        ``peak_rss_since`` (``timing``, or ``start`` of the process where the system keeps no other) and ``planned``
        (bytes the engine planned); ``machine``.

    Raises:
        InputError: a picture cannot be decoded, or ``runs`` is less than 1.
    """
    if runs < 1 or warmup < 0:
        raise InputError(f"runs is {runs} and warmup {warmup}; expected at least 1 and 0")
    files = list(pictures) if pictures is not None else [synthetic_picture()]
    if not files:
        raise InputError("no picture to time with; give at least one")
    frames: list[NDArray[np.uint8]] = [decode_picture(data, name=f"picture {i}") for i, data in enumerate(files)]
    size = max(engine.batch, 1)
    total = warmup + runs
    times: dict[str, list[float]] = {name: [] for name in ("file", *STAGES)}
    people = 0
    peak_is_ours = False
    for call in range(total):
        timed = call >= warmup
        if call == warmup:
            peak_is_ours = _reset_peak_rss()
        start = time.perf_counter()
        decode_picture(files[call % len(files)])
        file_ms = (time.perf_counter() - start) * 1e3
        batch = [frames[(call * size + slot) % len(frames)] for slot in range(size)]
        start = time.perf_counter()
        found = engine.infer(batch)
        total_ms = (time.perf_counter() - start) * 1e3
        if timed:
            stages = dict(engine.timings)
            times["file"].append(file_ms)
            for name in STAGES[:-1]:
                if name in stages:
                    times[name].append(float(stages[name]))
            # The caller's clock, so that what the bindings add is part of the total.
            times["total"].append(total_ms)
            people += sum(len(poses) for poses in found)
        if progress is not None:
            progress(call + 1, total)
    return {
        "model": str(engine.model),
        "device": engine.device,
        "backend": engine.backend,
        "precision": engine.precision,
        "imgsz": list(engine.imgsz),
        "batch": size,
        "frames": [list(frame.shape[:2]) for frame in frames],
        "poses": round(people / (runs * size), 3),
        "runs": runs,
        "warmup": warmup,
        "stages": {name: _summary(values) for name, values in times.items() if values},
        "throughput_fps": round(1e3 * size * runs / sum(times["total"]), 3),
        "memory": {
            "peak_rss_bytes": _peak_rss(),
            "peak_rss_since": "timing" if peak_is_ours else "start",
            "planned": {name: int(value) for name, value in dict(engine.memory).items()},
        },
        "machine": machine(),
    }


def table(result: dict[str, Any]) -> str:
    """A result of :func:`bench` as text for people."""
    lines = [
        f"{result['model']}: {result['backend']} on {result['device']}, {result['precision']}, "
        f"{result['imgsz'][0]}x{result['imgsz'][1]} (height x width), batch {result['batch']}",
        f"{result['machine']['cpu']}, {result['machine']['usable_cores']} of {result['machine']['cores']} cores",
        "",
        f"{'stage':<10} {'median ms':>10} {'p99 ms':>10}",
    ]
    for name, values in result["stages"].items():
        note = "  (one picture file, apart)" if name == "file" else ""
        lines.append(f"{name:<10} {values['median_ms']:>10.3f} {values['p99_ms']:>10.3f}{note}")
    memory = result["memory"]
    lines += ["", f"throughput {result['throughput_fps']:.1f} frames/s, {result['poses']:.1f} poses per frame"]
    if memory["peak_rss_bytes"]:
        when = "while timed" if memory["peak_rss_since"] == "timing" else "since its start"
        lines.append(f"peak memory of the process {when} {_mib(memory['peak_rss_bytes'])}")
    if memory["planned"]:
        lines.append("planned memory " + ", ".join(f"{name} {_mib(n)}" for name, n in memory["planned"].items()))
    return "\n".join(lines)


def _mib(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"


def _summary(values: list[float]) -> dict[str, float]:
    array = np.asarray(values)
    return {
        "median_ms": round(float(np.median(array)), 4),
        "p99_ms": round(float(np.percentile(array, 99)), 4),
        "mean_ms": round(float(array.mean()), 4),
    }


def _memory_total() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def _reset_peak_rss() -> bool:
    """Make the kernel forget the peak so far (Linux); whether it did."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _peak_rss() -> int | None:
    """Peak resident memory of this process in bytes."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
