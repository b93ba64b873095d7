#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What TensorRT through Python costs a run and a new shape before capture, beside the native module, on the double.

    python benchmarks/vendor_sides.py --binary build/cpu-dev/benchmarks/trtpose_bench_vendor_sides [--json FILE]

The program is started several times, and the medians of its medians are reported (docs/adr/0010). Needs no GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
from pathlib import Path
from typing import Any


def once(binary: Path) -> dict[str, Any]:
    done = subprocess.run([str(binary)], capture_output=True, text=True)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not lines:
        raise SystemExit(f"{binary} failed:\n{done.stdout}{done.stderr}")
    return json.loads(lines[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--binary", type=Path, required=True)
    parser.add_argument("--times", type=int, default=5, help="how often the program is started")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    args = parser.parse_args()
    load = os.getloadavg()
    found = [once(args.binary) for _ in range(args.times)]
    figures = {
        side: {name: statistics.median(one[side][name] for one in found) for name in ("run_us", "new_shape_us")}
        for side in ("native", "python")
    }
    report = {
        "machine": {"system": platform.platform(), "cpus": os.cpu_count()},
        "load": {"before": load, "after": os.getloadavg()},
        "each_of": {name: found[0][name] for name in ("runs", "shapes")},
        "times": args.times,
        **figures,
    }
    text = json.dumps(report, indent=2)
    if args.json:
        args.json.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
