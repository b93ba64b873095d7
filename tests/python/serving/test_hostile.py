# SPDX-License-Identifier: Apache-2.0
"""Clients that send what none should, too much of it, or go away in the middle."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from support import encoded, make_poses, picture
from trtpose import Engine

from .conftest import Start

httpx = pytest.importorskip("httpx", reason="httpx is not installed")


def infer(url: str, document: dict[str, Any], tail: bytes, length: str | None = None) -> Any:
    head = json.dumps(document).encode()
    headers = {"Inference-Header-Content-Length": length or str(len(head))}
    return httpx.post(f"{url}/v2/models/served/infer", content=head + tail, headers=headers)


def one_pixel(**fields: Any) -> dict[str, Any]:
    plain = {"name": "bgr", "datatype": "UINT8", "shape": [1, 1, 1, 3], "parameters": {"binary_data_size": 3}}
    return {"inputs": [plain], **fields}


def test_half_a_character_comes_back(start: Start, jpeg: bytes) -> None:
    url = start()
    answer = infer(url, one_pixel(id="\ud800"), b"abc")
    assert answer.status_code == 200
    assert json.loads(answer.content)["id"] == "\ud800"
    begin = b'--X\r\nContent-Disposition: form-data; name="a"; filename="\\ud800"\r\n\r\n'
    kind = "multipart/form-data; boundary=X; charset=raw_unicode_escape"
    answer = httpx.post(f"{url}/v1/poses", content=begin + jpeg + b"\r\n--X--\r\n", headers={"Content-Type": kind})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("document", "tail", "length", "words"),
    [
        (one_pixel(parameters={"conf": 10**400}), b"abc", None, "conf is 1000"),
        (one_pixel(), b"abc", "0" * 5000, "inference-header-content-length"),
        (one_pixel(outputs=[{"name": "boxes"}, {"name": "boxes"}]), b"abc", None, "'boxes' is asked for twice"),
        (
            {"inputs": [{**one_pixel()["inputs"][0], "shape": [2**31 - 1, 0, 0, 3], "parameters": {}, "data": []}]},
            b"",
            None,
            "send 1 to 64",
        ),
        (
            {"inputs": [{**one_pixel()["inputs"][0], "shape": [65, 0, 0, 3], "parameters": {"binary_data_size": 0}}]},
            b"",
            None,
            "send 1 to 64",
        ),
    ],
    ids=["threshold", "length", "outputs", "pictures", "empty pictures"],
)
def test_numbers_beyond_all_bounds(
    start: Start, document: dict[str, Any], tail: bytes, length: str | None, words: str
) -> None:
    answer = infer(start(), document, tail, length)
    assert answer.status_code == 400
    assert words in answer.json()["error"]


def test_no_outputs_named_is_all_of_them(start: Start) -> None:
    assert len(infer(start(), one_pixel(outputs=[]), b"abc").json()["outputs"]) == 6


def test_files_beside_the_page_and_long_names(start: Start) -> None:
    url = start()
    for name in ("a" * 400 + ".html", "%2e%2e", "..%2fapp.py", "a%00.html"):
        assert httpx.get(f"{url}/page/{name}").status_code == 404


def test_who_hangs_up_is_no_error_of_the_server(start: Start) -> None:
    url = start()
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))) as connection:
            connection.sendall(b"POST /v1/poses HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9000\r\n\r\nhalf")
            time.sleep(0.3)
    limit = time.monotonic() + 120
    while 'status="499"} 3.0' not in httpx.get(f"{url}/metrics").text and time.monotonic() < limit:
        time.sleep(0.02)
    text = httpx.get(f"{url}/metrics").text
    assert 'status="499"} 3.0' in text
    assert 'status="500"' not in text


def test_bytes_under_way_are_bounded(start: Start, jpeg: bytes) -> None:
    url = start(max_body=10_000, max_held=12_000)
    head = b"POST /v1/poses HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9500\r\n\r\n"
    with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))) as slow:
        slow.sendall(head + b"x" * 9400)
        time.sleep(0.3)
        answer = httpx.post(f"{url}/v1/poses", content=b"x" * 3000)
        assert answer.status_code == 429
        assert "12000 bytes are under way" in answer.json()["error"]
    limit = time.monotonic() + 120
    while httpx.post(f"{url}/v1/poses", content=jpeg).status_code == 429 and time.monotonic() < limit:
        time.sleep(0.02)
    assert httpx.post(f"{url}/v1/poses", content=jpeg).status_code == 200


def test_more_pictures_than_may_wait_are_refused_for_good(start: Start, jpeg: bytes) -> None:
    url = start(queue=2)
    files = [("image", (f"{n}.jpg", jpeg)) for n in range(3)]
    answer = httpx.post(f"{url}/v1/poses", files=files)
    assert answer.status_code == 400
    assert "at most 2 pictures" in answer.json()["error"]
    assert httpx.post(f"{url}/v1/poses", files=files[:2]).status_code == 200


def test_answers_to_a_form_name_the_thresholds_of_the_request(start: Start, engine: Engine, jpeg: bytes) -> None:
    files = [("image", ("a.jpg", jpeg))]
    answer = httpx.post(f"{start()}/v1/poses", files=files, params={"conf": 0.5}).json()
    assert answer["thresholds"] == {"conf": 0.5, "iou": 0.65, "max_det": 300, "agnostic": False, "nms": "iou"}
    assert engine.thresholds.conf == 0.05


def test_pages_of_allowed_servers_may_read_answers(start: Start, jpeg: bytes) -> None:
    url = start(origins=("https://good.example",), token="correct-horse")
    asks = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization, content-type"}
    for origin, status in (("https://good.example", 200), ("https://evil.example", 400)):
        answer = httpx.options(f"{url}/v1/poses", headers={"Origin": origin, **asks})
        assert answer.status_code == status
        assert (answer.headers.get("Access-Control-Allow-Origin") == origin) == (status == 200)
    headers = {"Origin": "https://good.example"}
    assert httpx.post(f"{url}/v1/poses", content=jpeg, headers=headers).status_code == 401
    headers["Authorization"] = "Bearer correct-horse"
    answer = httpx.post(f"{url}/v1/poses", content=jpeg, headers=headers)
    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == "https://good.example"


def test_each_frame_of_a_stream_has_the_thresholds_before_it(start: Start, engine: Engine, jpeg: bytes) -> None:
    client = pytest.importorskip("websockets.sync.client", reason="websockets is not installed")
    url = start().replace("http", "ws")
    people = len(engine.infer(_decoded(jpeg))[0])
    assert people > 0
    with client.connect(f"{url}/v1/stream") as stream:
        for _ in range(20):
            stream.send(json.dumps({}))
            stream.send(jpeg)
            stream.send(json.dumps({"conf": 1.0}))
            assert len(json.loads(stream.recv(timeout=120))["poses"]) == people
        stream.send(json.dumps({"conf": 10**400}))
        stream.send(jpeg)
        assert "conf is 1000" in json.loads(stream.recv(timeout=120))["error"]


def _decoded(jpeg: bytes) -> Any:
    import cv2

    return cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)


def test_large_pictures_come_one_after_the_other(start: Start, engine: Engine) -> None:
    """Files of little may hold pictures of much: what is decoded and waits is bounded, and all are answered."""
    held: list[int] = []

    class Watching:
        def __getattr__(self, name: str) -> Any:
            return getattr(engine, name)

        def infer(self, frames: Any, **options: Any) -> Any:
            held.append(sum(frame.shape[0] * frame.shape[1] for frame in frames))
            return engine.infer(frames, **options)

    url = start(Watching(), max_pixels=10_000)
    flat = encoded(".png", np.zeros((100, 100, 3), np.uint8))
    answer = httpx.post(f"{url}/v1/poses", files=[("image", (f"{n}.png", flat)) for n in range(12)])
    assert answer.status_code == 200
    assert [one["width"] for one in answer.json()["images"]] == [100] * 12
    assert max(held) <= 20_000


class Crowded:
    """An engine that finds as many people as it may."""

    def __init__(self, engine: Engine, people: int) -> None:
        self._engine = engine
        self._people = people

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def infer(self, frames: Any, **_: Any) -> Any:
        return [make_poses(self._people, frame.shape[:2], self._engine.spec) for frame in frames]


@pytest.mark.parametrize("people", [3, 4000])
def test_long_answers_are_those_of_short_ones(
    start: Start, engine: Engine, jpeg: bytes, monkeypatch: pytest.MonkeyPatch, people: int
) -> None:
    """Python's writer of JSON lets no other thread run meanwhile: it is never given much at once."""
    from trtpose.serving import answers

    texts: list[int] = []
    plain = json.dumps

    def dumps(value: Any, **options: Any) -> str:
        texts.append(len(text := plain(value, **options)))
        return text

    url = start(Crowded(engine, people))
    monkeypatch.setattr(answers.json, "dumps", dumps)
    files = [("image", (f"{n}.jpg", jpeg)) for n in range(2)]
    single = httpx.post(f"{url}/v1/poses", content=jpeg)
    several = httpx.post(f"{url}/v1/poses", files=files)
    asked = [{"name": "scores", "parameters": {"binary_data": True}}, {"name": "keypoints"}]
    tensors = infer(url, one_pixel(), b"abc")
    mixed = infer(url, one_pixel(outputs=asked), b"abc")
    monkeypatch.undo()
    assert max(texts) < 500_000
    expected = make_poses(people, _decoded(jpeg).shape[:2], engine.spec)
    assert single.json() == {"source": "picture", **expected.to_dict()}
    assert [image["poses"] for image in several.json()["images"]] == [expected.to_dict()["poses"]] * 2
    of_pixel = make_poses(people, (1, 1), engine.spec)
    found = {output["name"]: output for output in tensors.json()["outputs"]}
    assert found["keypoints"]["data"] == of_pixel.keypoints.reshape(-1).tolist()
    assert found["counts"]["data"] == [people]
    length = int(mixed.headers["inference-header-content-length"])
    assert np.array_equal(np.frombuffer(mixed.content[length:], np.float32), of_pixel.scores)
    assert json.loads(mixed.content[:length])["outputs"][1]["data"] == of_pixel.keypoints.reshape(-1).tolist()


