# SPDX-License-Identifier: Apache-2.0
"""Arrays on a GPU with the libraries that make them: frames in, poses out, streams and lifetimes.

The network samples pixels (sampling_network.cuh) and gives the same numbers on the CPU, so the poses of arrays on a GPU
are compared with those of the same pictures on the CPU.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from libraries import LIBRARIES, Cupy, Torch

import trtpose
from trtpose import DevicePoses, Engine, InputError, Poses

pytestmark = pytest.mark.gpu

Make = Callable[..., Engine]
NAMES = ("boxes", "scores", "class_ids", "keypoints")

# The two kernels decode with the same formulas, but expf of the GPU and of the CPU differ in the last bits; box and
# keypoint coordinates are up to a few hundred pixels.
CLOSE = {"rtol": 1e-5, "atol": 1e-3}


@pytest.fixture(params=LIBRARIES)
def library(request: pytest.FixtureRequest) -> Any:
    return LIBRARIES[request.param]()


@pytest.fixture(params=["cupy", "torch"])
def with_streams(request: pytest.FixtureRequest) -> Any:
    """The libraries whose streams a test can choose."""
    return LIBRARIES[request.param]()


def same(found: list[Poses], expected: list[Poses]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        assert len(one) == len(other)
        for name in NAMES:
            np.testing.assert_allclose(getattr(one, name), getattr(other, name), err_msg=name, **CLOSE)
    assert sum(len(poses) for poses in expected) > 0, "the pictures show nobody: nothing was compared"


def on_host(poses: DevicePoses, take: Callable[[Any], Any], get: Callable[[Any], np.ndarray]) -> list[Poses]:
    counts = get(take(poses.counts))
    arrays = {name: get(take(getattr(poses, name))) for name in NAMES}
    return [
        Poses(*(arrays[name][i, : counts[i]] for name in NAMES), shape=poses.shapes[i], spec=poses.spec)
        for i in range(len(poses))
    ]


# ---------------------------------------------------------------------------------------------------------------------
# In


def test_host_frames_are_the_measure(make_engine: Make, frames: list[np.ndarray]) -> None:
    """Without any library: the GPU's engine and the CPU's agree, so that the rest is about arrays alone."""
    same(make_engine("cuda", batch=2).infer(frames), make_engine("cpu", batch=2).infer(frames))


def test_frames_in_place(make_engine: Make, library: Any, frames: list[np.ndarray]) -> None:
    engine, expected = make_engine(batch=2), make_engine("cpu", batch=2).infer(frames)
    same(engine.infer([library.put(frame) for frame in frames]), expected)
    same(engine.infer(library.put(frames[0])), expected[:1])
    for _ in range(3):  # warmed up, captured, launched as a graph
        same(engine.infer([library.put(frame) for frame in frames]), expected)


def test_padded_rows(make_engine: Make, library: Any, frames: list[np.ndarray]) -> None:
    arrays = [library.padded(frame) for frame in frames]
    same(make_engine().infer(arrays), make_engine("cpu").infer(frames))


def test_a_batch_in_one_array(make_engine: Make, library: Any) -> None:
    batch = np.random.default_rng(1).integers(0, 256, (3, 70, 90, 3), dtype=np.uint8)
    same(make_engine(batch=2).infer(library.put(batch)), make_engine("cpu").infer(list(batch)))


def test_rgb(make_engine: Make, library: Any, frames: list[np.ndarray]) -> None:
    turned = np.ascontiguousarray(frames[0][..., ::-1])
    same(make_engine().infer(library.put(turned), color="rgb"), make_engine("cpu").infer(frames[0]))


@pytest.mark.parametrize("half", [False, True])
def test_letterboxed_inputs(make_engine: Make, library: Any, half: bool) -> None:
    """A float array is the network's input; an engine of a float16 network takes that."""
    images = np.random.default_rng(2).random((2, 3, 64, 96)).astype(np.float16 if half else np.float32)
    engine = make_engine(half=half, batch=2)
    same(engine.infer(library.put(images)), make_engine("cpu", batch=2).infer(images.astype(np.float32)))


