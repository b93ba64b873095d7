#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Run every fuzz target of tests/fuzz for a while, each on one core.

    python tools/fuzz.py [--seconds S] [--jobs N] [TARGET...]

Prints what each did: executions, edges it reached, and how long its slowest input took. Exits with 1 after a crash, a
leak, or an input that takes more than a second, and says where that lies and how to give it again. What cannot run here
is named, counted and no failure.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NATIVE = ("engine", "letterbox", "literal", "metadata", "nms", "onnx", "reader", "spec")
PYTHON = ("checkpoint", "picture")
PROGRAMS = ROOT / "build/fuzz/tests/fuzz"
"""Where the preset has them built."""
SLOW_MS = 1000
HANG_SECONDS = 20
"""An input that takes longer ends its target: a second by the clock is not one of a core that others share."""
TRIES = 3
MAX_LENGTH = 4096
MEMORY_MB = 2048
_PROBE = 'extern "C" int LLVMFuzzerTestOneInput(const unsigned char*, unsigned long) { return 0; }'


@dataclass(frozen=True)
class Target:
    name: str
    command: tuple[str, ...]


@dataclass
class Outcome:
    name: str
    executions: int = 0
    edges: int = 0
    seconds: float = 0
    slowest_ms: int = 0
    faults: list[str] = field(default_factory=list)

    def line(self) -> str:
        verdict = f"FAULTS: {len(self.faults)}" if self.faults else "ok"
        return (
            f"{self.name:<12}{self.executions:>12} executions{self.edges:>7} edges{self.seconds:>7.0f} s   "
            f"slowest {f'{self.slowest_ms} ms' if self.slowest_ms > SLOW_MS else 'below 1 s'}   {verdict}"
        )


def statistics(log: str) -> tuple[int, int]:
    """Executions and edges of a run, by what libFuzzer prints."""
    executions = re.findall(r"^stat::number_of_executed_units:\s*(\d+)", log, re.MULTILINE)
    lines = re.findall(r"^#(\d+)\s.*?\bcov: (\d+)", log, re.MULTILINE)
    edges = max((int(edges) for _, edges in lines), default=0)
    if executions:
        return int(executions[-1]), edges
    return max((int(count) for count, _ in lines), default=0), edges


def took_ms(target: Target, unit: Path) -> int | None:
    """The shortest of some runs of one input alone, in milliseconds; None if it does not come to its end."""
    shortest: int | None = None
    for _ in range(TRIES):
        done = subprocess.run(
            [*target.command, f"-timeout={HANG_SECONDS}", str(unit)], capture_output=True, text=True, errors="replace"
        )
        found = re.search(r"^Executed .* in (\d+) ms", done.stderr, re.MULTILINE)
        if done.returncode != 0 or found is None:
            return None
        shortest = min(int(found[1]), shortest if shortest is not None else int(found[1]))
    return shortest


def judge(target: Target, outcome: Outcome, units: Sequence[Path]) -> None:
    """What the inputs that libFuzzer put aside are worth: a slow one only if it is so alone, too."""
    for unit in units:
        again = f"{unit}\n    again: {' '.join(target.command)} {unit}"
        kind = unit.name.removeprefix(f"{target.name}-")
        if not kind.startswith(("slow-unit-", "timeout-")):
            outcome.faults.append(f"{kind.split('-')[0]}: {again}")
            continue
        took = took_ms(target, unit)
        outcome.slowest_ms = max(outcome.slowest_ms, took or HANG_SECONDS * 1000)
        if took is None:
            outcome.faults.append(f"does not end within {HANG_SECONDS} s: {again}")
        elif took > SLOW_MS:
            outcome.faults.append(f"takes {took} ms: {again}")
        else:
            unit.unlink()


