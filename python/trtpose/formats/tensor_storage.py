# SPDX-License-Identifier: Apache-2.0
"""The numbers of a checkpoint's tensors, read from its file when they are asked for."""

from __future__ import annotations

import zipfile
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError

__all__ = ["STORAGE_DTYPES", "Storage", "Storages", "StreamStorages", "Tensor", "ZipStorages", "read_entry"]

STORAGE_DTYPES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "<i1",
    "ByteStorage": "<u1",
    "BoolStorage": "|b1",
}


@dataclass(frozen=True, eq=False)
class Storage:
    reader: Storages
    dtype: str
    key: str
    count: int


@dataclass(frozen=True, eq=False)
class Tensor:
    """A tensor whose numbers are read from the file when :meth:`array` is called."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def array(self) -> NDArray[Any]:
        """The values, contiguous, in the stored dtype (bfloat16 becomes float32).

        Raises:
            ModelError: the file is damaged or its storage is smaller than the tensor.
        """
        flat = self.storage.reader.read(self.storage)
        if 0 in self.shape:
            return np.zeros(self.shape, flat.dtype)
        view = np.lib.stride_tricks.as_strided(
            flat[self.offset :], self.shape, [stride * flat.itemsize for stride in self.strides], writeable=False
        )
        return np.ascontiguousarray(view).reshape(self.shape)


class Storages(ABC):
    """Where the numbers of the tensors are; one subclass per file format."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.big_endian = False

    @abstractmethod
    def raw(self, key: str) -> bytes:
        """The bytes of a storage as they stand in the file."""

    def read(self, storage: Storage) -> NDArray[Any]:
        itemsize = 2 if storage.dtype == "bfloat16" else np.dtype(storage.dtype).itemsize
        data = self.raw(storage.key)
        if len(data) != storage.count * itemsize:
            raise ModelError(
                f"{self.source}: storage {storage.key} holds {len(data)} bytes where {storage.count * itemsize} are "
                "needed; "
                "the checkpoint is damaged, download or save it again"
            )
        order = ">" if self.big_endian else "<"
        if storage.dtype == "bfloat16":
            wide = np.frombuffer(data, np.dtype("u2").newbyteorder(order)).astype(np.uint32) << 16
            return wide.view(np.float32)
        return np.frombuffer(data, np.dtype(storage.dtype).newbyteorder(order))


class ZipStorages(Storages):
    def __init__(self, source: str, archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(source)
        self._archive = archive
        self._root = root

    def raw(self, key: str) -> bytes:
        return read_entry(self._archive, f"{self._root}data/{key}", self.source)


class StreamStorages(Storages):
    def __init__(self, source: str, file: BinaryIO) -> None:
        super().__init__(source)
        self._file = file
        self.where: dict[str, tuple[int, int]] = {}

    def raw(self, key: str) -> bytes:
        if key not in self.where:
            raise ModelError(f"{self.source}: storage {key} is missing; the checkpoint is damaged or cut short")
        offset, size = self.where[key]
        self._file.seek(offset)
        return self._file.read(size)


def read_entry(archive: zipfile.ZipFile, name: str, source: str) -> bytes:
    try:
        info = archive.getinfo(name)
    except KeyError:
        raise ModelError(f"{source}: the archive lacks {name}; it is damaged or no PyTorch checkpoint") from None
    # PyTorch stores without compression; refusing it otherwise leaves no way to unpack more than the file's own size.
    if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
        raise ModelError(
            f"{source}: {name} is compressed or encrypted, which PyTorch never writes; the file is refused"
        )
    if info.file_size != info.compress_size:
        raise ModelError(f"{source}: {name} states two different sizes; the checkpoint is damaged")
    return archive.read(info)
