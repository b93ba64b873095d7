# SPDX-License-Identifier: Apache-2.0
"""``trtpose serve`` as a process, and what it refuses before it starts."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import onnx_models
from command_support import real_run
from support import encoded

httpx = pytest.importorskip("httpx", reason="httpx is not installed")
pytest.importorskip("uvicorn", reason="the extra serve is not installed")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    metadata = {"trtpose": json.dumps(onnx_models.spec_fields("heads"))}
    return onnx_models.write_model(tmp_path / "my net.onnx", metadata=metadata)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serves_until_a_signal(model: Path, tmp_path: Path, number: signal.Signals) -> None:
    token = tmp_path / "token"
    token.write_text("abcdefgh12\n")
    command = [sys.executable, "-m", "trtpose", "serve", model, "--port", "0", "--token-file", token, "--clones", "2"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("serving my_net at http://127.0.0.1:"), line
        url = line.split()[3]
        headers = {"Authorization": "Bearer abcdefgh12"}
        with httpx.Client(timeout=120, transport=httpx.HTTPTransport(retries=3)) as client:
            answer = client.post(f"{url}/v1/poses", content=encoded(".jpg"), headers=headers)
            assert answer.status_code == 200
            assert client.post(f"{url}/v1/poses", content=b"").status_code == 401
        process.send_signal(number)
        _, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
        assert "Traceback" not in err
    finally:
        process.kill()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--host", "0.0.0.0"], "others can reach this address; give a token"),
        (["--token-file", "none"], "--token-file none: cannot be read"),
        (["--token-file", "short"], "at least 8 letters"),
        (["--token-file", "two"], "at least 8 letters"),
        (["--host", "192.0.2.7", "--token-file", "good"], "cannot listen there"),
        (["--max-body", "much"], "much"),
    ],
)
def test_what_is_refused(
    model: Path,
    tmp_path: Path,
    options: list[str],
    words: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TRTPOSE_TOKEN", raising=False)
    Path("short").write_text("abc")
    Path("good").write_text("abcdefgh")
    Path("two").write_text("abcdefgh\nabcdefgh\n")
    status, _, err = real_run(capsys, "serve", model, *options)
    assert status == 1
    assert words in err


def test_a_port_in_use(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        status, _, err = real_run(capsys, "serve", model, "--port", taken.getsockname()[1])
    assert status == 1
    assert "choose another port or address" in err


def test_without_the_extra_it_says_how(
    model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    status, _, err = real_run(capsys, "serve", model)
    assert status == 1
    assert 'pip install "trtpose[serve]"' in err
