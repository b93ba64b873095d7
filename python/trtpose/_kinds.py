# SPDX-License-Identifier: Apache-2.0
"""Kinds of files by the ends of their names: no result is written under a name that says it is something else.

A name that says nothing, or has an ending nobody knows, serves for anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .errors import InputError

__all__ = ["CSV", "ENGINE", "JSON", "ONNX", "PARQUET", "TIMINGS", "Kind", "refuse_foreign"]


@dataclass(frozen=True)
class Kind:
    """What a file is."""

    noun: str
    endings: str


ONNX = Kind("an ONNX model", ".onnx")
ENGINE = Kind("an engine file", ".engine .plan .trt")
JSON = Kind("JSON", ".json .jsonl .ndjson")
CSV = Kind("comma-separated values", ".csv")
PARQUET = Kind("a Parquet table", ".parquet .pq")
TIMINGS = Kind("a timing cache", ".cache")

_OTHERS = (
    Kind("a checkpoint", ".ckpt .pickle .pkl .pt .pth .safetensors .weights"),
    Kind("a model of another format", ".mlmodel .ncnn .pb .tflite .torchscript .xml"),
    Kind("a picture", ".avif .bmp .gif .heic .jp2 .jpeg .jpg .pgm .png .ppm .tif .tiff .webp"),
    Kind("a video", ".avi .m4v .mkv .mov .mp4 .mpeg .mpg .webm"),
    Kind("an array", ".npy .npz"),
    Kind("a recipe or settings", ".toml .yaml .yml"),
    Kind("a program", ".c .cpp .cu .h .hpp .ipynb .py .sh .so"),
    Kind("an archive", ".gz .tar .tgz .zip"),
)

_KINDS = {
    ending: kind for kind in (ONNX, ENGINE, JSON, CSV, PARQUET, TIMINGS, *_OTHERS) for ending in kind.endings.split()
}


def refuse_foreign(target: Path, kind: Kind) -> None:
    """See that a name does not say that the file is of another kind.

    Raises:
        InputError: it does; the message has an ending that fits.
    """
    said = _KINDS.get(target.suffix.lower(), kind)
    if said is not kind:
        raise InputError(
            f"{target}: the name is that of {said.noun} ({target.suffix}), and {kind.noun} would be written there; "
            f"let it end in {kind.endings.split()[0]}"
        )
