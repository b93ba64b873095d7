# SPDX-License-Identifier: Apache-2.0
"""The networks that can be built without a checkpoint, and what a checkpoint's description says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from ...errors import ModelError
from ...networks import description
from ...networks.description import Given, Layer, brief
from ...networks.recipe import P6_ANCHORS, Recipe, yolov5_p6
from ...skeletons import COCO, FACE
from .. import family

__all__ = ["CATALOGUE", "Description", "Entry", "lookup"]


@dataclass(frozen=True)
class Description(description.Description):
    """A network before it has weights.

    Attributes:
        deep_keypoints: whether the keypoint branch of the head is a chain of depthwise convolutions.
    """

    deep_keypoints: bool = False

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
        given = Given(cast("Mapping[str, Any]", values), source)
        keypoints = given.data.get("nkpt")
        if not keypoints:
            raise ModelError(
                f"{source}: the network has no keypoints (nkpt is {brief(keypoints)}); trtpose exports pose networks "
                "only"
            )
        return cls(
            **given.common(),
            classes=int(given.number("nc", 1, 10000)),
            keypoints=int(given.number("nkpt", 1, 1000)),
            deep_keypoints=bool(given.data.get("dw_conv_kpt", False)),
        )


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


class _Recipe(Recipe):
    """Ends in a keypoint head."""

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
    return r.head("Detect", *yolov5_p6(r, stem))


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
    description = Description(layers, 1, len(COCO), P6_ANCHORS, **options)
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
