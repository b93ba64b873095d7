# SPDX-License-Identifier: Apache-2.0
"""A tiny network, pictures for it, and a stand-in for Ray that runs actors in this process."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx_models
from support import picture, write_picture


def tiny_model(folder: Path) -> str:
    """A network that finds some people in most pictures."""
    metadata = {"trtpose": json.dumps(onnx_models.spec_fields("heads"))}
    return str(onnx_models.write_model(folder / "tiny.onnx", metadata=metadata))


def some_pictures(folder: Path, count: int, different: int = 8) -> list[str]:
    """Paths of so many pictures, of which so many are different in size and content, and one cannot be read."""
    folder.mkdir(exist_ok=True)
    made: list[bytes] = []
    for number in range(different):
        shape = (40 + 8 * (number % 3), 60 + 4 * (number % 5))
        made.append(write_picture(folder / "made.png", picture(*shape, seed=number)).read_bytes())
    (folder / "made.png").unlink()
    paths: list[str] = []
    for number in range(count):
        path = folder / f"{number:04}.png"
        path.write_bytes(b"no picture" if number == count // 2 else made[number % different])
        paths.append(str(path))
    return paths


class FakeDataset:
    """What ``ray.data.Dataset`` is to :mod:`trtpose.ray`: tables, and functions over their rows."""

    def __init__(self, tables: list[Any]) -> None:
        self.tables = tables
        self.given: dict[str, Any] = {}

    def map_batches(self, actor: Any, **given: Any) -> FakeDataset:
        self.given = given
        self.actor = actor
        return self

    def iter_batches(self, **_: Any) -> Iterator[Any]:
        work = self.actor(*self.given["fn_constructor_args"])
        # Ray gives blocks back in the order in which actors end them.
        for table in random.Random(3).sample(self.tables, len(self.tables)):
            yield work(table)


class FakeRay:
    """What ``ray.data`` is to :mod:`trtpose.ray`."""

    Dataset = FakeDataset

    def __init__(self) -> None:
        self.datasets: list[FakeDataset] = []

    def from_arrow(self, tables: list[Any]) -> FakeDataset:
        self.datasets.append(FakeDataset(tables))
        return self.datasets[-1]

    @staticmethod
    def ActorPoolStrategy(**bounds: int) -> dict[str, int]:
        return bounds
