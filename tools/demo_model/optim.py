# SPDX-License-Identifier: Apache-2.0
"""Muon for the convolutions, AdamW for the rest.

Muon (Jordan et al., 2024, "Muon: an optimizer for hidden layers in neural networks"): momentum whose matrix of
outputs × (inputs · kernel) is made nearly orthogonal by a Newton-Schulz iteration before it is applied.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .team import Team

COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def orthogonal(g: Tensor, steps: int = 5) -> Tensor:
    """A matrix with the singular vectors of ``g`` (rows × columns) and singular values near 1."""
    a, b, c = COEFFICIENTS
    tall = g.shape[0] > g.shape[1]
    x = (g.T if tall else g).bfloat16()
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        s = x @ x.T
        x = a * x + (b * s + c * s @ s) @ x
    return (x.T if tall else x).to(g.dtype)


class Muon(torch.optim.Optimizer):
    """Step of ``lr`` times the orthogonal momentum, scaled to the shape; weights decay by lr · ``weight_decay``.

    In a ``team`` of processes with equal weights and gradients, each works out the steps of a share of the weights.
    """

    def __init__(
        self,
        params: list[nn.Parameter],
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.01,
        team: Team | None = None,
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self.team = team or Team()

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # noqa: ARG002
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            # Heaviest first, dealt out in turn.
            dealt = sorted(range(len(params)), key=lambda i: -params[i].numel() * params[i].shape[0])
            mine = set(dealt[self.team.rank :: self.team.processes])
            updates = []
            for i, p in enumerate(params):
                state = self.state[p]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(p)
                buffer = state["momentum"]
                buffer.lerp_(p.grad, 1 - group["momentum"])
                if i not in mine:
                    updates.append(torch.zeros_like(p))
                    continue
                update = p.grad.lerp(buffer, group["momentum"]).flatten(1)
                rows, cols = update.shape
                updates.append(orthogonal(update).view(p.shape) * max(1, rows / cols) ** 0.5)
            for p, update in zip(params, self.team.sum(updates), strict=True):
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(update, alpha=-group["lr"])
