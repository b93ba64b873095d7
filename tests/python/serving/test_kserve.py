# SPDX-License-Identifier: Apache-2.0
"""The KServe protocol: Triton's own client, and what no client would send."""

from __future__ import annotations

import json
import struct
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cv2
import numpy as np
import pytest

from support import encoded, picture
from trtpose import Engine, Poses
from trtpose.serving import json_tensors
from trtpose.serving.requests import RequestError

from .conftest import Start

httpx = pytest.importorskip("httpx", reason="httpx is not installed")

OUTPUTS = ("boxes", "scores", "class_ids", "keypoints")
ALL = ("counts", *OUTPUTS, "shapes")


def check(arrays: dict[str, Any], expected: list[Poses]) -> None:
    assert arrays["counts"].tolist() == [len(poses) for poses in expected]
    assert arrays["shapes"].tolist() == [list(poses.shape) for poses in expected]
    for row, poses in enumerate(expected):
        for name in OUTPUTS:
            assert np.array_equal(arrays[name][row, : len(poses)], getattr(poses, name)), name
            assert not arrays[name][row, len(poses) :].any()


@pytest.fixture
def frames() -> np.ndarray:
    return np.stack([picture(48, 70, seed=i) for i in range(5)])


@pytest.mark.parametrize("binary", [True, False])
def test_tritons_client(start: Start, engine: Engine, frames: np.ndarray, binary: bool) -> None:
    triton = pytest.importorskip("tritonclient.http", reason="tritonclient is not installed")
    client = triton.InferenceServerClient(start().removeprefix("http://"))
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("served")
    assert client.is_model_ready("served", "1")
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    metadata = client.get_model_metadata("served")
    assert [tensor["name"] for tensor in metadata["outputs"]] == [*ALL]
    assert metadata["outputs"][4]["shape"] == [-1, -1, engine.spec.keypoints, 3]
    expected = engine.infer(list(frames))
    assert sum(map(len, expected)) > 0
    for name, given in (("bgr", frames), ("rgb", np.ascontiguousarray(frames[..., ::-1]))):
        tensor = triton.InferInput(name, list(given.shape), "UINT8")
        tensor.set_data_from_numpy(given, binary_data=binary)
        wanted = [triton.InferRequestedOutput(output, binary_data=binary) for output in ALL]
        answer = client.infer("served", [tensor], outputs=wanted, request_id="7")
        assert answer.get_response()["id"] == "7"
        check({output: answer.as_numpy(output) for output in ALL}, expected)
    client.close()


def test_tritons_client_sends_files_compressed_with_thresholds(start: Start, engine: Engine) -> None:
    triton = pytest.importorskip("tritonclient.http", reason="tritonclient is not installed")
    client = triton.InferenceServerClient(start().removeprefix("http://"))
    files = [encoded(".png", picture(30 + 9 * i, 60, seed=i)) for i in range(3)]
    expected = engine.infer([cv2.imdecode(np.frombuffer(f, np.uint8), cv2.IMREAD_COLOR) for f in files], conf=0.2)
    tensor = triton.InferInput("encoded", [3], "BYTES")
    tensor.set_data_from_numpy(np.array(files, dtype=np.object_), binary_data=True)
    for compression in (None, "gzip", "deflate"):
        answer = client.infer("served", [tensor], parameters={"conf": 0.2}, request_compression_algorithm=compression)
        check({output: answer.as_numpy(output) for output in ALL}, expected)
    with pytest.raises(triton.InferenceServerException, match="no model 'other'"):
        client.infer("other", [tensor])
    client.close()


def post(url: str, document: Any, tail: bytes = b"", **headers: str) -> Any:
    head = document if isinstance(document, bytes) else json.dumps(document).encode()
    given = {"Inference-Header-Content-Length": str(len(head)), **headers}
    return httpx.post(f"{url}/v2/models/served/infer", content=head + tail, headers=given)


def tensor(**fields: Any) -> dict[str, Any]:
    plain = {"name": "bgr", "datatype": "UINT8", "shape": [1, 2, 2, 3], "parameters": {"binary_data_size": 12}}
    return {"inputs": [{**plain, **fields}]}


