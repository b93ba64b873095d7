# SPDX-License-Identifier: Apache-2.0
# Written by tools/gen_stubs.py; do not edit.
"""
The native part of trtpose; use it through the package.
"""

from __future__ import annotations
import collections.abc
import numpy
import numpy.typing
import typing

__all__: list[str] = [
    "DeviceArray",
    "DevicePoses",
    "Engine",
    "Nv12",
    "backends",
    "check_onnx",
    "check_thresholds",
    "count_magnitudes",
    "cuda_version",
    "find_spec",
    "is_device_array",
    "largest_magnitude",
    "letterbox",
    "normalise_spec",
    "parse_device_array",
    "read_model_file",
    "read_onnx",
    "time_network",
    "version",
]

class Nv12:
    """
    A frame of decoded video; see trtpose.Nv12.
    """
    def __init__(self, luma: typing.Any, chroma: typing.Any, *, bt709: bool, full_range: bool) -> None: ...

class DeviceArray:
    """
    An array of results in a device's memory, dense, read through protocols.
    """
    def __dlpack__(
        self,
        *,
        stream: typing.Any = None,
        max_version: typing.Any = None,
        dl_device: typing.Any = None,
        copy: typing.Any = None,
    ) -> typing.Any: ...
    def __dlpack_device__(self) -> tuple[int, int]: ...
    @property
    def __cuda_array_interface__(self) -> dict: ...
    @property
    def device(self) -> str: ...
    @property
    def dtype(self) -> str: ...
    @property
    def shape(self) -> tuple: ...

class DevicePoses:
    """
    Results left on the device; see trtpose.DevicePoses.
    """
    def __len__(self) -> int: ...
    def synchronize(self) -> None: ...
    @property
    def boxes(self) -> DeviceArray: ...
    @property
    def class_ids(self) -> DeviceArray: ...
    @property
    def counts(self) -> DeviceArray: ...
    @property
    def device(self) -> str: ...
    @property
    def keypoints(self) -> DeviceArray: ...
    @property
    def max_det(self) -> int: ...
    @property
    def scores(self) -> DeviceArray: ...
    @property
    def shapes(self) -> list: ...
    @property
    def stream(self) -> int: ...

class Engine:
    """
    A network and everything around it; see trtpose.Engine.
    """
    @staticmethod
    def on_network(
        *,
        run: collections.abc.Callable,
        backend: str,
        input: str,
        shape: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        profile: collections.abc.Sequence[collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex]],
        outputs: collections.abc.Sequence[
            tuple[str, collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex]]
        ],
        spec: str,
        batch: typing.SupportsInt | typing.SupportsIndex,
        thresholds: tuple[
            typing.SupportsFloat | typing.SupportsIndex,
            typing.SupportsFloat | typing.SupportsIndex,
            typing.SupportsInt | typing.SupportsIndex,
            bool,
            bool,
        ],
        threads: typing.SupportsInt | typing.SupportsIndex,
    ) -> Engine: ...
    def __init__(
        self,
        *,
        path: str,
        spec: str,
        device: str,
        precision: str,
        imgsz: tuple[typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex],
        batch: typing.SupportsInt | typing.SupportsIndex,
        rect: bool,
        thresholds: tuple[
            typing.SupportsFloat | typing.SupportsIndex,
            typing.SupportsFloat | typing.SupportsIndex,
            typing.SupportsInt | typing.SupportsIndex,
            bool,
            bool,
        ],
        threads: typing.SupportsInt | typing.SupportsIndex,
        streams: typing.SupportsInt | typing.SupportsIndex,
        vram_budget: typing.SupportsInt | typing.SupportsIndex,
        stage_times: bool,
    ) -> None: ...
    def clone(self) -> Engine: ...
    def collect(self, ticket: typing.SupportsInt | typing.SupportsIndex) -> list: ...
    def infer(
        self,
        frames: collections.abc.Sequence[typing.Any],
        *,
        color: str,
        thresholds: tuple[
            typing.SupportsFloat | typing.SupportsIndex,
            typing.SupportsFloat | typing.SupportsIndex,
            typing.SupportsInt | typing.SupportsIndex,
            bool,
            bool,
        ],
    ) -> list: ...
    def infer_device(
        self,
        frames: collections.abc.Sequence[typing.Any],
        *,
        color: str,
        thresholds: tuple[
            typing.SupportsFloat | typing.SupportsIndex,
            typing.SupportsFloat | typing.SupportsIndex,
            typing.SupportsInt | typing.SupportsIndex,
            bool,
            bool,
        ],
    ) -> DevicePoses: ...
    def infer_tensor(
        self,
        input: typing.Annotated[numpy.typing.ArrayLike, numpy.float32],
        *,
        thresholds: tuple[
            typing.SupportsFloat | typing.SupportsIndex,
            typing.SupportsFloat | typing.SupportsIndex,
            typing.SupportsInt | typing.SupportsIndex,
            bool,
            bool,
        ],
    ) -> list: ...
    def infer_tensor_device(
        self,
        input: typing.Annotated[numpy.typing.ArrayLike, numpy.float32],
        *,
        thresholds: tuple[
            typing.SupportsFloat | typing.SupportsIndex,
            typing.SupportsFloat | typing.SupportsIndex,
            typing.SupportsInt | typing.SupportsIndex,
            bool,
            bool,
        ],
    ) -> DevicePoses: ...
    def submit(
        self,
        frames: collections.abc.Sequence[typing.Any],
        *,
        color: str,
        thresholds: tuple[
            typing.SupportsFloat | typing.SupportsIndex,
            typing.SupportsFloat | typing.SupportsIndex,
            typing.SupportsInt | typing.SupportsIndex,
            bool,
            bool,
        ],
    ) -> int: ...
    def submit_tensor(
        self,
        input: typing.Annotated[numpy.typing.ArrayLike, numpy.float32],
        *,
        thresholds: tuple[
            typing.SupportsFloat | typing.SupportsIndex,
            typing.SupportsFloat | typing.SupportsIndex,
            typing.SupportsInt | typing.SupportsIndex,
            bool,
            bool,
        ],
    ) -> int: ...
    @property
    def backend(self) -> str: ...
    @property
    def backend_version(self) -> str: ...
    @property
    def batch(self) -> int: ...
    @property
    def device(self) -> str: ...
    @property
    def imgsz(self) -> tuple[int, int]: ...
    @property
    def max_in_flight(self) -> int: ...
    @property
    def memory(self) -> dict: ...
    @property
    def precision(self) -> str: ...
    @property
    def spec_json(self) -> str: ...
    @property
    def spec_origin(self) -> str: ...
    @property
    def timings(self) -> dict: ...