def fuzz(target: Target, seconds: int, out: Path) -> Outcome:
    """Run one target. The corpus in ``out`` stays, so that the next run goes on where this one ends."""
    corpus, found = out / "corpus" / target.name, out / "found"
    for folder in (corpus, found):
        folder.mkdir(parents=True, exist_ok=True)
    seeds = out / "seeds" / target.name
    dictionary = ROOT / "tests/fuzz/dictionaries" / f"{target.name}.dict"
    before = set(found.glob(f"{target.name}-*"))
    start = time.monotonic()
    with (out / f"{target.name}.log").open("w+", errors="replace") as log:
        status = subprocess.run(
            [
                *target.command,
                f"-max_total_time={seconds}",
                f"-max_len={MAX_LENGTH}",
                f"-timeout={HANG_SECONDS}",
                f"-report_slow_units={SLOW_MS // 1000}",
                f"-rss_limit_mb={MEMORY_MB}",
                "-print_final_stats=1",
                f"-artifact_prefix={found}/{target.name}-",
                *([f"-dict={dictionary}"] if dictionary.exists() else []),
                str(corpus),
                *([str(seeds)] if seeds.exists() else []),
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
        ).returncode
        log.seek(0)
        text = log.read()
    outcome = Outcome(target.name, *statistics(text), seconds=time.monotonic() - start)
    units = sorted(set(found.glob(f"{target.name}-*")) - before)
    judge(target, outcome, units)
    stopped_by_time = any("timeout-" in unit.name for unit in units)
    if status != 0 and not outcome.faults and not stopped_by_time:
        outcome.faults.append(f"it ended with {status}: {log.name}\n" + "\n".join(text.splitlines()[-15:]))
    if not outcome.executions:
        outcome.faults.append(f"nothing was executed: {log.name}")
    return outcome


def why_no_libfuzzer() -> str:
    """Why programs of libFuzzer cannot be made here; empty where they can."""
    compiler = shutil.which("clang++")
    if compiler is None:
        return "there is no clang++; install clang"
    command = [compiler, "-fsanitize=fuzzer,address,undefined", "-x", "c++", "-", "-o", "/dev/null"]
    if subprocess.run(command, input=_PROBE, capture_output=True, text=True).returncode:
        return "clang++ has no libFuzzer; install libclang-rt-N-dev of its version N"
    return ""


def prepare_native(out: Path) -> list[Target]:
    subprocess.run(["cmake", "--preset", "fuzz"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["cmake", "--build", "--preset", "fuzz"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    subprocess.run([PROGRAMS / "trtpose_fuzz_seeds", out / "seeds"], check=True)
    return [Target(name, (str(PROGRAMS / f"trtpose_fuzz_{name}"),)) for name in NATIVE]


def prepare_python(out: Path) -> list[Target]:
    subprocess.run([sys.executable, ROOT / "tests/fuzz/seeds.py", out / "seeds"], check=True)
    return [Target(name, (sys.executable, str(ROOT / f"tests/fuzz/{name}.py"))) for name in PYTHON]


def prepare(out: Path, wanted: Sequence[str]) -> tuple[list[Target], dict[str, str]]:
    """The targets that can run here, and why the others cannot."""
    targets: list[Target] = []
    missing: dict[str, str] = {}
    no_libfuzzer = why_no_libfuzzer()
    no_atheris = "" if importlib.util.find_spec("atheris") else "atheris is not installed; pip install --group fuzz"
    for names, reason, make in ((NATIVE, no_libfuzzer, prepare_native), (PYTHON, no_atheris, prepare_python)):
        chosen = [name for name in names if name in wanted]
        if chosen and not reason:
            targets += [target for target in make(out) if target.name in chosen]
        elif chosen:
            missing.update(dict.fromkeys(chosen, reason))
    return targets, missing


def run(targets: Sequence[Target], seconds: int, jobs: int, out: Path) -> list[Outcome]:
    with ThreadPoolExecutor(max(jobs, 1)) as pool:
        outcomes = []
        for outcome in pool.map(lambda target: fuzz(target, seconds, out), targets):
            print(outcome.line(), flush=True)
            for fault in outcome.faults:
                print(f"  {fault}", flush=True)
            outcomes.append(outcome)
    return outcomes


def report(outcomes: Sequence[Outcome], missing: dict[str, str]) -> int:
    """Print the sums; the exit status."""
    faulty = [outcome.name for outcome in outcomes if outcome.faults]
    total = sum(outcome.executions for outcome in outcomes)
    print(f"{len(outcomes)} targets run, {total} executions; {len(faulty)} with faults; {len(missing)} not run")
    for name, reason in missing.items():
        print(f"  not run: {name} ({reason})")
    return 1 if faulty else 0


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Run the fuzz targets of tests/fuzz.")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(NATIVE + PYTHON)}; all by default")
    parser.add_argument("--seconds", type=int, default=60, help="for each target, 60 by default")
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, help="targets at a time, one a core by default"
    )
    parser.add_argument(
        "--out", type=Path, default=ROOT / "build/fuzz", help="folder of seeds, corpora, finds and logs"
    )
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.targets) - {*NATIVE, *PYTHON})
    if unknown:
        parser.error(f"no target is called {unknown[0]}; there are {', '.join(NATIVE + PYTHON)}")
    options.out.mkdir(parents=True, exist_ok=True)
    targets, missing = prepare(options.out, options.targets or [*NATIVE, *PYTHON])
    return report(run(targets, options.seconds, options.jobs, options.out), missing)


if __name__ == "__main__":
    sys.exit(main())
