# SPDX-License-Identifier: Apache-2.0
"""The command ``trtpose info``."""

from __future__ import annotations

import argparse
import textwrap
from typing import Any

from .._terminal import escaped
from ..errors import InputError
from .console import write_json
from .options import add_spec
from .values import count, size

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "what this installation can do, or what a model file is"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "file", metavar="FILE", nargs="?", help="ONNX model or engine file (default: this installation)"
    )
    add_spec(parser)
    parser.add_argument("--imgsz", type=size, metavar="N|HxW", help="size to count and plan for (default: the model's)")
    parser.add_argument(
        "--batch", type=count, metavar="N", help="frames per run to plan for (default: the model's, or 1)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Do it; returns the exit status. Errors are raised as :class:`trtpose.Error`."""
    import trtpose

    from ..spec import METADATA_KEY

    if args.file is None and (args.spec, args.imgsz, args.batch) != (None, None, None):
        raise InputError("--spec, --imgsz and --batch are about a model file; name the file as well")
    if args.file is None:
        info = trtpose.system_info()
    else:
        info = trtpose.model_info(args.file, spec=args.spec, imgsz=args.imgsz, batch=args.batch)
    if args.json:
        write_json("-", info)
    else:
        if "spec" in info and isinstance(info.get("metadata"), dict):
            # The spec itself is shown below.
            info["metadata"] = {key: value for key, value in info["metadata"].items() if key != METADATA_KEY}
        summary = info.pop("summary", None)
        print("\n".join(_outline(info)))
        if summary:
            print(summary)
    return 0


def _outline(value: Any, depth: int = 0) -> list[str]:
    """Nested dictionaries and lists as indented lines."""
    indent = "  " * depth
    lines: list[str] = []
    pairs: list[tuple[str, Any]]
    if isinstance(value, dict):
        pairs = [(f"{escaped(str(key))}:", entry) for key, entry in value.items()]
    else:
        pairs = [("-", entry) for entry in value]
    for key, entry in pairs:
        flat = _flat(entry)
        if flat is None and key == "-":
            first, *rest = _outline(entry, depth + 1)
            lines += [f"{indent}- {first.lstrip()}", *rest]
        elif key.startswith("memory_") and isinstance(entry, int):
            lines.append(f"{indent}{key} {entry / 2**20:,.0f} MiB")
        elif key.endswith("_bytes:") and isinstance(entry, int):
            lines.append(f"{indent}{key} {entry} ({entry / 2**20:.1f} MiB)")
        elif flat is not None:
            lines += textwrap.wrap(
                f"{key} {flat}", 100, initial_indent=indent, subsequent_indent=indent + "    ", break_long_words=False
            )
        else:
            lines.append(indent + key)
            lines += _outline(entry, depth + 1)
    return lines


def _flat(value: Any) -> str | None:
    """A value that fits one line, or None."""
    if value is None or value == "" or value == [] or value == {}:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, dict):
        return None
    if isinstance(value, (list, tuple)):
        parts = [_flat(entry) for entry in value]
        if any(part is None for part in parts):
            return None
        nested = [
            f"[{part}]" if isinstance(entry, (list, tuple)) else str(part)
            for entry, part in zip(value, parts, strict=True)
        ]
        return ", ".join(nested)
    return escaped(str(value))
