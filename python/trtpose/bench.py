# SPDX-License-Identifier: Apache-2.0
"""Timing of an engine, stage by stage."""

from __future__ import annotations

import contextlib
import os
import platform
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from . import _core
from ._checks import an_engine, callbacks, shown, whole
from ._machine import cpu_name, gpus, memory_used, usable_cores
from ._opencv import cv2, encode
from ._terminal import escaped
from .errors import InputError
from .sources import decode_picture

if TYPE_CHECKING:
    from .engine import Engine

__all__ = ["STAGES", "Vram", "bench", "machine", "synthetic_picture", "table"]

STAGES = ("letterbox", "network", "decode", "nms", "total")
"""Stages of one ``infer``, in order; ``total`` is the whole call."""

_BATCHES_A_CALL = 4
"""Batches given to one ``infer`` when throughput is measured: the upload of one overlaps the work of another."""


def synthetic_picture(height: int = 1080, width: int = 1920, *, seed: int = 1) -> bytes:
    """A JPEG of smooth shapes and noise, to time with where no photograph is given; the same for the same seed."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 40 + 1, width // 40 + 1, 3), dtype=np.uint8)
    picture = _enlarged(coarse, height, width).astype(np.int16)
    picture += rng.integers(-12, 13, picture.shape, dtype=np.int16)
    data = encode(".jpg", np.clip(picture, 0, 255).astype(np.uint8))
    assert data is not None
    return data


def _enlarged(picture: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    if cv2 is not None:
        return cv2.resize(picture, (width, height), interpolation=cv2.INTER_CUBIC)
    from PIL import Image

    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC))


def machine() -> dict[str, Any]:
    """What a figure depends on: processor, cores this process may use, system and versions."""
    info: dict[str, Any] = {
        "cpu": cpu_name(),
        "cores": os.cpu_count() or 1,
        "usable_cores": usable_cores(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "opencv": None if cv2 is None else cv2.__version__,
    }
    memory = _memory_total()
    if memory is not None:
        info["memory_bytes"] = memory
    return info


class Vram:
    """The memory in use on a GPU, watched by a thread of its own from :meth:`start` to :meth:`stop`.

    It is the whole GPU's as NVML tells it, every 2 ms: other processes count, and so do the CUDA context and the code
    of the libraries. What was in use before is therefore kept beside the peak.
    """

    def __init__(self, device: str = "auto") -> None:
        """``device`` as an engine takes it: ``auto``, ``cuda`` or ``cuda:N``."""
        number = device.partition(":")[2]
        index = int(number) if number.isdigit() else 0
        found = gpus()
        self._label = next((gpu.uuid for gpu in found.devices if gpu.index == index), "")
        self._problem = found.problem or ("" if self._label else f"there is no cuda:{index}")
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._before: int | None = None
        self._peak = 0

    def start(self) -> None:
        """Note what is in use and begin to watch; before the engine is opened, so that all of it is seen."""
        if not self._label:
            return
        with memory_used(self._label) as used:
            self._before = used()
        if self._before is None:
            self._problem = "the driver's management library (NVML) is missing or does not tell"
            return
        self._peak = self._before
        self._thread = threading.Thread(target=self._watch, name="trtpose-vram", daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        with memory_used(self._label) as used:
            while not self._ended.wait(0.002):
                now = used()
                if now is not None:
                    with self._lock:
                        self._peak = max(self._peak, now)

    def so_far(self) -> dict[str, Any]:
        """``peak_bytes``, ``before_bytes``, ``risen_bytes`` (their difference) and ``source``, or ``problem``."""
        if self._before is None:
            return {"problem": self._problem}
        with self._lock:
            peak = self._peak
        return {
            "peak_bytes": peak,
            "before_bytes": self._before,
            "risen_bytes": peak - self._before,
            "source": "NVML, memory in use on the whole GPU, sampled every 2 ms",
        }

    def stop(self) -> None:
        """End the thread."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def __enter__(self) -> Vram:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def bench(
    engine: Engine,
    pictures: Sequence[bytes] | None = None,
    *,
    runs: int = 50,
    warmup: int = 5,
    streams: int = 1,
    vram: Vram | None = None,
    staged: Callable[[], Engine] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Time an engine on full batches.

    Decoding the picture files is timed apart: in a run it overlaps with the network.

    Args:
        engine: the model; its batch size is used.
        pictures: picture files in memory, taken in turn; without them one synthetic 1080p picture.
        runs: timed calls, at least 1.
        warmup: calls before them that are not timed.
        streams: the throughput is also measured with this many clones of the engine at work at the same time.
        vram: started before the engine was opened; its peak is part of the result.
        staged: opens the same engine with ``stage_times``, which clocks decode and NMS apart and costs a little; on a
            GPU the stages, but not the total, are taken from it. Called when all else is measured.
        progress: called with the number of calls done and their total.

    Returns:
        ``model``, ``device``, ``backend``, ``precision``, ``imgsz`` (height, width), ``batch``, ``frames`` ([height,
        width] of each picture), ``poses`` (mean per frame), ``runs``, ``warmup``; ``stages`` with ``median_ms``,
        ``p99_ms`` and ``mean_ms`` per call for ``file`` (one picture) and each of :data:`STAGES`; ``throughput_fps``
        (frames per second of ``infer`` alone); ``memory`` with ``peak_rss_bytes`` (of the whole process),
        ``peak_rss_since`` (``timing``, or ``start`` of the process where the system keeps no other) and ``planned``
        (bytes the engine planned); ``machine``.

        On a GPU, and with ``streams`` above 1, also ``throughput``: for 1 stream and for ``streams`` the frames per
        second where each call is given several batches. On a GPU also ``network``: the network alone in a session of
        its own, without letterbox, decode and NMS, with ``single`` (host's clock), ``device`` (GPU's clock), ``graph``
        (as a CUDA graph) like the stages, and ``back_to_back_ms`` and ``graph_back_to_back_ms`` where the runs are not
        waited for one by one; ``ratios`` of the whole to the network alone: ``total_to_network`` and
        ``total_to_graph`` of the medians, ``throughput_to_network`` of frames per second; ``memory`` has
        ``vram`` (see :meth:`Vram.so_far`).

    Raises:
        InputError: a picture cannot be decoded, or ``runs`` or ``streams`` is less than 1.
    """
    _check_arguments(engine, runs, warmup, streams, progress)
    files = _files(pictures) if pictures is not None else [synthetic_picture()]
    frames = [decode_picture(data, name=f"picture {i}") for i, data in enumerate(files)]
    size = max(engine.batch, 1)
    calls = _time_calls(engine, files, frames, size, runs, warmup, progress)
    result = _describe(engine, frames, size, runs, warmup, calls)
    on_gpu = engine.device.startswith("cuda")
    if on_gpu or streams > 1:
        result["throughput"] = [_throughput(engine, frames, size, runs, count) for count in sorted({1, streams})]
    if on_gpu:
        _add_gpu(result, engine, vram)
        _add_network(result, engine, runs, warmup)
        if staged is not None:
            result["stages"].update(_stages(staged(), frames, size, runs, warmup))
    return result


def _files(pictures: Any) -> list[bytes]:
    if isinstance(pictures, (str, bytes)) or not isinstance(pictures, Sequence) or not pictures:
        raise InputError(f"pictures is {shown(pictures)}, no picture to time with; give a list of files' bytes")
    return list(cast("Sequence[bytes]", pictures))


def _check_arguments(engine: Any, runs: Any, warmup: Any, streams: Any, progress: Any) -> None:
    an_engine(engine)
    for name, value, least in (("runs", runs, 1), ("warmup", warmup, 0), ("streams", streams, 1)):
        whole(value, name, least)
    callbacks(progress=progress)


def _add_gpu(result: dict[str, Any], engine: Engine, vram: Vram | None) -> None:
    """Before the network alone is opened, which takes a second copy of its weights."""
    result["memory"]["vram"] = vram.so_far() if vram is not None else {"problem": "was not watched"}
    result["machine"]["gpu"] = _gpu(engine)
    result["machine"]["versions"] = _versions(engine)


@dataclass
class _Calls:
    """Timed calls: ms of each by stage, how many poses were found in all, and whose peak the memory's is."""

    times: dict[str, list[float]]
    poses: int = 0
    peak_is_ours: bool = False


