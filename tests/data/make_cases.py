# SPDX-License-Identifier: Apache-2.0
"""Inputs as public reports of other projects describe them, and siblings of each: networks, annotations and pictures
that are valid, or nearly so, and were misread or misnamed somewhere. All are made here; nothing comes from a report.

    PYTHONPATH=tests/python python tests/data/make_cases.py NEW_FOLDER

``tests/python/cases`` writes them into a folder of its own and says what must happen to each.
"""

from __future__ import annotations

import json
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from others_support import ROWS, Graph, people, ultralytics, write_answer, write_end_to_end
from source_support import exif_turned
from support import encoded, picture

__all__ = ["ANNOTATIONS", "CASES", "EVALUATED", "FOLDERS", "NETWORKS", "PICTURE", "PICTURES", "write_cases"]

AVIF = Path(__file__).parent / "avif"

PICTURE = np.full((64, 64, 3), 204, np.uint8)
"""What the networks are run on."""

# --- Networks ---------------------------------------------------------------------------------------------------------


def _cast_input(dtype: int) -> Callable[[Path], Path]:
    """Takes whole numbers from 0 to 255 and divides inside; the score of its one person is the mean of the picture."""

    def write(path: Path) -> Path:
        graph = Graph()
        graph.node("Cast", ["images"], "values", to=TensorProto.FLOAT)
        graph.node("Mul", ["values", graph.constant("scale", np.float32(1 / 255))], "scaled")
        graph.node("ReduceMean", ["scaled", graph.constant("axes", np.array([1, 2, 3]))], "mean", keepdims=0)
        graph.node("Mul", ["mean", graph.constant("one", people([1.0]))], "scores")
        chosen = np.zeros((1, 56, 1), bool)
        chosen[0, 4] = True
        graph.node("Where", [graph.constant("is_score", chosen), "scores", "one"], "output0")
        return graph.write(path, {"output0": [1, 56, ROWS]}, ultralytics(), dtype=dtype)

    return write


def _shaped(shape: list[Any], **metadata: str) -> Callable[[Path], Path]:
    """One person whatever the picture is, from an input of another form."""
    return lambda path: write_answer(path, people([0.9]), {**ultralytics(), **metadata}, shape=shape)


def _classes(names: str) -> Callable[[Path], Path]:
    """One pose of class 0 and score 0.9, one of class 1 and score 0.8."""
    return lambda path: write_answer(path, people([0.9, 0.8], 3, 2), ultralytics(3, names))


def _seventeen(names: str, **metadata: str) -> Callable[[Path], Path]:
    return lambda path: write_answer(path, people([0.9]), ultralytics(17, names, **metadata))


ANIMAL = [
    f"{part} {side}" for part in ("ear", "eye", "shoulder", "elbow", "paw", "hip", "knee", "hoof") for side in "LR"
]


def _detections(columns: int) -> Callable[[Path], Path]:
    """Detections of a network's own NMS, without a batch axis."""

    def write(path: Path) -> Path:
        graph = Graph()
        graph.answer(np.zeros((3, columns), np.float32), "detections")
        return graph.write(path, {"detections": [3, columns]})

    return write