def test_long_answers_are_written_while_others_are_answered(
    start: Start, engine: Engine, jpeg: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trtpose.serving import answers

    writing, answered = threading.Event(), threading.Event()
    plain = answers._pieces

    def pieces(value: Any) -> Any:
        writing.set()
        assert answered.wait(60)
        return plain(value)

    url = start(Crowded(engine, 4000))
    monkeypatch.setattr(answers, "_pieces", pieces)
    with ThreadPoolExecutor(1) as pool:
        late = pool.submit(httpx.post, f"{url}/v1/poses", content=jpeg, timeout=120)
        assert writing.wait(60)
        assert httpx.get(f"{url}/v2/health/ready", timeout=120).status_code == 200
        answered.set()
        assert len(late.result().json()["poses"]) == 4000


def test_batches_have_few_sizes() -> None:
    """An engine on the CPU keeps four compiled; for a fifth it compiles anew, which takes longer than the batch."""
    from trtpose import Thresholds
    from trtpose.serving.batcher import Batcher, batch_sizes

    assert [batch_sizes(most) for most in (0, 1, 2, 3, 8, 64)] == [
        [1],
        [1],
        [1, 2],
        [1, 3],
        [1, 2, 4, 8],
        [1, 16, 32, 64],
    ]
    sizes: list[int] = []

    async def go() -> None:
        def run(frames: list[Any], _: Any) -> Any:
            sizes.append(len(frames))
            return frames

        batcher = Batcher([run], batch_sizes(8), deadline=0.01, queue=64, on_batch=lambda _: None)
        works = [asyncio.ensure_future(batcher.submit(number, Thresholds())) for number in range(15)]
        await asyncio.sleep(0)
        batcher.start()
        assert [(await work).poses for work in works] == list(range(15))
        await batcher.stop()

    asyncio.run(go())
    assert sizes == [8, 4, 2, 1]


@pytest.mark.parametrize(
    ("seconds", "kept"),
    [
        (lambda count: 0.02 * count**1.1, [1]),  # a processor, which takes the sum and more
        (lambda count: 0.02 + 0.001 * count, [1, 2, 4, 8]),
        (lambda count: 0.02 * max(count, 2) ** 1.1, [1, 2]),  # gains up to two
        (lambda count: 7.0 * count**1.1, [1]),
    ],
)
def test_batches_that_gain_nothing_are_left_out(
    monkeypatch: pytest.MonkeyPatch, seconds: Callable[[int], float], kept: list[int]
) -> None:
    from trtpose.serving import batcher

    class Timed:
        imgsz, batch, now, runs = (8, 8), 8, 0.0, 0

        def infer(self, frames: list[Any]) -> None:
            self.now += seconds(len(frames))
            self.runs += 1

    engine = Timed()
    monkeypatch.setattr(batcher, "time", SimpleNamespace(perf_counter=lambda: engine.now))
    assert batcher.worthwhile_sizes(engine) == kept  # type: ignore[arg-type]
    if seconds(1) > 1:
        assert engine.runs == 4  # of two sizes, one that compiles and one that is timed


def test_pictures_on_their_way_count_as_waiting() -> None:
    from trtpose.serving.batcher import Batcher, BusyError

    async def go() -> None:
        batcher = Batcher([lambda frames, _: frames], [1, 4], deadline=0.01, queue=2, on_batch=lambda _: None)
        with batcher.coming():
            batcher.check()
            with batcher.coming(), pytest.raises(BusyError):
                batcher.check()
            batcher.check()

    asyncio.run(go())


def test_streams_are_bounded(start: Start, jpeg: bytes) -> None:
    client = pytest.importorskip("websockets.sync.client", reason="websockets is not installed")
    url = start(max_streams=1).replace("http", "ws") + "/v1/stream"
    for _ in range(2):  # the place of one that has gone is free again
        with client.connect(url) as stream:
            stream.send(jpeg)
            assert json.loads(stream.recv(timeout=120))["source"] == "frame"
            with client.connect(url) as other, pytest.raises(Exception, match="as many streams as there may be"):
                other.recv(timeout=120)
        time.sleep(0.2)


def test_a_stream_that_breaks_off_holds_nothing(start: Start, jpeg: bytes) -> None:
    client = pytest.importorskip("websockets.sync.client", reason="websockets is not installed")
    url = start()
    for _ in range(5):
        stream = client.connect(f"{url.replace('http', 'ws')}/v1/stream")
        stream.__enter__()
        stream.send(jpeg)
        stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        stream.socket.close()
    limit = time.monotonic() + 120
    while "trtpose_waiting 0.0" not in httpx.get(f"{url}/metrics").text and time.monotonic() < limit:
        time.sleep(0.02)
    assert "trtpose_waiting 0.0" in httpx.get(f"{url}/metrics").text
    assert httpx.post(f"{url}/v1/poses", content=encoded(".png", picture(20, 20, seed=1))).status_code == 200
