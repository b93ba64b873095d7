# SPDX-License-Identifier: Apache-2.0
"""The KServe inference protocol, version 2, with the extension for binary tensors.

https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol and Triton's description of the
extension: https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

from __future__ import annotations

import asyncio
import gzip
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray
from starlette.responses import Response

from .._checks import shown
from ..errors import InputError
from . import json_tensors
from .answers import Json, together, written
from .requests import RequestError, Upload, thresholds_of
from .tensors import INPUTS, OUTPUTS, arrays_of, output_shapes

if TYPE_CHECKING:
    from starlette.requests import Request

    from ..thresholds import Thresholds
    from .app import Service
    from .batcher import Answer

__all__ = ["HEADER", "routes"]

HEADER = "inference-header-content-length"
"""Says how many bytes of a body are JSON; those of tensors follow."""

_FRAMES = ("bgr", "rgb")
_PARAMETERS = ("conf", "iou", "max_det", "nms", "agnostic")


def routes(name: str) -> list[tuple[str, Callable[[Request, Service], Any], tuple[str, ...]]]:
    """Paths, handlers and methods for a model of this name."""
    model = f"/v2/models/{name}"
    found: list[tuple[str, Callable[[Request, Service], Any], tuple[str, ...]]] = [
        ("/v2", _server, ("GET",)),
        ("/v2/health/live", _live, ("GET",)),
        ("/v2/health/ready", _ready, ("GET",)),
        ("/v2/models/{name}", _no_model, ("GET",)),
        ("/v2/models/{name}/infer", _no_model, ("POST",)),
    ]
    known = [
        (path + end, handler, (method,))
        for path in (model, f"{model}/versions/1")
        for end, handler, method in (("", _metadata, "GET"), ("/ready", _ready, "GET"), ("/infer", _infer, "POST"))
    ]
    return [*found[:3], *known, *found[3:]]


async def _server(_: Request, _service: Service) -> Response:
    import trtpose

    return Json({"name": "trtpose", "version": trtpose.__version__, "extensions": ["binary_tensor_data"]})


async def _live(_: Request, _service: Service) -> Response:
    return Response(status_code=200)


async def _ready(_: Request, service: Service) -> Response:
    return Response(status_code=200 if service.ready else 503)


async def _no_model(request: Request, service: Service) -> Response:
    raise RequestError(
        404, f"there is no model {request.path_params['name']!r}; it is called {service.settings.title!r}"
    )


async def _metadata(_: Request, service: Service) -> Response:
    return Json(
        {
            "name": service.settings.title,
            "versions": ["1"],
            "platform": f"trtpose_{service.engine.backend}",
            "inputs": [_described(*entry) for entry in INPUTS],
            "outputs": [_described(*entry) for entry in output_shapes(service.engine.spec.keypoints)],
        }
    )


def _described(name: str, datatype: str, shape: tuple[int, ...]) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": list(shape)}


@dataclass(frozen=True)
class _Wanted:
    """An output that was asked for, and whether its numbers come as bytes."""

    name: str
    binary: bool


@dataclass(frozen=True)
class _Asked:
    """What a request asks for."""

    id: Any
    thresholds: Thresholds
    pictures: list[NDArray[np.uint8] | Upload]
    wanted: list[_Wanted]


async def _infer(request: Request, service: Service) -> Response:
    asked = await _asked(request, service)
    service.batcher.check(len(asked.pictures))

    async def one(picture: NDArray[np.uint8] | Upload) -> Answer:
        try:
            if isinstance(picture, Upload):
                return (await service.look(picture, asked.thresholds))[0]
            return await service.find(picture, asked.thresholds)
        except InputError as error:
            raise RequestError(400, str(error)) from None

    answers = await together([one(picture) for picture in asked.pictures])
    arrays = arrays_of([answer.poses for answer in answers], service.engine.spec.keypoints)
    return await _answer(service, asked.id, arrays, asked.wanted)


async def _asked(request: Request, service: Service) -> _Asked:
    """Read a request; one that takes long in a thread, so that others are answered meanwhile."""
    data = await request.body()
    encoding = request.headers.get("content-encoding", "identity").lower()
    length = request.headers.get(HEADER)

    def work() -> _Asked:
        return _read(service, _unpacked(data, encoding, service.settings.max_body), length)

    if encoding == "identity" and len(data) <= json_tensors.SMALL:
        return work()
    return await asyncio.get_running_loop().run_in_executor(service.decoders, work)


def _read(service: Service, body: bytes, length: str | None) -> _Asked:
    document, rest = _split(body, length)
    parameters = _object(document.get("parameters", {}), "parameters")
    own = {name: parameters[name] for name in _PARAMETERS if name in parameters}
    thresholds = thresholds_of(service.engine.thresholds, own)
    pictures = _pictures(document, rest, service)
    return _Asked(document.get("id"), thresholds, pictures, _wanted(document, parameters))


def _unpacked(data: bytes, encoding: str, most: int) -> bytes:
    if encoding == "identity":
        return data
    if encoding not in ("gzip", "deflate"):
        raise RequestError(415, f"the body is encoded as {encoding}; gzip, deflate and identity are known")
    unpack = zlib.decompressobj(wbits=zlib.MAX_WBITS | (16 if encoding == "gzip" else 0))
    try:
        plain = unpack.decompress(data, most + 1)
    except (zlib.error, gzip.BadGzipFile) as error:
        raise RequestError(400, f"the body is not {encoding} ({error}); send it as it is") from None
    if len(plain) > most or not unpack.eof:
        raise RequestError(413, f"the body is larger than {most} bytes when unpacked, or cut off; send fewer pictures")
    return plain


def _split(body: bytes, header: str | None) -> tuple[dict[str, Any], memoryview]:
    """The JSON at the beginning of a body, and the bytes of tensors behind it."""
    end = len(body)
    if header is not None:
        if not (header.isascii() and header.isdigit() and len(header) < 20 and int(header) <= end):
            raise RequestError(400, f"{HEADER} is {shown(header)}; it says how many of the {end} bytes are the JSON")
        end = int(header)
    try:
        document: Any = json_tensors.read(body[:end])
    except (ValueError, RecursionError) as error:
        raise RequestError(400, f"the JSON of the request cannot be read ({error})") from None
    return _object(document, "the request"), memoryview(body)[end:]


def _object(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise RequestError(400, f"{what} is no JSON object")
    return cast("dict[str, Any]", value)


def _pictures(document: dict[str, Any], rest: memoryview, service: Service) -> list[NDArray[np.uint8] | Upload]:
    inputs: Any = document.get("inputs")
    if not isinstance(inputs, list) or len(cast("list[Any]", inputs)) != 1:
        raise RequestError(400, "`inputs` must hold one tensor: bgr or rgb (UINT8, N x height x width x 3), or encoded")
    tensor = _object(cast("list[Any]", inputs)[0], "an input")
    name, shape = tensor.get("name"), _shape(tensor.get("shape"))
    if shape and not 1 <= shape[0] <= service.settings.max_pictures:
        raise RequestError(400, f"{shape[0]} pictures; send 1 to {service.settings.max_pictures} at once")
    size = _object(tensor.get("parameters", {}), "an input's parameters").get("binary_data_size")
    if size is not None:
        if not isinstance(size, int) or isinstance(size, bool) or size != len(rest):
            raise RequestError(400, f"binary_data_size is {size!r}, but {len(rest)} bytes came behind the JSON")
        data: Any = rest
    else:
        data = tensor.get("data")
    if name == "encoded" and tensor.get("datatype") == "BYTES" and len(shape) == 1:
        found = _texts(data, shape[0])
        uploads: list[NDArray[np.uint8] | Upload] = [Upload(f"picture {n}", one) for n, one in enumerate(found)]
        return uploads
    if name not in _FRAMES or tensor.get("datatype") != "UINT8" or len(shape) != 4 or shape[3] != 3:
        raise RequestError(
            400,
            f"the input {name!r} is {tensor.get('datatype')!r} of shape {shape}; give bgr or rgb as UINT8 of shape "
            "[N, height, width, 3], or encoded as BYTES of shape [N]",
        )
    frames = _numbers(data, shape)
    if shape[1] * shape[2] > service.settings.max_pixels:
        raise RequestError(413, f"{shape[2]}x{shape[1]} pixels are more than the {service.settings.max_pixels} allowed")
    if name == "rgb":
        frames = np.ascontiguousarray(frames[..., ::-1])
    return list(frames)


def _shape(value: Any) -> list[int]:
    good = isinstance(value, list) and all(
        isinstance(side, int) and not isinstance(side, bool) and 0 <= side < 1 << 31
        for side in cast("list[Any]", value)
    )
    if not good:
        raise RequestError(400, f"an input has the shape {value!r}; give a list of whole numbers")
    return cast("list[int]", value)


def _numbers(data: Any, shape: list[int]) -> NDArray[np.uint8]:
    count = int(np.prod(shape, dtype=object))
    if isinstance(data, memoryview):
        if len(data) != count:
            raise RequestError(400, f"{len(data)} bytes came for a tensor of {count}")
        return np.frombuffer(data, np.uint8).reshape(shape)
    try:
        if isinstance(data, json_tensors.Numbers):
            return data.bytes_of(shape)
        values = np.asarray(data)
        good = values.shape in ((count,), tuple(shape)) and values.dtype.kind in "iu"
        good = good and values.min() >= 0 and values.max() <= 255
    except ValueError:
        good, values = False, np.zeros(0)
    if not good:
        raise RequestError(
            400, f"the data of the tensor are not {count} whole numbers from 0 to 255, flat or nested as its shape"
        )
    return values.astype(np.uint8).reshape(shape)


def _texts(data: Any, count: int) -> list[bytes]:
    """The elements of a BYTES tensor: each behind its length in 4 bytes."""
    if not isinstance(data, memoryview):
        raise RequestError(400, "encoded pictures come as binary data, not as JSON")
    found: list[bytes] = []
    place = 0
    while place + 4 <= len(data) and len(found) < count:
        (size,) = struct.unpack_from("<I", data, place)
        found.append(bytes(data[place + 4 : place + 4 + size]))
        place += 4 + size
    if len(found) != count or place != len(data):
        raise RequestError(400, f"the binary data do not hold {count} elements, each behind its length in 4 bytes")
    return found


def _wanted(document: dict[str, Any], parameters: dict[str, Any]) -> list[_Wanted]:
    binary = parameters.get("binary_data_output") is True
    outputs: Any = document.get("outputs")
    if outputs is None or outputs == []:
        return [_Wanted(name, binary) for name in OUTPUTS]
    if not isinstance(outputs, list):
        raise RequestError(400, "`outputs` is no list")
    found: list[_Wanted] = []
    for entry in cast("list[Any]", outputs):
        output = _object(entry, "an output")
        name = output.get("name")
        if name not in OUTPUTS:
            raise RequestError(400, f"there is no output {name!r}; there are {', '.join(OUTPUTS)}")
        own = _object(output.get("parameters", {}), "an output's parameters")
        if any(one.name == name for one in found):
            raise RequestError(400, f"the output {name!r} is asked for twice; name each once")
        found.append(_Wanted(str(name), own.get("binary_data", binary) is True))
    return found


_TYPES = {"int32": "INT32", "float32": "FP32"}


async def _answer(
    service: Service, request_id: Any, arrays: dict[str, NDArray[Any]], wanted: Sequence[_Wanted]
) -> Response:
    outputs: list[dict[str, Any]] = []
    tail: list[bytes] = []
    numbers = 0
    for one in wanted:
        array = arrays[one.name]
        entry: dict[str, Any] = {
            "name": one.name,
            "datatype": _TYPES[str(array.dtype)],
            "shape": list(array.shape),
        }
        if one.binary:
            tail.append(array.tobytes())
            entry["parameters"] = {"binary_data_size": array.nbytes}
        else:
            entry["data"] = array
            numbers += array.size
        outputs.append(entry)
    document: dict[str, Any] = {"model_name": service.settings.title, "model_version": "1", "outputs": outputs}
    if isinstance(request_id, str):
        document["id"] = request_id
    answer = await written(numbers, service.decoders, lambda: document)
    if not tail:
        return answer
    headers = {HEADER: str(len(answer.body)), "Content-Type": "application/octet-stream"}
    return Response(b"".join([answer.body, *tail]), headers=headers)
