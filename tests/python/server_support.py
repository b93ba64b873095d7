# SPDX-License-Identifier: Apache-2.0
"""A server in a thread, on a port of its own, for the tests of the server and of its client."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Generator
from typing import Any

import pytest

import onnx_models
from trtpose import Engine

Start = Callable[..., str]


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    metadata = {"trtpose": json.dumps(onnx_models.spec_fields("heads"))}
    path = onnx_models.write_model(tmp_path_factory.mktemp("served") / "served.onnx", metadata=metadata)
    return Engine(path, conf=0.05, batch=4)


@contextlib.contextmanager
def running(engines: list[Any], *, port: int = 0, **options: Any) -> Generator[str]:
    """The address of a server that runs meanwhile."""
    import uvicorn

    from trtpose.serving.app import create_app
    from trtpose.serving.settings import Settings

    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(64)
        given = {"hosts": ("127.0.0.1", "localhost"), "title": "served", **options}
        own = {"http": given.pop("http")} if "http" in given else {}
        config = uvicorn.Config(create_app(engines, Settings(**given)), log_level="error", lifespan="on", **own)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        limit = time.monotonic() + 120
        while not server.started and time.monotonic() < limit:
            time.sleep(0.01)
        assert server.started
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(timeout=120)
            assert not thread.is_alive()


@pytest.fixture
def start(engine: Engine) -> Generator[Start]:
    """Starts servers that end with the test."""
    pytest.importorskip("uvicorn", reason="the extra serve is not installed")
    with contextlib.ExitStack() as stack:

        def begin(*engines: Any, **options: Any) -> str:
            return stack.enter_context(running(list(engines) or [engine], **options))

        yield begin