def _time_calls(
    engine: Engine,
    files: Sequence[bytes],
    frames: Sequence[NDArray[np.uint8]],
    size: int,
    runs: int,
    warmup: int,
    progress: Callable[[int, int], None] | None,
) -> _Calls:
    result = _Calls({name: [] for name in ("file", *STAGES)})
    total = warmup + runs
    for call in range(total):
        timed = call >= warmup
        if call == warmup:
            result.peak_is_ours = _reset_peak_rss()
        start = time.perf_counter()
        decode_picture(files[call % len(files)])
        file_ms = (time.perf_counter() - start) * 1e3
        batch = [frames[(call * size + slot) % len(frames)] for slot in range(size)]
        start = time.perf_counter()
        found = engine.infer(batch)
        total_ms = (time.perf_counter() - start) * 1e3
        if timed:
            stages = dict(engine.timings)
            result.times["file"].append(file_ms)
            for name in STAGES[:-1]:
                if name in stages:
                    result.times[name].append(float(stages[name]))
            # The caller's clock, so that what the bindings add is part of the total.
            result.times["total"].append(total_ms)
            result.poses += sum(len(poses) for poses in found)
        if progress is not None:
            progress(call + 1, total)
    return result


def _describe(
    engine: Engine, frames: Sequence[NDArray[np.uint8]], size: int, runs: int, warmup: int, calls: _Calls
) -> dict[str, Any]:
    return {
        "model": str(engine.model),
        "device": engine.device,
        "backend": engine.backend,
        "precision": engine.precision,
        "imgsz": list(engine.imgsz),
        "batch": size,
        "frames": [list(frame.shape[:2]) for frame in frames],
        "poses": round(calls.poses / (runs * size), 3),
        "runs": runs,
        "warmup": warmup,
        "stages": {name: _summary(values) for name, values in calls.times.items() if values},
        "throughput_fps": round(1e3 * size * runs / sum(calls.times["total"]), 3),
        "memory": {
            "peak_rss_bytes": _peak_rss(),
            "peak_rss_since": "timing" if calls.peak_is_ours else "start",
            "planned": {name: int(value) for name, value in dict(engine.memory).items()},
        },
        "machine": machine(),
    }


