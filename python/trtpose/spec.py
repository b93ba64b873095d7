# SPDX-License-Identifier: Apache-2.0
"""The model spec: what must be known of a network to read its outputs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np

from . import _core, _run
from ._checks import file_path, shown
from ._files import read_bounded
from .errors import ModelError

__all__ = ["LAYOUTS", "METADATA_KEY", "PLACEMENTS", "ROUNDINGS", "SIZINGS", "ModelSpec"]

LAYOUTS = ("heads", "heads5d", "decoded", "channels_first", "final")
"""Of the family ``anchor_grid``."""

PLACEMENTS = ("center", "top_left")
ROUNDINGS = ("nearest", "down")
SIZINGS = ("fit", "height", "stretch")
"""What the form of an input may be, its usual one first."""

METADATA_KEY = "trtpose"
"""Key of the spec in ONNX ``metadata_props`` and in an engine file's header; also the version field of the JSON."""

DEFAULT_FAMILY = "anchor_grid"
"""The family of a spec that names none."""

# Who reads only the first takes no notice of a form of input, so that a spec with another than the usual one is of the
# second (cpp/src/model/model_spec.cpp).
_VERSION, _FORM_VERSION = 1, 2
_MAX_SPEC = 16 << 20  # as the native reader (cpp/src/model/limits.hpp)


