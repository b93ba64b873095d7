#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Engines on a GPU: what they take and give, and one file of all that was measured on a machine.

    python benchmarks/gpu.py measure --json PART engines.json...   time the engines that prepare_engines.py listed
    python benchmarks/gpu.py merge --json FILE DIR                 the parts in DIR as one file, with the goals

Each engine is timed in a process of its own, so that the memory of one is not in the figures of the next.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import gpu_model

ROOT = Path(__file__).resolve().parent.parent
PREDICTED = ROOT / "benchmarks/results/2026-11-28-kernels-predicted.json"
BATCHES = "1,4,16"


def run_json(command: list[str]) -> dict[str, Any]:
    """The JSON a command prints, or ``{"problem": ...}`` with its last line of complaint."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        result = json.loads(done.stdout)
    except ValueError:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        return {"problem": lines[-1] if lines else f"{command[0]} ended with status {done.returncode}"}
    return result if isinstance(result, dict) else {"problem": "the command printed no object"}


def measure_engine(entry: dict[str, Any], pictures: Path, runs: int) -> dict[str, Any]:
    """Latency, throughput and memory of one engine, and its agreement with ONNX Runtime."""
    options = ["--device", "cuda", "--precision", "auto", "--runs", str(runs), "--warmup", "20", "--streams", "2"]
    command = [sys.executable, "-m", "trtpose", "bench", entry["engine"], *options, "--json", "-", "--quiet"]
    result = {key: entry[key] for key in ("name", "precision", "batch", "onnx", "facts") if key in entry}
    result["bench"] = run_json(command + (["--batches", BATCHES] if entry["batch"] else []))
    if not entry["batch"]:
        arguments = [entry["onnx"], entry["engine"], str(pictures)]
        result["agreement"] = run_json([sys.executable, __file__, "agree", *arguments])
    return result


def agree(model: Path, engine: Path, pictures: Path) -> dict[str, Any]:
    """How far an engine finds what ONNX Runtime finds, as ``trtpose check`` says it, without the single pictures."""
    sys.path.insert(0, str(ROOT / "tests" / "gpu"))
    import reference

    import trtpose
    from trtpose.check import check

    candidate = trtpose.Engine(engine, device="cuda", precision="auto")
    against = reference.onnx_runtime_engine(model, imgsz=candidate.imgsz)
    result = check(against, candidate, pictures, conf=0.1, score=0.3, on_error=lambda _: None).to_dict()
    result["pictures"] = len(result["pictures"])
    return result


def measure(lists: list[Path], target: Path, pictures: Path, runs: int) -> int:
    """Time every engine that could be built; the part is written after each."""
    results: list[dict[str, Any]] = []
    failed = 0
    for path in lists:
        for entry in json.loads(path.read_text(encoding="utf-8"))["engines"]:
            if "problem" in entry:
                results.append({"name": entry["name"], "problem": entry["problem"]})
                failed += 1
            elif "engine" in entry:
                results.append(measure_engine(entry, pictures, runs))
                failed += "problem" in results[-1]["bench"]
            else:
                continue
            write(target, {"engines": results})
            report(results[-1])
    return 1 if failed else 0


def report(result: dict[str, Any]) -> None:
    if "problem" in result:
        print(f"{result['name']}: {result['problem']}")
        return
    bench = result["bench"]
    for one in bench.get("batches", [bench]):
        if "problem" in one:
            print(f"{result['name']}: {one['problem']}")
            continue
        ratios = ", ".join(f"{key} {value:.3f}" for key, value in one["ratios"].items())
        total = one["stages"]["total"]["median_ms"]
        print(f"{result['name']} batch {one['batch']}: {total:.3f} ms, {ratios}, {vram(one)}", flush=True)
        predicted = predicted_ms(gpu_name(bench), result, one)
        if predicted is not None:
            print(f"  predicted {predicted:.3f} ms, measured {total:.3f} ms", flush=True)
    agreement = result.get("agreement")
    if agreement:
        print(f"  {agreement.get('verdict', agreement.get('problem'))}", flush=True)


def gpu_name(bench: dict[str, Any]) -> str:
    """As the driver has it; empty where the figures do not say."""
    return str(bench.get("machine", {}).get("gpu", {}).get("name", ""))


def predicted_ms(gpu: str, result: dict[str, Any], one: dict[str, Any]) -> float | None:
    """What was predicted for the whole path of one frame through w6-pose in half precision, on cards that are known."""
    card = gpu_model.card_called(gpu)
    if card is None or not result["name"].startswith("w6-pose") or result["precision"] != "fp16" or one["batch"] != 1:
        return None
    paths = json.loads(PREDICTED.read_text(encoding="utf-8"))["whole_path_us"]
    return float(paths[card.name]["total"]) / 1000


def vram(one: dict[str, Any]) -> str:
    memory = one["memory"].get("vram", {})
    if "risen_bytes" not in memory:
        return f"memory not measured ({memory.get('problem', 'not asked for')})"
    return f"{memory['risen_bytes'] / 2**20:.0f} MiB"


def goals(engines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The figures that were promised, for YOLOv7-w6-pose at 960."""
    found: list[dict[str, Any]] = []

    def add(name: str, value: float, limit: float, *, least: bool = False) -> None:
        met = value >= limit if least else value <= limit
        found.append({"goal": name, "value": round(value, 4), "limit": limit, "met": met})

    for result in engines:
        if not result["name"].startswith("w6-pose") or "bench" not in result:
            continue
        for one in result["bench"].get("batches", [result["bench"]]):
            if "ratios" not in one:
                continue
            label = f"{result['name']} batch {one['batch']}"
            if one["batch"] == 1:
                add(f"{label}: whole path to the bare enqueue", one["ratios"]["total_to_network"], 1.10)
                memory = one["memory"].get("vram", {})
                if result["precision"] == "fp16" and "risen_bytes" in memory:
                    add(f"{label}: peak of the GPU's memory in GiB", memory["risen_bytes"] / 2**30, 1.0)
            if one["batch"] == 16:
                ratio = one["ratios"]["throughput_to_network"]
                add(f"{label}: throughput to the bare enqueue's", ratio, 0.95, least=True)
    return found


