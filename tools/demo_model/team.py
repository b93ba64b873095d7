# SPDX-License-Identifier: Apache-2.0
"""The processes that train one network together, on the processor of one machine."""

from __future__ import annotations

import torch
from torch import Tensor

PATIENCE = 3600
"""Seconds to wait for another process, which may be scoring the network."""


class Team:
    """``processes`` that pass each other up to ``numbers`` float32 values in shared memory.

    Made once and given to every process, which sets ``rank``. It starts no thread. (With the gloo threads of
    torch.distributed a process was once aborted after its last step: "terminate called without an active exception".)
    """

    def __init__(self, processes: int = 1, numbers: int = 0) -> None:
        self.processes = processes
        self.rank = 0
        if processes > 1:
            self.board = torch.zeros(processes, numbers).share_memory_()
            self.barrier = torch.multiprocessing.get_context("spawn").Barrier(processes, timeout=PATIENCE)

    def gather(self, mine: Tensor) -> Tensor:
        """Values (float32, or integers below 2^24) of every process, processes × values, in the type of ``mine``.

        Raises:
            threading.BrokenBarrierError: another process did not come within `PATIENCE` seconds.
        """
        if self.processes == 1:
            return mine[None]
        self.board[self.rank, : len(mine)] = mine
        self.barrier.wait()
        every = self.board[:, : len(mine)].to(mine.dtype, copy=True)
        self.barrier.wait()  # or a fast process would write over what a slow one has still to read
        return every

    def sum(self, tensors: list[Tensor]) -> list[Tensor]:
        """Sum of each tensor over all processes."""
        if self.processes == 1:
            return tensors
        total = self.gather(torch.cat([t.flatten() for t in tensors])).sum(0)
        parts = total.split([t.numel() for t in tensors])
        return [part.view(t.shape) for t, part in zip(tensors, parts, strict=True)]
