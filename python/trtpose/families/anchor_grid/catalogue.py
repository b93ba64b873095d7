# SPDX-License-Identifier: Apache-2.0
"""What a network is made of: a list of layers and a few numbers, from a checkpoint or from the catalogue below."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from ...errors import ModelError
from ...skeletons import COCO, FACE
from .. import family

__all__ = ["CATALOGUE", "Description", "Entry", "Layer", "brief", "lookup"]

_MAX_LAYERS = 2000
_MAX_WIDTH = 1 << 16


@dataclass(frozen=True)
class Layer:
    """One layer: where its input comes from (negative: counted back from it), how often, what, and its arguments."""

    source: int | tuple[int, ...]
    repeats: int
    kind: str
    arguments: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Description:
    """A network before it has weights.

    Attributes:
        layers: in order; the last is the keypoint head.
        classes, keypoints: what the head predicts.
        anchors: per level, (width, height) pairs in input pixels.
        depth, width: factors on repeats and channels.
        activation: ``None`` for each layer's own (SiLU), else the name of one for all.
        deep_keypoints: whether the keypoint branch of the head is a chain of depthwise convolutions.
        channels: of the input picture.
    """

    layers: tuple[Layer, ...]
    classes: int
    keypoints: int
    anchors: tuple[tuple[tuple[float, float], ...], ...]
    depth: float = 1.0
    width: float = 1.0
    activation: str | None = None
    deep_keypoints: bool = False
    channels: int = 3

    @classmethod
    def from_checkpoint(cls, values: Any, source: str) -> Description:
        """Read the description that a checkpoint carries.

        Args:
            values: the dictionary the reference code keeps as the model's ``yaml``.
            source: the file's name, for errors.

        Raises:
            ModelError: it is missing, or a value is of the wrong type; the message names the value.
        """
        if not isinstance(values, Mapping):
            raise ModelError(
                f"{source}: the checkpoint does not describe its network; name it with --arch, such as yolov7-w6-pose"
            )
        given = _Given(cast("Mapping[str, Any]", values), source)
        keypoints = given.data.get("nkpt")
        if not keypoints:
            raise ModelError(
                f"{source}: the network has no keypoints (nkpt is {brief(keypoints)}); trtpose exports pose networks "
                "only"
            )
        anchors, rows = given.anchors(), given.rows()
        activation = given.data.get("act")
        if activation is not None and not isinstance(activation, str):
            raise given.bad("act", "the name of an activation")
        return cls(
            layers=tuple(_layer(row, i, source) for i, row in enumerate(rows)),
            classes=int(given.number("nc", 1, 10000)),
            keypoints=int(given.number("nkpt", 1, 1000)),
            anchors=anchors,
            depth=given.number("depth_multiple", 0.01, 100),
            width=given.number("width_multiple", 0.001, 100),
            activation=activation,
            deep_keypoints=bool(given.data.get("dw_conv_kpt", False)),
            channels=int(given.number("ch", 1, 64, 3)),
        )


@dataclass(frozen=True)
class _Given:
    """The description in a checkpoint, not yet checked."""

    data: Mapping[str, Any]
    source: str

    def bad(self, key: str, what: str) -> ModelError:
        return ModelError(
            f"{self.source}: {key} of the network's description is {brief(self.data.get(key))}, expected {what}"
        )

    def number(self, key: str, low: float, high: float, default: Any = None) -> float:
        value = self.data.get(key, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
            raise self.bad(key, f"a number from {low:g} to {high:g}")
        return float(value)

    def anchors(self) -> tuple[tuple[tuple[float, float], ...], ...]:
        given = self.data.get("anchors")
        if not isinstance(given, Sequence) or isinstance(given, str) or not 1 <= len(cast("Sequence[Any]", given)) <= 8:
            raise self.bad("anchors", "one list of numbers per level")
        levels: list[tuple[tuple[float, float], ...]] = []
        for level in cast("Sequence[Any]", given):
            flat = (
                list(cast("Sequence[Any]", level)) if isinstance(level, Sequence) and not isinstance(level, str) else []
            )
            if not 2 <= len(flat) <= 64 or len(flat) % 2 or not all(_is_number(v) and v > 0 for v in flat):
                raise self.bad("anchors", "pairs of positive numbers for each level")
            levels.append(tuple((float(w), float(h)) for w, h in zip(flat[::2], flat[1::2], strict=True)))
        if len({len(level) for level in levels}) != 1:
            raise self.bad("anchors", "as many anchors for each level")
        return tuple(levels)

    def rows(self) -> list[Any]:
        rows: list[Any] = []
        for part in ("backbone", "head"):
            value = self.data.get(part)
            if not isinstance(value, Sequence) or isinstance(value, str):
                raise self.bad(part, "a list of layers")
            rows.extend(cast("Sequence[Any]", value))
        if not 2 <= len(rows) <= _MAX_LAYERS:
            raise ModelError(
                f"{self.source}: the network's description lists {len(rows)} layers, expected 2 to {_MAX_LAYERS}"
            )
        return rows


def brief(value: Any) -> str:
    """A value of a checkpoint for an error message; containers may be nested without end and are only named."""
    return repr(value)[:60] if value is None or isinstance(value, (bool, int, float, str)) else type(value).__name__


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _layer(row: Any, index: int, source: str) -> Layer:
    items = list(cast("Sequence[Any]", row)) if isinstance(row, (list, tuple)) else []
    origin = items[0] if items else None
    origins = list(cast("Sequence[Any]", origin)) if isinstance(origin, (list, tuple)) else [origin]
    ok = (
        len(items) == 4
        and 1 <= len(origins) <= 64
        and all(isinstance(o, int) and not isinstance(o, bool) and -index - 1 <= o < max(index, 1) for o in origins)
        and isinstance(items[1], int)
        and 1 <= items[1] <= 1000
        and isinstance(items[2], str)
        and isinstance(items[3], (list, tuple))
        and len(cast("Sequence[Any]", items[3])) <= 16
    )
    if not ok:
        raise ModelError(
            f"{source}: layer {index} of the network's description is not [from, number, module, arguments]"
        )
    arguments = tuple(
        tuple(cast("list[Any]", a)) if isinstance(a, (list, tuple)) else a for a in cast("Sequence[Any]", items[3])
    )
    flat = [v for a in arguments for v in (cast("tuple[Any, ...]", a) if isinstance(a, tuple) else (a,))]
    for value in flat:
        number = _is_number(value)
        if not (number or value is None or isinstance(value, (bool, str))) or (
            number and not abs(cast("float", value)) <= _MAX_WIDTH
        ):
            raise ModelError(f"{source}: layer {index} ({items[2]}) has the argument {brief(value)}, which cannot be")
    inputs = cast("list[int]", origins)
    return Layer(tuple(inputs) if isinstance(origin, (list, tuple)) else inputs[0], items[1], items[2], arguments)


@dataclass(frozen=True)
class Entry:
    """A network of the catalogue.

    Attributes:
        name: the name given on the command line.
        description: its layers.
        imgsz: side in pixels of the square input it was trained at.
        names: class names.
        license: of the published weights.
        url: of the published weights, where they can be fetched by name.
        parameters: how many numbers it learns, which bounds the size of its weights; 0 where they cannot be fetched.
        size, sha256: of the published weights; 0 and empty where nobody has fetched them to write it down.
    """

    name: str
    description: Description
    imgsz: int
    names: tuple[str, ...]
    license: str
    url: str = ""
    parameters: int = 0
    size: int = 0
    sha256: str = ""

    @property
    def file(self) -> str:
        """Name of the weights in the cache and on a mirror."""
        return f"{self.name}.pt"


class _Recipe:
    """Collects layers. Numbers returned by the methods are layer indices, which other layers refer to."""

    def __init__(self, *conv_options: Any) -> None:
        self.layers: list[Layer] = []
        self._options = conv_options

    def add(self, kind: str, *arguments: Any, source: int | tuple[int, ...] = -1, repeats: int = 1) -> int:
        self.layers.append(Layer(source, repeats, kind, arguments))
        return len(self.layers) - 1

    def conv(self, width: int, kernel: int = 1, stride: int = 1, source: int = -1) -> int:
        return self.add("Conv", width, kernel, stride, *self._options, source=source)

    def join(self, *sources: int) -> int:
        return self.add("Concat", 1, source=sources)

    def upsample(self) -> int:
        return self.add("nn.Upsample", None, 2, "nearest")

    def elan(self, side: int, inner: int, out: int, count: int, taps: tuple[int, ...]) -> int:
        """Efficient layer aggregation: two 1x1 convolutions of the input, a chain of 3x3 ones behind the second, and a
        1x1 convolution over the concatenated ``taps``, counted back from the end of the chain."""
        self.conv(side)
        self.conv(side, source=-2)
        for _ in range(count):
            self.conv(inner, 3)
        self.join(*taps)
        return self.conv(out)

    def head(self, kind: str, *sources: int) -> tuple[Layer, ...]:
        self.add(kind, "nc", "anchors", "nkpt", source=sources)
        return tuple(self.layers)


_EVERY_OTHER = (-1, -3, -5, -6)
_ALL_SIX = (-1, -2, -3, -4, -5, -6)
_ALL_FOUR = (-1, -2, -3, -4)


def _w6_pose() -> tuple[Layer, ...]:
    r = _Recipe()
    r.add("ReOrg")
    r.conv(64, 3)
    stages: list[int] = []
    for down, inner, out in ((128, 64, 128), (256, 128, 256), (512, 256, 512), (768, 384, 768), (1024, 512, 1024)):
        r.conv(down, 3, 2)
        stages.append(r.elan(inner, inner, out, 4, _EVERY_OTHER))
    levels = [r.add("SPPCSPC", 512)]
    for width, stage in ((384, stages[3]), (256, stages[2]), (128, stages[1])):
        r.conv(width)
        r.upsample()
        r.conv(width, source=stage)
        r.join(-1, -2)
        levels.append(r.elan(width, width // 2, width, 4, _ALL_SIX))
    top, outs = levels[:-1], [levels[-1]]
    for width, skip in zip((256, 384, 512), reversed(top), strict=True):
        r.conv(width, 3, 2)
        r.join(-1, skip)
        outs.append(r.elan(width, width // 2, width, 4, _ALL_SIX))
    ends = [r.conv(width, 3, source=out) for width, out in zip((256, 512, 768, 1024), outs, strict=True)]
    return r.head("IKeypoint", *ends)


def _yolov5_p6(stem: str) -> tuple[Layer, ...]:
    r = _Recipe()
    r.add(stem, 64, 3)
    stages: list[int] = []
    for width, repeats in ((128, 3), (256, 9), (512, 9), (768, 3)):
        r.conv(width, 3, 2)
        stages.append(r.add("C3", width, repeats=repeats))
    r.conv(1024, 3, 2)
    r.add("SPP", 1024, (3, 5, 7))
    r.add("C3", 1024, False, repeats=3)
    laterals: list[int] = []
    for width, stage in ((768, stages[3]), (512, stages[2]), (256, stages[1])):
        laterals.append(r.conv(width))
        r.upsample()
        r.join(-1, stage)
        last = r.add("C3", width, False, repeats=3)
    outs = [last]
    for width, out, lateral in ((256, 512, laterals[2]), (512, 768, laterals[1]), (768, 1024, laterals[0])):
        r.conv(width, 3, 2)
        r.join(-1, lateral)
        outs.append(r.add("C3", out, False, repeats=3))
    return r.head("Detect", *outs)


def _lite_face(stem: int, widths: tuple[int, int, int], repeats: tuple[int, int, int]) -> tuple[Layer, ...]:
    r = _Recipe()
    r.add("StemBlock", stem, 3, 2)
    stages: list[int] = []
    for width, count in zip(widths, repeats, strict=True):
        r.add("Shuffle_Block", width, 2)
        stages.append(r.add("Shuffle_Block", width, 1, repeats=count))
    r.add("SPPF", widths[2], 5)
    width = widths[0]
    laterals: list[int] = []
    for stage in (stages[1], stages[0]):
        laterals.append(r.conv(width))
        r.upsample()
        r.join(-1, stage)
        last = r.add("DWConvblock", width, 3, 1)
    outs = [last]
    for lateral in reversed(laterals):
        r.add("DWConvblock", width, 3, 2)
        r.add("ADD", 1, source=(-1, lateral))
        outs.append(r.add("DWConvblock", width, 3, 1))
    return r.head("IKeypoint", *outs)


def _tiny_face() -> tuple[Layer, ...]:
    r = _Recipe(None, 1, "nn.LeakyReLU(0.1)")
    r.conv(32, 3, 2)
    r.conv(64, 3, 2)
    stages = [r.elan(32, 32, 64, 2, _ALL_FOUR)]
    for inner in (64, 128, 256):
        r.add("MP")
        stages.append(r.elan(inner, inner, inner * 2, 2, _ALL_FOUR))
    r.conv(256)
    r.conv(256, source=-2)
    for back, kernel in enumerate((5, 9, 13), 1):
        r.add("SPF", kernel, source=-back)
    r.join(*_ALL_FOUR)
    r.conv(256)
    r.join(-1, -7)
    levels = [r.conv(256)]
    for width, stage in ((128, stages[2]), (64, stages[1])):
        r.conv(width)
        r.upsample()
        r.conv(width, source=stage)
        r.join(-1, -2)
        levels.append(r.elan(width // 2, width // 2, width, 2, _ALL_FOUR))
    outs = [levels[2]]
    for width, skip in ((128, levels[1]), (256, levels[0])):
        r.conv(width, 3, 2)
        r.join(-1, skip)
        outs.append(r.elan(width // 2, width // 2, width, 2, _ALL_FOUR))
    ends = [r.conv(width, 3, source=out) for width, out in zip((128, 256, 512), outs, strict=True)]
    return r.head("IKeypoint", *ends)


_COCO_ANCHORS = (
    ((19.0, 27.0), (44.0, 40.0), (38.0, 94.0)),
    ((96.0, 68.0), (86.0, 152.0), (180.0, 137.0)),
    ((140.0, 301.0), (303.0, 264.0), (238.0, 542.0)),
    ((436.0, 615.0), (739.0, 380.0), (925.0, 792.0)),
)
_FACE_ANCHORS = (
    ((4.0, 5.0), (6.0, 8.0), (10.0, 12.0)),
    ((15.0, 19.0), (23.0, 30.0), (39.0, 52.0)),
    ((72.0, 97.0), (123.0, 164.0), (209.0, 297.0)),
)
# As the projects' own read-me files name them.
_YOLOV7 = "https://github.com/WongKinYiu/yolov7/releases/download/v0.1/"
_TI = (
    "https://software-dl.ti.com/jacinto7/esd/modelzoo/gplv3/08_02_00_11/edgeai-yolov5/pretrained_models/checkpoints/"
    "keypoint/coco/edgeai-yolov5/"
)
_TI_BEST = _TI + "other/best_models/"


def _person(
    name: str, layers: tuple[Layer, ...], imgsz: int, url: str = "", parameters: int = 0, **options: Any
) -> Entry:
    description = Description(layers, 1, len(COCO), _COCO_ANCHORS, **options)
    return Entry(name, description, imgsz, ("person",), "GPL-3.0", url, parameters)


def _face(name: str, layers: tuple[Layer, ...], **options: Any) -> Entry:
    return Entry(name, Description(layers, 1, len(FACE), _FACE_ANCHORS, **options), 640, ("face",), "GPL-3.0")


_ENTRIES = [
    _person("yolov7-w6-pose", _w6_pose(), 960, _YOLOV7 + "yolov7-w6-pose.pt", 80_238_452, deep_keypoints=True),
    _person(
        "yolov5s6-pose", _yolov5_p6("Focus"), 960,
        _TI_BEST + "yolov5s6_960_64p8_87p4_kpts_head_6x_dwconv_3x3_lr_0p01/weights/last.pt", 15_114_860,
        depth=0.33, width=0.50, deep_keypoints=True,
    ),
    _person(
        "yolov5m6-pose", _yolov5_p6("Focus"), 960,
        _TI_BEST + "yolov5m6_960_67p8_89p3_kpts_head_6x_dwconv_3x3_lr_0p01/weights/last.pt", 41_430_924,
        depth=0.67, width=0.75, deep_keypoints=True,
    ),
    _person(
        "yolov5l6-pose", _yolov5_p6("Focus"), 960,
        _TI_BEST + "yolov5l6_960_69p6_90p1_kpts_head_6x_dwconv_3x3_lr_0p01/weights/last.pt", 87_072_812,
        deep_keypoints=True,
    ),
    _person(
        "yolov5s6-pose-ti-lite", _yolov5_p6("ConvFocus"), 640, _TI + "yolov5s6_640_ti_lite_54p9_82p2/weights/last.pt",
        12_560_328,
        depth=0.33, width=0.50, activation="ReLU",
    ),
    _person(
        "yolov5m6-pose-ti-lite", _yolov5_p6("ConvFocus"), 640, _TI + "yolov5m6_640_ti_lite_60p5_86p8/weights/best.pt",
        35_755_752,
        depth=0.67, width=0.75, activation="ReLU",
    ),
    _person("yolov5l6-pose-ti-lite", _yolov5_p6("ConvFocus"), 640, activation="ReLU"),
    _face("yolov7-lite-t-face", _lite_face(16, (48, 96, 192), (2, 5, 2))),
    _face("yolov7-lite-s-face", _lite_face(32, (96, 192, 384), (3, 7, 3))),
    _face("yolov7-tiny-face", _tiny_face(), deep_keypoints=True),
]  # fmt: skip
CATALOGUE: dict[str, Entry] = {entry.name: entry for entry in _ENTRIES}
"""The networks that can be built without a checkpoint, by name."""


def lookup(name: str) -> Entry:
    """The catalogue's entry of a name.

    Raises:
        InputError: no such name; the message lists those there are.
    """
    return family.lookup(CATALOGUE, name)
