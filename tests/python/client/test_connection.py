# SPDX-License-Identifier: Apache-2.0
"""``trtpose.client`` and servers that are busy, slow, broken or something else."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest

import onnx_models
from trtpose import InputError, ServerError
from trtpose.client import Client
from trtpose.client.connection import Connections

SPEC = onnx_models.spec_fields("heads")
FRAME = np.zeros((8, 8, 3), np.uint8)

Reply = tuple[int, dict[str, str], bytes]
Answer = Callable[[int], Reply]


def document(value: Any, status: int = 200, **headers: str) -> Reply:
    return status, headers, json.dumps(value).encode()


def poses(changes: dict[str, np.ndarray] | None = None, *, version: str = "1", cut: int = 0) -> Reply:
    """An answer that finds nobody in one frame."""
    arrays: dict[str, np.ndarray] = {
        "counts": np.zeros(1, np.int32),
        "boxes": np.zeros((1, 0, 4), np.float32),
        "scores": np.zeros((1, 0), np.float32),
        "class_ids": np.zeros((1, 0), np.int32),
        "keypoints": np.zeros((1, 0, SPEC["kpt_shape"][0], 3), np.float32),
        "shapes": np.array([[8, 8]], np.int32),
        **(changes or {}),
    }
    outputs = [
        {
            "name": name,
            "datatype": {"i": "INT32", "f": "FP32"}[array.dtype.kind],
            "shape": list(array.shape),
            "parameters": {"binary_data_size": array.nbytes},
        }
        for name, array in arrays.items()
    ]
    head = json.dumps({"model_name": "net", "model_version": version, "outputs": outputs}).encode()
    body = head + b"".join(array.tobytes() for array in arrays.values())
    return 200, {"Inference-Header-Content-Length": str(len(head))}, body[: len(body) - cut]


class Server:
    """Answers as Triton does, except where a test wants something else.

    Attributes:
        infer: called with how many questions for poses came before.
    """

    def __init__(self) -> None:
        self.infer: Answer = lambda *_: poses()
        self.about: Answer = lambda *_: document({"name": "triton"})
        self.models = {"net": SPEC}
        self.versions = ["1"]
        self.asked = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self.answer()

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self.answer()

            def answer(self) -> None:
                status, headers, body = outer.reply(self.path)
                if status == 0:
                    self.close_connection = True
                    return
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)
                self.close_connection = headers.get("Connection") == "close"

            def log_message(self, *_: Any) -> None:
                pass

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: Any) -> None:
                """Clients hang up on purpose."""

        self.http = Quiet(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"

    def reply(self, path: str) -> Reply:
        if path == "/v2":
            return self.about(0)
        if path == "/v2/repository/index":
            return document([{"name": name, "version": "1", "state": "READY"} for name in self.models])
        name, _, rest = path.removeprefix("/v2/models/").partition("/")
        if rest == "infer":
            self.asked += 1
            return self.infer(self.asked - 1)
        if name not in self.models:
            return document({"error": f"Request for unknown model: '{name}' is not found"}, 404)
        if rest == "config":
            text = {"string_value": json.dumps(self.models[name])}
            return document({"name": name, "parameters": {"trtpose": text} if self.models[name] else {}})
        return document({"name": name, "versions": self.versions, "platform": "python"})


@pytest.fixture
def server() -> Generator[Server]:
    made = Server()
    thread = threading.Thread(target=made.http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield made
    made.http.shutdown()
    thread.join()
    made.http.server_close()


def test_the_model_is_found(server: Server) -> None:
    client = Client(server.url)
    assert client.model == "net"
    assert client.spec.kpt_shape == tuple(SPEC["kpt_shape"])
    assert client.infer(FRAME)[0].shape == (8, 8)
    assert Client(server.url.removeprefix("http://") + "/", "net").url == server.url


def test_a_model_that_is_not_ours_or_not_there(server: Server) -> None:
    server.models["other"] = {}
    assert Client(server.url).model == "net"
    with pytest.raises(ServerError, match="the model other takes no pictures"):
        Client(server.url, "other")
    with pytest.raises(ServerError, match="unknown model: 'none' is not found"):
        Client(server.url, "none")
    server.models["second"] = SPEC
    with pytest.raises(InputError, match=r"name one of its models with model=; there are net, second$"):
        Client(server.url)


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again(server: Server, status: int) -> None:
    busy = document({"error": "busy"}, status, **{"Retry-After": "0"})
    server.infer = lambda before: busy if before < 2 else poses()
    assert len(Client(server.url).infer(FRAME)) == 1
    assert server.asked == 3
    server.asked = 0
    with pytest.raises(ServerError, match=f"busy \\(status {status}\\)") as error:
        Client(server.url, retries=1).infer(FRAME)
    assert error.value.status == status
    assert server.asked == 2


def test_a_connection_that_breaks_is_made_anew(server: Server) -> None:
    server.infer = lambda before: (0, {}, b"") if before == 0 else poses()
    client = Client(server.url)
    assert len(client.infer(FRAME)) == 1
    server.infer = lambda *_: (0, {}, b"")
    with pytest.raises(ServerError, match="the connection broke while") as error:
        client.infer(FRAME)
    assert error.value.status is None


@pytest.mark.parametrize("status", [400, 404, 413, 500, 504])
def test_what_is_not_tried_again(server: Server, status: int) -> None:
    server.infer = lambda *_: document({"error": "a\nsentence"}, status)
    kind: type[Exception] = InputError if status == 400 else ServerError
    with pytest.raises(kind, match="a sentence"):
        Client(server.url).infer(FRAME)
    assert server.asked == 1


def test_a_slow_server(server: Server) -> None:
    stop = threading.Event()

    def wait(*_: Any) -> Reply:
        stop.wait(30)
        return poses()

    server.infer = wait
    client = Client(server.url)  # with time enough to open
    client._server = Connections(server.url, token="", timeout=0.5, retries=3)
    try:
        with pytest.raises(ServerError, match=r"no answer within 0\.5 s"):
            client.infer(FRAME)
    finally:
        stop.set()
    # A wait that the server asks for and that is longer than what is left is not begun.
    server.infer = lambda *_: document({"error": "busy"}, 429, **{"Retry-After": "100"})
    with pytest.raises(ServerError, match=r"no answer within 0\.5 s"):
        client.infer(FRAME)


def headed(value: Any) -> Reply:
    """An answer of JSON alone."""
    status, _, body = document(value)
    return status, {"Inference-Header-Content-Length": str(len(body))}, body


SHAPED: dict[str, Any] = {"shape": [0], "parameters": {"binary_data_size": 0}}
TWO = np.zeros((2, 0, 4), np.float32)
KEYPOINTS = np.zeros((1, 0, 5, 3), np.float32)
WIDE = np.array([[8, 9]], np.int32)


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (document({}), "the header Inference-Header-Content-Length is ''"),
        (poses(cut=1), "has 8 bytes for the shape"),
        (poses({"boxes": TWO}), "boxes has the shape"),
        (poses({"keypoints": KEYPOINTS}), "keypoints has the shape"),
        (poses({"counts": np.ones(1, np.int32)}), "the counts run from 1 to 1, with room for 0"),
        (poses({"counts": np.zeros(1, np.float32)}), "the output 'counts' is 'FP32'"),
        (poses({"shapes": WIDE}), "frame 0 of (8, 8) is said to be of (8, 9)"),
        (poses(version="2"), "version '2' of the model answers"),
        (headed({"outputs": 5}), "it lists no outputs"),
        (headed([]), "it lists no outputs"),
        (
            headed({"outputs": [{"name": ["counts"], "datatype": "INT32", **SHAPED}]}),
            "the output ['counts'] is 'INT32'",
        ),
        (headed({"outputs": [{"name": "counts", "datatype": {}, **SHAPED}]}), "an output is not described"),
        (headed({"outputs": [{"name": "counts", "datatype": "INT32", **SHAPED, "shape": [-1]}]}), "has the shape [-1]"),
        (headed({"outputs": [{"name": "counts", "datatype": "INT32", **SHAPED}]}), "the output boxes is missing"),
        ((200, {"Inference-Header-Content-Length": "1"}, b"{}"), "answers what no trtpose does"),
        ((200, {"Content-Length": "100"}, b"{}"), "the answer broke off"),
        ((500, {}, b'{"error": "a\\u001b[31m b\\u0000"}'), "a\ufffd[31m b\ufffd (status 500)"),
        ((500, {}, b'{"error": "' + b"x" * 5000 + b'"}'), "x" * 2000 + " (status 500)"),
        ((302, {"Location": "http://127.0.0.1:1/"}, b""), "give the address http://127.0.0.1:1/"),
    ],
)
def test_answers_that_are_none(server: Server, reply: Reply, words: str) -> None:
    client = Client(server.url)
    if "Content-Length" in reply[1]:
        reply[1]["Connection"] = "close"
    server.infer = lambda *_: reply
    with pytest.raises(ServerError) as error:
        client.infer(FRAME)
    assert words in str(error.value)


def test_a_new_version_brings_its_spec(server: Server) -> None:
    client = Client(server.url)
    assert client.spec.names == ("person",)
    server.models["net"] = {**SPEC, "names": ["runner"]}
    server.versions = ["9", "10", "2"]
    server.infer = lambda *_: poses(version="10")
    assert client.infer(FRAME)[0].spec.names == ("runner",)


def test_what_is_no_such_server(server: Server) -> None:
    for answer, words in (
        ((200, {}, b"<html>"), "answers no JSON"),
        (document([]), "answers another JSON"),
        ((404, {}, b"not here"), "not here (status 404)"),
    ):
        server.about = lambda *_, answer=answer: answer
        with pytest.raises(ServerError) as error:
            Client(server.url)
        assert words in str(error.value)


def test_what_speaks_no_http() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"hello\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(ServerError, match="answers no HTTP"):
            Client(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=20)
        thread.join()


@pytest.mark.parametrize(
    ("url", "options", "words"),
    [
        ("ftp://127.0.0.1", {}, "is no server's address"),
        ("http://127.0.0.1:99999", {}, "cannot be read"),
        ("http://[::1", {}, "cannot be read"),
        ("http://pose..example", {}, "cannot be read"),
        (f"http://{'a' * 64}.example", {}, "cannot be read"),
        ("http://me:secret@127.0.0.1", {}, "url holds a user's name"),
        ("http://127.0.0.1/?a=1", {}, "is no server's address"),
        ("", {}, "is no server's address"),
        ("http://a b", {}, "give an address"),
        (5, {}, "give an address"),
        ("127.0.0.1", {"token": "a\nb"}, "token holds"),
        ("127.0.0.1", {"timeout": 0}, "timeout is 0"),
        ("127.0.0.1", {"retries": -1}, "retries -1"),
        ("127.0.0.1", {"batch": 0}, "batch 0"),
        ("127.0.0.1", {"model": ""}, "model is ''"),
    ],
)
def test_arguments(url: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError) as error:
        Client(url, **options)
    assert words in str(error.value)
    assert "secret" not in str(error.value)
