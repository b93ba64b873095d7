#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""``trtpose.ray.infer_files`` with one and two actors beside one ``trtpose infer --jsonl``, and what a picture costs.

    python benchmarks/on_ray.py [--model FILE.onnx] [--pictures 1000] [--batch 8] [--rounds 3] [--json FILE]

Each run in a process of its own, by turns, on the same list of JPEG files (the demo's, again and again), read from
the disk's cache. Two actors of one thread each stand beside one process of two threads. Seconds are told twice: of the
whole command, and of the pictures alone, from the first shard of 100 on, which leaves out starting Ray and opening
networks. Processor time is of the process and of all that it started, Ray's own among them. Then, on one thread, what
reading and decoding a picture takes, and the engine alone. The rows of ``infer`` and of two actors are compared.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import trtpose

PICTURES = sorted((Path(trtpose.__file__).parent / "data" / "demo").glob("*.jpg"))
DEMO = Path(trtpose.__file__).parent / "data" / "demo.onnx"
SHARD = 100

ON_RAY = """
import json, os, sys, time
from pathlib import Path
begin = time.perf_counter()
import ray, ray.data, trtpose.ray
names, model, out, actors, batch = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5])
ray.init(num_cpus=2, object_store_memory=200 << 20, include_dashboard=False, log_to_driver=False)
ray.data.DataContext.get_current().enable_progress_bars = False
started = time.perf_counter() - begin

def used():
    fields = {}
    for entry in Path("/proc").iterdir():
        try:
            stat = (entry / "stat").read_text().rpartition(")")[2].split() if entry.name.isdigit() else None
        except OSError:
            continue
        if stat:
            fields[int(entry.name)] = (int(stat[1]), (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK"))
    def is_ours(pid):
        while pid in fields:
            if pid == os.getpid():
                return True
            pid = fields[pid][0]
        return False
    return sum(seconds for pid, (_, seconds) in fields.items() if is_ours(pid))

paths, moments = Path(names).read_text().split(), []
trtpose.ray.infer_files(
    paths, model, out, shard=int(sys.argv[6]), rows=50, concurrency=actors, num_cpus=1, batch=batch,
    notify=lambda ready, count: moments.append((time.perf_counter(), ready, used())),
)
first, last = moments[0], moments[-1]
count = (last[1] - first[1]) * int(sys.argv[6])
told = {"start": started, "alone": (last[0] - first[0]) / count, "processor_alone": (last[2] - first[2]) / count}
print("TOLD " + json.dumps({**told, "processor": max(one[2] for one in moments)}))
ray.shutdown()
"""

PARTS = """
import json, sys, time
from pathlib import Path
import trtpose
from trtpose.sources import read_picture
paths, model, batch = sys.argv[1].split(), sys.argv[2], int(sys.argv[3])
def clock(work, count):
    work()
    begin, used = time.perf_counter(), time.process_time()
    for _ in range(count):
        work()
    return [(time.perf_counter() - begin) / count, (time.process_time() - used) / count]
frames = [read_picture(path) for path in paths]
given = (frames * batch)[:batch]
engine = trtpose.Engine(model, batch=batch, threads=1)
read = clock(lambda: [read_picture(path) for path in paths], 20)
run = clock(lambda: engine.infer(given), 20)
print("TOLD " + json.dumps({"read": [one / len(paths) for one in read], "engine": [one / batch for one in run]}))
"""


def told(said: str) -> dict[str, Any]:
    return json.loads(next(line for line in said.splitlines() if line.startswith("TOLD "))[5:])


def one_infer(names: Path, model: str, batch: int, out: Path) -> dict[str, Any]:
    """``trtpose infer --jsonl`` with two threads."""
    command = [sys.executable, "-m", "trtpose", "infer", model, str(names), "--jsonl", "-", "--batch", str(batch), "-q"]
    before, begin = os.times(), time.perf_counter()
    moments: list[tuple[float, float]] = []
    with (
        out.open("w") as file,
        subprocess.Popen([*command, "--threads", "2"], stdout=subprocess.PIPE, text=True) as run,
    ):
        assert run.stdout is not None
        for line in run.stdout:
            moments.append((time.perf_counter(), processor_of(run.pid)))
            file.write(line)
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    first, last = moments[SHARD], moments[-1]
    count = len(moments) - 1 - SHARD
    return {
        "seconds": time.perf_counter() - begin,
        "processor": used,
        "start": moments[0][0] - begin,
        "alone": (last[0] - first[0]) / count,
        "processor_alone": (last[1] - first[1]) / count,
    }


def processor_of(pid: int) -> float:
    """Seconds of the processor that a process has had."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def on_ray(names: Path, model: str, batch: int, out: Path, actors: int) -> dict[str, Any]:
    command = [sys.executable, "-W", "ignore", "-c", ON_RAY, str(names), model, str(out), str(actors), str(batch)]
    command.append(str(SHARD))
    begin = time.perf_counter()
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return {"seconds": time.perf_counter() - begin, **told(said)}


def compared(lines: Path, folder: Path) -> dict[str, Any]:
    """How the rows of Ray differ from those of ``infer``."""
    import pyarrow.parquet as parquet

    from trtpose.ray import poses

    head, *rest = (json.loads(line) for line in lines.read_text().splitlines())
    spec = trtpose.ModelSpec.from_dict(head["spec"])
    files = sorted(folder.glob("*.parquet"))
    rows = [row for file in files for row in parquet.read_table(file).to_pylist()]
    same = sum(
        {"source": row["source"], **poses(row, spec).to_dict()} == line for row, line in zip(rows, rest, strict=True)
    )
    size = sum(file.stat().st_size for file in files)
    people = sum(len(row["scores"]) for row in rows)
    return {
        "rows": len(rows),
        "same_as_infer": same,
        "people": people,
        "parquet_bytes_a_picture": round(size / len(rows)),
    }


def measure(args: argparse.Namespace, work: Path) -> dict[str, Any]:
    names = work / "names.txt"
    paths = [str(PICTURES[number % len(PICTURES)]) for number in range(args.pictures)]
    names.write_text("\n".join(paths) + "\n")
    rounds: dict[str, list[dict[str, Any]]] = {"infer, two threads": [], "Ray, one actor": [], "Ray, two actors": []}
    for number in range(args.rounds):
        rounds["infer, two threads"].append(one_infer(names, args.model, args.batch, work / "lines"))
        for actors, name in ((1, "Ray, one actor"), (2, "Ray, two actors")):
            folder = work / f"{number}-{actors}"
            rounds[name].append(on_ray(names, args.model, args.batch, folder, actors))
        print({name: round(of[-1]["alone"] * 1e3, 2) for name, of in rounds.items()}, file=sys.stderr)
    command = [sys.executable, "-c", PARTS, " ".join(map(str, PICTURES)), args.model, str(args.batch)]
    parts = told(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    summary = {
        name: {
            "seconds": round(statistics.median(one["seconds"] for one in of), 2),
            "processor_seconds": round(statistics.median(one["processor"] for one in of), 2),
            "start_seconds": round(statistics.median(one["start"] for one in of), 2),
            "ms_a_picture_alone": round(statistics.median(one["alone"] for one in of) * 1e3, 3),
            "processor_ms_a_picture_alone": round(statistics.median(one["processor_alone"] for one in of) * 1e3, 3),
        }
        for name, of in rounds.items()
    }
    return {
        "medians": summary,
        "one_thread_ms_a_picture": {
            name: {"clock": round(of[0] * 1e3, 3), "processor": round(of[1] * 1e3, 3)} for name, of in parts.items()
        },
        "rows": compared(work / "lines", work / f"{args.rounds - 1}-2"),
        "rounds": rounds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=str(DEMO))
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    import ray

    load = os.getloadavg()
    with tempfile.TemporaryDirectory() as folder:
        result = measure(args, Path(folder))
    text = json.dumps(
        {
            "what": "trtpose.ray.infer_files beside trtpose infer --jsonl; benchmarks/on_ray.py",
            "machine": {"cpu": trtpose.system_info()["cpu"], "cores": os.cpu_count(), "platform": platform.platform()},
            "load_before_and_after": [round(load[0], 1), round(os.getloadavg()[0], 1)],
            "ray": ray.__version__,
            "python": platform.python_version(),
            "model": Path(args.model).name,
            "picture_bytes": round(statistics.mean(path.stat().st_size for path in PICTURES)),
            "pictures": args.pictures,
            "batch": args.batch,
            **result,
        },
        indent=1,
    )
    print(text)
    if args.json is not None:
        args.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
