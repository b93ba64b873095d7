# SPDX-License-Identifier: Apache-2.0
"""A pickle read as data: containers, numbers, strings and tensors; nothing that it names is imported or called."""

from __future__ import annotations

import pickletools
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, BinaryIO, ClassVar, cast

import numpy as np

from ..errors import ModelError
from .tensor_storage import STORAGE_DTYPES, Storage, Storages, Tensor
from .work import Work

__all__ = ["DataPickle", "Skeleton"]

# A checkpoint's object graph takes some 60,000 opcodes and 250 kB for 80 million parameters; the limits leave room for
# an optimizer's state and stop a file that was made to exhaust memory.
_MAX_OPCODES = 4_000_000
_MAX_INTEGER_BYTES = 16
# Python takes a whole number modulo 2**61 - 1 for its hash: keys beyond could be chosen so that all have the same, and
# every look-up tries them all. The hashes of floats and tuples can be chosen too, so there may only be a few.
_MAX_INTEGER_KEY = 1 << 60
_MAX_ODD_KEYS = 1000
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
# Networks of the reference repositories, where a package holds them: yolov5.models.common.Conv.
_PACKAGED = re.compile(r"(?:[A-Za-z_][A-Za-z0-9_]*\.)+(models\.(?:yolo|common|experimental)\.[A-Za-z_][A-Za-z0-9_]*)")
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


class _Mark:
    pass


_MARK = _Mark()