@pytest.mark.parametrize(
    ("document", "tail", "words"),
    [
        (b"[]", b"", "no JSON object"),
        (b"{", b"", "cannot be read"),
        ({}, b"", "`inputs` must hold one tensor"),
        ({"inputs": [{}, {}]}, b"", "`inputs` must hold one tensor"),
        ({"inputs": ["x"]}, b"", "an input is no JSON object"),
        (tensor(name="images"), b"\\0" * 12, "the input 'images'"),
        (tensor(datatype="FP32"), b"\\0" * 12, "'FP32'"),
        (tensor(shape=[1, 2, 2, 4]), b"\\0" * 12, "shape"),
        (tensor(shape=[1, 2, -2, 3]), b"\\0" * 12, "whole numbers"),
        (tensor(shape="x"), b"\\0" * 12, "whole numbers"),
        (tensor(), b"\\0" * 11, "binary_data_size is 12, but"),
        (tensor(shape=[1, 2, 3, 3]), b"12 bytes are", "12 bytes came for a tensor of 18"),
        (tensor(shape=[0, 2, 2, 3], parameters={"binary_data_size": 0}), b"", "0 pictures"),
        (tensor(parameters={}, data=[1] * 11), b"", "12 whole numbers from 0 to 255"),
        (tensor(parameters={}, data=[256] * 12), b"", "12 whole numbers from 0 to 255"),
        (tensor(parameters={}, data="x"), b"", "12 whole numbers from 0 to 255"),
        (tensor(parameters={}, data=[[1], [2, 3]]), b"", "12 whole numbers from 0 to 255"),
        (
            tensor(name="encoded", datatype="BYTES", shape=[2], parameters={"binary_data_size": 6}),
            struct.pack("<I", 2) + b"ab",
            "2 elements",
        ),
        (
            tensor(name="encoded", datatype="BYTES", shape=[1], parameters={"binary_data_size": 6}),
            struct.pack("<I", 2) + b"ab",
            "picture 0",
        ),
        (tensor(name="encoded", datatype="BYTES", shape=[1], parameters={}, data=["x"]), b"", "as binary data"),
        ({**tensor(), "outputs": [{"name": "masks"}]}, b"\\0" * 12, "no output 'masks'"),
        ({**tensor(), "outputs": "all"}, b"\\0" * 12, "`outputs` is no list"),
        ({**tensor(), "parameters": {"conf": "high"}}, b"\\0" * 12, "conf is 'high'"),
        ({**tensor(), "parameters": 5}, b"\\0" * 12, "parameters is no JSON object"),
    ],
)
def test_what_is_no_request(start: Start, document: Any, tail: bytes, words: str) -> None:
    answer = post(start(), document, tail.replace(b"\\0", b"\0"))
    assert answer.status_code == 400
    assert words in answer.json()["error"]


def test_headers_and_sizes(start: Start) -> None:
    url = start(max_body=4000, max_pixels=3)
    good = tensor()
    assert "allowed" in post(url, good, b"\0" * 12).json()["error"]
    for length in ("-1", "x", "99999999", "٣"):
        headers = {"Inference-Header-Content-Length": length.encode()}
        answer = httpx.post(f"{url}/v2/models/served/infer", content=b"{}", headers=headers)
        assert answer.status_code == 400
    packed = zlib.compress(b" " * 100_000)
    answer = httpx.post(f"{url}/v2/models/served/infer", content=packed, headers={"Content-Encoding": "deflate"})
    assert answer.status_code == 413
    answer = httpx.post(f"{url}/v2/models/served/infer", content=b"{}", headers={"Content-Encoding": "br"})
    assert answer.status_code == 415
    answer = httpx.post(f"{url}/v2/models/served/infer", content=b"{}", headers={"Content-Encoding": "gzip"})
    assert answer.status_code == 400


def test_without_outputs_named_all_come_as_json(start: Start, engine: Engine, frames: np.ndarray) -> None:
    document = tensor(shape=[1, *frames.shape[1:]], parameters={"binary_data_size": frames[0].size})
    answer = post(start(), document, frames[0].tobytes()).json()
    assert [output["name"] for output in answer["outputs"]] == [*ALL]
    arrays = {o["name"]: np.array(o["data"], np.float32).reshape(o["shape"]) for o in answer["outputs"]}
    check(arrays, engine.infer(frames[0]))


def test_a_missing_version(start: Start) -> None:
    url = start()
    assert httpx.get(f"{url}/v2/models/served/versions/2").status_code == 404
    assert "it is called 'served'" in httpx.get(f"{url}/v2/models/x").json()["error"]


