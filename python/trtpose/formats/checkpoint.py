# SPDX-License-Identifier: Apache-2.0
"""Reading PyTorch checkpoints without executing what their pickles ask for.

A checkpoint of the reference repositories is a pickle of whole Python objects. This reader interprets the pickle's
opcodes itself: containers, numbers, strings and tensors are rebuilt, instances of network classes become inert
:class:`Skeleton` objects that only hold their attributes, and every other name is refused. No class or function named
in the file is ever imported or called, and neither ``pickle`` nor ``torch`` is used.

Formats: the zip archive of ``torch.save`` since PyTorch 1.6, and the stream of pickles before it. Layouts read from
https://github.com/pytorch/pytorch/blob/main/torch/serialization.py.
"""

from __future__ import annotations

import io
import os
import struct
import tarfile
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from .. import _run
from .._files import open_regular
from ..errors import ModelError
from .data_pickle import DataPickle, Skeleton
from .tensor_storage import Storage, StreamStorages, Tensor, ZipStorages, read_entry
from .work import Work

__all__ = ["Checkpoint", "Module", "Skeleton", "Tensor"]

_MAX_PICKLE_BYTES = 64 << 20
_MAX_DEPTH = 32
_MAX_MODULES = 100_000


@dataclass(frozen=True)
class Module:
    """A network module found in a checkpoint.

    Attributes:
        kind: class name without its package, such as ``Conv2d``.
        path: dotted place in the network, such as ``model.0.conv``; empty for the network itself.
        attributes: what the instance had besides tensors and children.
        tensors: parameters and buffers by name.
        children: sub-modules by name.
    """

    kind: str
    path: str
    attributes: dict[str, Any]
    tensors: dict[str, Tensor]
    children: dict[str, Module]

    def walk(self) -> Iterator[Module]:
        """This module and all below it."""
        yield self
        for child in self.children.values():
            yield from child.walk()

    def named_tensors(self) -> dict[str, Tensor]:
        """Every parameter and buffer by its dotted place in the network."""
        return {
            f"{module.path}.{name}" if module.path else name: tensor
            for module in self.walk()
            for name, tensor in module.tensors.items()
        }

    def find(self, path: str) -> Module | None:
        """The module at a dotted path below this one, or None."""
        module: Module | None = self
        for part in path.split(".") if path else []:
            module = module.children.get(part) if module is not None else None
        return module


