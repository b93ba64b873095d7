# SPDX-License-Identifier: Apache-2.0
"""What a pose must exceed to be kept: one object for engine, evaluation, builder and command line."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypedDict, cast

from . import _core
from ._checks import choice, flag, instance, real, whole
from .errors import InputError

__all__ = ["ThresholdChanges", "Thresholds", "checked"]

_MAX_DET = 30_000
"""As many as NMS looks at."""


class ThresholdChanges(TypedDict, total=False):
    """Thresholds as keyword arguments; one left out or None stays what it is."""

    conf: float | None
    iou: float | None
    max_det: int | None
    agnostic: bool | None
    nms: str | None


@dataclass(frozen=True)
class Thresholds:
    """Which poses are kept.

    Attributes:
        conf: confidence a pose must exceed, 0 to 1.
        iou: overlap above which the weaker of two poses goes, 0 to 1.
        max_det: poses per frame at most, 1 to 30000.
        agnostic: suppress across classes.
        nms: ``iou`` compares boxes, ``oks`` compares keypoints (needs sigmas in the model spec).

    Raises:
        InputError: one is out of its range; the message names it.
    """

    conf: float = 0.25
    iou: float = 0.65
    max_det: int = 300
    agnostic: bool = False
    nms: str = "iou"

    def __post_init__(self) -> None:
        whole(self.max_det, "max_det", 1, _MAX_DET)
        flag(self.agnostic, "agnostic")
        choice(self.nms, "nms", ("iou", "oks"))
        _core.check_thresholds(self.native)

    @cached_property
    def native(self) -> tuple[float, float, int, bool, bool]:
        """In the order of the fields of the native struct; the last is whether NMS goes by OKS."""
        conf, iou = real(self.conf, "conf"), real(self.iou, "iou")
        return (conf, iou, int(self.max_det), bool(self.agnostic), self.nms == "oks")

    def changed(self, changes: ThresholdChanges) -> Thresholds:
        """These with some of them changed.

        Raises:
            InputError: as the constructor, or it is no dict.
            TypeError: there is no such threshold.
        """
        instance(changes, "changes", dict, "a dict of thresholds, such as conf")
        for name in changes:
            if name not in self.__dataclass_fields__:
                raise TypeError(f"unexpected keyword argument {name!r}")
        given = {name: value for name, value in cast("dict[str, Any]", changes).items() if value is not None}
        return replace(self, **given) if given else self


def checked(thresholds: Any) -> Thresholds:
    """Thresholds that a caller gave, if they are some.

    Raises:
        InputError: they are not.
    """
    if not isinstance(thresholds, Thresholds):
        raise InputError(
            f"thresholds is of type {type(thresholds).__name__}; give a trtpose.Thresholds, or conf=, iou= and others"
        )
    return thresholds