@dataclass(frozen=True)
class ModelSpec:
    """How to feed a network and how to read what it returns.

    Attributes:
        layout: one of :data:`LAYOUTS`, see ``docs/conventions.md``; of the family ``anchor_grid`` alone.
        imgsz: height and width in pixels the network was made for; the default size of a dynamic one.
        strides: input pixels per grid cell, one per output for ``heads`` and ``heads5d``; for the other layouts and
            families the largest says which multiples are valid input sizes.
        anchors: for ``heads`` and ``heads5d``, per stride the (width, height) of each anchor in input pixels.
        outputs: names of the output tensors in stride order; empty means the order of the file.
        names: class names.
        kpt_shape: number of keypoints and numbers per keypoint (3: x, y, confidence; 2: x, y).
        kpt_names, skeleton, sigmas, flip_idx: optional description of the keypoints: a name each, pairs of 0-based
            indices joined by a line, OKS sigmas (COCO keypoint evaluation), the index each takes in a mirrored picture.
        color, mean, std, pad: the input is ``(pixel - mean) / std`` per channel in ``color`` order, planar float;
            the letterbox border has the grey value ``pad``.
        name: what the model is called.
        extra: the family's own keys, and those that this version does not know.
        family: which networks it is one of, a folder of :mod:`trtpose.families`.
        placement, rounding, sizing: one each of :data:`PLACEMENTS`, :data:`ROUNDINGS` and :data:`SIZINGS`: where the
            scaled frame lies in the input, how its sides are rounded, and whether it is scaled to fit, to the height
            alone, with the width of the input following the frame, or each side for itself.

    Raises:
        ModelError: a field is of the wrong type or inconsistent; the message names it.
    """

    # What is needed has defaults that the native check refuses, since `layout`, which stands first, is not always.
    layout: str = ""
    imgsz: tuple[int, int] = (0, 0)
    strides: tuple[int, ...] = ()
    names: tuple[str, ...] = ()
    kpt_shape: tuple[int, int] = (0, 0)
    anchors: tuple[tuple[tuple[float, float], ...], ...] = ()
    outputs: tuple[str, ...] = ()
    kpt_names: tuple[str, ...] = ()
    skeleton: tuple[tuple[int, int], ...] = ()
    sigmas: tuple[float, ...] = ()
    flip_idx: tuple[int, ...] = ()
    color: str = "rgb"
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (255.0, 255.0, 255.0)
    pad: int = 114
    name: str = ""
    extra: Mapping[str, Any] = field(default_factory=lambda: cast("dict[str, Any]", {}), hash=False)
    family: str = DEFAULT_FAMILY
    placement: str = PLACEMENTS[0]
    rounding: str = ROUNDINGS[0]
    sizing: str = SIZINGS[0]

    def __post_init__(self) -> None:
        name, extra = cast("tuple[Any, Any]", (self.name, self.extra))
        source = f"model spec {(name or '(unnamed)') if isinstance(name, str) else shown(name)}"
        if not isinstance(extra, Mapping):
            raise ModelError(f"{source}: extra is {shown(extra)}; give a dict")
        _check(self.to_dict(), source)
        for key, convert in _FIELDS.items():
            _converted(convert, key, getattr(self, key), source)
        self._check_descriptions(source)

    def _check_descriptions(self, source: str) -> None:
        """Check what only Python reads of a spec."""

        def require(ok: bool, what: str) -> None:
            if not ok:
                raise ModelError(f"{source}: {what}")

        count = self.keypoints
        for name in ("kpt_names", "flip_idx"):
            values = cast("tuple[Any, ...]", getattr(self, name))
            require(len(values) in (0, count), f"{name} has {len(values)} entries for {count} keypoints")
        require(all(0 <= i < count for edge in self.skeleton for i in edge), f"skeleton points outside 0..{count - 1}")
        require(sorted(self.flip_idx) in ([], list(range(count))), "flip_idx is not a permutation of the keypoints")

    @property
    def keypoints(self) -> int:
        """Number of keypoints per person."""
        return self.kpt_shape[0]

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.names)

    @property
    def anchors_per_cell(self) -> int:
        """Anchors per grid cell; 0 for layouts without anchors."""
        return len(self.anchors[0]) if self.anchors else 0

    @property
    def max_stride(self) -> int:
        """Largest stride in pixels: input height and width must be multiples of it; 1 without strides."""
        return max(self.strides, default=1)

    @property
    def final(self) -> bool:
        """Whether the network gives final poses, which no NMS is needed for."""
        return self.layout == "final"

    @property
    def fields(self) -> int:
        """Numbers per anchor in ``heads``, ``heads5d`` and ``decoded``: box, objectness, classes, keypoints."""
        return 5 + self.classes + self.kpt_shape[0] * self.kpt_shape[1]

    def to_dict(self) -> dict[str, Any]:
        """The spec as plain JSON types; ``from_dict`` reads it back."""

        def plain(value: Any) -> Any:
            if isinstance(value, tuple):
                return [plain(v) for v in cast("tuple[Any, ...]", value)]
            return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value

        known = {key: plain(value) for key, value in self.__dict__.items() if key != "extra"}
        family = cast("Any", self.family)
        if isinstance(family, str) and family == DEFAULT_FAMILY:
            del known["family"]
        elif not known["anchors"]:
            del known["anchors"]
        if not known["layout"]:
            del known["layout"]
        version = _FORM_VERSION
        if all(known[key] == usual for key, usual in _USUAL_FORM.items()):
            version = _VERSION
            known = {key: value for key, value in known.items() if key not in _USUAL_FORM}
        return {METADATA_KEY: version, **known, **self.extra}

    def to_json(self, indent: int | None = None) -> str:
        """:meth:`to_dict` as a JSON text."""
        return json.dumps(self.to_dict(), indent=indent)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], *, source: str = "model spec") -> ModelSpec:
        """Build a spec from plain JSON types.

        Args:
            values: keys as the attributes; unknown keys are kept in ``extra``.
            source: what to call the item in an error, usually the file's name.

        Raises:
            ModelError: a field is missing, of the wrong type or inconsistent; the message names it.
        """
        _check(values, source)
        data = dict(values)
        data.pop(METADATA_KEY, None)
        converted: dict[str, Any] = {}
        for key, convert in _FIELDS.items():
            if key not in data:
                continue
            converted[key] = _converted(convert, key, data.pop(key), source)
        try:
            return cls(**converted, extra=data)
        except ModelError as error:
            raise ModelError(f"{source}: {error}") from None

    @classmethod
    def from_json(cls, text: str | bytes, *, source: str = "model spec") -> ModelSpec:
        """Parse a JSON text; errors as :meth:`from_dict`."""
        try:
            values: Any = json.loads(text, object_pairs_hook=lambda pairs: _object(pairs, source))
        except TypeError:
            raise ModelError(f"{source}: a model spec is the text of a JSON object, this is {shown(text)}") from None
        except (ValueError, RecursionError) as error:
            raise ModelError(f"{source}: not valid JSON ({error}); a model spec is a JSON object") from None
        if not isinstance(values, dict):
            raise ModelError(f"{source}: a model spec is a JSON object, this is a {type(values).__name__}")
        return cls.from_dict(cast("dict[str, Any]", values), source=source)

    @classmethod
    def load(cls, path: str | Path) -> ModelSpec:
        """Read a spec from a JSON file.

        Raises:
            ModelError: the file cannot be read or is not a valid spec.
            InputError: ``path`` is none.
        """
        try:
            file = file_path(path, "path", "the path of a JSON file")
            _run.reads(file)
            text = read_bounded(file, _MAX_SPEC)
        except OSError as error:
            raise ModelError(f"{path}: cannot read the model spec ({error.strerror})") from None
        return cls.from_json(text, source=str(path))


