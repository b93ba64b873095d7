# SPDX-License-Identifier: Apache-2.0
"""Engine files: a TensorRT plan with a description in front.

The layout is that of Ultralytics: a little-endian 32 bit length, that many bytes of ASCII JSON, the plan. The keys that
their readers look for are in the JSON; the model spec is under ``trtpose`` and what is known of the plan under
``trtpose_engine`` (``docs/build.md`` lists it).
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from .. import _files
from ..errors import ModelError
from ..spec import METADATA_KEY, ModelSpec

__all__ = ["ENGINE_KEY", "FORMAT", "RUNTIMES", "EngineFile", "pack", "read", "write"]

ENGINE_KEY = "trtpose_engine"
FORMAT = 1
RUNTIMES = {b"ftrt": "tensorrt", b"vtrt": "rtx"}
"""First bytes of a plan and the library it is for."""

_LENGTH = struct.Struct("<i")
_MAX_HEADER = 16 << 20
_ALIGNMENT = 64
"""The plan begins at a multiple of this, so that it can be read where the file is mapped."""


@dataclass(frozen=True)
class EngineFile:
    """What an engine file holds.

    Attributes:
        path: the file.
        header: the JSON in front, empty for a bare plan.
        offset: where the plan begins, in bytes.
        size: length of the plan in bytes.
        runtime: ``tensorrt`` or ``rtx``, from the plan's first bytes.
        version: of the library that built it, from the plan; empty if the plan does not tell.
    """

    path: Path
    header: Mapping[str, Any] = field(repr=False)
    offset: int
    size: int
    runtime: str
    version: str

    @property
    def engine(self) -> dict[str, Any]:
        """What :mod:`trtpose` wrote of the plan; empty for the files of others."""
        return cast("dict[str, Any]", self.header.get(ENGINE_KEY, {}))

    @property
    def spec(self) -> ModelSpec | None:
        """The model spec in the file, None for the files of others.

        Raises:
            ModelError: there is one that is not valid.
        """
        fields: Any = self.header.get(METADATA_KEY)
        if fields is None:
            return None
        if not isinstance(fields, dict):
            raise ModelError(f"{self.path}: its model spec is not a JSON object; build the engine again")
        return ModelSpec.from_dict(cast("dict[str, Any]", fields), source=str(self.path))

    def plan(self) -> bytes:
        """The plan.

        Raises:
            ModelError: the file has changed since it was read.
        """
        with _files.open_regular(self.path) as file:
            file.seek(self.offset)
            plan = file.read(self.size)
        if len(plan) != self.size:
            raise ModelError(f"{self.path}: has become shorter; build the engine again")
        return plan


def _checksum(plan: bytes | memoryview) -> int:
    return zlib.crc32(plan)


def pack(header: Mapping[str, Any], plan: bytes | memoryview) -> bytes:
    """What stands in front of ``plan`` in a file: length and JSON, the plan's length and CRC-32 filled in. Spaces
    behind the JSON bring the plan to a multiple of 64 bytes.

    Args:
        header: JSON values; ``trtpose_engine`` may be missing.
        plan: the plan that will follow.
    """
    filled = dict(header)
    engine = dict(cast("Mapping[str, Any]", filled.get(ENGINE_KEY, {})))
    if engine:
        engine["plan"] = {"bytes": len(plan), "crc32": _checksum(plan)}
        filled[ENGINE_KEY] = engine
    text = json.dumps(filled, allow_nan=False).encode("ascii")
    text += b" " * (-(len(text) + _LENGTH.size) % _ALIGNMENT)
    return _LENGTH.pack(len(text)) + text


def write(path: str | Path, header: Mapping[str, Any], plan: bytes | memoryview) -> int:
    """Write an engine file whole or not at all.

    Returns:
        Its size in bytes.

    Raises:
        InputError: the place cannot be written.
    """
    view = memoryview(plan).cast("B")
    front = pack(header, view)
    with _files.atomic_path(path) as temporary:
        try:
            with temporary.open("wb") as file:
                file.write(front)
                file.write(view)
        except OSError as error:
            raise _files.cannot_write(path, error) from error
    return len(front) + len(view)


def _plan_version(start: bytes) -> str:
    # Bytes 24 to 27 of a plan of layout 0, as trtexec's --getPlanVersionOnly reads them.
    known = len(start) >= 28 and start[4:8] == bytes(4)
    return ".".join(str(part) for part in start[24:28]) if known else ""


def read(path: str | Path, *, check: bool = True) -> EngineFile:
    """Read the description of an engine file: ours, Ultralytics', or a bare plan.

    Args:
        path: the file.
        check: whether to compute the checksum of the plan, where the file holds one, which reads all of it.

    Raises:
        ModelError: it cannot be read, is no engine, or is damaged; the message says what is wrong.
    """
    source = Path(path)
    again = "build the engine again"
    try:
        with _files.open_regular(source) as file:
            size = os.fstat(file.fileno()).st_size
            start = file.read(_LENGTH.size)
            header: dict[str, Any] = {}
            offset = 0
            if start not in RUNTIMES:
                length = _LENGTH.unpack(start)[0] if len(start) == _LENGTH.size else 0
                if not 0 < length <= _MAX_HEADER:
                    raise ModelError(f"{source}: is not an engine file; make one with trtpose build")
                if length > size - _LENGTH.size:
                    raise ModelError(f"{source}: ends within its header; {again}")
                header = _parse(file.read(length), source)
                offset = _LENGTH.size + length
            file.seek(offset)
            front = file.read(28)
            runtime = RUNTIMES.get(front[:4])
            if runtime is None:
                raise ModelError(f"{source}: no TensorRT plan follows its header; {again}")
            found = EngineFile(source, header, offset, size - offset, runtime, _plan_version(front))
            expected: Any = found.engine.get("plan", {})
            if expected:
                _check(file, found, expected, check=check)
    except OSError as error:
        raise ModelError(f"{source}: cannot be read ({_files.describe(error)})") from None
    return found


def _parse(text: bytes, source: Path) -> dict[str, Any]:
    try:
        header: Any = json.loads(text.decode("utf-8"))
    except (ValueError, RecursionError):
        raise ModelError(f"{source}: is not an engine file; make one with trtpose build") from None
    if not isinstance(header, dict):
        raise ModelError(f"{source}: is not an engine file; make one with trtpose build")
    fields = cast("dict[str, Any]", header)
    engine: Any = fields.get(ENGINE_KEY, {})
    if not isinstance(engine, dict):
        raise ModelError(f"{source}: its description of the plan is not a JSON object; build the engine again")
    version: Any = cast("dict[str, Any]", engine).get("format", FORMAT)
    if version != FORMAT:
        raise ModelError(
            f"{source}: is an engine file of format {version}, this trtpose reads format {FORMAT}; update trtpose or "
            "build the engine again"
        )
    return fields


def _check(file: Any, found: EngineFile, expected: Any, *, check: bool) -> None:
    try:
        size, crc = int(expected["bytes"]), int(expected["crc32"])
    except (TypeError, KeyError, ValueError):
        raise ModelError(f"{found.path}: its description of the plan is damaged; build the engine again") from None
    if found.size != size:
        raise ModelError(
            f"{found.path}: its plan has {found.size} bytes where {size} were written; copy the file again or build it "
            "again"
        )
    if check:
        file.seek(found.offset)
        now = 0
        while block := file.read(1 << 22):
            now = zlib.crc32(block, now)
        if now != crc:
            raise ModelError(
                f"{found.path}: its plan is damaged (wrong checksum); copy the file again or build it again"
            )
    if found.engine.get("runtime", found.runtime) != found.runtime:
        raise ModelError(f"{found.path}: its header and its plan are of different kinds; build the engine again")
