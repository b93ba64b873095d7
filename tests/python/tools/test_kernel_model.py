# SPDX-License-Identifier: Apache-2.0
"""benchmarks/kernels.py and gpu_model.py: what is read of the compiler's output and what is made of it."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[3]
SASS = """
\t\tFunction : _Z8a_kerneliPf
        /*0000*/                   LDC R1, c[0x0][0x28] ;                   /* 0x00000a00ff017b82 */
                                                                            /* 0x000fe20000000800 */
        /*0010*/              @!P0 LDG.E R3, desc[UR4][R2.64] ;             /* 0x0000000402037981 */
        /*0020*/              @P1  STG.E desc[UR4][R2.64], R3 ;             /* 0x0000000402037981 */
        /*0030*/                   ATOMG.E.ADD.STRONG.GPU PT, R4, [R2], R3 ;
        /*0040*/                   EXIT ;                                   /* 0x000000000000794d */
        /*0050*/                   NOP;                                     /* 0x0000000000007918 */
\t\tFunction : _Z8b_kernelv
        /*0000*/                   EXIT ;
"""
USAGE = """
 Function _Z8a_kerneliPf:
  REG:43 STACK:0 SHARED:928 LOCAL:0 CONSTANT[0]:1704 TEXTURE:0
 Function _Z8b_kernelv:
  REG:8 STACK:0 SHARED:0 LOCAL:0 CONSTANT[0]:528 TEXTURE:0
"""
ELF = """
.nv.info._Z8a_kerneliPf
\tAttribute:\tEIATTR_MAX_THREADS
\tFormat:\tEIFMT_SVAL
\tValue:\t0x20 0x8 0x1\x20
.nv.info._Z8b_kernelv
\tAttribute:\tEIATTR_REGCOUNT
\tValue:\tfunction: b register count: 0x8
"""


def module(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module(name)


def test_instructions_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    kernels = module("kernels", monkeypatch)
    counts = kernels.count_instructions(SASS)
    assert counts["_Z8a_kerneliPf"] == {"instructions": 5, "memory": 2, "atomic": 1}
    assert counts["_Z8b_kernelv"] == {"instructions": 1, "memory": 0, "atomic": 0}


def test_resources_and_threads_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    kernels = module("kernels", monkeypatch)
    assert kernels.read_usage(USAGE)["_Z8a_kerneliPf"] == {"registers": 43, "stack": 0, "static_shared": 928}
    assert kernels.read_threads(ELF) == {"_Z8a_kerneliPf": 256}


def test_every_kernel_has_a_workload(monkeypatch: pytest.MonkeyPatch) -> None:
    loads = module("kernel_workloads", monkeypatch).workloads(2)
    found: set[str] = set()
    for folder in ("cpp/src", "plugins"):
        for source in (ROOT / folder).rglob("*_cuda.cu"):
            text = source.read_text(encoding="utf-8")
            found |= set(re.findall(r"__global__ void[^;{]*?\b(\w+_kernel)\(", text))
    assert found == set(loads)


@pytest.mark.parametrize(
    ("threads", "registers", "shared_bytes", "blocks", "bound"),
    [
        (128, 32, 0, 16, "warps"),  # 64 warps of 4
        (128, 255, 0, 2, "registers"),  # 8192 a warp
        (1024, 32, 100 << 10, 2, "warps"),
        (32, 32, 0, 32, "blocks"),
        (64, 32, 100 << 10, 2, "shared"),
    ],
)
def test_occupancy_on_hopper(
    threads: int, registers: int, shared_bytes: int, blocks: int, bound: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = module("gpu_model", monkeypatch)
    fits = model.occupancy(model.card_called("NVIDIA H100 80GB HBM3"), threads, registers, shared_bytes)
    assert (fits["blocks"], fits["bound"]) == (blocks, bound)


def test_cards_by_the_names_of_drivers(monkeypatch: pytest.MonkeyPatch) -> None:
    model = module("gpu_model", monkeypatch)
    assert model.card_called("NVIDIA GeForce GTX 1650").capability == "7.5"
    assert model.card_called("NVIDIA H100 80GB HBM3").multiprocessors == 132
    for sister in ("NVIDIA H100 PCIe", "NVIDIA GeForce GTX 1650 SUPER", "Orin"):
        assert model.card_called(sister) is None
    assert model.card_called("") is None


def test_a_floor_is_below_its_prediction(monkeypatch: pytest.MonkeyPatch) -> None:
    model = module("gpu_model", monkeypatch)
    for card in model.CARDS:
        times = model.kernel_us(card, 1e6, 100, 128, 300)
        assert times["floor_us"] >= model.bytes_us(card, 1e6) - 1e-3
        assert times["predicted_us"] > times["floor_us"] + model.ASSUMED["launch_us"] - 1e-3


def test_operations_of_the_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    model = module("gpu_model", monkeypatch)
    card = model.CARDS[0]
    row = {"op": "nms", "batch": 1, "floor_bytes": 28000, "candidates": 1000, "kept": 100}
    few = model.operation_us(card, {**row, "candidates": 10, "kept": 5})
    assert model.operation_us(card, row) > few > model.ASSUMED["launch_us"]
    assert model.operation_us(card, {**row, "op": "something new"}) is None