class Checkpoint:
    """An opened checkpoint file; use it as a context manager, since tensors are read while it is open.

    Args:
        path: the file.

    Raises:
        ModelError: the file cannot be read, is no PyTorch checkpoint, is damaged, or asks for more than data.
    """

    def __init__(self, path: str | Path) -> None:
        _run.reads(path)
        self.path = str(path)
        self._archive: zipfile.ZipFile | None = None
        self._file: BinaryIO | None = None
        try:
            self._file = open_regular(path)
            self._work = Work(self.path, os.fstat(self._file.fileno()).st_size)
            self.root: Any = self._guard(self._open)
        except OSError as error:
            self.close()
            raise ModelError(f"{path}: cannot read the checkpoint ({error.strerror or error})") from None
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the file; tensors can no longer be read."""
        if self._archive is not None:
            self._archive.close()
        if self._file is not None:
            self._file.close()

    def _guard(self, work: Callable[[], Any]) -> Any:
        """Turn what the standard parsers raise on malformed bytes into a ModelError."""
        try:
            with warnings.catch_warnings():
                # Python warns of odd escapes in the strings of a pickle of protocol 0.
                warnings.simplefilter("ignore", DeprecationWarning)
                warnings.simplefilter("ignore", SyntaxWarning)
                return work()
        except (zipfile.BadZipFile, struct.error, EOFError, NotImplementedError, RuntimeError) as error:
            detail = str(error)
        except (ValueError, KeyError, IndexError, TypeError, OverflowError, AssertionError) as error:
            detail = str(error)
        except MemoryError:
            detail = "it states sizes that do not fit the memory"
        raise ModelError(
            f"{self.path}: the checkpoint is damaged or cut short ({detail[:200] or 'malformed'}); download or save it "
            "again"
        )

    def _open(self) -> Any:
        file = cast("BinaryIO", self._file)
        start = file.read(8)
        if not start:
            raise ModelError(f"{self.path}: the file is empty; download or save the checkpoint again")
        file.seek(0)
        if start.startswith(b"PK"):
            return self._open_zip(file)
        if start[:1] == b"\x80":
            return self._open_stream(file)
        if b"ONNX" in start or start[:1] == b"\x08":
            raise ModelError(f"{self.path}: this looks like ONNX, not a checkpoint; give the file the ending .onnx")
        if start[4:] == b"TFL3":
            raise ModelError(
                f"{self.path}: this is TensorFlow Lite; convert it to ONNX first, for example with tf2onnx"
            )
        if tarfile.is_tarfile(file):
            raise ModelError(
                f"{self.path}: the tar format of PyTorch before 0.2 is not supported; load and save it once with a "
                "newer PyTorch"
            )
        raise ModelError(f"{self.path}: not a PyTorch checkpoint (neither a zip archive nor a pickle)")

    def _open_zip(self, file: BinaryIO) -> Any:
        self._archive = archive = zipfile.ZipFile(file)
        names = archive.namelist()
        if len(set(names)) != len(names):
            raise ModelError(f"{self.path}: the archive holds two entries of one name; the file is refused")
        pickles = [name for name in names if name.count("/") <= 1 and name.rpartition("/")[2] == "data.pkl"]
        if len(pickles) != 1:
            if any(name.endswith("constants.pkl") or "/code/" in name for name in names):
                raise ModelError(
                    f"{self.path}: this is TorchScript, a compiled program; the checkpoint it came from is needed"
                )
            inside = next((name for name in names if name.endswith(".onnx")), None)
            if inside is not None:
                raise ModelError(f"{self.path}: no checkpoint but an archive: unpack its {inside!r} and give that")
            raise ModelError(f"{self.path}: the archive holds no data.pkl; it is no PyTorch checkpoint")
        root = pickles[0][: -len("data.pkl")]
        if f"{root}constants.pkl" in names:
            raise ModelError(
                f"{self.path}: this is TorchScript, a compiled program; the checkpoint it came from is needed"
            )
        storages = ZipStorages(self.path, archive, root)
        if f"{root}byteorder" in names:
            order = read_entry(archive, f"{root}byteorder", self.path)
            if order not in (b"little", b"big"):
                raise ModelError(f"{self.path}: unknown byte order {order[:20]!r}; the checkpoint is damaged")
            storages.big_endian = order == b"big"
        if archive.getinfo(pickles[0]).file_size > _MAX_PICKLE_BYTES:
            raise ModelError(
                f"{self.path}: its pickle is larger than {_MAX_PICKLE_BYTES >> 20} MiB, which no checkpoint needs"
            )
        return DataPickle(self.path, storages, self._work).run(io.BytesIO(read_entry(archive, pickles[0], self.path)))

    def _open_stream(self, file: BinaryIO) -> Any:
        magic, protocol = 0x1950A86A20F9469CFC6C, 1001
        storages = StreamStorages(self.path, file)

        def one() -> Any:
            return DataPickle(self.path, storages, self._work).run(file)

        if one() != magic or one() != protocol:
            raise ModelError(
                f"{self.path}: a pickle, but not one that torch.save wrote; only PyTorch checkpoints are read"
            )
        info = one()
        if not isinstance(info, dict) or cast("dict[Any, Any]", info).get("little_endian") is not True:
            raise ModelError(
                f"{self.path}: written on a big-endian machine or damaged; load and save it once with a newer PyTorch"
            )
        root = one()
        keys = one()
        sizes = {storage.key: storage for storage in _storages_of(root)}
        if not isinstance(keys, list):
            raise ModelError(f"{self.path}: the list of storages is missing; the checkpoint is damaged")
        for key in cast("list[Any]", keys):
            head = file.read(8)
            if len(head) != 8 or not isinstance(key, str):
                raise ModelError(
                    f"{self.path}: the file ends within its storages; it is cut short, download or save it again"
                )
            count = struct.unpack("<q", head)[0]
            if key not in sizes or sizes[key].count != count:
                # Without the type the size in bytes is unknown, so nothing behind it can be found.
                raise ModelError(f"{self.path}: storage {key[:64]} does not match its use; the checkpoint is damaged")
            dtype = sizes[key].dtype
            size = count * (2 if dtype == "bfloat16" else np.dtype(dtype).itemsize)
            storages.where[key] = (file.tell(), size)
            file.seek(size, io.SEEK_CUR)
        return root

    def network(self) -> Module:
        """The network in the file: the exponential moving average where there is one, else the model itself.

        Raises:
            ModelError: the file holds no whole model, only weights or something else.
        """
        return self._guard(self._network)

    def _network(self) -> Module:
        root = self.root
        candidates: list[Any] = [root]
        if isinstance(root, dict):
            candidates = [cast("dict[Any, Any]", root).get(key) for key in ("ema", "model")]
        for candidate in candidates:
            for _ in range(3):  # wrappers: parallel training, an averaging helper
                if not isinstance(candidate, Skeleton):
                    break
                modules = candidate.state.get("_modules")
                if isinstance(modules, dict) and set(cast("dict[Any, Any]", modules)) == {"module"}:
                    candidate = cast("dict[Any, Any]", modules)["module"]
                elif not isinstance(modules, dict) and isinstance(candidate.state.get("ema"), Skeleton):
                    candidate = candidate.state["ema"]
                else:
                    break
            if isinstance(candidate, Skeleton) and isinstance(candidate.state.get("_modules"), dict):
                return self._module(candidate, "", [_MAX_MODULES])
        if self.weights() is not None:
            raise ModelError(
                f"{self.path}: it holds weights without the network they belong to; name the network with --arch, "
                "such as --arch yolov7-w6-pose"
            )
        raise ModelError(f"{self.path}: no network found in the checkpoint (neither under 'ema' nor under 'model')")

    def weights(self) -> dict[str, Tensor] | None:
        """The tensors of a plain state dict, or None where the file holds something else."""
        candidates: list[Any] = [self.root]
        if isinstance(self.root, dict):
            root = cast("dict[Any, Any]", self.root)
            candidates = [root.get(key) for key in ("ema", "state_dict", "model")] + [root]
        for candidate in candidates:
            if isinstance(candidate, dict):
                entries = cast("dict[Any, Any]", candidate)
                found = {
                    key: value for key, value in entries.items() if isinstance(key, str) and isinstance(value, Tensor)
                }
                if found and len(found) == len(entries):
                    return found
        return None

    def _module(self, skeleton: Skeleton, path: str, budget: list[int], depth: int = 0) -> Module:
        budget[0] -= 1
        if depth > _MAX_DEPTH or budget[0] < 0:
            raise ModelError(f"{self.path}: the network is nested too deeply at {path[:80]}; the checkpoint is refused")
        # A module may stand in many places, and what it holds is taken in at each.
        self._work.spend(len(path) + sum(len(part) for part in _dicts(skeleton.state)))
        attributes = {key: value for key, value in skeleton.state.items() if not key.startswith("_")}
        tensors: dict[str, Tensor] = {}
        for group in ("_parameters", "_buffers"):
            for name, value in _named(skeleton.state.get(group)):
                if isinstance(value, Tensor):
                    tensors[name] = value
        children: dict[str, Module] = {}
        for name, value in _named(skeleton.state.get("_modules")):
            if isinstance(value, Skeleton):
                children[name] = self._module(value, f"{path}.{name}" if path else name, budget, depth + 1)
        return Module(skeleton.kind.rpartition(".")[2], path, attributes, tensors, children)

    def array(self, tensor: Tensor) -> NDArray[Any]:
        """:meth:`Tensor.array`, with whatever a damaged file causes as a ModelError."""
        return self._guard(tensor.array)


def _dicts(state: dict[str, Any]) -> list[dict[Any, Any]]:
    """The state of a module and the dictionaries of its tensors and children."""
    groups = [state.get(name) for name in ("_parameters", "_buffers", "_modules")]
    return [state, *(cast("dict[Any, Any]", group) for group in groups if isinstance(group, dict))]


def _named(value: Any) -> list[tuple[str, Any]]:
    return (
        [(key, item) for key, item in cast("dict[Any, Any]", value or {}).items() if isinstance(key, str)]
        if isinstance(value, dict)
        else []
    )


def _storages_of(root: Any) -> Iterator[Storage]:
    """Every storage reachable from an object; iterative, since the nesting is the file's choice."""
    seen: set[int] = set()
    pending: list[Any] = [root]
    while pending:
        value = pending.pop()
        if isinstance(value, Tensor):
            yield value.storage
        elif isinstance(value, (dict, list, tuple, Skeleton)):
            if id(cast("object", value)) in seen:
                continue
            seen.add(id(cast("object", value)))
            if isinstance(value, dict):
                pending.extend(cast("dict[Any, Any]", value).values())
            elif isinstance(value, Skeleton):
                pending.extend(value.arguments)
                pending.append(value.state)
            else:
                pending.extend(cast("list[Any]", value))
