# SPDX-License-Identifier: Apache-2.0
"""seeds.py FOLDER: what the targets in Python begin with, a folder for each; small checkpoints and pictures."""

from __future__ import annotations

import io
import sys
import zipfile
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from PIL import Image, features

AVIF = Path(__file__).parents[1] / "data" / "avif"


def saved(value: object, zipped: bool) -> bytes:
    out = io.BytesIO()
    # The older format stores the source of each class beside it.
    source = mock.patch(
        "torch.serialization.get_source_lines_and_file", return_value=(["class Some: ..."], 1, "some.py")
    )
    with source:
        torch.save(value, out, _use_new_zipfile_serialization=zipped)
    return out.getvalue()


def data_pickle(archive: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(archive)) as file:
        return next(file.read(name) for name in file.namelist() if name.endswith("data.pkl"))


def checkpoints() -> dict[str, bytes]:
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 1), torch.nn.BatchNorm2d(2)).half()
    values = {
        "module": {"epoch": 1, "model": model, "ema": None, "shape": torch.Size([1, 2])},
        "weights": model.state_dict(),
        "numbers": {"a": torch.zeros(2, 2), "b": [1, 1.5, None, True, "x", b"y", (1,), {2}], "n": np.float32(1)},
    }
    out: dict[str, bytes] = {}
    for name, value in values.items():
        archive = saved(value, zipped=True)
        out[f"{name}-zip"] = b"\0" + archive
        out[f"{name}-stream"] = b"\0" + saved(value, zipped=False)
        out[f"{name}-pickle"] = b"\1" + data_pickle(archive)
    return out


def pictures() -> dict[str, bytes]:
    picture = Image.fromarray(np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3))
    kinds = {
        "jpeg": ("JPEG", {}),
        "progressive": ("JPEG", {"progressive": True}),
        "png": ("PNG", {}),
        "gif": ("GIF", {}),
        "bmp": ("BMP", {}),
        "tiff": ("TIFF", {}),
        "ppm": ("PPM", {}),
        **({"webp": ("WEBP", {}), "lossless": ("WEBP", {"lossless": True})} if features.check("webp") else {}),
        **({"jp2": ("JPEG2000", {})} if features.check("jpg_2000") else {}),
    }
    out = {path.name: path.read_bytes() for path in AVIF.glob("*.avif")}
    for name, (kind, options) in kinds.items():
        buffer = io.BytesIO()
        picture.save(buffer, kind, **options)
        out[name] = buffer.getvalue()
    return out


def main() -> int:
    if len(sys.argv) != 2:
        print("usage: seeds.py FOLDER", file=sys.stderr)
        return 2
    for target, seeds in {"checkpoint": checkpoints(), "picture": pictures()}.items():
        folder = Path(sys.argv[1]) / target
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in seeds.items():
            (folder / name).write_bytes(content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