def test_host_and_device_frames_in_one_call(make_engine: Make, library: Any, frames: list[np.ndarray]) -> None:
    mixed = [library.put(frames[0]), frames[1], library.put(frames[2])]
    same(make_engine(batch=2).infer(mixed), make_engine("cpu").infer(frames))


def test_a_frame_that_is_still_being_made(make_engine: Make, with_streams: Any, frames: list[np.ndarray]) -> None:
    """The maker's stream is not waited for by anybody: the engine has to. Were it not to, it would see zeros."""
    engine = make_engine()
    expected = make_engine("cpu").infer(frames[1])
    engine.infer(frames[1])  # nothing of the first call, which takes memory and so waits, covers for it
    engine.infer(frames[1])
    array, current, done = with_streams.late(frames[1])
    with current:
        assert not done(), "the maker is too fast for this test to show anything"
        found = engine.infer(array)
    same(found, expected)


def test_a_frame_may_be_overwritten_after_the_call(make_engine: Make, library: Any, frames: list[np.ndarray]) -> None:
    """Also where the results stay on the GPU and the call returns early."""
    if not isinstance(library, (Cupy, Torch)):
        pytest.skip("no arrays that can be overwritten in one call")
    engine = make_engine()
    expected = make_engine("cpu").infer(frames[0])
    for _ in range(4):
        array = library.put(frames[0])
        poses = engine.infer(array, output="device")
        array[...] = 0
        same(on_host(poses, library.take, library.get), expected)


# ---------------------------------------------------------------------------------------------------------------------
# Out


@pytest.mark.parametrize("how", ["take", "take_interface"])
def test_results_as_arrays(make_engine: Make, library: Any, how: str, frames: list[np.ndarray]) -> None:
    engine = make_engine(batch=2)
    expected = engine.infer(frames)
    poses = engine.infer([library.put(frame) for frame in frames], output="device")
    if how == "take_interface":
        poses.synchronize()  # not every library honours the stream in the interface
    assert poses.device.startswith("cuda:")
    assert poses.stream != 0
    same(on_host(poses, getattr(library, how), library.get), expected)


def test_results_for_another_stream(make_engine: Make, with_streams: Any, frames: list[np.ndarray]) -> None:
    """Read on a stream of one's own, without waiting: the protocol lets that stream wait."""
    engine = make_engine()
    (expected,) = engine.infer(frames[1])
    for _ in range(5):
        poses = engine.infer(frames[1], output="device")
        assert with_streams.sum_on_another_stream(poses.counts) == len(expected)


def test_cupy_in_one_step(make_engine: Make, frames: list[np.ndarray]) -> None:
    library = Cupy()
    engine = make_engine(batch=2)
    expected = engine.infer(frames)
    poses = engine.infer(frames, output="device")
    arrays = poses.cupy()
    assert all(isinstance(array, library.cupy.ndarray) for array in arrays)
    assert arrays.keypoints.shape == (3, poses.max_det, engine.spec.keypoints, 3)
    for i, one in enumerate(expected):
        count = int(arrays.counts[i])
        assert count == len(one)
        np.testing.assert_allclose(library.get(arrays.boxes[i, :count]), one.boxes, **CLOSE)
    # Without a copy: the address is that of the results.
    assert arrays.boxes.data.ptr == poses.boxes.__cuda_array_interface__["data"][0]


