# SPDX-License-Identifier: Apache-2.0
"""Poses of one frame as files, data frames and pages."""

from __future__ import annotations

import csv
import html
import importlib
import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._checks import file_path
from .._files import write_bytes, write_text
from .._opencv import encode
from .._optional import require
from ..errors import InputError
from . import pose_table

if TYPE_CHECKING:
    from ..results import Poses

__all__ = ["dataframe", "in_notebook", "page", "save", "yolo_lines"]

_ROWS = 50
"""People that a page shows at most."""


def yolo_lines(poses: Poses) -> list[str]:
    """Labels to train on, a line per person: class, box (centre x and y, width, height), and for each keypoint x, y and
    visibility. Places are in widths and heights of the frame. A keypoint that is seen has visibility 2; one below the
    confidence that counts as seen, or outside the frame, is ``0 0 0``, which training leaves out."""
    boxes, points = pose_table.normalised(poses)
    seen = poses.visible()
    out: list[str] = []
    for row, class_id in enumerate(poses.class_ids.tolist()):
        numbers = [f"{value:.6f}" for value in boxes[row].clip(0, 1).tolist()]
        for (x, y), visible in zip(points[row].tolist(), seen[row].tolist(), strict=True):
            inside = visible and 0 <= x <= 1 and 0 <= y <= 1
            numbers.append(f"{x:.6f} {y:.6f} 2" if inside else "0 0 0")
        out.append(f"{class_id} {' '.join(numbers)}")
    return out


def _csv(poses: Poses) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(pose_table.columns(poses.spec))
    writer.writerows(pose_table.rounded(row, poses.spec) for row in pose_table.rows(poses))
    return text.getvalue().encode()


_WRITERS: dict[str, Callable[[Any], bytes]] = {
    ".json": lambda poses: (poses.to_json() + "\n").encode(),
    ".csv": _csv,
    ".txt": lambda poses: "".join(f"{line}\n" for line in yolo_lines(poses)).encode(),
}


def save(poses: Poses, path: str | Path, frame: Any) -> None:
    """As :meth:`trtpose.Poses.save`."""
    target = file_path(path, "path", "the file to write")
    suffix = target.suffix.lower()
    if suffix in _WRITERS:
        write_bytes(target, _WRITERS[suffix](poses))
        return
    if suffix == ".html":
        write_text(target, f"<!doctype html><meta charset=utf-8>{page(poses)}\n")
        return
    if frame is None:
        raise InputError(
            f"{target}: poses are saved as .json, .csv, .txt (labels to train on) or .html; as a picture with the "
            "frame they were found in as second argument"
        )
    try:
        data = encode(suffix, poses.draw(frame))
    except ValueError:
        data = None
    if not suffix or data is None:
        raise InputError(f"{target}: no picture of this format can be written; end the name in .jpg or .png")
    write_bytes(target, data)


def dataframe(poses: Poses) -> Any:
    """As :meth:`trtpose.Poses.to_dataframe`."""
    pandas: Any = require("pandas", package="pandas", extra="dataframe", purpose="Poses.to_dataframe")
    table = pandas.DataFrame(pose_table.rows(poses), columns=pose_table.columns(poses.spec))
    numbers = [name for name in table.columns if name not in ("id", "class_id", "class")]
    return table.astype({"id": "Int64", "class_id": "int32", **dict.fromkeys(numbers, "float32")})


def in_notebook(picture: Any) -> bool:
    """Show a picture, (height, width, 3) uint8, BGR, below the cell of a notebook; False where this is none."""
    module = sys.modules.get("IPython")
    shell = None if module is None else module.get_ipython()
    if shell is None or type(shell).__name__ != "ZMQInteractiveShell":
        return False
    display: Any = importlib.import_module("IPython.display")
    display.display(display.Image(data=encode(".png", picture)))
    return True


def page(poses: Poses) -> str:
    """A table of the people in HTML, for notebooks."""
    seen = poses.visible().sum(axis=1).tolist()
    ids = [""] * len(poses) if poses.ids is None else ["" if n < 0 else str(n) for n in poses.ids.tolist()]
    head = ("", "id", "class", "score", "left", "top", "right", "bottom", "keypoints seen")
    lines = ["".join(f"<th>{name}</th>" for name in head)]
    for row in range(min(len(poses), _ROWS)):
        box = [f"{value:.1f}" for value in poses.boxes[row].tolist()]
        cells = [str(row), ids[row], html.escape(poses.names[row]), f"{poses.scores[row]:.3f}", *box]
        cells.append(f"{seen[row]} of {poses.spec.keypoints}")
        lines.append("".join(f"<td>{cell}</td>" for cell in cells))
    rest = len(poses) - _ROWS
    more = f"<p>and {rest} more</p>" if rest > 0 else ""
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f"<p>{html.escape(repr(poses))}</p><table>{body}</table>{more}"
