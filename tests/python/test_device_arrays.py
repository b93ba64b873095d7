# SPDX-License-Identifier: Apache-2.0
"""GPU arrays through __dlpack__ and __cuda_array_interface__, with objects that only pretend; no memory is read."""

from __future__ import annotations

import ctypes
import gc
import json
from typing import Any

import cv2
import numpy as np
import pytest

import onnx_models
import trtpose
from trtpose import DevicePoses, Engine, InputError, _core

# Whatever is pointed to there is never touched.
ADDRESS = 0x7F0000000000

CPU, CUDA, MANAGED = 1, 2, 13


class DLDevice(ctypes.Structure):
    _fields_ = (("type", ctypes.c_int32), ("index", ctypes.c_int32))


class DLTensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device", DLDevice),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


DELETER = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class DLManaged(ctypes.Structure):
    _fields_ = (("tensor", DLTensor), ("context", ctypes.c_void_p), ("deleter", DELETER))


class DLVersioned(ctypes.Structure):
    _fields_ = (
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("context", ctypes.c_void_p),
        ("deleter", DELETER),
        ("flags", ctypes.c_uint64),
        ("tensor", DLTensor),
    )


def capsule_new(pointer: int, name: bytes) -> Any:
    new = ctypes.pythonapi.PyCapsule_New
    new.restype = ctypes.py_object
    new.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
    return new(pointer, name, None)


def capsule_pointer(capsule: Any, name: bytes) -> int:
    get = ctypes.pythonapi.PyCapsule_GetPointer
    get.restype = ctypes.c_void_p
    get.argtypes = (ctypes.py_object, ctypes.c_char_p)
    return get(capsule, name)


TYPES = {"uint8": (1, 8), "float16": (2, 16), "float32": (2, 32), "int32": (0, 32)}


class DLPackArray:
    """Another library's array on a GPU, which only speaks DLPack."""

    def __init__(
        self,
        shape: tuple[int, ...],
        dtype: str = "uint8",
        *,
        strides: tuple[int, ...] | None = None,
        device: tuple[int, int] = (CUDA, 0),
        version: int | None = 1,
        offset: int = 0,
        data: int = ADDRESS,
    ) -> None:
        self.shape, self.dtype, self.strides, self.device = shape, dtype, strides, device
        self.version, self.offset, self.data = version, offset, data
        self.calls: list[dict[str, Any]] = []
        self.deleted = 0

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device

    def __dlpack__(self, **options: Any) -> Any:
        self.calls.append(options)
        if self.version is None and "max_version" in options:
            raise TypeError("unexpected keyword argument 'max_version'")
        code, bits = TYPES[self.dtype]
        kind = ctypes.c_int64 * len(self.shape)
        self._shape = kind(*self.shape)
        self._strides = kind(*self.strides) if self.strides else None

        def delete(_: int) -> None:
            self.deleted += 1

        self._deleter = DELETER(delete)
        managed = DLManaged() if self.version is None else DLVersioned()
        if isinstance(managed, DLVersioned):
            managed.major = self.version
        managed.deleter = self._deleter
        t = managed.tensor
        t.data, t.ndim, t.byte_offset = self.data, len(self.shape), self.offset
        t.device.type, t.device.index = self.device
        t.code, t.bits, t.lanes = code, bits, 1
        t.shape = ctypes.cast(self._shape, ctypes.POINTER(ctypes.c_int64))
        if self._strides is not None:
            t.strides = ctypes.cast(self._strides, ctypes.POINTER(ctypes.c_int64))
        self._managed = managed
        self._name = b"dltensor" if self.version is None else b"dltensor_versioned"
        return capsule_new(ctypes.addressof(managed), self._name)


class CudaArray:
    """Another library's array on a GPU, which only has the interface."""

    def __init__(self, shape: tuple[int, ...], typestr: str = "|u1", /, **fields: Any) -> None:
        self.__cuda_array_interface__ = {
            "shape": shape,
            "typestr": typestr,
            "data": (ADDRESS, False),
            "version": 3,
            **fields,
        }


def parse(array: Any, **options: Any) -> list[tuple[Any, ...]]:
    return _core.parse_device_array(array, **options)


# ---------------------------------------------------------------------------------------------------------------------
# In


