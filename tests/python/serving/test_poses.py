# SPDX-License-Identifier: Apache-2.0
"""``POST /v1/poses`` and what is around it, against a real server."""

from __future__ import annotations

import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cv2
import numpy as np
import pytest

from support import encoded, picture
from trtpose import Engine, Poses

from .conftest import Start

httpx = pytest.importorskip("httpx", reason="httpx is not installed")


def expected(engine: Engine, data: bytes, **thresholds: Any) -> dict[str, Any]:
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    return engine.infer(image, **thresholds)[0].to_dict()


def test_a_picture_as_it_is(start: Start, engine: Engine, jpeg: bytes) -> None:
    url = start()
    want = expected(engine, jpeg)
    assert len(want["poses"]) > 0
    for kind in ("image/jpeg", "application/octet-stream", ""):
        answer = httpx.post(f"{url}/v1/poses", content=jpeg, headers={"Content-Type": kind}, params={"name": "a.jpg"})
        assert answer.status_code == 200
        assert answer.json() == {"source": "a.jpg", **want}
    timing = dict(part.split(";dur=") for part in answer.headers["Server-Timing"].split(", "))
    assert list(timing) == ["decode", "wait", "infer"]
    assert all(float(value) >= 0 for value in timing.values())
    assert Poses.from_dict(answer.json(), engine.spec).to_dict() == want


def test_thresholds_of_a_request(start: Start, engine: Engine, jpeg: bytes) -> None:
    url = start()
    answer = httpx.post(f"{url}/v1/poses", content=jpeg, params={"conf": 0.3, "iou": 0.2, "max_det": 2})
    assert answer.json()["poses"] == expected(engine, jpeg, conf=0.3, iou=0.2, max_det=2)["poses"]
    for bad in ({"conf": "x"}, {"conf": "nan"}, {"conf": 2}, {"max_det": 0}, {"agnostic": "maybe"}, {"nms": "best"}):
        answer = httpx.post(f"{url}/v1/poses", content=jpeg, params=bad)
        assert answer.status_code == 400
        assert next(iter(bad)) in answer.json()["error"]


def test_several_pictures_as_a_form(start: Start, engine: Engine, jpeg: bytes) -> None:
    url = start()
    other = encoded(".png", picture(40, 40, seed=9))
    files = [("image", ("a.jpg", jpeg)), ("image", ("b.png", other)), ("image", ("c.txt", b"no picture"))]
    answer = httpx.post(f"{url}/v1/poses", files=files)
    assert answer.status_code == 200
    body = answer.json()
    assert body["model"] == "served"
    assert body["images"][:2] == [
        {"source": "a.jpg", **expected(engine, jpeg)},
        {"source": "b.png", **expected(engine, other)},
    ]
    assert body["images"][2]["source"] == "c.txt"
    assert "c.txt" in body["images"][2]["error"]
    assert httpx.post(f"{url}/v1/poses", files=files[2:]).status_code == 400
    assert "holds no file" in httpx.post(f"{url}/v1/poses", data={"x": "y"}, files={}).json()["error"] or True


def test_an_annotated_picture(start: Start, engine: Engine, jpeg: bytes) -> None:
    answer = httpx.post(f"{start()}/v1/poses", content=jpeg, headers={"Accept": "image/jpeg"})
    assert answer.headers["content-type"] == "image/jpeg"
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert answer.content == cv2.imencode(".jpg", engine.infer(image)[0].draw(image))[1].tobytes()


@pytest.mark.parametrize(
    ("content", "kind", "status", "words"),
    [
        (b"", "image/jpeg", 400, "body is empty"),
        (b"no picture", "image/jpeg", 400, "picture"),
        (b"{}", "application/json", 415, "application/json"),
        (b"x", "multipart/form-data", 400, "form cannot be read"),
    ],
)
def test_what_is_no_picture(start: Start, content: bytes, kind: str, status: int, words: str) -> None:
    answer = httpx.post(f"{start()}/v1/poses", content=content, headers={"Content-Type": kind})
    assert answer.status_code == status
    assert words in answer.json()["error"]


def test_too_many_bytes_and_pixels(start: Start) -> None:
    url = start(max_body=1000, max_pixels=100)

    def pieces() -> Any:
        for _ in range(4):
            yield b"x" * 400

    for content in (b"x" * 2000, pieces()):
        answer = httpx.post(f"{url}/v1/poses", content=content, headers={"Content-Type": "image/jpeg"})
        assert answer.status_code == 413
        assert "1000 bytes" in answer.json()["error"]
    small = encoded(".png", np.zeros((20, 20, 3), np.uint8))
    answer = httpx.post(f"{url}/v1/poses", content=small)
    assert answer.status_code == 400
    assert "100" in answer.json()["error"]


