#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Eight cameras on the CPU: frames a second, fairness and age of the results, beside Ultralytics' multi-stream.

    python benchmarks/cameras.py MODEL [--peer PYTHON --peer-model ONNX] [--rounds N] [--seconds S] [--json FILE]

GStreamer's RTSP server (make servers) sends 640×480 pictures in H.264, 25 a second, whose number is painted into them.
By turns, in processes of their own: trtpose and the peer on all cameras, the newest frame each, and trtpose on the file
that the server sends. PYTHON has Ultralytics; its ONNX must take batches.

A frame's age is when its result was there, less when the server was due to send it: the number at 25 a second, from the
earliest that any frame of that camera was seen in that run. So it is 0 for the fastest frame, and what is the same for
all frames is not in it. Medians over the rounds.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

WIDTH, HEIGHT, RATE, BITS, SIDE, SETTLE = 640, 480, 25, 12, 24, 5.0
ROOT = Path(__file__).resolve().parent.parent


def make_video(path: Path, seconds: float, picture: Path | None) -> None:
    """A picture that moves, with the number of each frame as black and white squares."""
    import av
    import cv2
    import numpy as np

    image = None if picture is None else cv2.imread(str(picture))
    if image is None:
        image = np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8)
    image = cv2.resize(image, (WIDTH + 40, HEIGHT))
    with av.open(str(path), "w") as out:
        options = {"preset": "ultrafast", "tune": "zerolatency", "g": "25", "threads": "1"}
        stream: Any = out.add_stream("libx264", rate=RATE, options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(int(seconds * RATE)):
            left = abs(number % 80 - 40)
            shown = image[:, left : left + WIDTH].copy()
            for bit in range(BITS):
                shown[:SIDE, SIDE * bit : SIDE * (bit + 1)] = 255 * (number >> bit & 1)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(shown, format="bgr24")))
        out.mux(stream.encode(None))


def number_of(image: Any) -> int:
    """The number that is painted into a frame."""
    half = SIDE // 2
    return sum(int(image[half, half + SIDE * bit].mean() > 127) << bit for bit in range(BITS))


def by_trtpose(model: str, sources: list[str], batch: int) -> Iterator[list[tuple[str, Any]]]:
    import trtpose

    # As many streams as trtpose infer takes for several cameras.
    engine = trtpose.Engine(model, batch=batch, streams=min(len(os.sched_getaffinity(0)), 4))
    for frame, _ in engine.stream(sources):
        yield [(frame.source, frame.image)]


def by_peer(model: str, sources: list[str], _: int) -> Iterator[list[tuple[str, Any]]]:
    from ultralytics import YOLO

    with tempfile.NamedTemporaryFile("w", suffix=".streams") as file:
        file.write("\n".join(sources))
        file.flush()
        found = YOLO(model, task="pose").predict(file.name, stream=True, imgsz=256, rect=False, verbose=False)
        for result in found:
            yield [(result.path, result.orig_img)]


def work(args: argparse.Namespace) -> None:
    """Run one of them for a while; prints (source, number, seconds) of each result."""
    run = by_peer if args.worker == "peer" else by_trtpose
    seen: list[tuple[str, int, float]] = []
    begin = cpu = 0.0
    for results in run(args.model, args.sources, args.batch):
        now = time.monotonic()
        if not begin:
            begin = now
        if now - begin < SETTLE:
            cpu = time.process_time()
            continue
        if now - begin > SETTLE + args.seconds:
            break
        seen += [(source, number_of(image), now) for source, image in results]
    print(json.dumps({"seen": seen, "cpu_s": time.process_time() - cpu}))
    sys.stdout.flush()
    os._exit(0)  # the peer's threads do not end


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def summary(found: dict[str, Any], seconds: float) -> dict[str, float]:
    by_source: dict[str, list[tuple[int, float]]] = {}
    for source, number, moment in found["seen"]:
        by_source.setdefault(source, []).append((number, moment))
    counts = [len(one) for one in by_source.values()]
    ages: list[float] = []
    for one in by_source.values():
        late = [moment - number / RATE for number, moment in one]
        ages += [value - min(late) for value in late]
    return {
        "frames_per_s": sum(counts) / seconds,
        "cameras": len(counts),
        "least_of_mean": min(counts) / statistics.mean(counts),
        "age_s_median": statistics.median(ages),
        "age_s_95": sorted(ages)[int(0.95 * len(ages))],
        "cpu_s_per_frame": found["cpu_s"] / sum(counts),
    }


def one_run(python: str, worker: str, model: str, sources: list[str], seconds: float, batch: int) -> dict[str, float]:
    command = [python, __file__, model, "--worker", worker, "--seconds", str(seconds), "--batch", str(batch)]
    command += ["--sources", *sources]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=120 + 3 * seconds)
    if done.returncode:
        raise SystemExit(f"error: {worker} ended with {done.returncode}")
    return summary(json.loads(done.stdout.splitlines()[-1]), seconds)


def on_cameras(args: argparse.Namespace, video: Path, python: str, worker: str, model: str) -> dict[str, float]:
    """One of them on cameras that have just begun."""
    port = free_port()
    # Paced before the queue, beyond which nobody is told how long the file is: a stream without an end.
    launch = f"( filesrc location={video} ! matroskademux ! h264parse ! identity sync=true ! queue ! "
    launch += "rtph264pay name=pay0 pt=96 config-interval=-1 )"
    server = [args.server, str(ROOT / "tests/python/rtsp_server.py"), str(port), str(args.cameras), "", "", launch]
    with subprocess.Popen(server, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            addresses = [f"rtsp://127.0.0.1:{port}/{number}" for number in range(args.cameras)]
            return one_run(python, worker, model, addresses, args.seconds, args.batch)
        finally:
            process.kill()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--peer", help="Python that has Ultralytics")
    parser.add_argument("--peer-model", help="the same network as ONNX with a free batch")
    parser.add_argument("--server", default="/usr/bin/python3", help="Python that has GStreamer's bindings")
    parser.add_argument("--picture", type=Path, help="what the cameras see")
    parser.add_argument("--cameras", type=int, default=8)
    parser.add_argument("--batch", type=int, default=1, help="of trtpose's engine")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--sources", nargs="+", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        work(args)
    rounds: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        video = Path(folder) / "camera.mkv"
        make_video(video, 60 + 3 * args.seconds, args.picture)
        for _ in range(args.rounds):
            found: dict[str, Any] = {"load": os.getloadavg()[0]}
            found["trtpose"] = on_cameras(args, video, sys.executable, "trtpose", args.model)
            found["file"] = one_run(
                sys.executable, "file", args.model, [str(video)], min(args.seconds, 10.0), args.batch
            )
            if args.peer:
                found["peer"] = on_cameras(args, video, args.peer, "peer", args.peer_model)
            rounds.append(found)
            print(json.dumps(found), flush=True)
    names = [name for name in ("trtpose", "file", "peer") if name in rounds[0]]
    medians = {
        name: {key: statistics.median(one[name][key] for one in rounds) for key in rounds[0][name]} for name in names
    }
    ratios = {
        f"of_{name}": statistics.median(one["trtpose"]["frames_per_s"] / one[name]["frames_per_s"] for one in rounds)
        for name in names[1:]
    }
    result = {"date": dt.date.today().isoformat(), "cores": os.cpu_count(), "medians": medians, "ratios": ratios}
    print(json.dumps(result, indent=2))
    if args.json:
        args.json.write_text(json.dumps({**result, "model": Path(args.model).name, "rounds": rounds}, indent=2) + "\n")


if __name__ == "__main__":
    main()
