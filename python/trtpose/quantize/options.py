# SPDX-License-Identifier: Apache-2.0
"""What a quantisation is asked for."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from .._checks import choice, flag, real, shown, whole
from ..errors import InputError
from ..spec import ModelSpec
from . import ranges
from .judge import MEASURED

__all__ = ["MAX_DROP", "METHOD", "OptionValues", "Options"]

METHOD = "percentile"

MAX_DROP: Mapping[str, float] = {"AP": 1.0, "agreement": 5.0}
"""Points that may be lost by default. Poses alike to 95 hundredths count at the strictest threshold of COCO's AP, so
five points of agreement cost far less than five of AP."""


class OptionValues(TypedDict, total=False):
    """The fields of :class:`Options` as keyword arguments; those left out have their defaults."""

    method: str
    count: int | None
    imgsz: Any
    batch: int
    spec: ModelSpec | Mapping[str, Any] | str | Path | None
    keep: Collection[str]
    fp16: bool
    annotations: str | Path | None
    images: str | Path | None
    max_drop: float | None
    measure: bool
    sensitivity: bool | None
    limit: int
    cache: bool | str | Path


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a quantisation is asked for; the fields are told at :func:`trtpose.quantize.quantize`.

    Raises:
        InputError: a value is out of its range.
    """

    method: str = METHOD
    count: int | None = None
    imgsz: Any = None
    batch: int = 1
    spec: ModelSpec | Mapping[str, Any] | str | Path | None = None
    keep: Collection[str] = ()
    fp16: bool = False
    annotations: str | Path | None = None
    images: str | Path | None = None
    max_drop: float | None = None
    measure: bool = True
    sensitivity: bool | None = None
    limit: int = MEASURED
    cache: bool | str | Path = True

    def __post_init__(self) -> None:
        choice(self.method, "method", tuple(ranges.METHODS))
        real(self.allowed_drop, "max_drop")
        if not 0 <= self.allowed_drop <= 100:
            raise InputError(f"max_drop is {shown(self.max_drop)}, expected points from 0 to 100")
        whole(self.batch, "batch", 1)
        whole(self.limit, "limit", 1)
        if self.count is not None:
            whole(self.count, "count")
        flag(self.fp16, "fp16")
        flag(self.measure, "measure")
        if self.sensitivity is not None:
            flag(self.sensitivity, "sensitivity")

    @classmethod
    def parse(cls, values: OptionValues) -> Options:
        """Options from keyword arguments.

        Raises:
            InputError: as the constructor.
            TypeError: there is no such option.
        """
        for name in values:
            if name not in OptionValues.__optional_keys__:
                raise TypeError(f"unexpected keyword argument {name!r}")
        return cls(**values)

    @property
    def allowed_drop(self) -> float:
        """Points that may be lost: ``max_drop``, else the default of what is measured."""
        if self.max_drop is not None:
            return self.max_drop
        return MAX_DROP["agreement" if self.annotations is None else "AP"]