def _heads(channels: int, **metadata: str) -> Callable[[Path], Path]:
    """Three maps of equal channels."""

    def write(path: Path) -> Path:
        graph = Graph()
        shapes = {f"p{stride}": [1, channels, 64 // stride, 64 // stride] for stride in (8, 16, 32)}
        for name, shape in shapes.items():
            graph.answer(np.zeros(shape, np.float32), name)
        return graph.write(path, shapes, metadata)

    return write


NETWORKS: dict[str, Callable[[Path], Path]] = {
    "end2end-slices.onnx": write_end_to_end,
    "end2end-classes.onnx": lambda path: write_end_to_end(path, 30, 5, 3),
    "input-uint8.onnx": _cast_input(TensorProto.UINT8),
    "input-int32.onnx": _cast_input(TensorProto.INT32),
    "input-int64.onnx": _cast_input(TensorProto.INT64),
    "input-double.onnx": _cast_input(TensorProto.DOUBLE),
    "input-bool.onnx": _cast_input(TensorProto.BOOL),
    "names-shuffled.onnx": _classes("{1: 'dog', 0: 'cat'}"),
    "names-in-quotes.onnx": _classes("{'1': 'dog', '0': 'cat'}"),
    "names-json.onnx": _classes('{"1": "dog", "0": "cat"}'),
    "names-list.onnx": _classes("['cat', 'dog']"),
    "names-gap.onnx": _classes("{0: 'cat', 2: 'dog'}"),
    "names-repeat.onnx": _classes("{0: 'cat', 0: 'dog'}"),
    "names-from-1.onnx": _classes("{1: 'cat', 2: 'dog'}"),
    "names-backwards.onnx": _classes("{'cat': 0, 'dog': 1}"),
    "names-too-many.onnx": _classes("{0: 'cat', 1: 'dog', 2: 'cow'}"),
    "animal-17-names.onnx": _seventeen("{0: 'animal'}", kpt_names=str({0: [*ANIMAL, "tail"]})),
    "animal-17-person.onnx": _seventeen("{0: 'person'}", kpt_names=str([*ANIMAL, "tail"])),
    "animal-17-unnamed.onnx": _seventeen("{0: 'horse'}"),
    "detections-2d.onnx": _detections(57),
    "detections-2d-face.onnx": _detections(21),
    "face-dfl-heads.onnx": _heads(80),
    "person-dfl-heads.onnx": _heads(64 + 1 + 51, **ultralytics()),
    "face-dfl-2-numbers.onnx": _heads(64 + 1 + 10),
    "input-gray.onnx": _shaped([1, 1, 64, 64], channels="1"),
    "input-gray-open.onnx": _shaped([1, "c", 64, 64], channels="1"),
    "input-gray-unsaid.onnx": _shaped([1, 1, 64, 64]),
    "input-multispectral.onnx": _shaped([1, 10, 64, 64], channels="10"),
    "input-nhwc.onnx": _shaped([1, 64, 64, 3]),
    "input-nhwc-gray.onnx": _shaped([1, 64, 64, 1]),
    "input-nhwc-open.onnx": _shaped(["n", "h", "w", 3]),
}

# --- Annotations ------------------------------------------------------------------------------------------------------

EVALUATED = "coco-people.onnx"
"""The network that the annotations are for: two persons in every picture."""


def _coco(change: Callable[[list[dict[str, Any]]], None]) -> Callable[[Path], Path]:
    """Annotations of two pictures, a keypoint error of 1 px in each person, and a change to them."""

    def write(path: Path) -> Path:
        entries: list[dict[str, Any]] = []
        for image in (1, 2):
            for person in (0, 1):
                left, top, width, height = 7 + 20 * person, 22, 10, 16
                entry = {"id": len(entries) + 1, "image_id": image, "category_id": 1, "iscrowd": 0, "num_keypoints": 17}
                entry["bbox"] = [left, top, width, height]
                entry["area"] = 0.8 * width * height
                entry["keypoints"] = [12 + 20 * person + 1, 30, 2] * 17
                entries.append(entry)
        change(entries)
        images = [{"id": image, "file_name": f"{image}.png", "width": 64, "height": 64} for image in (1, 2)]
        document = {"images": images, "annotations": entries, "categories": [{"id": 1, "name": "person"}]}
        path.write_text(json.dumps(document))
        return path

    return write


def _set(numbers: list[int], key: str, *value: Any) -> Callable[[list[dict[str, Any]]], None]:
    """Set a field of some annotations, or without a value remove it."""

    def change(entries: list[dict[str, Any]]) -> None:
        for number in numbers:
            if value:
                entries[number][key] = value[0]
            else:
                del entries[number][key]

    return change


def _crowd_of_runs(entries: list[dict[str, Any]]) -> None:
    """As COCO has its crowds: runs of pixels, no keypoints, and here no area either."""
    crowd = {"id": 9, "image_id": 1, "category_id": 1, "iscrowd": 1, "num_keypoints": 0, "keypoints": [0] * 51}
    entries.append({**crowd, "bbox": [0, 0, 64, 20], "segmentation": {"counts": [100, 50, 3946], "size": [64, 64]}})


_EVERY = [0, 1, 2, 3]
ANNOTATIONS: dict[str, Callable[[Path], Path]] = {
    "coco-whole.json": _coco(lambda _: None),
    "coco-one-area-missing.json": _coco(_set([0], "area")),
    "coco-area-null.json": _coco(_set([2], "area", None)),
    "coco-every-area-missing.json": _coco(_set(_EVERY, "area")),
    "coco-crowd-without-area.json": _coco(_crowd_of_runs),
    "coco-area-zero.json": _coco(_set(_EVERY, "area", 0)),
    "coco-one-area-zero.json": _coco(_set([3], "area", 0.0)),
    "coco-area-negative.json": _coco(_set([1], "area", -3)),
    "coco-area-text.json": _coco(_set([1], "area", "128")),
    "coco-area-nan.json": _coco(_set([1], "area", float("nan"))),
}

# --- Pictures ---------------------------------------------------------------------------------------------------------


def _drawn() -> NDArray[np.uint8]:
    """(48, 80, 3), BGR: red top left, green top right, blue bottom left, light grey bottom right."""
    shown = np.empty((48, 80, 3), np.uint8)
    shown[:24, :40], shown[:24, 40:] = (30, 30, 220), (30, 200, 30)
    shown[24:, :40], shown[24:, 40:] = (220, 30, 30), (250, 250, 250)
    return shown


def _stored() -> NDArray[np.uint8]:
    """The same as it is stored where EXIF's orientation is 6."""
    return np.ascontiguousarray(np.rot90(_drawn()))


_EXIF = b"MM\0*\0\0\0\x08" + struct.pack(">HHHIHH", 1, 0x112, 3, 1, 6, 0) + b"\0\0\0\0"


def _turned_png() -> bytes:
    data = encoded(".png", _stored())
    chunk = b"eXIf" + _EXIF
    at = data.index(b"IDAT") - 4
    return data[:at] + struct.pack(">I", len(_EXIF)) + chunk + struct.pack(">I", zlib.crc32(chunk)) + data[at:]


def _turned_webp() -> bytes:
    """Extended: what is in it, the size less 1 in 24 bits each, the picture, EXIF."""
    stored = _stored()
    height, width = stored.shape[:2]
    content = encoded(".webp", stored, cv2.IMWRITE_WEBP_QUALITY, 101)[12:]
    size = struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    head = b"VP8X" + struct.pack("<IB3x", 10, 0x08) + size
    exif = b"EXIF" + struct.pack("<I", len(_EXIF)) + _EXIF + b"\0" * (len(_EXIF) % 2)
    body = b"WEBP" + head + content + exif
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _turned_tiff() -> bytes:
    """Its directory is written anew at the end, with the orientation among its entries."""
    data = bytearray(encoded(".tiff", _stored()))
    (at,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, at)
    entries = [bytes(data[at + 2 + 12 * i : at + 14 + 12 * i]) for i in range(count)]
    kept = [entry for entry in entries if struct.unpack_from("<H", entry)[0] != 0x112]
    kept = sorted([*kept, struct.pack("<HHIHxx", 0x112, 3, 1, 6)], key=lambda entry: struct.unpack_from("<H", entry)[0])
    data += b"\0" * (len(data) % 2)
    struct.pack_into("<I", data, 4, len(data))
    return bytes(data) + struct.pack("<H", len(kept)) + b"".join(kept) + b"\0\0\0\0"


def _before(data: bytes, marker: int, stray: bytes) -> bytes:
    at = data.index(bytes([0xFF, marker]))
    return data[:at] + stray + data[at:]


_BASE, _SCAN, _TABLES = 0xC0, 0xDA, 0xC4
_JPEG = encoded(".jpg", picture())
_PROGRESSIVE = encoded(".jpg", picture(), cv2.IMWRITE_JPEG_PROGRESSIVE, 1)

PICTURES: dict[str, Callable[[], bytes]] = {
    "turned.avif": (AVIF / "turned-6.avif").read_bytes,
    "mirrored.avif": (AVIF / "turned-5.avif").read_bytes,
    "turned.jpg": lambda: exif_turned(encoded(".jpg", _stored(), cv2.IMWRITE_JPEG_QUALITY, 95), 6),
    "turned.png": _turned_png,
    "turned.webp": _turned_webp,
    "turned.tiff": _turned_tiff,
    "no-end-marker.jpg": lambda: _JPEG[:-2],
    "no-end-marker-progressive.jpg": lambda: _PROGRESSIVE[:-2],
    "half-an-end-marker.jpg": lambda: _JPEG[:-1],
    "cut-off.jpg": lambda: _JPEG[:-40],
    "cut-off-progressive.jpg": lambda: _PROGRESSIVE[: _PROGRESSIVE.rindex(b"\xff\xda")],
    "extra-bytes.jpg": lambda: _before(_JPEG, _BASE, b"\0\0\0"),
    "extra-bytes-before-tables.jpg": lambda: _before(_JPEG, _TABLES, b"abc"),
    "extra-bytes-before-scan.jpg": lambda: _before(_JPEG, _SCAN, b"\x11" * 40),
    "extra-bytes-at-the-end.jpg": lambda: _JPEG + b"\0" * 300,
}


def _mixed_folder(folder: Path) -> Path:
    """The same picture under suffixes for JPEG that are not .jpg; in the last two pictures."""
    folder.mkdir()
    for name in ("one.jpg", "two.jfif", "three.mpo"):
        (folder / name).write_bytes(_JPEG + (_JPEG if name.endswith(".mpo") else b""))
    return folder


def _mixed_folder_more(folder: Path) -> Path:
    """Suffixes in capitals, of another format than the content, and none; and what is no picture."""
    folder.mkdir()
    for name in ("one.JPG", "two.JPEG", "three.png", "four"):
        (folder / name).write_bytes(_JPEG)
    (folder / "five.Tif").write_bytes(encoded(".tiff"))
    (folder / "six.jpg").symlink_to("one.JPG")
    (folder / "notes.txt").write_text("no picture")
    (folder / "inside").mkdir()
    return folder


FOLDERS: dict[str, Callable[[Path], Path]] = {"mixed-folder": _mixed_folder, "mixed-folder-more": _mixed_folder_more}


def _write(make: Callable[[], bytes]) -> Callable[[Path], Path]:
    def write(path: Path) -> Path:
        path.write_bytes(make())
        return path

    return write


CASES: dict[str, Callable[[Path], Path]] = {
    **NETWORKS,
    **ANNOTATIONS,
    **{name: _write(make) for name, make in PICTURES.items()},
    **FOLDERS,
}
"""What writes each, given its path."""


def write_cases(folder: Path) -> Path:
    """Write all of them, and what they are run with, into an empty folder."""
    for name, write in CASES.items():
        write(folder / name)
    write_answer(folder / EVALUATED, people([0.9, 0.8]), ultralytics())
    (folder / "images").mkdir()
    for image in (1, 2):
        (folder / "images" / f"{image}.png").write_bytes(encoded(".png", PICTURE))
    return folder


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True)
    write_cases(target)
