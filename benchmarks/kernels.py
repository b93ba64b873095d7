#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every CUDA kernel by what compiler and cuobjdump say of it, beside its floor, without a GPU.

    python benchmarks/kernels.py --cuobjdump PROGRAM [--onnx MODEL --imgsz 960] [--json FILE] [--markdown FILE]

A table: instructions (all, of the device's memory, atomic), registers, shared memory and what of a multiprocessor's
warps fit, for each card of benchmarks/gpu_model.py; blocks and bytes for the frame of benchmarks/kernel_workloads.py;
the floor, the time to start each instruction once, and a prediction, in microseconds. With a network also the way of a
whole frame. Needs nvcc and cuobjdump, which looks for nvdisasm beside it; NVIDIA has both on PyPI, as
nvidia-cuda-cuobjdump and nvidia-cuda-nvdisasm.

These are predictions: no GPU has run any of it. `make gpu-bench` puts them beside what it measures.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import gpu_model
import kernel_workloads

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))

import kernel_report  # noqa: E402 - of the folder beside

ELEMENT = 2  # bytes: engines for GPUs are built in half precision
INSTRUCTION = re.compile(r"^\s+/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][\w.]*)")
FUNCTION = re.compile(r"Function : (\w+)")
USED = re.compile(r"REG:(\d+) STACK:(\d+) SHARED:(\d+)")
INFO = re.compile(r"^\.nv\.info\.(\w+)")
MEMORY = ("LDG", "STG", "LD.", "ST.")
ATOMIC = ("ATOM", "RED")


def count_instructions(sass: str) -> dict[str, dict[str, int]]:
    """By function, from the text of ``cuobjdump -sass``; what only fills the end is not counted."""
    out: dict[str, dict[str, int]] = {}
    counts: dict[str, int] | None = None
    for line in sass.splitlines():
        if match := FUNCTION.search(line):
            counts = out[match.group(1)] = {"instructions": 0, "memory": 0, "atomic": 0}
        elif counts is not None and (match := INSTRUCTION.match(line)):
            name = match.group(1)
            if name == "NOP":
                continue
            counts["instructions"] += 1
            counts["memory"] += name.startswith(MEMORY)
            counts["atomic"] += name.startswith(ATOMIC)
    return out


def read_usage(text: str) -> dict[str, dict[str, int]]:
    """Registers, stack and static shared memory by function, from ``cuobjdump --dump-resource-usage``."""
    out: dict[str, dict[str, int]] = {}
    name = ""
    for line in text.splitlines():
        if match := re.search(r"Function (\w+):", line):
            name = match.group(1)
        elif name and (match := USED.search(line)):
            registers, stack, shared = (int(number) for number in match.groups())
            out[name] = {"registers": registers, "stack": stack, "static_shared": shared}
            name = ""
    return out


def read_threads(elf: str) -> dict[str, int]:
    """Threads of a block by function, where the source bounds them, from ``cuobjdump -elf``."""
    out: dict[str, int] = {}
    name, next_is_value = "", False
    for line in elf.splitlines():
        if match := INFO.match(line):
            name = match.group(1)
        elif "EIATTR_MAX_THREADS" in line:
            next_is_value = True
        elif next_is_value and "Value:" in line:
            sides = [int(number, 16) for number in re.findall(r"0x[0-9a-f]+", line)]
            out[name] = sides[0] * sides[1] * sides[2]
            next_is_value = False
    return out