def _stages(
    engine: Engine, frames: Sequence[NDArray[np.uint8]], size: int, runs: int, warmup: int
) -> dict[str, dict[str, float]]:
    """What each stage takes, by an engine that clocks them."""
    times: dict[str, list[float]] = {name: [] for name in STAGES[:-1]}
    for call in range(warmup + runs):
        engine.infer([frames[(call * size + slot) % len(frames)] for slot in range(size)])
        if call >= warmup:
            for name, value in engine.timings.items():
                if name in times:
                    times[name].append(float(value))
    return {name: _summary(values) for name, values in times.items() if values}


def _throughput(
    engine: Engine, frames: Sequence[NDArray[np.uint8]], size: int, runs: int, streams: int
) -> dict[str, Any]:
    """Frames per second of ``streams`` engines on the same weights, several batches a call."""
    count = size * _BATCHES_A_CALL
    batch = [frames[i % len(frames)] for i in range(count)]
    calls = max(1, runs // _BATCHES_A_CALL)
    engines = [engine, *(engine.clone() for _ in range(streams - 1))]
    for one in engines:
        one.infer(batch)
    failures: list[BaseException] = []
    together = threading.Barrier(streams + 1)

    def work(one: Engine) -> None:
        try:
            together.wait()
            for _ in range(calls):
                one.infer(batch)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(one,), daemon=True) for one in engines]
    for thread in threads:
        thread.start()
    together.wait()
    start = time.perf_counter()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - start
    if failures:
        raise failures[0]
    return {
        "streams": streams,
        "frames_per_call": count,
        "calls": calls * streams,
        "fps": round(count * calls * streams / seconds, 3),
    }


