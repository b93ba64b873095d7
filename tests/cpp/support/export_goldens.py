# SPDX-License-Identifier: Apache-2.0
"""Write reference values in a form that C++ reads without a library.

``export_goldens.py OUT ARCHIVE.npz...`` writes ``OUT/NAME.bin`` for every archive and ``OUT/letterbox.bin``,
``OUT/forms.bin`` and ``OUT/nv12.bin``, pictures and what OpenCV makes of them, where OpenCV is installed.

A file holds, little-endian: the 4 bytes ``TPGD``, an int32 count of arrays, and for each array an int32 length of its
name, the name, an int32 type (0: float32, 1: uint8, 2: int32, 3: float64, 4: int64), an int32 rank, an int64 per
dimension and the numbers. Truth values become uint8; texts the bytes of their UTF-8, one text a line.
"""

from __future__ import annotations

import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np

_TYPES = {"float32": 0, "uint8": 1, "int32": 2, "float64": 3, "int64": 4}


def plain(array: Any) -> Any:
    """An array of one of the types of a file; float16 becomes float32, which holds the same numbers."""
    if array.dtype.kind == "U":
        return np.frombuffer("\n".join(array.ravel().tolist()).encode(), np.uint8)
    return array.astype({"float16": np.float32, "bool": np.uint8}.get(array.dtype.name, array.dtype), copy=False)


def write(path: Path, arrays: dict[str, Any]) -> None:
    """Write named arrays."""
    parts = [b"TPGD", struct.pack("<i", len(arrays))]
    for name, array in ((name, plain(array)) for name, array in arrays.items()):
        parts.append(struct.pack("<i", len(name)) + name.encode())
        parts.append(struct.pack("<ii", _TYPES[array.dtype.name], array.ndim))
        parts.append(struct.pack(f"<{array.ndim}q", *array.shape))
        parts.append(np.ascontiguousarray(array).tobytes())
    path.write_bytes(b"".join(parts))


def framed(frame: Any, height: int, width: int, form: tuple[str, str, str] = ("center", "nearest", "fit")) -> Any:
    """What OpenCV makes of a picture: scaled and set into a grey border, for ``form`` (placement, rounding, sizing)."""
    import cv2

    placement, rounding, sizing = form
    whole = int if rounding == "down" else round
    h, w = frame.shape[:2]
    r = height / h
    if sizing == "fit" or max(whole(w * r), 1) > width:
        r = min(r, width / w)
    new_w = width if sizing == "stretch" else min(max(whole(w * r), 1), width)
    new_h = height if sizing == "stretch" else min(max(whole(h * r), 1), height)
    if sizing == "height" and r == height / h and w * r > 0.5:  # it makes no picture without a column
        scaled = cv2.resize(frame, None, fx=r, fy=r, interpolation=cv2.INTER_LINEAR)[:new_h, :new_w]
    else:
        scaled = cv2.resize(frame, (new_w, new_h), interpolation=cv2.INTER_LINEAR)
    dw, dh = (width - new_w) / 2, (height - new_h) / 2
    top, bottom, left, right = round(dh - 0.1), round(dh + 0.1), round(dw - 0.1), round(dw + 0.1)
    if placement == "top_left":
        top, bottom, left, right = 0, height - new_h, 0, width - new_w
    out = cv2.copyMakeBorder(scaled, top, bottom, left, right, cv2.BORDER_CONSTANT, value=(114, 114, 114))
    assert out.shape == (height, width, 3)
    return out


def form_cases(seed: int = 20240521) -> dict[str, Any]:
    """As :func:`letterbox_cases` for each form of input, whose three indices stand under ``N/form``."""
    rng = np.random.default_rng(seed)
    choices = (("center", "top_left"), ("nearest", "down"), ("fit", "height", "stretch"))
    shapes = [(97, 131, 64, 64), (61, 59, 64, 96), (130, 170, 128, 160), (333, 100, 64, 30), (40, 90, 32, 80)]
    arrays: dict[str, Any] = {}
    cases = [(at, shape) for at in np.ndindex(2, 2, 3) for shape in shapes]
    for index, (at, (h, w, height, width)) in enumerate(cases):
        frame = rng.integers(0, 256, (h, w, 3), dtype=np.uint8)
        placement, rounding, sizing = (choices[i][k] for i, k in enumerate(at))
        arrays[f"{index}/frame"] = frame
        arrays[f"{index}/form"] = np.array(at, np.int32)
        arrays[f"{index}/input"] = framed(frame, height, width, (placement, rounding, sizing))
    return arrays


def letterbox_cases(seed: int = 20240521) -> dict[str, Any]:
    """Pictures (HWC, BGR), input sizes and the bytes OpenCV fills an input with (HWC, BGR)."""
    rng = np.random.default_rng(seed)
    shapes = [
        # frame height, width -> input height, width
        (48, 64, 48, 64), (48, 64, 96, 96), (97, 131, 64, 64), (1, 1, 32, 32), (1, 200, 64, 64), (200, 1, 64, 64),
        (2, 2, 64, 32), (3, 500, 64, 96), (500, 3, 96, 64), (61, 59, 64, 64), (33, 31, 160, 96), (240, 320, 192, 256),
        (130, 170, 128, 160), (17, 19, 17, 19), (16, 16, 15, 15), (101, 7, 50, 50),
    ]  # fmt: skip
    arrays: dict[str, Any] = {}
    for index, (h, w, height, width) in enumerate(shapes):
        frame = rng.integers(0, 256, (h, w, 3), dtype=np.uint8)
        arrays[f"{index}/frame"] = frame
        arrays[f"{index}/input"] = framed(frame, height, width)
    return arrays


def nv12_cases(seed: int = 20240521) -> dict[str, Any]:
    """Video pictures (a plane of luma, a plane of interleaved chroma) and what OpenCV makes of them (HWC, BGR)."""
    import cv2

    rng = np.random.default_rng(seed)
    arrays: dict[str, Any] = {}
    usual, corner = ("center", "nearest", "fit"), ("top_left", "down", "fit")
    shapes = [(48, 64, 48, 64), (48, 64, 96, 96), (2, 2, 32, 32), (240, 320, 192, 256), (130, 70, 64, 64)]
    cases = [(shape, form) for form in (usual, corner) for shape in shapes]
    for index, ((h, w, height, width), form) in enumerate(cases):
        planes = rng.integers(0, 256, (h * 3 // 2, w), dtype=np.uint8)
        arrays[f"{index}/luma"] = planes[:h]
        arrays[f"{index}/chroma"] = planes[h:]
        arrays[f"{index}/form"] = np.array([int(form is corner)] * 2 + [0], np.int32)
        arrays[f"{index}/input"] = framed(cv2.cvtColor(planes, cv2.COLOR_YUV2BGR_NV12), height, width, form)
    return arrays


def main(argv: list[str]) -> int:
    """Write everything; nonzero if an archive cannot be read."""
    out = Path(argv[0])
    out.mkdir(parents=True, exist_ok=True)
    for archive in argv[1:]:
        with np.load(archive) as arrays:
            write(out / (Path(archive).stem + ".bin"), {name: arrays[name] for name in arrays.files})
    try:
        cases, forms, video = letterbox_cases(), form_cases(), nv12_cases()
    except ImportError:
        print("letterbox references left out: OpenCV is not installed")
    else:
        write(out / "letterbox.bin", cases)
        write(out / "forms.bin", forms)
        write(out / "nv12.bin", video)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