def merge(parts: Path, target: Path) -> int:
    """All parts of a folder in one file."""
    result: dict[str, Any] = {"date": time.strftime("%Y-%m-%d")}
    for name in ("ops", "engines"):
        path = parts / f"{name}.json"
        if path.is_file():
            result[name] = json.loads(path.read_text(encoding="utf-8"))
    if len(result) == 1:
        print("gpu-bench: nothing was measured, nothing is written", file=sys.stderr)
        return 1
    result["goals"] = goals(result.get("engines", {}).get("engines", []))
    for goal in result["goals"]:
        print(f"goal {goal['goal']}: {goal['value']} of {goal['limit']}: {'met' if goal['met'] else 'MISSED'}")
    write(target, result)
    print(f"wrote {target}")
    return 0


def write(target: Path, value: dict[str, Any]) -> None:
    part = target.with_suffix(".part")
    part.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    part.replace(target)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    one = verbs.add_parser("measure")
    one.add_argument("lists", type=Path, nargs="+")
    one.add_argument("--json", type=Path, required=True)
    one.add_argument("--pictures", type=Path, required=True)
    one.add_argument("--runs", type=int, default=200)
    two = verbs.add_parser("merge")
    two.add_argument("parts", type=Path)
    two.add_argument("--json", type=Path, required=True)
    three = verbs.add_parser("agree")
    three.add_argument("model", type=Path)
    three.add_argument("engine", type=Path)
    three.add_argument("pictures", type=Path)
    args = parser.parse_args()
    if args.verb == "measure":
        return measure(args.lists, args.json, args.pictures, args.runs)
    if args.verb == "merge":
        return merge(args.parts, args.json)
    print(json.dumps(agree(args.model, args.engine, args.pictures)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