def backends() -> list:
    """
    State of every backend on this machine.
    """

def check_onnx(content: bytes, name: str) -> None:
    """
    Check an ONNX model in memory, which has all of its weights in it. Raises ModelError.
    """

def check_thresholds(
    thresholds: tuple[
        typing.SupportsFloat | typing.SupportsIndex,
        typing.SupportsFloat | typing.SupportsIndex,
        typing.SupportsInt | typing.SupportsIndex,
        bool,
        bool,
    ],
) -> None:
    """
    Raises InputError where one is out of its range.
    """

def count_magnitudes(
    values: numpy.typing.NDArray[numpy.float32],
    step: typing.SupportsInt | typing.SupportsIndex,
    bins_per_unit: typing.SupportsFloat | typing.SupportsIndex,
    counts: numpy.typing.NDArray[numpy.int64],
) -> None:
    """
    Adds one to counts[int(|v| * bins_per_unit)] for every step'th value; what is behind the last bin is counted there.
    """

def cuda_version() -> int:
    """
    The CUDA version of this build, 13000 for 13.0; 0: built without.
    """

def find_spec(path: str, spec: str = "") -> tuple[typing.Any, str]:
    """
    The model spec of a file as JSON, and where it came from. Raises ModelError.
    """

def is_device_array(array: typing.Any, what: str = "frame") -> bool:
    """
    Whether an object is an array in the memory of a GPU. Raises InputError if it gives a nonsensical answer.
    """

def largest_magnitude(values: numpy.typing.NDArray[numpy.float32]) -> float:
    """
    The largest of the magnitudes, 0 of none, NaN where one of them is.
    """

def letterbox(
    frame: typing.Any,
    size: tuple[typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex],
    color: str = "bgr",
    spec: str = "",
) -> tuple[numpy.typing.NDArray[numpy.float32], dict]:
    """
    The network's input for a frame (3×height×width float32), and where the frame lies in it. Raises InputError.
    """

def normalise_spec(json: str, source: str) -> typing.Any:
    """
    Check a model spec and return it with every field. Raises ModelError.
    """

def parse_device_array(
    array: typing.Any,
    *,
    device: typing.SupportsInt | typing.SupportsIndex = 0,
    stream: typing.SupportsInt | typing.SupportsIndex = 1,
    color: str = "bgr",
) -> list:
    """
    How an engine on cuda:`device` would read an array on a GPU; touches no memory. Raises InputError.
    """

def read_model_file(path: str) -> dict:
    """
    What a model file says of itself; 'engine' is None and 'most_frames' 0 where there is none. Raises ModelError.
    """

def read_onnx(path: str) -> typing.Any:
    """
    The bytes of an ONNX file, checked, with the weights of files beside it taken in. Raises ModelError.
    """

def time_network(
    *,
    path: str,
    device: str,
    precision: str,
    threads: typing.SupportsInt | typing.SupportsIndex,
    batch: typing.SupportsInt | typing.SupportsIndex,
    imgsz: tuple[typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex],
    runs: typing.SupportsInt | typing.SupportsIndex,
    warmup: typing.SupportsInt | typing.SupportsIndex,
) -> dict:
    """
    Milliseconds of the network alone, without letterbox, decode and NMS.

    Lists of runs, and means of runs given all at once.
    """

def version() -> str:
    """
    Version of the library, as major.minor.patch.
    """
