#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""``trtpose serve`` beside ``Engine.infer`` with the same batch, and many requests from many connections.

    python benchmarks/serve.py [--model FILE.onnx] [--imgsz 256] [--batch 8] [--requests 10000] [--json FILE]

Each in a process of its own on this machine, the client in a third: what a client takes of the processor is counted
against the server, as the machine's cores are shared. Pictures are the demo's as JPEG, which both sides decode.
Throughput is taken in rounds by turns: 16 connections, each sending the next picture when the last is answered, then
the same engine by itself on the same pictures (decoded with and without). A handler without batches is the server with
an engine of batch 1. Then the requests from 32 connections, every fiftieth one cut off in the middle by a client of its
own beside them; and as many again at half the rate that was reached, for a minute at most each, at even distances (as
wrk2 sends them) and at random moments, for the median and the 99th percentile; and the same once more with a clone of
the engine on each core.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import trtpose

PICTURES = sorted((Path(trtpose.__file__).parent / "data" / "demo").glob("*.jpg"))
DEMO = Path(trtpose.__file__).parent / "data" / "demo.onnx"

ALONE = """
import json, sys, time
from pathlib import Path
import trtpose
from trtpose.sources import decode_picture
model, imgsz, batch, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
files = [Path(name).read_bytes() for name in sys.argv[5:]]
engine = trtpose.Engine(model, imgsz=imgsz, batch=batch)
read = lambda n: decode_picture(files[n % len(files)], name="picture")
frames = [read(n) for n in range(batch)]
engine.infer(frames)
out = {}
for name, given in (("decoded", lambda n: frames), ("from JPEG", lambda n: [read(n + i) for i in range(batch)])):
    count, begin, spent = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - begin < seconds:
        count += len(engine.infer(given(count)))
    out[name] = count / (time.perf_counter() - begin), 1e3 * (time.process_time() - spent) / count
print(json.dumps(out))
"""


class Server:
    """``trtpose serve`` in a process of its own."""

    def __init__(self, model: Path, imgsz: int, batch: int, clones: int = 1) -> None:
        command = [sys.executable, "-m", "trtpose", "serve", str(model), "--imgsz", str(imgsz), "--batch", str(batch)]
        options = ["--clones", str(clones), "--port", "0", "--quiet"]
        self._process = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline().split(" until")[0].rpartition(":")[2])

    def memory(self) -> float:
        """Resident MiB."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024

    def spent(self) -> float:
        """Milliseconds of the processor's time."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return 1e3 * (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def threads(self) -> int:
        return len(os.listdir(f"/proc/{self._process.pid}/task"))  # noqa: PTH208

    def files(self) -> int:
        return len(os.listdir(f"/proc/{self._process.pid}/fd"))  # noqa: PTH208

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(60)


