# SPDX-License-Identifier: Apache-2.0
"""Write reference values in a form that C++ reads without a library.

``export_goldens.py OUT ARCHIVE.npz...`` writes ``OUT/NAME.bin`` for every archive and ``OUT/letterbox.bin`` and
``OUT/nv12.bin``, pictures and what OpenCV makes of them, where OpenCV is installed.

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


def framed(frame: Any, height: int, width: int) -> Any:
    """What OpenCV makes of a picture: scaled to fit and set into a grey border, as the YOLO family rounds."""
    import cv2

    h, w = frame.shape[:2]
    r = min(height / h, width / w)
    new_w = min(max(round(w * r), 1), width)
    new_h = min(max(round(h * r), 1), height)
    scaled = cv2.resize(frame, (new_w, new_h), interpolation=cv2.INTER_LINEAR)
    dw, dh = (width - new_w) / 2, (height - new_h) / 2
    top, bottom = round(dh - 0.1), round(dh + 0.1)
    left, right = round(dw - 0.1), round(dw + 0.1)
    out = cv2.copyMakeBorder(scaled, top, bottom, left, right, cv2.BORDER_CONSTANT, value=(114, 114, 114))
    assert out.shape == (height, width, 3)
    return out


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
    shapes = [(48, 64, 48, 64), (48, 64, 96, 96), (2, 2, 32, 32), (240, 320, 192, 256), (130, 70, 64, 64)]
    for index, (h, w, height, width) in enumerate(shapes):
        planes = rng.integers(0, 256, (h * 3 // 2, w), dtype=np.uint8)
        arrays[f"{index}/luma"] = planes[:h]
        arrays[f"{index}/chroma"] = planes[h:]
        arrays[f"{index}/input"] = framed(cv2.cvtColor(planes, cv2.COLOR_YUV2BGR_NV12), height, width)
    return arrays


def main(argv: list[str]) -> int:
    """Write everything; nonzero if an archive cannot be read."""
    out = Path(argv[0])
    out.mkdir(parents=True, exist_ok=True)
    for archive in argv[1:]:
        with np.load(archive) as arrays:
            write(out / (Path(archive).stem + ".bin"), {name: arrays[name] for name in arrays.files})
    try:
        cases, video = letterbox_cases(), nv12_cases()
    except ImportError:
        print("letterbox references left out: OpenCV is not installed")
    else:
        write(out / "letterbox.bin", cases)
        write(out / "nv12.bin", video)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
