#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Use engines for a long time, and see that memory stays and that every thread finds the same.

    python tools/soak.py [MODEL] [--inferences 200000] [--engines 2000] [--json FILE]

Three parts, by default on a small network that is made here (which needs the package onnx):

- threads: 4 threads on one engine, and 4 on clones of it, find what one thread found before, in every bit;
- inferences: single frames, lists, letterboxed inputs and results left on the device, by turns; of the resident memory
  after a warm-up at most 1 MB more for every 100,000 inferences, or 1 MB in a shorter run;
- engines: opened, used once, cloned and closed; at most 1 MB more for every 100, or 1 MB.

Exit status 1 where anything grows beyond that or differs.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import trtpose

ROOT = Path(__file__).resolve().parents[1]
MB = 1_000_000
THREADS = 4
INFERENCES_PER_MB = 100_000
ENGINES_PER_MB = 100


def resident() -> int:
    """Bytes of this process in memory, without what the allocator holds back."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def growth(work: Callable[[int], Any], times: int) -> int:
    """Bytes that ``times`` calls of ``work`` leave behind, after a tenth as many to warm up."""
    for number in range(max(times // 10, 20)):
        work(number)
    before = resident()
    for number in range(times):
        work(number)
    return resident() - before


def allowed(times: int, per_mb: int) -> int:
    return max(MB, MB * times // per_mb)


def bits(found: Sequence[trtpose.Poses]) -> list[bytes]:
    return [b"".join(a.tobytes() for a in (p.boxes, p.scores, p.class_ids, p.keypoints)) for p in found]


def frames(count: int) -> list[Any]:
    random = np.random.default_rng(7)
    sizes = random.integers(40, 300, (count, 2))
    return [random.integers(0, 256, (height, width, 3), np.uint8) for height, width in sizes]


def differing(engines: Sequence[trtpose.Engine], pictures: Sequence[Any], rounds: int) -> int:
    """Frames of which a thread on its engine finds another thing than the first engine alone did."""
    expected = bits([engines[0].infer([picture])[0] for picture in pictures])
    wrong: list[int] = []

    def work(number: int, engine: trtpose.Engine) -> None:
        random = np.random.default_rng(number)
        for _ in range(rounds):
            order = random.permutation(len(pictures))
            cut = int(random.integers(1, 4))
            for begin in range(0, len(order), cut):
                part = order[begin : begin + cut]
                for index, found in zip(part, bits(engine.infer([pictures[i] for i in part])), strict=True):
                    if found != expected[index]:
                        wrong.append(index)

    threads = [threading.Thread(target=work, args=one) for one in enumerate(engines)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(wrong)


def small_network(folder: Path) -> Path:
    sys.path.insert(0, str(ROOT / "tests" / "python"))
    import onnx_models

    metadata = {"trtpose": json.dumps(onnx_models.spec_fields("heads"))}
    return onnx_models.write_model(folder / "small.onnx", metadata=metadata)


def one_inference(engine: trtpose.Engine, pictures: Sequence[Any]) -> Callable[[int], Any]:
    box = trtpose.letterbox(pictures[0], engine.imgsz)[None]
    kinds: tuple[Callable[[Any], Any], ...] = (
        lambda picture: engine.infer(picture),
        lambda picture: engine.infer(picture, conf=0.1),
        lambda picture: engine.infer([picture]),
        lambda _: engine.infer(box),
        lambda picture: engine.infer(picture, output="device").synchronize(),
    )
    return lambda number: kinds[number % len(kinds)](pictures[number % len(pictures)])


def one_engine(model: Path, picture: Any) -> Callable[[int], Any]:
    def work(_: int) -> None:
        engine = trtpose.Engine(model)
        engine.clone().infer(engine.infer(picture) and picture)

    return work


def soak(model: Path, inferences: int, engines: int) -> dict[str, Any]:
    pictures = frames(24)
    engine = trtpose.Engine(model, streams=THREADS, batch=2)
    rounds = max(inferences // 20_000, 1)
    shared = differing([engine] * THREADS, pictures, rounds)
    clones = differing([engine, *(engine.clone() for _ in range(THREADS - 1))], pictures, rounds)
    print(
        f"threads: {rounds * THREADS * len(pictures)} frames each; differing on a shared engine {shared}, "
        f"on clones {clones}",
        flush=True,
    )
    result: dict[str, Any] = {"model": model.name, "differing_shared": shared, "differing_clones": clones}
    for name, work, times, per_mb in (
        ("inferences", one_inference(engine, pictures), inferences, INFERENCES_PER_MB),
        ("engines", one_engine(model, pictures[0]), engines, ENGINES_PER_MB),
    ):
        began = time.monotonic()
        grown = growth(work, times)
        seconds = time.monotonic() - began
        limit = allowed(times, per_mb)
        print(f"{name}: {times} in {seconds:.0f} s, {grown / MB:+.3f} MB, allowed {limit / MB:.1f}", flush=True)
        result[name] = {"times": times, "bytes": grown, "allowed": limit, "seconds": round(seconds, 1)}
    return result


def passed(result: dict[str, Any]) -> bool:
    """Whether nothing differed and nothing grew beyond what is allowed."""
    grown = [result[name] for name in ("inferences", "engines")]
    return (
        not result["differing_shared"]
        and not result["differing_clones"]
        and all(one["bytes"] <= one["allowed"] for one in grown)
    )


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", nargs="?", type=Path, help="an ONNX model (default: a small one that is made)")
    parser.add_argument("--inferences", type=int, default=200_000, metavar="N")
    parser.add_argument("--engines", type=int, default=2_000, metavar="N")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="trtpose-") as folder:
        result = soak(args.model or small_network(Path(folder)), args.inferences, args.engines)
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n")
    print("passed" if passed(result) else "failed: something differs, or memory grows")
    return 0 if passed(result) else 1


if __name__ == "__main__":
    sys.exit(main())