class Client:
    """One connection that is kept: HTTP/1.1 by hand, so that the client takes little of the processor."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, body: bytes) -> tuple[int, bytes]:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        head = f"POST /v1/poses HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        got = (await reader.readuntil(b"\r\n\r\n")).decode()
        size = int(got.lower().partition("content-length:")[2].split()[0])
        return int(got.split()[1]), await reader.readexactly(size)

    async def cut_off(self, body: bytes) -> None:
        """Send half of a request on a connection of its own and hang up."""
        _, writer = await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(f"POST /v1/poses HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode())
        writer.write(body[: len(body) // 2])
        await writer.drain()
        writer.transport.abort()


async def closed(port: int, connections: int, seconds: float, limit: int = 1 << 60, cut: int = 0) -> dict[str, Any]:
    """Each connection sends the next picture when the last is answered."""
    bodies = [path.read_bytes() for path in PICTURES]
    statuses: dict[int, int] = {}
    answers: dict[int, bytes] = {}
    wrong = sent = 0
    begin = time.perf_counter()

    async def one() -> None:
        nonlocal wrong, sent
        client = Client(port)
        while sent < limit and time.perf_counter() - begin < seconds:
            number, sent = sent % len(bodies), sent + 1
            if cut and sent % cut == 0:
                await client.cut_off(bodies[number])
            status, answer = await client.ask(bodies[number])
            statuses[status] = statuses.get(status, 0) + 1
            wrong += status == 200 and answers.setdefault(number, answer) != answer

    await asyncio.gather(*(one() for _ in range(connections)))
    rate = statuses.get(200, 0) / (time.perf_counter() - begin)
    return {"rate": round(rate, 1), "statuses": statuses, "answers_unlike_the_first": wrong}


def departures(rate: float, seconds: float, limit: int, even: bool) -> list[float]:
    """When each request is to be sent, in seconds: at even distances or at random moments, as many in the mean."""
    moments, at, chance = [], 0.0, random.Random(7)
    while at < seconds and len(moments) < limit:
        moments.append(at)
        at += 1 / rate if even else chance.expovariate(rate)
    return moments


async def opened(port: int, connections: int, moments: list[float]) -> dict[str, Any]:
    """Requests at these moments, whatever the answers take; times from when each was to be sent."""
    bodies = [path.read_bytes() for path in PICTURES]
    clients: asyncio.Queue[Client] = asyncio.Queue()
    for _ in range(connections):
        clients.put_nowait(Client(port))
    taken: list[float] = []
    statuses: dict[int, int] = {}
    begin = time.perf_counter() + 0.2

    async def one(number: int, moment: float) -> None:
        client = await clients.get()
        status, _ = await client.ask(bodies[number % len(bodies)])
        clients.put_nowait(client)
        taken.append(time.perf_counter() - begin - moment)
        statuses[status] = statuses.get(status, 0) + 1

    tasks = []
    for number, moment in enumerate(moments):
        await asyncio.sleep(max(begin + moment - time.perf_counter(), 0))
        tasks.append(asyncio.create_task(one(number, moment)))
    await asyncio.gather(*tasks)
    ordered = sorted(1e3 * value for value in taken)
    median, late = statistics.median(ordered), ordered[int(0.99 * len(ordered))]
    return {
        "requests": len(ordered),
        "statuses": statuses,
        "median_ms": round(median, 2),
        "p99_ms": round(late, 2),
        "most_ms": round(ordered[-1], 2),
        "p99_over_median": round(late / median, 2),
    }


def alone(args: argparse.Namespace) -> dict[str, tuple[float, float]]:
    """Pictures a second and the processor's milliseconds for each."""
    command = [sys.executable, "-c", ALONE, str(args.model), str(args.imgsz), str(args.batch), str(args.seconds)]
    done = subprocess.run([*command, *map(str, PICTURES)], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def served(server: Server, seconds: float) -> tuple[float, float]:
    """As :func:`alone`, from 16 connections."""
    before = server.spent()
    found = asyncio.run(closed(server.port, 16, seconds))
    return found["rate"], (server.spent() - before) / found["statuses"][200]


def throughput(args: argparse.Namespace) -> dict[str, Any]:
    """Pictures a second of both sides, by turns, and of the server without batches; and the processor's time for a
    picture, which other programs on the machine change less."""
    rounds: dict[str, list[tuple[float, float]]] = {"served": [], "served, batch 1": [], "decoded": [], "from JPEG": []}
    with Server(args.model, args.imgsz, args.batch) as server, Server(args.model, args.imgsz, 1) as single:
        for one in (server, single):
            asyncio.run(closed(one.port, 16, 1.0))
        for _ in range(args.rounds):
            rounds["served"].append(served(server, args.seconds))
            for name, figures in alone(args).items():
                rounds[name].append(figures)
            rounds["served, batch 1"].append(served(single, args.seconds))
    medians = {name: round(statistics.median(one[0] for one in figures), 1) for name, figures in rounds.items()}
    spent = {name: round(statistics.median(one[1] for one in figures), 2) for name, figures in rounds.items()}
    of = {name: round(medians["served"] / medians[name], 3) for name in rounds if name != "served"}
    return {
        "pictures_per_second": medians,
        "served_over": of,
        "processor_ms_per_picture": spent,
        "rounds": {name: [[round(value, 2) for value in one] for one in figures] for name, figures in rounds.items()},
    }


def at_half_load(server: Server, rate: float, limit: int) -> dict[str, Any]:
    """Times at half of a rate, for a minute at most each."""
    return {
        name: asyncio.run(opened(server.port, 32, departures(rate / 2, 60, limit, name == "even")))
        for name in ("even", "random")
    }


def many(args: argparse.Namespace) -> dict[str, Any]:
    """All the requests, what the server holds after each tenth of them, and times at half the load."""
    with Server(args.model, args.imgsz, args.batch) as server:
        asyncio.run(closed(server.port, 32, 600, 500))
        held = [(server.memory(), server.threads(), server.files())]
        tenths = []
        for _ in range(10):
            tenths.append(asyncio.run(closed(server.port, 32, 600, args.requests // 10, cut=50)))
            held.append((server.memory(), server.threads(), server.files()))
        rate = statistics.median(tenth["rate"] for tenth in tenths)
        statuses: dict[int, int] = {}
        for tenth in tenths:
            for status, count in tenth["statuses"].items():
                statuses[status] = statuses.get(status, 0) + count
        half = at_half_load(server, rate, args.requests)
    with Server(args.model, args.imgsz, args.batch, os.cpu_count() or 1) as server:
        asyncio.run(closed(server.port, 32, 600, 500))
        cloned_rate = asyncio.run(closed(server.port, 32, 600, args.requests // 10))["rate"]
        cloned = at_half_load(server, cloned_rate, args.requests)
    return {
        "rate": rate,
        "statuses": statuses,
        "answers_unlike_the_first": sum(tenth["answers_unlike_the_first"] for tenth in tenths),
        "resident_MiB": [round(one[0], 1) for one in held],
        "threads": [one[1] for one in held],
        "open_files": [one[2] for one in held],
        "half_load": half,
        "with_a_clone_on_each_core": {"rate": cloned_rate, "half_load": cloned},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--model", type=Path, default=DEMO)
    parser.add_argument("--imgsz", type=int, default=256)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=6.0, help="of each round and side")
    parser.add_argument("--only", choices=("throughput", "requests"), help="this part alone")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    args = parser.parse_args()
    parts = {"throughput": throughput, "requests": many}
    report: dict[str, Any] = {
        "machine": {"system": platform.platform(), "cpus": os.cpu_count(), "python": platform.python_version()},
        "model": args.model.name,
        "imgsz": args.imgsz,
        "batch": args.batch,
    }
    for name in [args.only] if args.only else parts:
        before = os.getloadavg()
        report[name] = {**parts[name](args), "load": {"before": before, "after": os.getloadavg()}}
    text = json.dumps(report, indent=2)
    print(text)
    if args.json is not None:
        args.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
