#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Build the engines that the tests and benchmarks of a machine use, and what they are compared with.

    python tests/gpu/prepare_engines.py --out DIR [--builder PROGRAM] [--calib PICTURES] MODEL.onnx...

For every model: engines in FP32, FP16 and, where it has Q/DQ pairs or there are pictures to calibrate with, INT8; one
for a range of batches; and the outputs of ONNX Runtime for a fixed input. TensorRT's Python package builds where
it is installed, else the program of tests/gpu. ``DIR/engines.json`` lists what there is and what could not be made, and
why; it is written after every step. Status 1 if something could not be made.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import build_engine
import numpy as np
import reference

import trtpose
from trtpose import _core
from trtpose._machine import module_version
from trtpose.errors import Error


class Preparation:
    """The list of engines as it grows."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.out, self.builder, self.calib = args.out, args.builder, args.calib
        self.precisions: list[str] = args.precision
        self.batch, self.batch_precision = args.batch, args.batch_precision
        out: Path = args.out
        self.entries: list[dict[str, Any]] = []
        self.failed = 0
        out.mkdir(parents=True, exist_ok=True)

    def write(self) -> None:
        target = self.out / "engines.json"
        part = target.with_suffix(".part")
        part.write_text(json.dumps({"engines": self.entries}, indent=1) + "\n", encoding="utf-8")
        part.replace(target)

    def step(self, name: str, entry: dict[str, Any], work: Any) -> dict[str, Any] | None:
        """Do one thing and note it, whatever comes of it."""
        start = time.perf_counter()
        try:
            entry.update(work())
        except Exception as error:
            self.failed += 1
            text = str(error) if isinstance(error, Error) else f"{type(error).__name__}: {error}"
            entry["problem"] = " ".join(text.split())
            print(f"prepare: {name}: FAILED: {entry['problem']}", flush=True)
        else:
            print(f"prepare: {name}: {time.perf_counter() - start:.1f} s", flush=True)
        entry["seconds_all"] = round(time.perf_counter() - start, 1)
        self.entries.append(entry)
        self.write()
        return None if "problem" in entry else entry

    def engine(self, model: Path, source: Path, precision: str, batch: str | None) -> None:
        name = f"{model.stem}-{precision}" + ("-batch" if batch else "")
        target = self.out / f"{name}.engine"
        facts = _core.read_model_file(str(source))
        first = facts["inputs"][0]["shape"][0]
        if batch and first > 0:
            print(f"prepare: {name}: not made, the network takes {first} picture(s) and no other number", flush=True)
            return
        entry = {"name": name, "engine": str(target), "onnx": str(model), "precision": precision, "batch": batch}

        def work() -> dict[str, Any]:
            if self.builder is None:
                made = trtpose.build(source, target, precision=precision, runtime="tensorrt", batch=batch, report=print)
                return {"built_by": "trtpose.build", "facts": str(made)}
            return {
                "built_by": self.builder.name,
                "facts": build_engine.build(
                    source,
                    target,
                    builder=self.builder,
                    asked=precision,
                    batch=batch,
                    cache=self.out / "timing.cache",
                    time_runs=50,
                ),
            }

        self.step(name, entry, work)

    def outputs(self, model: Path) -> None:
        """What ONNX Runtime gives for noise: raw float32 files, and a text file that C++ reads."""
        name = f"{model.stem}-outputs"
        entry: dict[str, Any] = {"name": name, "onnx": str(model)}

        def work() -> dict[str, Any]:
            running = reference.session(model)
            (given,) = running.get_inputs()
            text, _ = _core.find_spec(str(model), "")
            sizes = [
                a if isinstance(a, int) else b for a, b in zip(given.shape[2:], json.loads(text)["imgsz"], strict=True)
            ]
            batch = given.shape[0] if isinstance(given.shape[0], int) else 1
            images = np.random.default_rng(11).random((batch, 3, *sizes), dtype=np.float32)
            results = running.run(None, {given.name: images})
            images.tofile(self.out / f"{model.stem}.input")
            lines = [f"{batch} {sizes[0]} {sizes[1]}"]
            for output, values in zip(running.get_outputs(), results, strict=True):
                file = f"{model.stem}.{len(lines) - 1}.output"
                np.ascontiguousarray(values, np.float32).tofile(self.out / file)
                lines.append(f"{output.name} {file} {values.size}")
            (self.out / f"{model.stem}.outputs").write_text("\n".join(lines) + "\n", encoding="utf-8")
            return {"outputs": str(self.out / f"{model.stem}.outputs")}

        self.step(name, entry, work)

    def model(self, model: Path) -> None:
        self.outputs(model)
        quantised = b'"\x10DequantizeLinear' in model.read_bytes()
        if quantised:
            self.engine(model, model, "int8", None)
            return
        for precision in ("fp32", "fp16"):
            if precision in self.precisions:
                self.engine(model, model, precision, None)
        self.engine(model, model, self.batch_precision, self.batch)
        if "int8" not in self.precisions:
            return
        if self.calib is None:
            print(f"prepare: {model.stem}-int8: not made, there are no pictures to calibrate with", flush=True)
            return
        target = self.out / f"{model.stem}-qdq.onnx"
        entry: dict[str, Any] = {"name": f"{model.stem}-qdq", "onnx": str(model)}

        def work() -> dict[str, Any]:
            from trtpose.quantize import quantize

            assert self.calib is not None
            # What is lost is measured with OpenVINO, where that is; without, the engine is compared later on anyway.
            measure = any(one["name"] == "openvino" and one["available"] for one in _core.backends())
            quantize(model, self.calib, output=target, measure=measure, report=_indented)
            return {"qdq": str(target), "measured": measure}

        if self.step(entry["name"], entry, work) is not None:
            self.engine(model, target, "int8", None)


def _indented(line: str) -> None:
    print(f"  {line}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--builder", type=Path, help="trtpose_build_engine; without it TensorRT's Python package builds"
    )
    parser.add_argument("--calib", type=Path, help="pictures for INT8")
    parser.add_argument("--precision", nargs="+", default=["fp32", "fp16", "int8"], choices=("fp32", "fp16", "int8"))
    parser.add_argument("--batch", default="1:2:4", help="of one more engine (default: 1:2:4)")
    parser.add_argument("--batch-precision", default="fp32", choices=("fp32", "fp16"))
    args = parser.parse_args()
    if args.builder is None and module_version("tensorrt") is None:
        print("prepare: neither TensorRT's Python package nor --builder: no engine can be built", file=sys.stderr)
        return 1
    work = Preparation(args)
    for model in args.models:
        work.model(model)
    print(f"prepare: {len(work.entries) - work.failed} made, {work.failed} failed; see {args.out / 'engines.json'}")
    return 1 if work.failed else 0


if __name__ == "__main__":
    sys.exit(main())
