# SPDX-License-Identifier: Apache-2.0
"""The search for what to leave in floating point."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..formats.onnx_graph import Graph, label
from . import ranges
from .insert import insert
from .judge import Judge, Measurement
from .pictures import Pictures
from .placement import place
from .report import Group, Step
from .source import METADATA, Progress, Say, Source

if TYPE_CHECKING:
    import onnx

__all__ = ["Search", "Variants", "gmacs_of"]

MAX_GROUPS = 24
"""Groups of layers whose loss is measured, at most."""


@dataclass
class Variants:
    """The quantised networks of one float network, by what is left in floating point.

    Attributes:
        source: the float network.
        reaches: the largest magnitude to represent of each tensor with a scale.
        keep: patterns of nodes that are never quantised.
        gmacs: multiply-adds of each convolution that can be quantised, in billions for one picture.
        folder: for temporary files.
        made_with: what a written file says of how it was made.
        number: of the last temporary file.
    """

    source: Source
    reaches: dict[str, float]
    keep: list[str]
    gmacs: dict[int, float]
    folder: Path
    made_with: dict[str, Any]
    number: int = 0

    def quantised(self, floating: Collection[int]) -> list[int]:
        return place(self.source.graph, self.keep, floating=floating).convolutions

    def build(self, floating: Collection[int], *, written: bool = False) -> onnx.ModelProto:
        """The network with the convolutions ``floating`` in floating point."""
        model = insert(self.source.graph, place(self.source.graph, self.keep, floating=floating), self.reaches)
        if written:
            graph = self.source.graph
            names = [label(graph.nodes[i]) for i in sorted(floating)]
            for entry in list(model.metadata_props):
                if entry.key == METADATA:
                    model.metadata_props.remove(entry)
            model.metadata_props.add(key=METADATA, value=json.dumps({**self.made_with, "floating": names}))
        return model

    def file(self, floating: Collection[int]) -> Path:
        """The same in a temporary file."""
        self.number += 1
        path = self.folder / f"{self.number}.onnx"
        path.write_bytes(self.build(floating).SerializeToString())
        return path

    def share(self, floating: Collection[int]) -> float:
        """Share of the multiply-adds of all convolutions that can be quantised that are in INT8."""
        total = sum(self.gmacs.values())
        return sum(self.gmacs[i] for i in self.quantised(floating)) / total if total else 0.0


class Search:
    """Finds what to leave in floating point."""

    def __init__(
        self,
        variants: Variants,
        judge: Judge | None,
        max_drop: float,
        sensitivity: bool | None,
        annotated: bool,
        say: Say,
        tick: Progress,
    ) -> None:
        self._variants = variants
        self._judge = judge
        self._max_drop = max_drop
        self._sensitivity = sensitivity
        self._annotated = annotated
        self._say = say
        self._tick = tick
        chosen = variants.quantised(())
        self._members = _groups(variants.source.graph, chosen, variants.gmacs)
        self._losses: dict[str, float] = {}
        self.reference: Step | None = None
        self.steps: list[Step] = []
        self.note = ""

    def run(self) -> list[int]:
        """The convolutions to leave in floating point."""
        if self._judge is None:
            return []
        first = self._judge.measure(self._variants.source.path)
        if not math.isfinite(first.points) or first.points <= 0:
            self.note = "The float network finds nobody on the pictures, so that no loss could be measured."
            self._say(self.note)
            return []
        self.reference = Step((), 0.0, first.points, 0.0, first.milliseconds, first.details)
        loss = self._try([])
        wanted = self._sensitivity
        if wanted is None:
            wanted = loss > self._max_drop or self._annotated
        if wanted and len(self._members) > 1:
            self._measure_groups()
        floating: list[str] = []
        # The worst first; of equals the later one, which is nearer to the keypoints.
        places = {name: place for place, name in enumerate(self._members)}
        order = sorted(places, key=lambda name: (-self._losses.get(name, 0.0), -places[name]))
        for name in order[:-1]:
            if loss <= self._max_drop:
                break
            floating.append(name)
            loss = self._try(floating)
        if loss > self._max_drop:
            # More groups in floating point need not lose less: the best of what was tried.
            best = min(self.steps, key=lambda step: step.loss)
            if best is not self.steps[-1]:
                floating = list(best.floating)
                self.steps.append(best)
            self.note = (
                f"No choice of layers loses {self._max_drop:g} or less; what was written loses {best.loss:.2f} points. "
                "Calibrate on more pictures, or by another method."
            )
            self._say(self.note)
        return self._indices(floating)

    def _indices(self, groups: Collection[str]) -> list[int]:
        return [index for name in groups for index in self._members[name]]

    def _measured(self, floating: Collection[int]) -> Measurement:
        assert self._judge is not None
        path = self._variants.file(floating)
        try:
            return self._judge.measure(path)
        finally:
            path.unlink()

    def _try(self, groups: list[str]) -> float:
        assert self.reference is not None
        floating = self._indices(groups)
        found = self._measured(floating)
        loss = self.reference.points - (found.points if math.isfinite(found.points) else 0.0)
        share = self._variants.share(floating)
        self.steps.append(Step(tuple(groups), share, found.points, loss, found.milliseconds, found.details))
        what = "all in INT8" if not groups else f"{', '.join(groups)} in floating point"
        self._say(f"{what}: {found.points:.2f} points, {loss:.2f} lost, {found.milliseconds:.1f} ms")
        return loss

    def _measure_groups(self) -> None:
        assert self.reference is not None
        chosen = set(self._variants.quantised(()))
        for number, (name, members) in enumerate(self._members.items()):
            self._tick("sensitivity", number, len(self._members))
            points = self._measured(chosen - set(members)).points
            self._losses[name] = self.reference.points - (points if math.isfinite(points) else 0.0)
        self._tick("sensitivity", len(self._members), len(self._members))

    def groups(self, floating: Collection[int]) -> list[Group]:
        """The groups for the report."""
        graph, left = self._variants.source.graph, set(floating)
        made = [
            Group(
                name,
                tuple(label(graph.nodes[i]) for i in members),
                sum(self._variants.gmacs[i] for i in members),
                self._losses.get(name),
            )
            for name, members in self._members.items()
        ]
        return [replace(group, floating=bool(left & set(self._members[group.name]))) for group in made]


def _groups(graph: Graph, chosen: list[int], gmacs: Mapping[int, float]) -> dict[str, list[int]]:
    """The convolutions by what their names begin with, as deep as leaves at most 24 groups."""
    names = {index: _tokens(label(graph.nodes[index])) for index in chosen}
    best: dict[str, list[int]] = {}
    for depth in range(1, 9):
        found: dict[str, list[int]] = {}
        for index in chosen:
            found.setdefault("".join(names[index][:depth]), []).append(index)
        if len(found) > MAX_GROUPS:
            break
        best = found
    if len(best) > 1:
        return best
    # Names that say nothing: neighbours of about the same amount of variants.
    total = sum(gmacs[index] for index in chosen) or 1.0
    result: dict[str, list[int]] = {}
    done = 0.0
    parts = min(len(chosen), MAX_GROUPS // 2)
    for index in chosen:
        result.setdefault(f"part {min(int(done / total * parts), parts - 1) + 1}", []).append(index)
        done += gmacs[index]
    return result


def _tokens(name: str) -> list[str]:
    """A name in parts, each with the separator before it."""
    parts: list[str] = []
    for character in name:
        if character in "./" or not parts:
            parts.append(character)
        else:
            parts[-1] += character
    return [part for part in parts if part.strip("./")] or [name]


def gmacs_of(source: Source, chosen: list[int], pictures: Pictures) -> dict[int, float]:
    """Multiply-adds of each convolution for one picture, in billions."""
    graph = source.graph
    _, data = next(iter(ranges.batches(graph, pictures, 1)))
    sizes = ranges.sizes(graph, [graph.nodes[i].output[0] for i in chosen], data, str(source.path))
    return {
        index: sizes[graph.nodes[index].output[0]]
        / len(data)
        * math.prod(graph.constants[graph.nodes[index].input[1]].dims[1:])
        / 1e9
        for index in chosen
    }
