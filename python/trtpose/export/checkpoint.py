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
import pickletools
import re
import struct
import tarfile
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, ClassVar, cast

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError

__all__ = ["Checkpoint", "Module", "Skeleton", "Tensor"]

# A checkpoint's object graph takes some 60,000 opcodes and 250 kB for 80 million parameters; the limits leave room for
# an optimizer's state and stop a file that was made to exhaust memory.
_MAX_PICKLE_BYTES = 64 << 20
_MAX_OPCODES = 4_000_000
_MAX_DEPTH = 32
_MAX_MODULES = 100_000
_MAX_INTEGER_BYTES = 16

_STORAGE_DTYPES = {
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
_DTYPES = frozenset((
    "float64", "double", "float32", "float", "float16", "half", "bfloat16", "int64", "long", "int32", "int", "int16",
    "short", "int8", "uint8", "bool",
))  # fmt: skip
_INERT_PREFIXES = ("models.", "torch.nn.")
_INERT = frozenset(
    {
        "argparse.Namespace",
        "builtins.object",
        "copyreg._reconstructor",
        "numpy.dtype",
        "numpy.ndarray",
        "torch.device",
        *(f"pathlib.{name}" for name in ("Path", "PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath")),
    }
)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")


@dataclass(frozen=True)
class _Global:
    """A name the pickle mentions; never resolved to anything."""

    name: str


@dataclass(eq=False)
class Skeleton:
    """An instance of a class that was not created: the name of the class and the attributes it would have had."""

    kind: str
    arguments: tuple[Any, ...] = ()
    state: dict[str, Any] = field(default_factory=lambda: cast("dict[str, Any]", {}))


@dataclass(frozen=True, eq=False)
class _Storage:
    reader: _Storages
    dtype: str
    key: str
    count: int


@dataclass(frozen=True, eq=False)
class Tensor:
    """A tensor whose numbers are read from the file when :meth:`array` is called."""

    storage: _Storage
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


class _Storages:
    """Where the numbers of the tensors are; one subclass per file format."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.big_endian = False

    def raw(self, key: str) -> bytes:
        raise NotImplementedError

    def read(self, storage: _Storage) -> NDArray[Any]:
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


class _ZipStorages(_Storages):
    def __init__(self, source: str, archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(source)
        self._archive = archive
        self._root = root

    def raw(self, key: str) -> bytes:
        return _read_entry(self._archive, f"{self._root}data/{key}", self.source)


class _StreamStorages(_Storages):
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


def _read_entry(archive: zipfile.ZipFile, name: str, source: str) -> bytes:
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


class _Mark:
    pass


_MARK = _Mark()


class _Machine:
    """The stack machine of :mod:`pickletools`, restricted to data."""

    def __init__(self, source: str, storages: _Storages) -> None:
        self._source = source
        self._storages = storages
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def _fail(self, what: str) -> ModelError:
        return ModelError(f"{self._source}: {what}")

    def run(self, stream: BinaryIO) -> Any:
        """Interpret one pickle from ``stream`` and leave the stream behind its end."""
        operations = self._operations
        for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
            if count > _MAX_OPCODES:
                raise self._fail(f"its pickle has more than {_MAX_OPCODES} instructions, which no checkpoint needs")
            name = opcode.name
            if name == "STOP":
                break
            operation = operations.get(name)
            if operation is None:
                raise self._fail(f"its pickle uses the instruction {name}, which is refused")
            operation(self, argument)
        if len(self._stack) != 1 or self._stack[0] is _MARK:
            raise self._fail("its pickle does not end with one object; the checkpoint is damaged")
        return self._stack.pop()

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    def _pop(self) -> Any:
        if not self._stack or self._stack[-1] is _MARK:
            raise self._fail("its pickle takes more from the stack than it put there; the checkpoint is damaged")
        return self._stack.pop()

    def _top(self) -> Any:
        value = self._pop()
        self._stack.append(value)
        return value

    def _pop_mark(self) -> list[Any]:
        for i in range(len(self._stack) - 1, -1, -1):
            if self._stack[i] is _MARK:
                items = self._stack[i + 1 :]
                del self._stack[i:]
                return items
        raise self._fail("its pickle closes a list that it never opened; the checkpoint is damaged")

    # -- values

    def _integer(self, value: Any) -> None:
        if not -(1 << 8 * _MAX_INTEGER_BYTES) < value < 1 << 8 * _MAX_INTEGER_BYTES:
            raise self._fail("its pickle holds an integer of absurd size; the checkpoint is refused")
        self._push(value)

    def _put(self, index: Any) -> None:
        self._memo[int(index)] = self._top()

    def _memoize(self, _: Any) -> None:
        self._memo[len(self._memo)] = self._top()

    def _get(self, index: Any) -> None:
        if int(index) not in self._memo:
            raise self._fail("its pickle refers to an object that it never stored; the checkpoint is damaged")
        self._push(self._memo[int(index)])

    def _tuple(self, size: int) -> None:
        items = [self._pop() for _ in range(size)]
        self._push(tuple(reversed(items)))

    def _key(self, value: Any, depth: int = 0) -> Any:
        """A dictionary key or set member: only plain values, so that hashing stays cheap and shallow."""
        if value is None or isinstance(value, (str, int, float, bytes)):
            return value
        if isinstance(value, tuple) and depth < 2 and len(cast("tuple[Any, ...]", value)) <= 16:
            return tuple(self._key(item, depth + 1) for item in cast("tuple[Any, ...]", value))
        raise self._fail(f"its pickle uses a {type(value).__name__} as a dictionary key, which is refused")

    def _fill(self, target: Any, items: list[Any]) -> None:
        if type(target) is not dict or len(items) % 2:
            raise self._fail("its pickle sets items of something that is no dictionary; the checkpoint is refused")
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[self._key(key)] = value

    def _extend(self, items: list[Any]) -> None:
        target = self._top()
        if type(target) is not list:
            raise self._fail("its pickle appends to something that is no list; the checkpoint is refused")
        cast("list[Any]", target).extend(items)

    def _add(self, items: list[Any]) -> None:
        target = self._top()
        if type(target) is not set:
            raise self._fail("its pickle adds to something that is no set; the checkpoint is refused")
        cast("set[Any]", target).update(self._key(item) for item in items)

    def _append(self, _: Any) -> None:
        value = self._pop()
        self._extend([value])

    def _set_item(self, _: Any) -> None:
        value, key = self._pop(), self._pop()
        self._fill(self._top(), [key, value])

    def _set_items(self, _: Any) -> None:
        items = self._pop_mark()
        self._fill(self._top(), items)

    def _dict(self, _: Any) -> None:
        items = self._pop_mark()
        self._push({})
        self._fill(self._top(), items)

    # -- names and objects

    def _global(self, module: Any, name: Any) -> _Global:
        if not isinstance(module, str) or not isinstance(name, str):
            raise self._fail("its pickle names a class by something that is no text; the checkpoint is damaged")
        full = f"{module}.{name}"
        if not _NAME.fullmatch(full) or len(full) > 200:
            raise self._fail(
                f"its pickle asks for {full[:80]!r}, which is no name of a class; the checkpoint is refused"
            )
        if full.startswith("__builtin__."):
            full = "builtins" + full[len("__builtin__") :]
        elif full.startswith("copy_reg."):
            full = "copyreg" + full[len("copy_reg") :]
        elif full.startswith("numpy._core."):
            full = "numpy.core" + full[len("numpy._core") :]
        head, _, tail = full.rpartition(".")
        known = (
            full in _CALLS
            or full in _INERT
            or full.startswith(_INERT_PREFIXES)
            or (head == "torch" and (tail in _STORAGE_DTYPES or tail in _DTYPES))
        )
        if known:
            return _Global(full)
        if full.startswith("ultralytics."):
            raise self._fail(
                f"it is an Ultralytics checkpoint ({full}); export it to ONNX with their tool and pass the ONNX to "
                "trtpose"
            )
        raise self._fail(
            f"its pickle asks for {full}, which is refused; only tensors, containers and network modules are read. "
            "Do not load this file with other tools unless you trust where it came from"
        )

    def _push_global(self, argument: Any) -> None:
        module, _, name = str(argument).partition(" ")
        self._push(self._global(module, name))

    def _stack_global(self, _: Any) -> None:
        name, module = self._pop(), self._pop()
        self._push(self._global(module, name))

    def _call(self, function: Any, arguments: Any) -> Any:
        if not isinstance(function, _Global) or not isinstance(arguments, tuple):
            raise self._fail("its pickle calls something that is no class; the checkpoint is refused")
        arguments = cast("tuple[Any, ...]", arguments)
        handler = _CALLS.get(function.name)
        if handler is not None:
            return handler(self, arguments)
        if function.name == "copyreg._reconstructor":
            return self._new(arguments[0] if arguments else None, ())
        return self._new(function, arguments)

    def _new(self, kind: Any, arguments: Any) -> Any:
        if not isinstance(kind, _Global) or not isinstance(arguments, tuple):
            raise self._fail("its pickle creates an instance of something that is no class; the checkpoint is refused")
        if kind.name == "collections.OrderedDict" and not arguments:
            return {}
        if kind.name not in _INERT and not kind.name.startswith(_INERT_PREFIXES):
            raise self._fail(f"its pickle creates an instance of {kind.name}, which is refused")
        return Skeleton(kind.name, cast("tuple[Any, ...]", arguments))

    def _reduce(self, _: Any) -> None:
        arguments, function = self._pop(), self._pop()
        self._push(self._call(function, arguments))

    def _new_object(self, _: Any) -> None:
        arguments, kind = self._pop(), self._pop()
        self._push(self._new(kind, arguments))

    def _new_object_ex(self, _: Any) -> None:
        keywords, arguments, kind = self._pop(), self._pop(), self._pop()
        if keywords:
            raise self._fail("its pickle creates an object with keyword arguments, which is refused")
        self._push(self._new(kind, arguments))

    def _object(self, _: Any) -> None:
        items = self._pop_mark()
        self._push(self._new(items[0] if items else None, tuple(items[1:])))

    def _instance(self, argument: Any) -> None:
        module, _, name = str(argument).partition(" ")
        self._push(self._new(self._global(module, name), tuple(self._pop_mark())))

    def _build(self, _: Any) -> None:
        state, target = self._pop(), self._top()
        if isinstance(target, dict):
            return  # attributes of an ordered dictionary, such as the version numbers of a state dict
        if not isinstance(target, Skeleton):
            raise self._fail(f"its pickle sets the state of a {type(target).__name__}, which is refused")
        parts = cast("tuple[Any, ...]", state) if isinstance(state, tuple) and len(state) == 2 else (state,)
        if all(part is None or isinstance(part, dict) for part in parts):
            for part in parts:
                target.state.update(
                    (str(key)[:200], value) for key, value in cast("dict[Any, Any]", part or {}).items()
                )
        else:
            target.state["__state__"] = state

    def _persistent(self, pid: Any) -> None:
        parts = list(cast("tuple[Any, ...]", pid)) if isinstance(pid, tuple) else []
        if len(parts) == 4 and parts[0] == "module" and isinstance(parts[1], _Global):
            self._push(parts[1])  # the older format: a class with its source file and source, which are ignored
            return
        if not 5 <= len(parts) <= 6 or parts[0] != "storage" or (len(parts) == 6 and parts[5] is not None):
            raise self._fail("its pickle refers to outside data that is no tensor storage; the checkpoint is refused")
        kind, key, count = parts[1], parts[2], parts[4]
        name = kind.name.rpartition(".")[2] if isinstance(kind, _Global) else ""
        if name not in _STORAGE_DTYPES:
            raise self._fail(f"its tensors are stored as {name or 'an unknown type'}, which is not supported")
        if not isinstance(key, str) or not re.fullmatch(r"[A-Za-z0-9_]{1,64}", key):
            raise self._fail("its pickle names a tensor storage by something odd; the checkpoint is refused")
        if not isinstance(count, int) or isinstance(count, bool) or not 0 <= count < 1 << 48:
            raise self._fail(f"storage {key} states an impossible size; the checkpoint is damaged")
        self._push(_Storage(self._storages, _STORAGE_DTYPES[name], key, count))

    # -- the few calls that mean something

    def _tensor(self, arguments: tuple[Any, ...]) -> Tensor:
        if not 4 <= len(arguments) <= 7:
            raise self._fail(
                "its pickle rebuilds a tensor with the wrong number of arguments; the checkpoint is damaged"
            )
        storage, offset, shape, strides = arguments[:4]

        def lengths(value: Any) -> tuple[int, ...] | None:
            if not isinstance(value, tuple) or len(cast("tuple[Any, ...]", value)) > 8:
                return None
            items = cast("tuple[Any, ...]", value)
            ok = all(isinstance(item, int) and not isinstance(item, bool) and 0 <= item < 1 << 48 for item in items)
            return cast("tuple[int, ...]", items) if ok else None

        sizes, steps = lengths(shape), lengths(strides)
        start = lengths((offset,))
        if (
            not isinstance(storage, _Storage)
            or start is None
            or sizes is None
            or steps is None
            or len(sizes) != len(steps)
        ):
            raise self._fail("its pickle rebuilds a tensor from something that is none; the checkpoint is damaged")
        elements = 1
        for size in sizes:
            elements *= size
        last = start[0] + sum((size - 1) * step for size, step in zip(sizes, steps, strict=True))
        # Elements beyond the storage would read foreign memory; more elements than it has (stride 0) would let a small
        # file fill the memory.
        if elements > storage.count or (elements and last >= storage.count):
            raise self._fail(
                f"a tensor of shape {sizes} does not fit its storage of {storage.count} elements; the checkpoint is "
                "damaged"
            )
        return Tensor(storage, start[0], sizes, steps)

    def _parameter(self, arguments: tuple[Any, ...]) -> Any:
        if not arguments or not isinstance(arguments[0], Tensor):
            raise self._fail("its pickle makes a parameter of something that is no tensor; the checkpoint is damaged")
        return arguments[0]

    def _ordered(self, arguments: tuple[Any, ...]) -> dict[Any, Any]:
        result: dict[Any, Any] = {}
        for pair in cast("list[Any]", arguments[0]) if arguments and isinstance(arguments[0], list) else []:
            if not isinstance(pair, (list, tuple)) or len(cast("list[Any]", pair)) != 2:
                raise self._fail(
                    "its pickle makes a dictionary of something else than pairs; the checkpoint is damaged"
                )
            self._fill(result, list(cast("list[Any]", pair)))
        return result

    def _make_set(self, arguments: tuple[Any, ...]) -> set[Any]:
        items = arguments[0] if arguments else []
        if len(arguments) > 1 or not isinstance(items, (list, tuple)):
            raise self._fail("its pickle makes a set of something that is no list; the checkpoint is refused")
        return {self._key(item) for item in cast("list[Any]", items)}

    def _size(self, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        items = arguments[0] if len(arguments) == 1 else None
        if not isinstance(items, (list, tuple)):
            raise self._fail("its pickle makes a size of something that is no list; the checkpoint is refused")
        return tuple(cast("list[Any]", items))

    def _bound(self, arguments: tuple[Any, ...]) -> Skeleton:
        # Fusing replaces `forward` of every convolution by another method of it, pickled as getattr(module, name).
        if len(arguments) != 2 or not isinstance(arguments[0], Skeleton) or not isinstance(arguments[1], str):
            raise self._fail("its pickle asks for builtins.getattr of something that is no module, which is refused")
        return Skeleton("method", (arguments[1],))

    def _encode(self, arguments: tuple[Any, ...]) -> bytes:
        if len(arguments) != 2 or not isinstance(arguments[0], str) or arguments[1] not in ("latin1", "latin-1"):
            raise self._fail("its pickle asks for _codecs.encode with unusual arguments, which is refused")
        return arguments[0].encode("latin-1")

    def _array(self, arguments: tuple[Any, ...]) -> Skeleton:
        return Skeleton("numpy.ndarray", arguments)

    def _scalar(self, arguments: tuple[Any, ...]) -> Any:
        kind, data = arguments if len(arguments) == 2 else (None, None)
        code = (
            kind.arguments[0] if isinstance(kind, Skeleton) and kind.kind == "numpy.dtype" and kind.arguments else None
        )
        if code in ("f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "b1") and isinstance(data, bytes):
            dtype = np.dtype(cast("str", code)).newbyteorder("<")
            if len(data) == dtype.itemsize:
                return np.frombuffer(data, dtype)[0].item()
        raise self._fail("its pickle holds a NumPy scalar of an unusual type; the checkpoint is refused")

    _operations: ClassVar[dict[str, Callable[[_Machine, Any], None]]] = {
        "PROTO": lambda _m, _: None,
        "FRAME": lambda _m, _: None,
        "MARK": lambda m, _: m._push(_MARK),
        "POP": lambda m, _: m._stack.pop() if m._stack else m._pop(),
        "POP_MARK": lambda m, _: m._pop_mark().clear(),
        "DUP": lambda m, _: m._push(m._top()),
        "NONE": lambda m, _: m._push(None),
        "NEWTRUE": lambda m, _: m._push(True),
        "NEWFALSE": lambda m, _: m._push(False),
        "FLOAT": lambda m, a: m._push(a),
        "BINFLOAT": lambda m, a: m._push(a),
        "EMPTY_LIST": lambda m, _: m._push([]),
        "EMPTY_TUPLE": lambda m, _: m._push(()),
        "EMPTY_DICT": lambda m, _: m._push({}),
        "EMPTY_SET": lambda m, _: m._push(set()),
        "APPEND": _append,
        "APPENDS": lambda m, _: m._extend(m._pop_mark()),
        "ADDITEMS": lambda m, _: m._add(m._pop_mark()),
        "LIST": lambda m, _: m._push(m._pop_mark()),
        "TUPLE": lambda m, _: m._push(tuple(m._pop_mark())),
        "TUPLE1": lambda m, _: m._tuple(1),
        "TUPLE2": lambda m, _: m._tuple(2),
        "TUPLE3": lambda m, _: m._tuple(3),
        "DICT": _dict,
        "SETITEM": _set_item,
        "SETITEMS": _set_items,
        "FROZENSET": lambda m, _: m._push({m._key(item) for item in m._pop_mark()}),
        "GLOBAL": _push_global,
        "STACK_GLOBAL": _stack_global,
        "REDUCE": _reduce,
        "BUILD": _build,
        "NEWOBJ": _new_object,
        "NEWOBJ_EX": _new_object_ex,
        "OBJ": _object,
        "INST": _instance,
        "MEMOIZE": _memoize,
        "BINPERSID": lambda m, _: m._persistent(m._pop()),
        **dict.fromkeys(("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4"), _integer),
        **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), _put),
        **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _get),
        **dict.fromkeys(("STRING", "BINSTRING", "SHORT_BINSTRING"), _push),
        **dict.fromkeys(("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"), _push),
        **dict.fromkeys(("BINBYTES", "SHORT_BINBYTES", "BINBYTES8"), _push),
    }


_CALLS: dict[str, Callable[[_Machine, tuple[Any, ...]], Any]] = {
    "torch._utils._rebuild_tensor_v2": _Machine._tensor,  # pyright: ignore[reportPrivateUsage]
    "torch._utils._rebuild_tensor": _Machine._tensor,  # pyright: ignore[reportPrivateUsage]
    "torch._utils._rebuild_parameter": _Machine._parameter,  # pyright: ignore[reportPrivateUsage]
    "collections.OrderedDict": _Machine._ordered,  # pyright: ignore[reportPrivateUsage]
    "builtins.set": _Machine._make_set,  # pyright: ignore[reportPrivateUsage]
    "builtins.frozenset": _Machine._make_set,  # pyright: ignore[reportPrivateUsage]
    "builtins.getattr": _Machine._bound,  # pyright: ignore[reportPrivateUsage]
    "torch.Size": _Machine._size,  # pyright: ignore[reportPrivateUsage]
    "_codecs.encode": _Machine._encode,  # pyright: ignore[reportPrivateUsage]
    "numpy.core.multiarray._reconstruct": _Machine._array,  # pyright: ignore[reportPrivateUsage]
    "numpy.core.multiarray.scalar": _Machine._scalar,  # pyright: ignore[reportPrivateUsage]
}


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
        self.path = str(path)
        self._archive: zipfile.ZipFile | None = None
        self._file: BinaryIO | None = None
        try:
            self._file = Path(path).open("rb")  # noqa: SIM115 - closed by close()
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
            raise ModelError(f"{self.path}: the archive holds no data.pkl; it is no PyTorch checkpoint")
        root = pickles[0][: -len("data.pkl")]
        if f"{root}constants.pkl" in names:
            raise ModelError(
                f"{self.path}: this is TorchScript, a compiled program; the checkpoint it came from is needed"
            )
        storages = _ZipStorages(self.path, archive, root)
        if f"{root}byteorder" in names:
            order = _read_entry(archive, f"{root}byteorder", self.path)
            if order not in (b"little", b"big"):
                raise ModelError(f"{self.path}: unknown byte order {order[:20]!r}; the checkpoint is damaged")
            storages.big_endian = order == b"big"
        if archive.getinfo(pickles[0]).file_size > _MAX_PICKLE_BYTES:
            raise ModelError(
                f"{self.path}: its pickle is larger than {_MAX_PICKLE_BYTES >> 20} MiB, which no checkpoint needs"
            )
        return _Machine(self.path, storages).run(io.BytesIO(_read_entry(archive, pickles[0], self.path)))

    def _open_stream(self, file: BinaryIO) -> Any:
        magic, protocol = 0x1950A86A20F9469CFC6C, 1001
        storages = _StreamStorages(self.path, file)

        def one() -> Any:
            return _Machine(self.path, storages).run(file)

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


def _named(value: Any) -> list[tuple[str, Any]]:
    return (
        [(key, item) for key, item in cast("dict[Any, Any]", value or {}).items() if isinstance(key, str)]
        if isinstance(value, dict)
        else []
    )


def _storages_of(root: Any) -> Iterator[_Storage]:
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
