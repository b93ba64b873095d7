#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Registers, spills, stack and shared memory of every CUDA kernel, as ptxas reports them.

    python tools/kernel_report.py [--arch 75 90] [--json [FILE]] [--check]

Compiles the *_cuda.cu of cpp/src and plugins with the flags of the build and warnings as errors; needs nvcc and no GPU.
With --check, exit status 1 if a kernel spills or uses the stack, which each of them can do without, or takes more
registers or shared memory than benchmarks/results/kernels-nvcc-VERSION.json says. Compilers differ: where that of nvcc
has no such record, spills and stack alone are checked. --json writes the record again, or FILE.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FLAGS = [
    "-std=c++17",
    "-O3",
    "--fmad=false",
    "-Werror=all-warnings",
    "-Xptxas=-v",
    "-I",
    ".",
    "-I",
    "cpp/include",
    "-I",
    "cpp/src",
]
ENTRY = re.compile(r"Compiling entry function '(\w+)' for 'sm_(\w+)'")
FRAME = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
USED = re.compile(r"Used (\d+) registers")
SHARED = re.compile(r"(\d+) bytes smem")


COUNTED = ("registers", "static_shared", "stack", "spill_stores", "spill_loads")


def nvcc_version() -> str:
    """Major and minor, as ``13.0``."""
    done = subprocess.run(["nvcc", "--version"], capture_output=True, text=True, check=True)
    match = re.search(r"release (\d+\.\d+)", done.stdout)
    if not match:
        raise SystemExit(f"nvcc does not say its version:\n{done.stdout}")
    return match.group(1)


def demangle(names: list[str]) -> dict[str, str]:
    """Short names: kernel and template arguments."""
    out: dict[str, str] = {}
    done = subprocess.run(["c++filt"], input="\n".join(names), capture_output=True, text=True, check=True)
    for mangled, full in zip(names, done.stdout.splitlines(), strict=True):
        match = re.search(r"(\w+_kernel(?:<[^>(]*>)?)\(", full)
        out[mangled] = match.group(1) if match else full
    return out


def report(source: Path, arch: str) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        target = f"arch=compute_{arch},code=sm_{arch}"
        command = ["nvcc", *FLAGS, "-gencode", target, "-c", str(source), "-o", f"{folder}/x.o"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        raise SystemExit(f"{source.name} for sm_{arch} does not compile:\n{done.stderr}")
    rows: list[dict[str, Any]] = []
    for line in done.stderr.splitlines():
        if match := ENTRY.search(line):
            rows.append({"kernel": match.group(1), "arch": match.group(2), "source": source.name})
        elif match := FRAME.search(line):
            rows[-1].update(
                stack=int(match.group(1)), spill_stores=int(match.group(2)), spill_loads=int(match.group(3))
            )
        elif match := USED.search(line):
            shared = SHARED.search(line)
            rows[-1].update(registers=int(match.group(1)), static_shared=int(shared.group(1)) if shared else 0)
    names = demangle([row["kernel"] for row in rows])
    for row in rows:
        row["kernel"] = names[row["kernel"]]
    return rows


def problems(rows: list[dict[str, Any]], recorded: list[dict[str, Any]] | None) -> list[str]:
    """What is wrong with kernels, one sentence each; without a record, spills and stack alone."""
    found = [
        f"{row['kernel']} for sm_{row['arch']} spills or uses the stack"
        for row in rows
        if row["spill_stores"] or row["spill_loads"] or row["stack"]
    ]
    if recorded is None:
        return found
    before = {(row["kernel"], row["arch"]): row for row in recorded}
    for row in rows:
        old = before.get((row["kernel"], row["arch"]))
        if old is None:
            found.append(f"{row['kernel']} for sm_{row['arch']} is not in the record; write it with --json")
            continue
        found += [
            f"{row['kernel']} for sm_{row['arch']} takes {row[what]} {what.replace('_', ' ')}, recorded are {old[what]}"
            for what in COUNTED
            if row[what] > old[what]
        ]
    return found


def main() -> int:
    record = ROOT / "benchmarks/results" / f"kernels-nvcc-{nvcc_version()}.json"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", nargs="+", default=["75", "80", "90", "100", "120"])
    parser.add_argument("--json", type=Path, nargs="?", const=record)
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    sources = sorted(path for folder in ("cpp/src", "plugins") for path in (ROOT / folder).rglob("*_cuda.cu"))
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # each waits for a compiler of its own
        parts = [pool.submit(report, source, arch) for source in sources for arch in args.arch]
        rows = [row for part in parts for row in part.result()]
    rows.sort(key=lambda row: (row["source"], row["kernel"], int(row["arch"])))
    print(f"{'kernel':<32} {'sm':>4} {'registers':>9} {'spilled':>8} {'stack':>6} {'shared':>7}")
    for row in rows:
        spilled = row["spill_stores"] + row["spill_loads"]
        print(
            f"{row['kernel']:<32} {row['arch']:>4} {row['registers']:>9} {spilled:>8} {row['stack']:>6} "
            f"{row['static_shared']:>7}"
        )
    print("shared: static bytes; NMS asks for 49152 more at its launch")
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    if not args.check:
        return 0
    if not record.is_file():
        print(f"{record.name} is not there: registers and shared memory are not compared")
    recorded = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else None
    bad = problems(rows, recorded)
    for problem in bad:
        print(f"error: {problem}", file=sys.stderr)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
