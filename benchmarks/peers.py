#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""trtpose beside its peers on the CPU: whole processes on the same files, in turn, in one run.

    python benchmarks/peers.py --model ONNX --pictures DIR [--peers PYTHON] [--rounds N] [--only TASK…]
        [--json FILE] [--plot FILE]

ONNX is an Ultralytics pose network of one batch with decoded rows; DIR has pictures with people. PYTHON is of an
environment that has what is to be compared with; what it lacks is named and left out:

    pip install ultralytics==8.4.190 rtmlib onnxruntime openvino opencv-python-headless torch==2.13.0 pandas matplotlib
    pip install --no-deps sas-yolov7-pose==1.0.5

torchvision, which Ultralytics imports, has to fit PyTorch: 0.28.0 does not work beside PyTorch 2.13.0's build for the
CPU alone, but beside its build with CUDA (torch===2.13.0), which runs on a CPU too. `reference` needs trtpose there.

video       300 frames of 1280×720 in H.264, results only
annotated   the same with people drawn into a video in H.264 (Ultralytics: what save=True writes where it is)
photos      400 files: the pictures again and again
rtmo        100 frames of the video with a small network of RTMO's outputs and random weights (what is around a network)
reference   8 photographs at 960 with YOLOv7-w6-pose of the reference package and random weights: PyTorch and its own
            selection beside the ONNX that trtpose exports of the same checkpoint

Of each: seconds by the clock and of all processors, peak memory and people found, medians over the rounds, and the
ratio to trtpose within a round. "throughput" is trtpose with --throughput.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from machine import machine
from photographs import PHOTOS, copies, photographs

# A process starts with the peak memory of the one that it was forked from, so a small one stands between.
WATCH = """
import json, resource, subprocess, sys, time
begin = time.perf_counter()
status = subprocess.run(sys.argv[1:]).returncode
used = resource.getrusage(resource.RUSAGE_CHILDREN)
spent = {"wall_s": time.perf_counter() - begin, "cpu_s": used.ru_utime + used.ru_stime}
spent["peak_mb"] = used.ru_maxrss / 1024
print(json.dumps(spent))
sys.exit(status)
"""
HERE = Path(__file__).resolve().parent
FRAMES, RTMO_FRAMES, REFERENCE_PHOTOS = 300, 100, 8
OURS: dict[str, list[str]] = {"trtpose": [], "throughput": ["--throughput"]}
"""Ways to run trtpose, with their options."""
IOU = 0.65


@dataclass(frozen=True)
class Task:
    """One set of files, and the model that each program is given for it."""

    name: str
    source: Path
    models: dict[str, Path]
    imgsz: int
    conf: float = 0.25
    annotated: bool = False


def pan(pictures: list[Path], path: Path, frames: int, width: int = 1280, height: int = 720) -> Path:
    """A video that moves over the pictures, one after another."""
    import av
    import cv2
    import numpy as np

    shown = [cv2.resize(cv2.imread(str(picture)), (width + 100, height + 60)) for picture in pictures]
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for index in range(frames):
            left, top = 2 * index % 100, index % 60
            view = shown[index * len(shown) // frames][top : top + height, left : left + width]
            out.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(view), format="bgr24")))
        out.mux(stream.encode(None))
    return path


def rtmo_task(folder: Path, pictures: list[Path]) -> Task:
    sys.path.insert(0, str(HERE.parent / "tests" / "python"))
    import onnx

    from rtmo_models import SIDE, rtmo

    onnx.save(rtmo(), str(folder / "rtmo.onnx"))
    model = folder / "rtmo.onnx"
    models = {"trtpose": model, "rtmlib": model}
    return Task("rtmo", pan(pictures, folder / "rtmo.mp4", RTMO_FRAMES), models, SIDE)