def test_a_picture_through_the_interface() -> None:
    assert parse(CudaArray((48, 64, 3))) == [(ADDRESS, 48, 64, 192, "cuda:0", 0)]
    assert parse(CudaArray((48, 64, 3), strides=(200, 3, 1), stream=None), device=2) == [
        (ADDRESS, 48, 64, 200, "cuda:2", 0)
    ]
    # Upside down; one row needs no stride.
    assert parse(CudaArray((48, 64, 3), strides=(-192, 3, 1)))[0][3] == -192
    assert parse(CudaArray((1, 64, 3), strides=(7, 3, 1)))[0][3] == 0


@pytest.mark.parametrize("stream", [1, 2, 0x55AA00])
def test_the_stream_of_the_interface_is_passed_on(stream: int) -> None:
    assert parse(CudaArray((48, 64, 3), stream=stream))[0][5] == stream


def test_a_batch_is_taken_apart() -> None:
    rows = parse(CudaArray((3, 48, 64, 3)))
    assert [row[0] - ADDRESS for row in rows] == [0, 48 * 192, 2 * 48 * 192]
    rows = parse(CudaArray((2, 48, 64, 3), strides=(100000, 256, 3, 1)))
    assert [(row[0] - ADDRESS, row[3]) for row in rows] == [(0, 256), (100000, 256)]


@pytest.mark.parametrize(("typestr", "name"), [("<f4", "float32"), ("<f2", "float16")])
def test_letterboxed_inputs(typestr: str, name: str) -> None:
    assert parse(CudaArray((2, 3, 64, 96), typestr, stream=2)) == [(ADDRESS, 2, 64, 96, name, "cuda:0", 2)]
    assert parse(CudaArray((3, 64, 96), typestr))[0][1:4] == (1, 64, 96)
    with pytest.raises(InputError, match="contiguous"):
        parse(CudaArray((2, 3, 64, 96), typestr, strides=(99999, 6144 * 4, 384, 4)))
    with pytest.raises(InputError, match="3×height×width"):
        parse(CudaArray((64, 96, 3), typestr))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"stream": 0}, "stream 0"),
        ({"mask": object()}, "masked"),
        ({"strides": (192, 3)}, "strides for 2 axes"),
        ({"strides": (192, 6, 2)}, "not packed"),
        ({"strides": (100, 3, 1)}, "not packed"),
        ({"typestr": "<i8"}, "must be uint8"),
        ({"typestr": 7}, "version 3"),
        ({"shape": "what"}, "version 3"),
        ({"shape": (48, 64)}, "height×width×3"),
        ({"shape": (48, 64, 4)}, "height×width×3"),
        ({"shape": (0, 64, 3)}, "no pixels"),
        ({"shape": (1 << 40, 64, 3)}, "too large"),
        ({"shape": (-1, 64, 3)}, "too large"),
        ({"data": (0, False)}, "no memory"),
        ({"data": None}, "cannot be used"),
    ],
)
def test_interfaces_that_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        parse(CudaArray((48, 64, 3), **fields))
    assert "frame 0" in str(caught.value)


def test_an_interface_that_fails() -> None:
    class Broken:
        @property
        def __cuda_array_interface__(self) -> Any:
            return {"shape": (48, 64, 3)}

    with pytest.raises(InputError, match="typestr"):
        parse(Broken())


@pytest.mark.parametrize("version", [None, 1])
@pytest.mark.parametrize("device", [CUDA, MANAGED])
def test_dlpack_is_told_the_stream_and_given_back_once(version: int | None, device: int) -> None:
    array = DLPackArray((48, 64, 3), strides=(256, 3, 1), device=(device, 3), version=version, offset=64)
    assert parse(array, stream=0x1234) == [(ADDRESS + 64, 48, 64, 256, "cuda:3", 0)]
    assert array.calls[-1]["stream"] == 0x1234
    assert ("max_version" in array.calls[-1]) == (version is not None)
    gc.collect()
    assert array.deleted == 1


