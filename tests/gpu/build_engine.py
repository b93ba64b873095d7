#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Build an engine file with the C++ builder beside this file, where TensorRT's Python package cannot be had.

    python tests/gpu/build_engine.py MODEL.onnx -o MODEL.engine --precision fp16 --builder .../trtpose_build_engine

The graph is prepared as ``trtpose build`` prepares it and the file carries the same description; only the parser and
the builder are called from C++. Prints what was built as one JSON object.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import trtpose
from trtpose import build as package
from trtpose.build import engine_file, onnx_model, options, precision
from trtpose.errors import DeviceError, Error, ModelError
from trtpose.spec import METADATA_KEY

__all__ = ["build", "describe"]

RTX_CAPABILITIES = ["8.0", "8.6", "8.9", "12.0", "12.1"]
"""What TensorRT for RTX builds for when it is not told."""


def describe(builder: Path) -> dict[str, Any]:
    """The library that a builder was linked with: runtime, version, strongly_typed. Needs no GPU.

    Raises:
        DeviceError: it does not start.
    """
    return _call(builder, "--version")


def _call(builder: Path, *arguments: str) -> dict[str, Any]:
    try:
        done = subprocess.run([str(builder), *arguments], capture_output=True, text=True, check=False)
    except OSError as error:
        raise DeviceError(f"{builder}: cannot be started ({error.strerror}); build the target of that name") from None
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        reason = lines[-1].removeprefix("error: ") if lines else f"ended with status {done.returncode}: {done.stderr}"
        kind = DeviceError if reason.startswith("no GPU") else ModelError
        raise kind(reason.strip())
    return json.loads(done.stdout)


def build(
    model: Path,
    output: Path,
    *,
    builder: Path,
    asked: str = "fp32",
    batch: str | None = None,
    imgsz: str | None = None,
    workspace_mib: int = 0,
    opt_level: int | None = None,
    cache: Path | None = None,
    time_runs: int = 0,
    spec: Path | None = None,
) -> dict[str, Any]:
    """Build an engine file; returns what the builder said, with the share of each precision.

    Args:
        model: ONNX, for ``int8`` with Q/DQ pairs.
        output: the engine file.
        builder: the program.
        asked: ``fp32``, ``fp16`` or ``int8``.
        batch, imgsz: as ``trtpose build`` takes them.
        workspace_mib: scratch memory a layer may use, 0 for the library's own limit.
        opt_level: 0 to 5, None for the library's own.
        cache: file of kernel timings, read and written.
        time_runs: bare enqueues of the engine to time, 0 for none.
        spec: model spec of an ONNX that carries none.

    Raises:
        DeviceError, ModelError, InputError: as ``trtpose build``.
    """
    import onnx

    about = describe(builder)
    loaded = onnx_model.load(model, spec)
    shapes = onnx_model.fix_shapes(loaded, options.parse_batch(batch), options.parse_imgsz(imgsz))
    graph = package._prepare(loaded, asked, None, (), strongly_typed=about["strongly_typed"], report=_say)
    weights = onnx_model.weight_bytes(graph.proto)
    dims = shapes.dims()
    with tempfile.TemporaryDirectory(prefix="trtpose-") as folder:
        source, plan, keep, layers = (Path(folder) / name for name in ("model.onnx", "plan", "keep", "layers.json"))
        onnx.save(graph.proto, str(source))
        keep.write_text("\n".join(graph.keep), encoding="utf-8")
        arguments = [str(source), str(plan), "--precision", asked, "--keep", str(keep), "--inspect", str(layers)]
        if not shapes.fixed:
            arguments += ["--shape", loaded.input, *("x".join(map(str, dims[key])) for key in ("min", "opt", "max"))]
        for option, value in (
            ("--workspace", workspace_mib or None),
            ("--opt-level", opt_level),
            ("--timing-cache", cache),
            ("--time", time_runs or None),
        ):
            if value is not None:
                arguments += [option, str(value)]
        made = _call(builder, *arguments)
        shares = precision.of_engine(layers.read_text(encoding="utf-8")) if layers.exists() else None
        if shares is not None and shares.convolutions:
            precision.verify(asked, shares, str(model))
        rtx = made["runtime"] == "rtx"
        header: dict[str, Any] = {
            **package._description(loaded, loaded.fields, shapes, asked),
            METADATA_KEY: loaded.fields,
            engine_file.ENGINE_KEY: {
                "format": engine_file.FORMAT,
                "runtime": made["runtime"],
                "version": made["version"],
                "precision": asked,
                "layers": dict(shares.layers) if shares else {},
                "convolutions": dict(shares.convolutions) if shares else {},
                "device": made["gpu"],
                "compute_capabilities": RTX_CAPABILITIES if rtx else [],
                "hardware_compatibility": "none",
                "version_compatible": False,
                "weight_streaming": False,
                "profiles": [{loaded.input: dims}],
                "inputs": made["inputs"],
                "outputs": made["outputs"],
                "onnx": {"name": model.name, "sha256": loaded.sha256},
                "plan": {},
                "memory": {"weights": weights, "activations": max(made["activations"], 0) or None},
                "plugins": [],
                "created": dt.datetime.now(dt.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
                "trtpose": trtpose.__version__,
            },
        }
        size = engine_file.write(output, header, plan.read_bytes())
    return {
        **made,
        "engine": str(output),
        "file_bytes": size,
        "precision": asked,
        "layers": dict(shares.layers) if shares else None,
        "convolutions": dict(shares.convolutions) if shares else None,
    }


def _say(line: str) -> None:
    print(line, file=sys.stderr)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--builder", type=Path, required=True)
    parser.add_argument("--precision", choices=("fp32", "fp16", "int8"), default="fp32")
    parser.add_argument("--batch", help="frames per call: 4, or 1:4:16")
    parser.add_argument("--imgsz", help="960, 544x960, or 320:640:960")
    parser.add_argument("--workspace-mib", type=int, default=0)
    parser.add_argument("--opt-level", type=int)
    parser.add_argument("--timing-cache", type=Path)
    parser.add_argument("--time", type=int, default=0, metavar="RUNS")
    parser.add_argument("--spec", type=Path)
    args = parser.parse_args()
    try:
        made = build(
            args.model,
            args.output,
            builder=args.builder,
            asked=args.precision,
            batch=args.batch,
            imgsz=args.imgsz,
            workspace_mib=args.workspace_mib,
            opt_level=args.opt_level,
            cache=args.timing_cache,
            time_runs=args.time,
            spec=args.spec,
        )
    except Error as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(json.dumps(made))
    return 0


if __name__ == "__main__":
    sys.exit(main())