def reference_task(folder: Path, pictures: list[Path], python: str) -> Task:
    """The checkpoint is made by the peers' Python, which has the package; a threshold lets some candidates through."""
    made = json.loads(
        subprocess.run(
            [python, str(HERE / "reference_checkpoint.py"), str(folder / "reference.pt"), *map(str, pictures[:1])],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.splitlines()[-1]
    )
    model = folder / "reference.onnx"
    export = ["export", str(folder / "reference.pt"), "-o", str(model), "--imgsz", str(made["imgsz"])]
    subprocess.run([python, "-m", "trtpose", *export], check=True, stdout=subprocess.DEVNULL)
    source = copies(pictures, folder / "reference", REFERENCE_PHOTOS)
    models = {"trtpose": model, "reference": folder / "reference.pt"}
    return Task("reference", source, models, made["imgsz"], made["conf"])


def command(task: Task, program: str, python: str, out: Path) -> list[str]:
    model, source = str(task.models[program]), str(task.source)
    if program in OURS:
        options = ["--conf", str(task.conf), "--iou", str(IOU), "--jsonl", str(out), "--quiet", *OURS[program]]
        if task.annotated:
            options += ["--out", str(out.parent / "drawn")]
        return [sys.executable, "-m", "trtpose", "infer", model, source, *options]
    options = ["--imgsz", str(task.imgsz), "--conf", str(task.conf)]
    if task.annotated:
        options += ["--annotated", str(out.parent / "drawn")]
    return [python, str(HERE / "peer_programs.py"), program, model, source, *options]


def counted(out: Path) -> dict[str, Any]:
    """Frames and people of a file of `--jsonl`, whose first line names the classes and keypoints."""
    import trtpose

    lines = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()[1:]]
    people = sum(len(line["poses"]) for line in lines)
    return {"frames": len(lines), "people": people, "version": trtpose.__version__}


