#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Build an engine file with the C++ builder beside this file, where TensorRT's Python package cannot be had.

    python tests/gpu/build_engine.py MODEL.onnx -o MODEL.engine --precision fp16 --builder .../trtpose_build_engine

The graph is prepared as ``trtpose build`` prepares it and the file carries the same description; only the parser and
the builder are called from C++. Prints what was built as one JSON object.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from trtpose.build import description, engine_file, onnx_model, options, precision
from trtpose.build.compiler import Compiled
from trtpose.build.driver import Driver
from trtpose.build.onnx_precision import TypedNetwork, put_precision_in
from trtpose.build.resolve import Resolved
from trtpose.build.tensorrt_api import Library
from trtpose.errors import DeviceError, Error, ModelError

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
    asks = options.Options.parse(asked, {"batch": batch, "imgsz": imgsz})
    resolved = _resolve(model, output, builder, asks, spec)
    network = put_precision_in(resolved, asks, report=_say)
    with tempfile.TemporaryDirectory(prefix="trtpose-") as name:
        folder = Path(name)
        arguments = _arguments(folder, resolved, network, asked)
        for option, value in (
            ("--workspace", workspace_mib or None),
            ("--opt-level", opt_level),
            ("--timing-cache", cache),
            ("--time", time_runs or None),
        ):
            if value is not None:
                arguments += [option, str(value)]
        made = _call(builder, *arguments)
        compiled = _compiled(folder, made, asked, model)
    header = description.describe(resolved, network, compiled, asks)
    header[engine_file.ENGINE_KEY]["device"] = made["gpu"]
    shares = compiled.engine
    return {
        **made,
        "engine": str(output),
        "file_bytes": engine_file.write(output, header, compiled.plan),
        "precision": asked,
        "layers": dict(shares.layers) if shares else None,
        "convolutions": dict(shares.convolutions) if shares else None,
    }


def _resolve(model: Path, output: Path, builder: Path, asks: options.Options, spec: Path | None) -> Resolved:
    about = describe(builder)
    loaded = onnx_model.load(model, spec)
    return Resolved(
        model=loaded,
        target=output,
        driver=Driver(()),
        library=Library(about["runtime"], None, about["version"]),
        gpu=None,
        capabilities=tuple(RTX_CAPABILITIES) if about["runtime"] == "rtx" else (),
        runs_here=True,
        shapes=onnx_model.fix_shapes(loaded, asks.batch, asks.imgsz),
        timing_cache=None,
    )


def _arguments(folder: Path, resolved: Resolved, network: TypedNetwork, asked: str) -> list[str]:
    """Of the builder, for files in ``folder``: model.onnx and keep, which are written here, plan and layers.json."""
    source, plan, keep, layers = (folder / name for name in ("model.onnx", "plan", "keep", "layers.json"))
    source.write_bytes(network.onnx.data)
    keep.write_text("\n".join(network.keep), encoding="utf-8")
    arguments = [str(source), str(plan), "--precision", asked, "--keep", str(keep), "--inspect", str(layers)]
    if not resolved.shapes.fixed:
        dims = resolved.shapes.dims()
        arguments += [
            "--shape",
            resolved.model.input,
            *("x".join(map(str, dims[key])) for key in ("min", "opt", "max")),
        ]
    return arguments


def _compiled(folder: Path, made: dict[str, Any], asked: str, model: Path) -> Compiled:
    """What the builder left in ``folder``; refused where it is not of the precision that was asked."""
    layers = folder / "layers.json"
    shares = precision.of_engine(layers.read_text(encoding="utf-8")) if layers.exists() else None
    if shares is not None and shares.convolutions:
        precision.verify(asked, shares, str(model))
    return Compiled(
        plan=(folder / "plan").read_bytes(),
        network=precision.Shares({}, {}, "network"),
        engine=shares,
        inputs=made["inputs"],
        outputs=made["outputs"],
        weights=None,
        activations=max(made["activations"], 0) or None,
        warnings=(),
    )


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