def long_list(flat: list[int], shape: list[int], *, nested: bool) -> bytes:
    data = np.array(flat, np.uint8).reshape(shape).tolist() if nested else flat
    return json.dumps(tensor(shape=shape, parameters={}, data=data)).encode()


@pytest.mark.parametrize("nested", [True, False])
def test_long_lists_of_numbers_are_read_in_pieces(
    start: Start, engine: Engine, monkeypatch: pytest.MonkeyPatch, nested: bool
) -> None:
    """Python's reader of JSON lets no other thread run meanwhile: it is never given much at once."""
    given: list[int] = []
    plain = json.loads

    def loads(text: Any, **options: Any) -> Any:
        given.append(len(text))
        return plain(text, **options)

    image = picture(300, 400, seed=1)
    body = long_list(image.reshape(-1).tolist(), [1, *image.shape], nested=nested)
    assert len(body) > 4 * json_tensors.SMALL
    url = start()
    monkeypatch.setattr(json_tensors.json, "loads", loads)
    answer = httpx.post(f"{url}/v2/models/served/infer", content=body)
    monkeypatch.undo()
    assert answer.status_code == 200
    assert given
    assert max(given) <= json_tensors.SMALL
    outputs = {o["name"]: np.array(o["data"], np.float32).reshape(o["shape"]) for o in answer.json()["outputs"]}
    check(outputs, engine.infer(image))


def test_long_requests_are_read_while_others_are_answered(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    url = start()
    reading, answered = threading.Event(), threading.Event()
    plain = json_tensors.read

    def read(text: bytes) -> Any:
        reading.set()
        assert answered.wait(60)
        return plain(text)

    monkeypatch.setattr(json_tensors, "read", read)
    body = long_list([7] * 120_000, [1, 200, 200, 3], nested=False)
    with ThreadPoolExecutor(1) as pool:
        late = pool.submit(httpx.post, f"{url}/v2/models/served/infer", content=body, timeout=120)
        assert reading.wait(60)
        # Were the request read in the event loop, nobody would be answered until it is.
        assert httpx.get(f"{url}/v2/health/ready", timeout=120).status_code == 200
        answered.set()
        assert late.result().status_code == 200


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" + "1," * 200_000 + "1]", "not 120000 whole numbers from 0 to 255"),
        ("[" + "1," * 119_999 + "256]" + " " * 100_000, "not 120000 whole numbers from 0 to 255"),
        ("[" + "1," * 119_999 + "1 1]" + " " * 100_000, "not 120000 whole numbers from 0 to 255"),
        ("[" + "1," * 119_998 + ",1]" + " " * 100_000, "not 120000 whole numbers from 0 to 255"),
        ("[[" + "1," * 119_999 + "1]]" + " " * 100_000, "not 120000 whole numbers from 0 to 255"),
        ("[" + "1.5," * 119_999 + "1]", "more than the 262144 allowed; send tensors as binary data"),
        ("[" + "[1]," * 119_999 + "[1]]", "not 120000 whole numbers from 0 to 255"),
        ("[" * 200_000 + "]" * 200_000, "not 120000 whole numbers from 0 to 255"),
        ("[" + "1" * 300_000 + "]", "not 120000 whole numbers from 0 to 255"),
        ('"' + "x" * 400_000 + '"', "more than the 262144 allowed"),
        ("[" + "1," * 200_000 + "1", "more than the 262144 allowed"),
    ],
)
def test_what_is_no_long_list(start: Start, text: str, words: str) -> None:
    body = json.dumps(tensor(shape=[1, 200, 200, 3], parameters={}, data="HERE")).replace('"HERE"', text)
    assert len(body) > json_tensors.SMALL
    answer = httpx.post(f"{start()}/v2/models/served/infer", content=body)
    assert answer.status_code in (400, 413)
    assert words in answer.json()["error"]


def test_texts_that_look_like_lists_stay_texts() -> None:
    inner = 'x "data": [' + "1," * 100_000 + "1]"
    document = {"a": {"data": [5] * 70_000}, "data": [1, 2], "b": "\\", "c": {"data": inner[:4000]}}
    found = json_tensors.read(json.dumps(document, indent=1).encode())
    assert isinstance(found["a"]["data"], json_tensors.Numbers)
    assert found["a"]["data"].bytes_of([70_000]).tolist() == [5] * 70_000
    assert {**found, "a": None} == {**document, "a": None}
    with pytest.raises(RequestError, match="besides lists"):
        json_tensors.read(json.dumps({"c": inner * 2, "data": [1] * 70_000}).encode())