def _object(pairs: list[tuple[str, Any]], source: str) -> dict[str, Any]:
    """A JSON object.

    Raises:
        ModelError: it has a key twice, of which the other would be passed over.
    """
    values: dict[str, Any] = {}
    for key, value in pairs:
        if key in values:
            raise ModelError(f"{source}: {shown(key)} stands there twice; leave one of them")
        values[key] = value
    return values


def _check(fields: Mapping[str, Any], source: str) -> None:
    """The native check, which decides what a spec is."""
    try:
        text = json.dumps(fields)
    except (TypeError, ValueError, RecursionError) as error:
        raise ModelError(f"{source}: holds what JSON cannot ({error}); give plain numbers, texts and lists") from None
    _core.normalise_spec(text, source.encode(errors="backslashreplace").decode())


def _converted(convert: Callable[[Any], Any], key: str, value: Any, source: str) -> Any:
    """A field as its attribute.

    Raises:
        ModelError: it is of another type.
    """
    try:
        return convert(value)
    except (TypeError, ValueError, OverflowError):
        message = f"{source}: {key} is {shown(value)}, not of the expected type; see docs/conventions.md"
        raise ModelError(message) from None


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _whole(value: Any) -> int:
    if isinstance(value, bool) or int(value) != value:
        raise ValueError
    return int(value)


def _tuple_of(convert: Callable[[Any], Any]) -> Callable[[Any], tuple[Any, ...]]:
    def run(value: Any) -> tuple[Any, ...]:
        if isinstance(value, str):
            raise TypeError
        return tuple(convert(v) for v in value)

    return run


def _pair(value: Any) -> tuple[int, int]:
    first, second = _tuple_of(_whole)(value)
    return first, second


_FIELDS: dict[str, Callable[[Any], Any]] = {
    "layout": _text,
    "imgsz": _pair,
    "strides": _tuple_of(_whole),
    "names": _tuple_of(_text),
    "kpt_shape": _pair,
    "anchors": _tuple_of(_tuple_of(_tuple_of(float))),
    "outputs": _tuple_of(_text),
    "kpt_names": _tuple_of(_text),
    "skeleton": _tuple_of(_pair),
    "sigmas": _tuple_of(float),
    "flip_idx": _tuple_of(_whole),
    "color": _text,
    "mean": _tuple_of(float),
    "std": _tuple_of(float),
    "pad": _whole,
    "name": _text,
    "family": _text,
    "placement": _text,
    "rounding": _text,
    "sizing": _text,
}
"""How a field of plain JSON types becomes an attribute."""

_USUAL_FORM = {"placement": PLACEMENTS[0], "rounding": ROUNDINGS[0], "sizing": SIZINGS[0]}
