# SPDX-License-Identifier: Apache-2.0
"""Pictures of a table's rows: decoded ones, files in a column, or paths that are read here."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .._files import describe
from ..errors import InputError
from ..sources import decode_picture, read_picture
from ..sources.pictures import check_array
from .table import COLUMNS, arrow

__all__ = ["Pictures", "pictures_of"]

_KNOWN = ("bytes", "image", "path")
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_MOST = 1 << 30
"""Bytes of a picture's file."""

_TRIES = 3
_PAUSE = 0.5
"""Seconds before a place elsewhere is asked again, doubled each time."""

Kind = Literal["encoded", "decoded", "path"]


@dataclass(frozen=True)
class Pictures:
    """Pictures of a table.

    Attributes:
        names: of each; its path where there is one, else its number in the table.
        loads: for each a function that gives its pixels, (height, width, 3) uint8, or raises InputError.
        decoded: whether the pixels come as the caller made them, in his order of channels.
        rest: the table's other columns.
    """

    names: list[str]
    loads: list[Callable[[], NDArray[np.uint8]]]
    decoded: bool
    rest: Any


def pictures_of(rows: Any, column: str, max_pixels: int) -> Pictures:
    """The pictures of a ``pyarrow.Table``.

    Args:
        rows: has in ``column`` files' bytes, paths or addresses, or pictures as Ray's tensors. Where they are not
            paths a column ``path`` names them.
        column: empty takes the only one of ``bytes``, ``image`` and ``path``; ``path`` beside another gives names.
        max_pixels: beyond which a picture is not decoded.

    Raises:
        InputError: there is no such column, or what it holds is nothing of that.
    """
    name = column or _only(rows.column_names)
    if name not in rows.column_names:
        raise InputError(f"column {name}: the rows have only {', '.join(rows.column_names)}; name one of these")
    cells = rows.column(name)
    kind = _kind(cells.type, name)
    rest = [other for other in rows.column_names if other not in (name, "path")]
    taken = [other for other in rest if other in COLUMNS]
    if taken:
        raise InputError(f"column {taken[0]}: the results have one of this name; rename it (Dataset.rename_columns)")
    names = _names(rows, cells, kind)
    if kind == "decoded":
        loads = [_given(one, label) for one, label in zip(_arrays(cells), names, strict=True)]
    elif kind == "encoded":
        loads = [_encoded(cell, label, max_pixels) for cell, label in zip(cells, names, strict=True)]
    else:
        loads = [_read(cell.as_py(), label, max_pixels) for cell, label in zip(cells, names, strict=True)]
    return Pictures(names, loads, kind == "decoded", rows.select(rest))


def _only(columns: Sequence[str]) -> str:
    found = [name for name in _KNOWN if name in columns]
    if found[:2] == ["bytes", "image"] or not found:
        which = "both bytes and image" if found else f"only {', '.join(columns) or 'no column'}"
        raise InputError(f"column: the rows have {which}; say with column= which has the pictures")
    return found[0]


def _kind(type_: Any, name: str) -> Kind:
    types = arrow().types
    if types.is_binary(type_) or types.is_large_binary(type_):
        return "encoded"
    if types.is_string(type_) or types.is_large_string(type_):
        return "path"
    if "tensor" in str(getattr(type_, "extension_name", "")):
        return "decoded"
    raise InputError(
        f"column {name}: is of type {type_}; give files as binary, paths as string, or pictures as "
        "ray.data.read_images has them"
    )


def _names(rows: Any, cells: Any, kind: Kind) -> list[str]:
    given = cells if kind == "path" else rows.column("path") if "path" in rows.column_names else None
    if given is None:
        return [f"picture {number}" for number in range(len(cells))]
    return [f"picture {number}" if name is None else str(name) for number, name in enumerate(given.to_pylist())]


def _arrays(cells: Any) -> list[Any]:
    """The pictures of a column of tensors, without a copy where they are of one size."""
    found: list[Any] = []
    for chunk in cells.chunks:
        whole = chunk.to_numpy_ndarray() if hasattr(chunk, "to_numpy_ndarray") else chunk.to_numpy(zero_copy_only=False)
        found += list(whole)
    return found


def _given(picture: Any, name: str) -> Callable[[], NDArray[np.uint8]]:
    def load() -> NDArray[np.uint8]:
        if picture is None:
            raise InputError(f"{name}: the cell is empty; leave the row out")
        return check_array(np.asarray(picture), name)

    return load


def _encoded(cell: Any, name: str, max_pixels: int) -> Callable[[], NDArray[np.uint8]]:
    def load() -> NDArray[np.uint8]:
        if not cell.is_valid:
            raise InputError(f"{name}: the cell is empty; leave the row out")
        return decode_picture(cell.as_buffer().to_pybytes(), name=name, max_pixels=max_pixels)

    return load


def _read(path: str | None, name: str, max_pixels: int) -> Callable[[], NDArray[np.uint8]]:
    def load() -> NDArray[np.uint8]:
        if path is None:
            raise InputError(f"{name}: the cell is empty; leave the row out")
        if not _URI.match(path):
            return read_picture(path, max_pixels=max_pixels)
        return decode_picture(_fetched(path), name=path, max_pixels=max_pixels)

    return load


def _fetched(address: str) -> bytes:
    """The file behind an address of a store that pyarrow knows, such as ``s3://bucket/key``; asked for again where
    that may help, as one answer of a million is late.

    Raises:
        InputError: it cannot be read.
    """
    pa = arrow()
    for attempt in range(_TRIES):
        try:
            with _opened(address) as file:
                if file.size() > _MOST:
                    raise InputError(f"{address}: {file.size()} bytes are too many for a picture; at most {_MOST}")
                return bytes(file.read())
        except FileNotFoundError:
            raise InputError(f"{address}: no such file; check the address") from None
        except (OSError, pa.ArrowException) as error:
            if attempt + 1 == _TRIES or not isinstance(error, OSError):
                why = describe(error) if isinstance(error, OSError) and error.strerror else " ".join(str(error).split())
                raise InputError(f"{address}: cannot be read ({why}); check the address and what may read it") from None
        time.sleep(_PAUSE * 2**attempt)
    raise AssertionError  # the last attempt returns or raises


@contextlib.contextmanager
def _opened(address: str) -> Generator[Any]:
    import pyarrow.fs

    store, path = pyarrow.fs.FileSystem.from_uri(address)
    with store.open_input_file(path) as file:
        yield file