def _add_network(result: dict[str, Any], engine: Engine, runs: int, warmup: int) -> None:
    """The network alone, and the whole against it."""
    size = int(result["batch"])
    # At least 2, so that the first run of a shape, which compiles and allocates, is never timed.
    times = _core.time_network(
        path=str(engine.model),
        device=engine.device,
        precision="auto",
        threads=0,
        batch=size,
        imgsz=engine.imgsz,
        runs=runs,
        warmup=max(warmup, 2),
    )
    network: dict[str, Any] = {name: _summary(times[name]) for name in ("single", "device", "graph") if times[name]}
    for name in ("back_to_back", "graph_back_to_back"):
        if times[name]:
            network[f"{name}_ms"] = round(float(times[name]), 4)
    result["network"] = network
    total = result["stages"]["total"]["median_ms"]
    ratios: dict[str, float] = {"total_to_network": round(total / network["single"]["median_ms"], 4)}
    if "graph" in network:
        ratios["total_to_graph"] = round(total / network["graph"]["median_ms"], 4)
    fastest = min(network[name] for name in ("back_to_back_ms", "graph_back_to_back_ms") if name in network)
    best = max(entry["fps"] for entry in result["throughput"])
    ratios["throughput_to_network"] = round(best * fastest / (1e3 * size), 4)
    result["ratios"] = ratios


def _gpu(engine: Engine) -> dict[str, Any]:
    found = gpus()
    index = int(engine.device.partition(":")[2] or 0)
    for gpu in found.devices:
        if gpu.index == index:
            return {
                "name": gpu.name,
                "compute_capability": gpu.compute_capability,
                "memory_bytes": gpu.memory_total,
                "driver": found.driver,
                "driver_cuda": found.cuda,
            }
    return {"name": engine.device, "problem": found.problem}


def _versions(engine: Engine) -> dict[str, str]:
    built = _core.cuda_version()
    return {
        "trtpose": _core.version(),
        engine.backend: engine.backend_version,
        "cuda": f"{built // 1000}.{built % 1000 // 10}",
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
    if "vram" in memory:
        vram = memory["vram"]
        if "problem" in vram:
            lines.append(f"memory of the GPU not measured: {vram['problem']}")
        else:
            lines.append(
                f"peak memory of the GPU {_mib(vram['peak_bytes'])}, {_mib(vram['risen_bytes'])} more than before "
                f"({vram['source']})"
            )
    for entry in result.get("throughput", ()):
        lines.append(
            f"{entry['streams']} stream(s), {entry['frames_per_call']} frames a call: {entry['fps']:.1f} frames/s"
        )
    lines += _network_lines(result)
    return "\n".join(escaped(line) for line in lines)


def _network_lines(result: dict[str, Any]) -> list[str]:
    network = result.get("network")
    if not network:
        return []
    lines = ["", f"{'network alone':<22} {'median ms':>10} {'p99 ms':>10}"]
    for key, text in (("single", "one by one"), ("device", "by the GPU's clock"), ("graph", "as a graph")):
        if key in network:
            lines.append(f"{text:<22} {network[key]['median_ms']:>10.3f} {network[key]['p99_ms']:>10.3f}")
    for key, text in (("back_to_back_ms", "back to back"), ("graph_back_to_back_ms", "graphs back to back")):
        if key in network:
            lines.append(f"{text:<22} {network[key]:>10.3f}")
    ratios = result["ratios"]
    words = {
        "total_to_network": "whole to network",
        "total_to_graph": "whole to network as a graph",
        "throughput_to_network": "throughput to network's",
    }
    lines.append(", ".join(f"{words[key]} {value:.3f}" for key, value in ratios.items()))
    return lines


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
