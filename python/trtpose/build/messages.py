# SPDX-License-Identifier: Apache-2.0
"""What went wrong in TensorRT, in a sentence with a remedy."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..errors import BudgetError, ModelError
from .builder_config import Request
from .tensorrt_api import Library

__all__ = ["failure", "first_sentence", "reason", "refusal"]


def first_sentence(text: str) -> str:
    """One sentence out of a message of the library, without its source files and counters."""
    line = " ".join(text.split())
    line = re.sub(r"^.*?Error Code \d+: ", "", line)
    line = re.sub(r"^\S+\.(cpp|h|hpp):\d+:? +|\[\S+\.(cpp|h|hpp):\d+(: \w+)?\] *", "", line)
    line = re.sub(r"^.*?Assertion failed: (.*?\)|[^:]*?): ", "", line)
    line = re.sub(r"\s*In \S+ at \S+\.(cpp|h|hpp):\d+\.?\)?$", "", line)
    wrapped = re.match(r"(?:Internal [Ee]rror|API Usage Error|Myelin) \((.*)", line)
    if wrapped:
        line = wrapped[1].removesuffix(")")
    line = line.split(". ")[0].strip().rstrip(".")
    return line[:300]


def reason(errors: Sequence[str]) -> str:
    return first_sentence(errors[0]) if errors else "it gives no reason"


def refusal(
    library: Library, request: Request, errors: Sequence[tuple[str, str, str]], logged: Sequence[str]
) -> ModelError:
    name, kind, text = errors[0] if errors else ("", "", logged[0] if logged else "")
    where = f"node {name} ({kind})" if name and kind else f"node {name}" if name else "the graph"
    remedy = "export it with another opset, or use another version of TensorRT"
    lower = text.lower()
    if "zero point" in lower or kind in ("QuantizeLinear", "DequantizeLinear"):
        remedy = "quantise the original network with: trtpose quantize"
    elif "plugin" in lower:
        remedy = "TensorRT knows no such operator; export the network in standard ONNX"
    return ModelError(
        f"{request.name}: {library.title} refuses {where}: {first_sentence(text) or 'it gives no reason'}; {remedy}"
    )


def failure(library: Library, request: Request, errors: Sequence[str]) -> ModelError | BudgetError:
    lower = " ".join(errors).lower()
    if "out of memory" in lower or "outofmemory" in lower:
        return BudgetError(
            f"{request.name}: the GPU has not enough free memory to build this ({reason(errors)}); close what else "
            "uses it, or give a smaller --workspace, --tactic-memory, --batch or --imgsz"
        )
    remedy = "try another --opt-level or a larger --workspace"
    if "turing" in lower and "7.5" in request.capabilities:
        remedy = "leave 7.5 out of --compute-capability, or build in FP16"
    return ModelError(f"{request.name}: {library.title} cannot build it: {reason(errors)}; {remedy}")
