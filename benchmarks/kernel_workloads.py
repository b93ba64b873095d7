# SPDX-License-Identifier: Apache-2.0
"""What each CUDA kernel has to do for one frame of its family's usual network: blocks launched and bytes moved.

Blocks are those of the launches in the ``*_cuda.cu``; bytes are what a kernel cannot do without. A frame has 8 people,
and 30 candidates in networks that suppress them.
"""

from __future__ import annotations

from dataclasses import dataclass

PEOPLE, CANDIDATES, KEYPOINTS = 8, 30, 17
SECTOR = 32  # bytes that memory moves for a single number
CANDIDATE = 28  # bytes: box, score, class, anchor
POSE = 24 + 12 * KEYPOINTS  # bytes of a result


@dataclass(frozen=True)
class Load:
    """One launch of a kernel for one frame."""

    threads: int
    blocks: int
    bytes: int
    case: str
    dynamic_shared: int = 0


def ceil(count: int, each: int) -> int:
    return -(-count // each)


def letterbox(side: int, width: int, height: int, element: int) -> Load:
    grid = ceil(side, 128) * ceil(side, 8)
    return Load(256, grid, 3 * width * height + 3 * side * side * element, f"{width}×{height} to {side}")


def workloads(element: int) -> dict[str, Load]:
    """By the kernel's name without template arguments, for outputs of ``element`` bytes a number."""
    anchors = sum(3 * (960 // stride) ** 2 for stride in (8, 16, 32, 64))
    w6, kapao, maps = "w6-pose at 960", "KAPAO at 1280", "human-pose-estimation-0001 at 256×344"
    rows, cells = 102_000, 32 * 43
    columns, words = 4 * 43, 4
    multi, rtmo = "MoveNet MultiPose at 256", "RTMO, 300 rows"
    return {
        "upload_kernel": Load(256, 1, 2 * 128, w6),
        "letterbox_kernel": letterbox(960, 1920, 1080, element),
        "decode_kernel": Load(128, ceil(anchors, 512), anchors * element + CANDIDATES * (5 * element + CANDIDATE), w6),
        "keypoints_kernel": Load(
            128, ceil(4096 * KEYPOINTS, 128), CANDIDATES * KEYPOINTS * 3 * (element + 4), f"{w6}, NMS by OKS"
        ),
        "nms_kernel": Load(1024, 1, CANDIDATES * CANDIDATE + PEOPLE * 4, w6, dynamic_shared=49152),
        "poses_kernel": Load(128, ceil(300 * KEYPOINTS, 128), PEOPLE * (KEYPOINTS * 3 * element + POSE), w6),
        "candidates_kernel": Load(128, ceil(rows, 512), rows * SECTOR, kapao),
        "candidate_keypoints_kernel": Load(128, ceil(4096 * KEYPOINTS, 128), CANDIDATES * 57 * 4, kapao),
        "divide_kernel": Load(32, 1, 2 * CANDIDATES * CANDIDATE, kapao),
        "fuse_kernel": Load(32, KEYPOINTS, PEOPLE * (57 * element + POSE), kapao),
        "center_kernel": Load(128, 1, 48 * 48 * element, "MoveNet Lightning"),
        "centers_kernel": Load(128, ceil(64 * 64, 128), 64 * 64 * element, multi),
        "cells_kernel": Load(128, PEOPLE * KEYPOINTS, KEYPOINTS * 64 * 64 * element, multi),
        "people_kernel": Load(128, 1, PEOPLE * KEYPOINTS * 6 * SECTOR, multi),
        "people_poses_kernel": Load(128, ceil(300 * KEYPOINTS, 128), PEOPLE * POSE, multi),
        "row_candidates_kernel": Load(128, 3, 300 * 5 * element, rtmo),
        "row_keypoints_kernel": Load(128, ceil(300 * KEYPOINTS, 128), PEOPLE * KEYPOINTS * 3 * (element + 4), rtmo),
        "row_poses_kernel": Load(
            128, ceil(300 * KEYPOINTS, 128), PEOPLE * ((5 + KEYPOINTS * 3) * element + POSE), rtmo
        ),
        "mark_peaks_kernel": Load(
            128, ceil(columns * words, 4) * 18, 18 * (cells * element + columns * words * 4), maps
        ),
        "list_peaks_kernel": Load(32, 18, 18 * columns * words * 4, maps),
        "score_limbs_kernel": Load(128, 19 * 4, 38 * cells * element, maps),
        "join_limbs_kernel": Load(256, 19, 19 * PEOPLE * PEOPLE * 4, maps),
        "assemble_bodies_kernel": Load(128, 1, 18 * 256 * 4, maps),
        "write_bodies_kernel": Load(128, ceil(300 * 18, 128), PEOPLE * POSE, maps),
        "prepare_kernel": Load(256, ceil(300 * KEYPOINTS * 3, 256), 300 * POSE, "the plugin, 300 poses"),
    }


PATH = ("letterbox_kernel", "decode_kernel", "nms_kernel", "poses_kernel")
"""The kernels that a frame passes in the engine, around the network."""


def base_name(kernel: str) -> str:
    """``decode_kernel`` for ``decode_kernel<float>``."""
    return kernel.partition("<")[0]