def test_dlpack_comes_before_the_interface() -> None:
    class Both(DLPackArray):
        @property
        def __cuda_array_interface__(self) -> Any:
            raise AssertionError("an interface of version 2 says nothing of streams")

    array = Both((2, 3, 64, 96), "float32")
    assert parse(array) == [(ADDRESS, 2, 64, 96, "float32", "cuda:0", 0)]
    assert array.deleted == 1


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (DLPackArray((48, 64, 3), "int32"), "must be uint8"),
        (DLPackArray((48, 64, 3), version=2), "version 2"),
        (DLPackArray((48, 64, 3), strides=(64 * 3, 1, 64)), "not packed"),
        (DLPackArray((48, 64)), "height×width×3"),
        (DLPackArray((48, 64, 3), data=0), "no memory"),
    ],
)
def test_dlpack_that_is_refused_is_given_back(array: DLPackArray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse(array)
    gc.collect()
    # A capsule of an unknown version is not ours to take apart.
    assert array.deleted == (0 if array.version == 2 else 1)


def test_dlpack_that_fails() -> None:
    class Fails(DLPackArray):
        def __dlpack__(self, **_: Any) -> Any:
            raise BufferError("not today")

    class Nonsense(DLPackArray):
        def __dlpack__(self, **_: Any) -> Any:
            return 7

    class OnHost(DLPackArray):
        def __dlpack__(self, **options: Any) -> Any:
            self.device = (CPU, 0)
            return super().__dlpack__(**options)

    class Odd(DLPackArray):
        def __dlpack_device__(self) -> Any:
            return "here"

    with pytest.raises(InputError, match="not today"):
        parse(Fails((48, 64, 3)))
    with pytest.raises(InputError, match="int"):
        parse(Nonsense((48, 64, 3)))
    with pytest.raises(InputError, match="device type 1"):
        parse(OnHost((48, 64, 3)))
    with pytest.raises(InputError, match="pair of numbers"):
        _core.is_device_array(Odd((48, 64, 3)))


def test_what_is_on_a_gpu() -> None:
    assert _core.is_device_array(CudaArray((1, 1, 3)))
    assert _core.is_device_array(DLPackArray((1, 1, 3)))
    assert not _core.is_device_array(DLPackArray((1, 1, 3), device=(CPU, 0)))
    assert not _core.is_device_array(np.zeros((1, 1, 3), np.uint8))
    assert not _core.is_device_array([1, 2])


# ---------------------------------------------------------------------------------------------------------------------
# Through an engine on the CPU


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    path = tmp_path_factory.mktemp("models") / "heads.onnx"
    onnx_models.write_model(path, "heads", metadata={"trtpose": json.dumps(onnx_models.spec_fields("heads"))})
    return Engine(path, conf=0.1, max_det=20)


def pictures(count: int) -> list[Any]:
    rng = np.random.default_rng(3)
    return [cv2.resize(rng.integers(0, 256, (6, 8, 3), np.uint8), (90 + 7 * i, 60)) for i in range(count)]


@pytest.mark.parametrize("array", [CudaArray((48, 64, 3)), DLPackArray((48, 64, 3)), CudaArray((2, 48, 64, 3))])
@pytest.mark.parametrize("output", ["poses", "device"])
def test_an_engine_on_the_cpu_takes_nothing_from_a_gpu(engine: Engine, array: Any, output: Any) -> None:
    with pytest.raises(InputError, match="runs on the CPU; copy it"):
        engine.infer(array, output=output)
    with pytest.raises(InputError, match="frame 1"):
        engine.infer([pictures(1)[0], array], output=output)


class Somewhere:
    """An array whose __dlpack_device__ gives what it is told."""

    def __init__(self, device: Any) -> None:
        self.device = device

    def __dlpack_device__(self) -> Any:
        return self.device

    def __dlpack__(self, **_: Any) -> Any:
        raise AssertionError("not before its device is known")


@pytest.mark.parametrize(
    "device", [None, 3, "cpu", (), (1,), (1, "x"), (1, 0, 0), (2**40, 0), (1, 2**40), ("2", 0), (1.5, 0), (2, None)]
)
def test_a_malformed_device_is_one_sentence(engine: Engine, device: Any) -> None:
    with pytest.raises(InputError, match=r"^frame: its __dlpack_device__ (gives no pair of numbers|cannot be used)"):
        engine.infer(Somewhere(device))
    for output in ("poses", "device"):
        with pytest.raises(InputError, match=r"^frame 1: its __dlpack_device__ ") as caught:
            engine.infer([pictures(1)[0], Somewhere(device)], output=output)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=r"^frame 0, luma: its __dlpack_device__ "):
        engine.infer([trtpose.Nv12(Somewhere(device))])


@pytest.mark.parametrize(
    "options",
    [{"dl_device": 3}, {"dl_device": ("cpu", 0)}, {"max_version": "1"}, {"max_version": (1,)}, {"stream": "x"}],
)
def test_arguments_of_dlpack_of_another_type(engine: Engine, options: dict[str, Any]) -> None:
    boxes = engine.infer(pictures(1), output="device").boxes
    with pytest.raises(InputError, match=f"^{next(iter(options))} of __dlpack__ is a "):
        boxes.__dlpack__(**options)


