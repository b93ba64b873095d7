# SPDX-License-Identifier: Apache-2.0
"""The memory of the card that an engine is for: what building may use of it, and whether the engine fits."""

from __future__ import annotations

from pathlib import Path

from ..errors import BudgetError
from .options import Options

__all__ = ["mib", "refuse_engine", "refuse_weights", "tactic_limit", "workspace_limit"]

_WORKSPACE_SHARE = 4
"""The part of a memory budget that one layer may take as scratch: the rest is for weights, tensors and CUDA itself."""

_CONTEXT_BYTES = 512 << 20
"""What a CUDA context and loaded kernels may take of a card, as a rule; the builder's trials get the rest."""


def mib(size: int) -> str:
    """For people."""
    return f"{size / 2**20:.0f} MiB"


def workspace_limit(options: Options) -> int:
    """Bytes of scratch a layer may use, 0 for the library's own limit."""
    return options.workspace or options.vram_budget // _WORKSPACE_SHARE


def tactic_limit(options: Options) -> int:
    """Bytes the library may use while it tries kernels, 0 for its own limit."""
    budget = options.vram_budget
    return options.tactic_memory or (max(budget - _CONTEXT_BYTES, budget // 2) if budget else 0)


def refuse_weights(source: Path, weights: int, options: Options) -> None:
    """See before the build that the weights alone, in bytes, are within the budget.

    Raises:
        BudgetError: they are not.
    """
    budget = options.vram_budget
    if budget and weights > budget:
        raise BudgetError(
            f"{source}: its weights alone take {mib(weights)} in {options.precision}, the budget is {mib(budget)}; use "
            "a smaller network or precision, or raise --vram-budget"
        )


def refuse_engine(source: Path, weights: int, activations: int | None, options: Options) -> None:
    """See behind the build that weights and intermediate tensors, in bytes, are within the budget.

    Raises:
        BudgetError: they are not, and the weights are not streamed.
    """
    budget = options.vram_budget
    if not budget or activations is None or options.weight_streaming:
        return
    if weights + activations > budget:
        raise BudgetError(
            f"{source}: the engine takes {mib(weights)} for weights and {mib(activations)} for intermediate tensors, "
            f"the budget is {mib(budget)}; give a smaller --batch, --imgsz or --workspace, or --weight-streaming"
        )