def run_once(task: Task, program: str, python: str) -> dict[str, Any]:
    """One process from start to end."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.jsonl"
        watched = [sys.executable, "-S", "-c", WATCH, *command(task, program, python, out)]
        done = subprocess.run(watched, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{program} of {task.name}: {done.stderr[-1500:]}")
        *said, spent = done.stdout.splitlines()
        if task.annotated and not list((Path(folder) / "drawn").rglob("*.*")):
            raise RuntimeError(f"{program} of {task.name} wrote no video")
        told = counted(out) if program in OURS else json.loads(said[-1])
    return told | json.loads(spent)


def measure(task: Task, python: str, rounds: int) -> dict[str, Any]:
    """All programs of a task by turns, in an order that turns; the first round warms the files and is left out."""
    found: dict[str, list[dict[str, Any]]] = {program: [] for program in task.models}
    for number in range(rounds + 1):
        order = list(found) if number % 2 else list(found)[::-1]
        for program in order:
            result = run_once(task, program, python)
            if number:
                found[program].append(result)
            print(f"{task.name} round {number} {program}: {result['wall_s']:.2f} s", file=sys.stderr)
    table: dict[str, Any] = {}
    for program, results in found.items():
        middle = {key: statistics.median(one[key] for one in results) for key in ("wall_s", "cpu_s", "peak_mb")}
        shares = {
            f"{mine}_of_it": round(
                statistics.median(a["wall_s"] / b["wall_s"] for a, b in zip(found[mine], results, strict=True)), 3
            )
            for mine in OURS
            if mine in found
        }
        table[program] = {
            "version": results[0]["version"],
            "frames": results[0]["frames"],
            "people": results[0]["people"],
            **{key: round(value, 2) for key, value in middle.items()},
            **shares,
        }
    return table


def markdown(tasks: dict[str, Any]) -> str:
    lines = []
    for name, table in tasks.items():
        lines += [
            f"**{name}**, {table['trtpose']['frames']} frames",
            "",
            "| | seconds | processor seconds | peak MB | people | trtpose takes of it | with --throughput |",
            "|---|--:|--:|--:|--:|--:|--:|",
        ]
        for program, row in table.items():
            shares = [f"{row[key]:.3f}" if (key := f"{mine}_of_it") in row else "" for mine in OURS]
            numbers = f"{row['wall_s']:.2f} | {row['cpu_s']:.2f} | {row['peak_mb']:.0f} | {row['people']}"
            lines.append(f"| {program} {row['version']} | {numbers} | {' | '.join(shares)} |")
        lines.append("")
    return "\n".join(lines)


def plot(tasks: dict[str, Any], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(tasks), figsize=(3.2 * len(tasks), 2.6), squeeze=False, layout="constrained")
    for axis, (name, table) in zip(axes[0], tasks.items(), strict=True):
        names = list(table)[::-1]
        colours = ["#0b7a75" if program in OURS else "#9aa5b1" for program in names]
        bars = axis.barh(names, [table[program]["wall_s"] for program in names], color=colours)
        axis.bar_label(bars, fmt="%.1f", padding=2, fontsize=8)
        axis.set_title(f"{name}, {table['trtpose']['frames']} frames: seconds", fontsize=9)
        axis.margins(x=0.18)
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)


def lacks(python: str, distributions: dict[str, str]) -> set[str]:
    code = "import importlib.metadata as m,sys\nfor d in sys.argv[1:]:\n try: m.version(d)\n except Exception: print(d)"
    said = subprocess.run(
        [python, "-c", code, *distributions.values()], capture_output=True, text=True, check=True
    ).stdout
    return {name for name, distribution in distributions.items() if distribution in said.split()}


def tasks_of(args: argparse.Namespace, folder: Path, missing: set[str]) -> list[Task]:
    pictures = photographs(args.pictures)
    programs = [name for name in (*OURS, "ultralytics", "onnxruntime", "openvino") if name not in missing]
    models = {program: Path(args.model) for program in programs}
    tasks = []
    if "video" in args.only:
        tasks.append(Task("video", pan(pictures, folder / "video.mp4", FRAMES), models, args.imgsz))
    if "annotated" in args.only:
        drawing = {name: path for name, path in models.items() if name in (*OURS, "ultralytics")}
        video = pan(pictures, folder / "annotated.mp4", FRAMES)
        tasks.append(Task("annotated", video, drawing, args.imgsz, annotated=True))
    if "photos" in args.only:
        tasks.append(Task("photos", copies(pictures, folder / "photos", PHOTOS), models, args.imgsz))
    if "rtmo" in args.only and "rtmlib" not in missing:
        tasks.append(rtmo_task(folder, pictures))
    if "reference" in args.only and "reference" not in missing:
        tasks.append(reference_task(folder, pictures, args.peers))
    return tasks


def main() -> int:
    from peer_programs import PROGRAMS

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--pictures", required=True)
    parser.add_argument("--imgsz", type=int, default=256, help="of the model")
    parser.add_argument("--peers", metavar="PYTHON", default=sys.executable)
    parser.add_argument("--rounds", type=int, default=5)
    kinds = ("video", "annotated", "photos", "rtmo", "reference")
    parser.add_argument("--only", nargs="+", choices=kinds, default=kinds)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    args = parser.parse_args()
    missing = lacks(args.peers, {name: distribution for name, (distribution, _) in PROGRAMS.items()})
    for name in sorted(missing):
        print(f"not run: {name} ({args.peers} has no {PROGRAMS[name][0]})", file=sys.stderr)
    report: dict[str, Any] = {
        "date": f"{dt.date.today()}",
        "machine": machine(),
        "load_at_start": round(os.getloadavg()[0], 1),
        "rounds": args.rounds,
        "model": Path(args.model).name,
        "tasks": {},
    }
    with tempfile.TemporaryDirectory() as work:
        for task in tasks_of(args, Path(work), missing):
            report["tasks"][task.name] = measure(task, args.peers, args.rounds)
    print(markdown(report["tasks"]))
    if args.json:
        args.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if args.plot:
        plot(report["tasks"], args.plot)
    return 0


if __name__ == "__main__":
    sys.exit(main())