def test_results_as_arrays_equal_the_poses(engine: Engine) -> None:
    frames = pictures(3)
    want = engine.infer(frames)
    got = engine.infer(frames, output="device")
    assert isinstance(got, DevicePoses)
    assert len(got) == 3
    assert got.device == "cpu"
    assert got.stream == 0
    assert got.max_det == 20
    assert got.shapes == [frame.shape[:2] for frame in frames]
    got.synchronize()
    points = want[0].keypoints.shape[1]
    assert got.boxes.shape == (3, 20, 4)
    assert got.keypoints.shape == (3, 20, points, 3)
    assert got.counts.shape == (3,)
    assert (got.boxes.dtype, got.counts.dtype, got.class_ids.dtype) == ("float32", "int32", "int32")
    counts = np.from_dlpack(got.counts)
    assert counts.dtype == np.int32
    assert counts.tolist() == [len(p.scores) for p in want]
    assert counts.sum() > 0
    for i, p in enumerate(want):
        n = counts[i]
        assert np.array_equal(np.from_dlpack(got.boxes)[i, :n], p.boxes)
        assert np.array_equal(np.from_dlpack(got.scores)[i, :n], p.scores)
        assert np.array_equal(np.from_dlpack(got.class_ids)[i, :n], p.class_ids)
        assert np.array_equal(np.from_dlpack(got.keypoints)[i, :n], p.keypoints)
    assert "3 frames" in repr(got)


def test_arrays_live_as_long_as_anybody_looks(engine: Engine) -> None:
    got = engine.infer(pictures(2), output="device")
    boxes = np.from_dlpack(got.boxes)
    again = np.from_dlpack(got.boxes)
    assert np.shares_memory(boxes, again), "without a copy"
    before = boxes.copy()
    capsule = got.scores.__dlpack__()  # never taken
    del got, again, capsule
    gc.collect()
    for _ in range(3):
        engine.infer(pictures(3), output="device", conf=0.3)
    assert np.array_equal(boxes, before)


def test_both_kinds_of_capsule(engine: Engine) -> None:
    scores = engine.infer(pictures(1), output="device").scores
    for options, name, kind in (
        ({}, b"dltensor", DLManaged),
        ({"max_version": (0, 8)}, b"dltensor", DLManaged),
        ({"max_version": (1, 0), "copy": False, "dl_device": (CPU, 0)}, b"dltensor_versioned", DLVersioned),
        ({"stream": -1}, b"dltensor", DLManaged),
    ):
        capsule = scores.__dlpack__(**options)
        held = kind.from_address(capsule_pointer(capsule, name))
        tensor = held.tensor
        assert (tensor.device.type, tensor.device.index) == (CPU, 0) == scores.__dlpack_device__()
        assert (tensor.code, tensor.bits, tensor.lanes) == (2, 32, 1)
        assert tensor.shape[: tensor.ndim] == [1, 20]
        assert tensor.strides[: tensor.ndim] == [20, 1]
        if isinstance(held, DLVersioned):
            assert (held.major, held.flags) == (1, 0)


def test_what_the_protocols_refuse_on_the_cpu(engine: Engine) -> None:
    got = engine.infer(pictures(1), output="device")
    assert not hasattr(got.boxes, "__cuda_array_interface__")
    with pytest.raises(BufferError, match="stay on cpu"):
        got.boxes.__dlpack__(dl_device=(CUDA, 0))
    with pytest.raises(BufferError, match="without a copy"):
        got.boxes.__dlpack__(copy=True)
    with pytest.raises(InputError, match="no streams"):
        got.boxes.__dlpack__(stream=1)
    with pytest.raises(InputError, match="numpy"):
        got.cupy()
    with pytest.raises(InputError, match="output 'gpu'"):
        engine.infer(pictures(1), output="gpu")


def test_letterboxed_inputs_and_no_frames(engine: Engine) -> None:
    (frame,) = pictures(1)
    letterboxed = trtpose.letterbox(frame, engine.imgsz)
    want = engine.infer(letterboxed)[0]
    got = engine.infer(letterboxed, output="device")
    assert got.shapes == [engine.imgsz]
    count = int(np.from_dlpack(got.counts)[0])
    assert np.array_equal(np.from_dlpack(got.keypoints)[0, :count], want.keypoints)
    none = engine.infer([], output="device")
    assert len(none) == 0
    assert np.from_dlpack(none.boxes).shape == (0, 20, 4)


def test_torch_takes_them() -> None:
    torch = pytest.importorskip("torch")
    array = torch.zeros((48, 64, 3), dtype=torch.uint8)
    assert not _core.is_device_array(array), "torch has the interface for its arrays on the GPU alone"