class Slow:
    """An engine that waits for a sign."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.go = threading.Event()
        self.batches: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def infer(self, frames: Any, **options: Any) -> Any:
        self.batches.append(len(frames))
        self.go.wait(60)
        return self._engine.infer(frames, **options)


def test_what_waits_is_run_together(start: Start, engine: Engine, jpeg: bytes) -> None:
    slow = Slow(engine)
    url = start(slow)
    want = {"source": "picture", **expected(engine, jpeg)}
    with ThreadPoolExecutor(9) as pool:
        answers = [pool.submit(httpx.post, f"{url}/v1/poses", content=jpeg, timeout=120)]
        limit = time.monotonic() + 120
        while not slow.batches and time.monotonic() < limit:
            time.sleep(0.02)
        answers += [pool.submit(httpx.post, f"{url}/v1/poses", content=jpeg, timeout=120) for _ in range(8)]
        while "trtpose_waiting 8.0" not in httpx.get(f"{url}/metrics").text and time.monotonic() < limit:
            time.sleep(0.02)
        slow.go.set()
        assert all(answer.result().json() == want for answer in answers)
    assert slow.batches == [1, 4, 4]


def test_a_full_queue_and_a_late_answer(start: Start, engine: Engine, jpeg: bytes) -> None:
    slow = Slow(engine)
    url = start(slow, queue=2, timeout=1.0)
    with ThreadPoolExecutor(6) as pool:
        answers = []
        for _ in range(6):
            answers.append(pool.submit(httpx.post, f"{url}/v1/poses", content=jpeg))
            time.sleep(0.1)
        got = sorted(answer.result().status_code for answer in answers)
    assert got == [429, 429, 429, 504, 504, 504]
    late = [a.result().json()["error"] for a in answers if a.result().status_code == 504]
    assert "no answer within 1 s" in late[0]
    busy = next(a.result() for a in answers if a.result().status_code == 429)
    assert busy.headers["Retry-After"] == "1"
    assert "2 pictures wait already" in busy.json()["error"]
    slow.go.set()
    assert httpx.post(f"{url}/v1/poses", content=jpeg).status_code == 200  # those who went away hold nothing up


def test_an_engine_that_fails_says_so_and_lives_on(start: Start, engine: Engine, jpeg: bytes) -> None:
    class Failing:
        fails = True

        def __getattr__(self, name: str) -> Any:
            return getattr(engine, name)

        def infer(self, frames: Any, **options: Any) -> Any:
            if self.fails:
                raise RuntimeError("the card has gone")
            return engine.infer(frames, **options)

    failing = Failing()
    url = start(failing)
    answer = httpx.post(f"{url}/v1/poses", content=jpeg)
    assert answer.status_code == 500
    assert "the card has gone" in answer.json()["error"]
    failing.fails = False
    assert httpx.post(f"{url}/v1/poses", content=jpeg).status_code == 200


def test_a_token(start: Start, jpeg: bytes) -> None:
    url = start(token="correct-horse", hosts=())
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "correct"}):
        answer = httpx.post(f"{url}/v1/poses", content=jpeg, headers=headers)
        assert answer.status_code == 401
        assert "Bearer TOKEN" in answer.json()["error"]
    assert httpx.get(f"{url}/metrics").status_code == 401
    assert httpx.get(f"{url}/v2/health/ready").status_code == 200
    good = {"Authorization": "Bearer correct-horse"}
    assert httpx.post(f"{url}/v1/poses", content=jpeg, headers=good).status_code == 200


def test_pages_of_others_and_other_names_are_refused(start: Start, jpeg: bytes) -> None:
    url = start(origins=("https://good.example",))
    post = f"{url}/v1/poses"
    assert httpx.post(post, content=jpeg, headers={"Origin": "https://evil.example"}).status_code == 403
    assert httpx.post(post, content=jpeg, headers={"Origin": "https://good.example"}).status_code == 200
    assert httpx.post(post, content=jpeg, headers={"Origin": url}).status_code == 200
    answer = httpx.post(post, content=jpeg, headers={"Host": "rebound.example"})
    assert answer.status_code == 421
    assert httpx.post(post, content=jpeg, headers={"Host": "localhost:80"}).status_code == 200


def test_figures(start: Start, jpeg: bytes) -> None:
    url = start()
    for _ in range(3):
        httpx.post(f"{url}/v1/poses", content=jpeg)
    httpx.get(f"{url}/nowhere")
    text = httpx.get(f"{url}/metrics").text
    assert 'trtpose_requests_total{path="/v1/poses",status="200"} 3.0' in text
    assert 'trtpose_requests_total{path="other",status="404"} 1.0' in text
    assert "trtpose_pictures_total 3.0" in text
    assert 'trtpose_seconds_count{stage="infer"} 3.0' in text
    assert "trtpose_batch_size_count 3.0" in text


def test_other_paths_and_methods(start: Start) -> None:
    url = start()
    for path, method, status in (("/x", "GET", 404), ("/v1/poses", "GET", 405), ("/v1/model", "POST", 405)):
        answer = httpx.request(method, url + path)
        assert answer.status_code == status
        assert path in answer.json()["error"]
    assert httpx.get(f"{url}/v1/model").json()["spec"]["kpt_shape"] == [3, 3]


def test_a_stop_answers_what_has_come_in(engine: Engine, jpeg: bytes) -> None:
    from .conftest import running

    slow = Slow(engine)
    with ThreadPoolExecutor(1) as pool:
        with running([slow]) as url:
            answer = pool.submit(httpx.post, f"{url}/v1/poses", content=jpeg)
            limit = time.monotonic() + 120
            while not slow.batches and time.monotonic() < limit:
                time.sleep(0.01)
            threading.Timer(0.5, slow.go.set).start()
        assert answer.result().status_code == 200


def test_a_client_that_hangs_up_disturbs_nobody(start: Start, jpeg: bytes) -> None:
    url = start()
    port = int(url.rpartition(":")[2])
    for part in (b"POST /v1/poses HTTP/1.1\r\nHost: localhost\r\n", b"Content-Length: 9000\r\n\r\nhalf"):
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(part)
    assert httpx.post(f"{url}/v1/poses", content=jpeg).status_code == 200


def test_the_description_is_one(start: Start, engine: Engine) -> None:
    document = httpx.get(f"{start()}/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    own = {"/v1/poses", "/v1/model", "/metrics"}
    kserve = {"/v2", "/v2/health/live", "/v2/health/ready"}
    model = {f"/v2/models/served{end}" for end in ("", "/ready", "/infer")}
    assert set(document["paths"]) == own | kserve | model
    points = document["components"]["schemas"]["Person"]["properties"]["keypoints"]
    assert points["minItems"] == engine.spec.keypoints
    assert json.dumps(document).count("$ref") > 5
