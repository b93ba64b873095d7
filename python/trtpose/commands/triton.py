# SPDX-License-Identifier: Apache-2.0
"""The command ``trtpose triton``."""

from __future__ import annotations

import argparse

from . import options
from .console import say
from .options import SUPPRESSION, add_spec, add_thresholds
from .values import count

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "write a model into a repository of NVIDIA's Triton Inference Server"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.description = SUMMARY
    add = parser.add_argument
    add("model", metavar="MODEL", help="engine file of trtpose build, or ONNX model")
    add("--repository", metavar="DIR", required=True, help="the model repository; made where it is missing")
    add("--name", metavar="NAME", help="what the model is called (default: its file's name)")
    add_spec(parser)
    add(
        "--backend",
        choices=("onnxruntime", "openvino"),
        help="what runs an ONNX model, on CPUs (default: onnxruntime); TensorRT's runs engines",
    )
    add("--batch", type=count, default=8, metavar="N", help="frames per run, of an ONNX of any batch (default: 8)")
    add("--instances", type=count, default=2, metavar="N", help="processes that feed the network (default: 2)")
    add_thresholds(parser, also=SUPPRESSION)


def run(args: argparse.Namespace) -> int:
    """Do it; returns the exit status. Errors are raised as :class:`trtpose.Error`."""
    from ..triton import write_repository

    made = write_repository(
        args.model,
        args.repository,
        name=args.name,
        spec=args.spec,
        backend=args.backend,
        batch=args.batch,
        instances=args.instances,
        thresholds=options.thresholds(args),
    )
    for folder in made.folders:
        say(f"wrote {folder}")
    say(f"clients name {made.model}; it needs trtpose in the Python of Triton's container")
    if made.decoded:
        say("Triton must load the plugin of the engine: --backend-config=tensorrt,plugins=FILE")
    return 0