class DataPickle:
    """The stack machine of :mod:`pickletools`, restricted to data."""

    def __init__(self, source: str, storages: Storages, work: Work) -> None:
        self._source = source
        self._storages = storages
        self._work = work
        self._odd_keys = 0
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
        if isinstance(value, int) and not -_MAX_INTEGER_KEY < value < _MAX_INTEGER_KEY:
            raise self._fail(f"its pickle uses the number {value} as a dictionary key, which is refused")
        if isinstance(value, (float, tuple)):
            self._odd_keys += 1
            if self._odd_keys > _MAX_ODD_KEYS:
                raise self._fail(f"its pickle uses more than {_MAX_ODD_KEYS} floats and tuples as dictionary keys")
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
        if len(module) + len(name) > 200:
            raise self._fail("its pickle asks for a name of a class of absurd length; the checkpoint is refused")
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
        packaged = _PACKAGED.fullmatch(full)
        if packaged:
            full = packaged.group(1)
        head, _, tail = full.rpartition(".")
        known = (
            full in _CALLS
            or full in _INERT
            or full.startswith(_INERT_PREFIXES)
            or (head == "torch" and (tail in STORAGE_DTYPES or tail in _DTYPES))
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
                self._set_state(target, cast("dict[Any, Any]", part or {}))
        else:
            target.state["__state__"] = state

    def _set_state(self, target: Skeleton, state: dict[Any, Any]) -> None:
        self._work.spend(len(state))
        for key, value in state.items():
            if not isinstance(key, str):
                raise self._fail(f"its pickle names an attribute by a {type(key).__name__}; the checkpoint is refused")
            target.state[key[:200]] = value

    def _persistent(self, pid: Any) -> None:
        items = cast("tuple[Any, ...]", pid) if isinstance(pid, tuple) else ()
        parts: list[Any] = list(items) if len(items) <= 6 else []
        if len(parts) == 4 and parts[0] == "module" and isinstance(parts[1], _Global):
            self._push(parts[1])  # the older format: a class with its source file and source, which are ignored
            return
        if not 5 <= len(parts) <= 6 or parts[0] != "storage" or (len(parts) == 6 and parts[5] is not None):
            raise self._fail("its pickle refers to outside data that is no tensor storage; the checkpoint is refused")
        kind, key, count = parts[1], parts[2], parts[4]
        name = kind.name.rpartition(".")[2] if isinstance(kind, _Global) else ""
        if name not in STORAGE_DTYPES:
            raise self._fail(f"its tensors are stored as {name or 'an unknown type'}, which is not supported")
        if not isinstance(key, str) or not re.fullmatch(r"[A-Za-z0-9_]{1,64}", key):
            raise self._fail("its pickle names a tensor storage by something odd; the checkpoint is refused")
        if not isinstance(count, int) or isinstance(count, bool) or not 0 <= count < 1 << 48:
            raise self._fail(f"storage {key} states an impossible size; the checkpoint is damaged")
        self._push(Storage(self._storages, STORAGE_DTYPES[name], key, count))

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
            not isinstance(storage, Storage)
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
        pairs = cast("list[Any]", arguments[0]) if arguments and isinstance(arguments[0], list) else []
        self._work.spend(len(pairs))
        for pair in pairs:
            if not isinstance(pair, (list, tuple)) or len(cast("list[Any]", pair)) != 2:
                raise self._fail(
                    "its pickle makes a dictionary of something else than pairs; the checkpoint is damaged"
                )
            self._fill(result, list(cast("list[Any]", pair)))
        return result

    def _counted(self, arguments: tuple[Any, ...]) -> dict[Any, Any]:
        """A Counter, which schedules of learning rates keep their milestones in: the dictionary it is made of."""
        counts = arguments[0] if arguments else {}
        if len(arguments) > 1 or not isinstance(counts, dict):
            raise self._fail("its pickle counts something that is no dictionary; the checkpoint is refused")
        self._work.spend(len(cast("dict[Any, Any]", counts)))
        return dict(cast("dict[Any, Any]", counts))

    def _make_set(self, arguments: tuple[Any, ...]) -> set[Any]:
        items = arguments[0] if arguments else []
        if len(arguments) > 1 or not isinstance(items, (list, tuple)):
            raise self._fail("its pickle makes a set of something that is no list; the checkpoint is refused")
        self._work.spend(len(cast("list[Any]", items)))
        return {self._key(item) for item in cast("list[Any]", items)}

    def _size(self, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        items = arguments[0] if len(arguments) == 1 else None
        if not isinstance(items, (list, tuple)):
            raise self._fail("its pickle makes a size of something that is no list; the checkpoint is refused")
        self._work.spend(len(cast("list[Any]", items)))
        return tuple(cast("list[Any]", items))

    def _bound(self, arguments: tuple[Any, ...]) -> Skeleton:
        # Fusing replaces `forward` of every convolution by another method of it, pickled as getattr(module, name).
        if len(arguments) != 2 or not isinstance(arguments[0], Skeleton) or not isinstance(arguments[1], str):
            raise self._fail("its pickle asks for builtins.getattr of something that is no module, which is refused")
        return Skeleton("method", (arguments[1],))

    def _encode(self, arguments: tuple[Any, ...]) -> bytes:
        if len(arguments) != 2 or not isinstance(arguments[0], str) or arguments[1] not in ("latin1", "latin-1"):
            raise self._fail("its pickle asks for _codecs.encode with unusual arguments, which is refused")
        self._work.spend(len(arguments[0]))
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

    _operations: ClassVar[dict[str, Callable[[DataPickle, Any], None]]] = {
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


_CALLS: dict[str, Callable[[DataPickle, tuple[Any, ...]], Any]] = {
    "torch._utils._rebuild_tensor_v2": DataPickle._tensor,  # pyright: ignore[reportPrivateUsage]
    "torch._utils._rebuild_tensor": DataPickle._tensor,  # pyright: ignore[reportPrivateUsage]
    "torch._utils._rebuild_parameter": DataPickle._parameter,  # pyright: ignore[reportPrivateUsage]
    "collections.OrderedDict": DataPickle._ordered,  # pyright: ignore[reportPrivateUsage]
    "collections.Counter": DataPickle._counted,  # pyright: ignore[reportPrivateUsage]
    "builtins.set": DataPickle._make_set,  # pyright: ignore[reportPrivateUsage]
    "builtins.frozenset": DataPickle._make_set,  # pyright: ignore[reportPrivateUsage]
    "builtins.getattr": DataPickle._bound,  # pyright: ignore[reportPrivateUsage]
    "torch.Size": DataPickle._size,  # pyright: ignore[reportPrivateUsage]
    "_codecs.encode": DataPickle._encode,  # pyright: ignore[reportPrivateUsage]
    "numpy.core.multiarray._reconstruct": DataPickle._array,  # pyright: ignore[reportPrivateUsage]
    "numpy.core.multiarray.scalar": DataPickle._scalar,  # pyright: ignore[reportPrivateUsage]
}
