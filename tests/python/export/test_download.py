# SPDX-License-Identifier: Apache-2.0
"""Known weights by name, against a server on this machine."""

from __future__ import annotations

import hashlib
import http.server
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import export_support as support
import trtpose
from trtpose.export import download
from trtpose.families.anchor_grid.catalogue import CATALOGUE, Description, Entry

CONTENT = bytes(range(256)) * 2000
ENTRY = Entry("known", Description((), 1, 1, ()), 64, ("person",), "GPL-3.0", url="http://192.0.2.1/release/known.pt")


@dataclass
class Server:
    """What the server does next, and what it was asked."""

    address: str = ""
    content: bytes = CONTENT
    cut: int | None = None
    ranges: bool = True
    status: int = 200
    length: bool = True
    asked: list[tuple[str, str]] = field(default_factory=list)


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range", "")
            state.asked.append((self.path, wanted))
            body, status = state.content, state.status
            headers: dict[str, str] = {}
            if wanted and state.ranges and status == 200:
                start = int(wanted.removeprefix("bytes=").rstrip("-"))
                status = 206 if start < len(body) else 416
                last = f"{start}-{len(body) - 1}" if status == 206 else "*"
                headers["Content-Range"] = f"bytes {last}/{len(body)}"
                body = body[start:] if status == 206 else b""
            self.send_response(status)
            if state.length:
                headers["Content-Length"] = str(len(body))
            for key, value in headers.items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(body if state.cut is None else body[: state.cut])

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        state.address = f"http://127.0.0.1:{running.server_port}/weights"
        yield state
        running.shutdown()
        thread.join()


def test_download_then_cache(server: Server, tmp_path: Path) -> None:
    lines: list[str] = []
    path = download.fetch(ENTRY, base=server.address, folder=tmp_path / "cache", report=lines.append)
    assert path == tmp_path / "cache" / "known.pt"
    assert path.read_bytes() == CONTENT
    digest = hashlib.sha256(CONTENT).hexdigest()
    assert digest in lines[-1]
    assert str(len(CONTENT)) in lines[-1]
    # A second time needs no server.
    again = download.fetch(ENTRY, base="http://127.0.0.1:9/closed", folder=tmp_path / "cache", report=lines.append)
    assert again == path
    assert digest in lines[-1]
    assert server.asked == [("/weights/known.pt", "")]
    assert [p.name for p in path.parent.iterdir()] == ["known.pt"]


@pytest.mark.parametrize("ranges", [True, False])
def test_interrupted_download_goes_on(ranges: bool, server: Server, tmp_path: Path) -> None:
    server.cut, server.ranges = 1000, ranges
    with pytest.raises(trtpose.InputError, match="1000 of 512000") as caught:
        download.fetch(ENTRY, base=server.address, folder=tmp_path)
    # What to do without a network: the official address and the place.
    assert ENTRY.url in str(caught.value)
    assert str(tmp_path / "known.pt") in str(caught.value)
    assert not (tmp_path / "known.pt").exists()
    server.cut = None
    assert download.fetch(ENTRY, base=server.address, folder=tmp_path).read_bytes() == CONTENT
    assert server.asked == [("/weights/known.pt", ""), ("/weights/known.pt", "bytes=1000-")]


def test_whole_part_is_taken(server: Server, tmp_path: Path) -> None:
    (tmp_path / "known.pt.part").write_bytes(CONTENT)
    assert download.fetch(ENTRY, base=server.address, folder=tmp_path).read_bytes() == CONTENT


def test_part_that_is_too_long_is_dropped(server: Server, tmp_path: Path) -> None:
    (tmp_path / "known.pt.part").write_bytes(CONTENT + b"more")
    with pytest.raises(trtpose.InputError, match="HTTP Error 416"):
        download.fetch(ENTRY, base=server.address, folder=tmp_path)
    assert download.fetch(ENTRY, base=server.address, folder=tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("status", [403, 404, 500])
def test_refusal(status: int, server: Server, tmp_path: Path) -> None:
    server.status = status
    with pytest.raises(trtpose.InputError, match=f"HTTP Error {status}"):
        download.fetch(ENTRY, base=server.address, folder=tmp_path)
    assert not list(tmp_path.iterdir())


def test_without_a_stated_size(server: Server, tmp_path: Path) -> None:
    server.length = False
    assert download.fetch(ENTRY, base=server.address, folder=tmp_path).read_bytes() == CONTENT
    server.content = b""
    with pytest.raises(trtpose.InputError, match="empty"):
        download.fetch(ENTRY, base=server.address, folder=tmp_path / "other")


def test_no_network(tmp_path: Path) -> None:
    with pytest.raises(trtpose.InputError, match=r"refused.* by hand and put it at"):
        download.fetch(ENTRY, base="http://127.0.0.1:9/closed", folder=tmp_path)


@pytest.mark.parametrize("base", ["file:///etc", "ftp://127.0.0.1", "nonsense"])
def test_only_the_web(base: str, tmp_path: Path) -> None:
    with pytest.raises(trtpose.InputError, match="http"):
        download.fetch(ENTRY, base=base, folder=tmp_path)


def test_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert download.cache_folder() == tmp_path / "trtpose"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert download.cache_folder() == Path.home() / ".cache" / "trtpose"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert download.cache_folder() == Path.home() / ".cache" / "trtpose"


def test_cache_that_cannot_be_made(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(trtpose.InputError, match="file"):
        download.fetch(ENTRY, base=server.address, folder=tmp_path / "file")


def test_official_address() -> None:
    entry = CATALOGUE["yolov7-w6-pose"]
    assert entry.url == "https://github.com/WongKinYiu/yolov7/releases/download/v0.1/yolov7-w6-pose.pt"
    with pytest.raises(trtpose.InputError, match="--random"):
        download.fetch(CATALOGUE["yolov7-lite-s-face"])
    assert all(entry.url.endswith(".pt") for entry in CATALOGUE.values() if entry.url)


def test_export_by_name(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From a name to an ONNX: the served checkpoint is a small one under the official file's name."""
    from trtpose.cli import main

    source = support.save_checkpoint(tmp_path / "served.pt", support.make_network(), support.SMALL)
    server.content = source.read_bytes()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TRTPOSE_WEIGHTS_URL", server.address)
    monkeypatch.chdir(tmp_path)
    assert main(["export", "yolov7-w6-pose", "--imgsz", "64"]) == 0
    printed = capsys.readouterr().out
    assert hashlib.sha256(server.content).hexdigest() in printed
    assert (tmp_path / "cache" / "trtpose" / "yolov7-w6-pose.pt").read_bytes() == server.content
    made = trtpose.Engine("yolov7-w6-pose.onnx")
    assert made.spec.name == "yolov7-w6-pose"
    assert made.imgsz == (64, 64)


def test_damaged_weights_in_the_cache(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from trtpose.cli import main

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    cached = tmp_path / "trtpose" / "yolov7-w6-pose.pt"
    cached.parent.mkdir()
    cached.write_bytes(b"PK half a file")
    assert main(["export", "yolov7-w6-pose"]) == 1
    assert f"delete {cached} to fetch it again" in capsys.readouterr().err
    assert not (tmp_path / "yolov7-w6-pose.onnx").exists()