def dissect(source: Path, arch: str, cuobjdump: str) -> list[dict[str, Any]]:
    """Every kernel of a source as it is compiled for one architecture."""

    def text(*options: str) -> str:
        done = subprocess.run([cuobjdump, *options, target], capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{cuobjdump} {' '.join(options)}: {done.stderr.strip()}")
        return done.stdout

    with tempfile.TemporaryDirectory() as folder:
        target = f"{folder}/kernels.cubin"
        flags = [flag for flag in kernel_report.FLAGS if flag != "-Xptxas=-v"]
        code = ["-gencode", f"arch=compute_{arch},code=sm_{arch}", "-cubin", "-o", target]
        done = subprocess.run(
            ["nvcc", *flags, *code, str(source)], capture_output=True, text=True, cwd=ROOT, check=False
        )
        if done.returncode:
            raise SystemExit(f"{source.name} for sm_{arch} does not compile:\n{done.stderr}")
        counts, usage = count_instructions(text("-sass")), read_usage(text("--dump-resource-usage"))
        threads = read_threads(text("-elf"))
    names = kernel_report.demangle(list(counts))
    return [
        {
            "kernel": names[key],
            "arch": arch,
            "source": source.name,
            **counts[key],
            **usage[key],
            "bound": threads.get(key),
        }
        for key in counts
    ]


def beside_floor(row: dict[str, Any], card: gpu_model.Card, load: kernel_workloads.Load) -> dict[str, Any]:
    """A kernel's row for one card."""
    if row["bound"] not in (None, load.threads):
        raise SystemExit(
            f"{row['kernel']} is bounded to {row['bound']} threads, benchmarks/kernel_workloads.py says "
            f"{load.threads}; bring it up to date"
        )
    shared = row["static_shared"] + load.dynamic_shared
    fits = gpu_model.occupancy(card, load.threads, row["registers"], shared)
    times = gpu_model.kernel_us(card, load.bytes, load.blocks, load.threads, row["instructions"])
    if kernel_workloads.base_name(row["kernel"]) == "nms_kernel":
        own = gpu_model.nms_us(card, 1, kernel_workloads.CANDIDATES, kernel_workloads.PEOPLE)
        times["predicted_us"] = round(gpu_model.ASSUMED["launch_us"] + own, 3)
    kept = {key: row[key] for key in ("kernel", "source", "instructions", "memory", "atomic", "registers")}
    return {
        "card": card.name,
        **kept,
        "shared": shared,
        "threads": load.threads,
        "blocks": load.blocks,
        "bytes": load.bytes,
        "blocks_at_once": fits["blocks"],
        "occupancy": fits["share"],
        "bound_by": fits["bound"],
        **times,
        "case": load.case,
    }


def usual(kernel: str) -> bool:
    """Whether the table has it: of two forms that of half precision, of NMS that by IoU."""
    return "<" not in kernel or "__half" in kernel or "false" in kernel


def network_of(path: Path, imgsz: int | None) -> gpu_model.Network:
    import onnx

    from trtpose.cost import model_cost

    cost = model_cost(path, imgsz)
    nodes = onnx.load(path, load_external_data=False).graph.node
    layers = sum(
        node.op_type in ("Conv", "ConvTranspose", "MatMul", "Gemm", "MaxPool", "Resize", "Concat") for node in nodes
    )
    return gpu_model.Network(path.stem, cost["macs"], cost["parameters"], layers)


def whole_path(rows: list[dict[str, Any]], network: gpu_model.Network) -> dict[str, dict[str, float]]:
    """By card, a frame's way: upload, letterbox, network, decode, NMS, poses."""
    out: dict[str, dict[str, float]] = {}
    for card in gpu_model.CARDS:
        mine = {kernel_workloads.base_name(row["kernel"]): row for row in rows if row["card"] == card.name}
        kernels = {name.removesuffix("_kernel"): mine[name]["predicted_us"] for name in kernel_workloads.PATH}
        out[card.name] = gpu_model.path_us(card, network, 3 * 1920 * 1080, kernels)
    return out


def markdown(result: dict[str, Any]) -> str:
    lines: list[str] = []
    for card in gpu_model.CARDS:
        lines += [
            f"### {card.name}",
            "",
            "| kernel | instructions | memory | atomic | registers | shared | blocks | threads | occupancy, bound by |"
            " KiB | floor µs | instructions µs | predicted µs |",
            "| --- |" + " ---: |" * 7 + " --- |" + " ---: |" * 4,
        ]
        lines += [
            f"| {row['kernel']} | {row['instructions']} | {row['memory']} | {row['atomic']} | {row['registers']} "
            f"| {row['shared']} | {row['blocks']} | {row['threads']} | {row['occupancy']:.2f}, {row['bound_by']} "
            f"| {row['bytes'] / 1024:.1f} | {row['floor_us']:.2f} | {row['issue_us']:.2f} | {row['predicted_us']:.2f} |"
            for row in result["kernels"]
            if row["card"] == card.name
        ]
        lines.append("")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cuobjdump", default="cuobjdump")
    parser.add_argument("--onnx", type=Path)
    parser.add_argument("--imgsz", type=int)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    args = parser.parse_args()
    sources = sorted(path for folder in ("cpp/src", "plugins") for path in (ROOT / folder).rglob("*_cuda.cu"))
    archs = sorted({card.code for card in gpu_model.CARDS})
    with ThreadPoolExecutor(args.jobs) as pool:  # each waits for a compiler of its own
        parts = [pool.submit(dissect, source, arch, args.cuobjdump) for source in sources for arch in archs]
        compiled = [row for part in parts for row in part.result() if usual(row["kernel"])]
    loads = kernel_workloads.workloads(ELEMENT)
    rows = [
        beside_floor(row, card, loads[kernel_workloads.base_name(row["kernel"])])
        for card in gpu_model.CARDS
        for row in sorted(compiled, key=lambda row: (row["source"], row["kernel"]))
        if row["arch"] == card.code
    ]
    result: dict[str, Any] = {
        "what": "a prediction; no GPU has run any of it",
        "nvcc": kernel_report.nvcc_version(),
        "assumed": gpu_model.ASSUMED,
        "cards": [vars(card) for card in gpu_model.CARDS],
        "kernels": rows,
    }
    if args.onnx:
        network = network_of(args.onnx, args.imgsz)
        result["network"] = vars(network)
        result["whole_path_us"] = whole_path(rows, network)
    table = markdown(result)
    print(table)
    print(json.dumps(result.get("whole_path_us", {}), indent=1))
    if args.markdown:
        args.markdown.write_text(table, encoding="utf-8")
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
