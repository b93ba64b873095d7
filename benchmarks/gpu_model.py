# SPDX-License-Identifier: Apache-2.0
"""What trtpose's kernels, and the way of a frame through a GPU, should take by what is known without running.

A floor is what nothing can beat: the bytes that must be moved, at the card's bandwidth. Beside it stands how long the
card takes to start each instruction of a kernel once: loops take longer, and blocks that have nothing to do leave
early. A prediction is the longer of the two and what :data:`ASSUMED` adds, which is guessed and named there; no GPU has
tested it. Times are in microseconds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

ASSUMED = {
    "launch_us": 2.0,  # from one kernel of a CUDA graph to the next, with the first reads' latency
    "reach": 0.8,  # of the bandwidth on paper that a kernel reaches
    "network_reach": 0.4,  # of the arithmetic on paper that convolutions reach at batch 1
    "pair_instructions": 25,  # of a warp's lane for one comparison of two boxes
    "sort_steps": 55,  # rounds of a bitonic sort of 1024
    "sort_step_cycles": 60,
}
ISSUE = 4  # warp instructions that a multiprocessor starts in a cycle, on all cards here


@dataclass(frozen=True)
class Limits:
    """What one multiprocessor of a compute capability holds (CUDA C++ Programming Guide, compute capabilities)."""

    warps: int
    blocks: int
    shared: int  # bytes
    reserved: int  # bytes of shared memory that the system takes for each block
    registers: int = 65536


LIMITS = {
    "7.5": Limits(warps=32, blocks=16, shared=64 << 10, reserved=0),
    "8.7": Limits(warps=48, blocks=16, shared=164 << 10, reserved=1 << 10),
    "9.0": Limits(warps=64, blocks=32, shared=228 << 10, reserved=1 << 10),
}


@dataclass(frozen=True)
class Card:
    """A card by its maker's data sheet."""

    name: str
    drivers: tuple[str, ...]  # what a driver calls it, which tells it from its sisters
    capability: str
    code: str  # the architecture among those that are built whose code it runs
    multiprocessors: int
    clock_ghz: float
    bandwidth_gb_per_s: float
    fp16_tflops: float  # dense
    upload_gb_per_s: float  # from the host's memory; on a Jetson that is the same memory

    @property
    def limits(self) -> Limits:
        return LIMITS[self.capability]


CARDS = (
    Card("NVIDIA H100 SXM", ("NVIDIA H100 80GB HBM3",), "9.0", "90", 132, 1.755, 3350.0, 989.0, 50.0),
    Card(
        "NVIDIA GeForce GTX 1650",
        ("NVIDIA GeForce GTX 1650", "GeForce GTX 1650"),
        "7.5",
        "75",
        14,
        1.665,
        128.0,
        5.97,
        12.0,
    ),
    Card("NVIDIA Jetson Orin Nano 8GB", ("Orin Nano",), "8.7", "80", 8, 0.625, 68.0, 10.0, 30.0),
)


def card_called(name: str) -> Card | None:
    """The card that a driver calls by this name, or None where it is none of :data:`CARDS`."""
    return next((card for card in CARDS if name in card.drivers), None)


def occupancy(card: Card, threads: int, registers: int, shared: int) -> dict[str, Any]:
    """Blocks that one multiprocessor holds at a time, the share of its warps, and what stands in the way of more."""
    limits = card.limits
    warps = math.ceil(threads / 32)
    per_warp = math.ceil(max(registers, 1) * 32 / 256) * 256
    allowed = {
        "warps": limits.warps // warps,
        "blocks": limits.blocks,
        "registers": (limits.registers // per_warp) // warps,
        "shared": limits.shared // (shared + limits.reserved) if shared + limits.reserved else limits.blocks,
    }
    bound = min(allowed, key=lambda key: allowed[key])
    blocks = allowed[bound]
    return {"blocks": blocks, "share": round(min(blocks * warps / limits.warps, 1.0), 3), "bound": bound}


def bytes_us(card: Card, count: float) -> float:
    return count / card.bandwidth_gb_per_s / 1e3


def issue_us(card: Card, blocks: int, threads: int, instructions: int) -> float:
    """Each of a kernel's instructions once, on as many multiprocessors as there are blocks for."""
    busy = min(blocks, card.multiprocessors)
    return blocks * math.ceil(threads / 32) * instructions / (busy * ISSUE) / card.clock_ghz / 1e3


def kernel_us(card: Card, bytes_moved: float, blocks: int, threads: int, instructions: int) -> dict[str, float]:
    """Floor, instructions and prediction of one launch."""
    moved, issued = bytes_us(card, bytes_moved), issue_us(card, blocks, threads, instructions)
    predicted = ASSUMED["launch_us"] + max(moved / ASSUMED["reach"], issued)
    return {"floor_us": round(moved, 3), "issue_us": round(issued, 3), "predicted_us": round(predicted, 3)}


def nms_us(card: Card, batch: int, candidates: int, kept: int) -> float:
    """NMS of one block an image: a sort, then each kept box against those behind it."""
    sort = math.ceil(max(candidates, 1) / 1024) * ASSUMED["sort_steps"] * ASSUMED["sort_step_cycles"]
    pairs = kept * candidates / 2 * ASSUMED["pair_instructions"] / 32 / ISSUE
    rounds = math.ceil(batch / card.multiprocessors)
    return rounds * (sort + pairs) / card.clock_ghz / 1e3


LAUNCHES = {"letterbox": 1, "decode": 2, "nms": 1, "poses": 1, "decode+nms": 3, "decode+nms+poses": 4}
"""Nodes of a CUDA graph that each figure of benchmarks/ops/cuda_ops.cpp stands for; decode clears its counts first."""


def operation_us(card: Card, row: dict[str, Any]) -> float | None:
    """The prediction for one figure of benchmarks/ops/cuda_ops.cpp; None for an operation that has none."""
    launches = LAUNCHES.get(row["op"])
    if launches is None:
        return None
    us = launches * ASSUMED["launch_us"] + bytes_us(card, row["floor_bytes"]) / ASSUMED["reach"]
    if "nms" in row["op"]:
        us += nms_us(card, row["batch"], row["candidates"], row["kept"])
    return round(us, 2)


@dataclass(frozen=True)
class Network:
    """What a network costs: as :func:`trtpose.cost.model_cost` counts it, and its layers that stay kernels."""

    name: str
    macs: int
    parameters: int
    layers: int


def network_us(card: Card, network: Network, batch: int = 1) -> float:
    """Half precision: arithmetic or weights, whichever takes longer, and a launch for each layer."""
    arithmetic = 2 * network.macs * batch / (card.fp16_tflops * ASSUMED["network_reach"]) / 1e6
    weights = bytes_us(card, 2 * network.parameters) / ASSUMED["reach"]
    return max(arithmetic, weights) + network.layers * ASSUMED["launch_us"]


def path_us(card: Card, network: Network, frame_bytes: int, kernels: dict[str, float]) -> dict[str, float]:
    """The way of one frame from the host's memory to its poses, stage by stage."""
    before = {"upload": frame_bytes / card.upload_gb_per_s / 1e3, "letterbox": kernels["letterbox"]}
    stages = {**before, "network": network_us(card, network), **kernels}  # letterbox stays where it first stood
    return {name: round(us, 1) for name, us in {**stages, "total": sum(stages.values())}.items()}