def test_results_outlive_later_calls_and_the_engine(make_engine: Make, library: Any, frames: list[np.ndarray]) -> None:
    engine = make_engine()
    expected = engine.infer(frames[0])
    poses = engine.infer(frames[0], output="device")
    for _ in range(6):
        engine.infer(frames[1])
        engine.infer(frames[2], output="device")
    same(on_host(poses, library.take, library.get), expected)
    arrays = [library.take(getattr(poses, name)) for name in NAMES]
    count = len(expected[0])
    del engine, poses
    gc.collect()
    other = make_engine()
    for _ in range(4):
        other.infer(frames[1])
    for name, array in zip(NAMES, arrays, strict=True):
        np.testing.assert_allclose(library.get(array)[0, :count], getattr(expected[0], name), **CLOSE)


def test_the_same_bytes_every_time(make_engine: Make, frames: list[np.ndarray]) -> None:
    engine = make_engine(batch=2)
    first = engine.infer(frames)
    for _ in range(20):
        for one, other in zip(engine.infer(frames), first, strict=True):
            for name in NAMES:
                assert getattr(one, name).tobytes() == getattr(other, name).tobytes()


def test_clones_in_threads(make_engine: Make, library: Any, frames: list[np.ndarray]) -> None:
    engine = make_engine()
    expected = engine.infer(frames)
    failures: list[BaseException] = []

    def work(one: Engine) -> None:
        try:
            for _ in range(20):
                same(one.infer([library.put(frame) for frame in frames]), expected)
        except BaseException as error:
            failures.append(error)

    if not isinstance(library, (Cupy, Torch)):
        pytest.skip("arrays of this library belong to one thread's context")
    threads = [threading.Thread(target=work, args=(one,)) for one in (engine, engine.clone(), engine.clone())]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures[0]


# ---------------------------------------------------------------------------------------------------------------------
# What is refused


@pytest.mark.parametrize(
    ("shape", "dtype", "words"),
    [
        ((8, 8, 3), np.int32, "uint8"),
        ((8, 8, 3), np.float64, "uint8"),
        ((8, 8, 4), np.uint8, "3"),
        ((8, 8), np.uint8, "3"),
        ((3, 64, 96), np.float16, "float16"),
        ((1, 3, 60, 96), np.float32, "60"),
    ],
)
def test_wrong_arrays(make_engine: Make, library: Any, shape: tuple[int, ...], dtype: Any, words: str) -> None:
    engine = make_engine()
    with pytest.raises(InputError, match=words):
        engine.infer(library.put(np.zeros(shape, dtype)))
    same(
        engine.infer(np.full((64, 96, 3), 200, np.uint8)), make_engine("cpu").infer(np.full((64, 96, 3), 200, np.uint8))
    )


def test_pixels_that_are_not_packed(make_engine: Make, with_streams: Any, frames: list[np.ndarray]) -> None:
    planar = with_streams.put(np.ascontiguousarray(frames[0].transpose(2, 0, 1)))
    turned = planar.transpose(1, 2, 0) if isinstance(with_streams, Cupy) else planar.permute(1, 2, 0)
    with pytest.raises(InputError, match="packed"):
        make_engine().infer(turned)


def test_an_engine_on_the_cpu_refuses_arrays_on_a_gpu(
    make_engine: Make, library: Any, frames: list[np.ndarray]
) -> None:
    with pytest.raises(InputError, match="this engine runs on the CPU"):
        make_engine("cpu").infer(library.put(frames[0]))


def test_another_gpu(make_engine: Make, with_streams: Any, frames: list[np.ndarray]) -> None:
    if len(trtpose._machine.gpus().devices) < 2:
        pytest.skip("this machine has one GPU")
    if isinstance(with_streams, Cupy):
        with with_streams.cupy.cuda.Device(1):
            array = with_streams.put(frames[0])
    else:
        array = with_streams.put(frames[0]).to("cuda:1")
    with pytest.raises(InputError, match="cuda:1"):
        make_engine().infer(array)


def test_results_on_the_cpu_have_no_cupy(make_engine: Make, frames: list[np.ndarray]) -> None:
    poses = make_engine("cpu").infer(frames[0], output="device")
    with pytest.raises(InputError, match="on the CPU"):
        poses.cupy()
