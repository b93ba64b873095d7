# SPDX-License-Identifier: Apache-2.0
"""Several batches at a time on the CPU: the answers of one at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import engine_support
from support import picture
from trtpose import Engine


def values(found: list[Any]) -> list[list[Any]]:
    return [[array.tolist() for array in (p.boxes, p.scores, p.class_ids, p.keypoints)] for p in found]


@pytest.mark.shared
@pytest.mark.slow
def test_real_weights_are_prepared_alike(shared: Path) -> None:
    """One compilation for two streams has prepared some of this network's weights wrong, one time in eight."""
    model = shared / "models" / "openpose-hpe0001.onnx"
    image = cv2.imread(str(sorted((shared / "images").glob("*.jpg"))[5]))
    frames = [cv2.resize(image, (width, 256)) for width in (256, 512, 320)] * 2
    wanted = values(Engine(model, device="cpu").infer(frames))
    for _ in range(5):
        engine = Engine(model, device="cpu", streams=2)
        assert values(engine.infer(frames)) == wanted
        tickets = [engine.submit(frames[:4]), engine.submit(frames[4:])]
        assert [one for ticket in tickets for one in values(engine.collect(ticket))] == wanted


@pytest.mark.parametrize(("streams", "threads"), [(2, 0), (2, 2), (3, 5), (4, 2)])
def test_each_stream_is_a_compilation_of_its_own(tmp_path: Path, streams: int, threads: int) -> None:
    model = engine_support.write_models(tmp_path) / "dynamic.onnx"
    given: dict[str, Any] = {"threads": threads} if threads else {}
    one, several = Engine(model, device="cpu", **given), Engine(model, device="cpu", streams=streams, **given)
    assert several.memory["weights"] == streams * one.memory["weights"]
    frames = [picture(40 + 8 * (seed % 3), 60, seed=seed) for seed in range(2 * streams + 3)]
    assert values(several.infer(np.stack(frames[:1] * 9))) == values(one.infer(np.stack(frames[:1] * 9)))
    for _ in range(3):
        assert values(several.infer(frames)) == values(one.infer(frames))
