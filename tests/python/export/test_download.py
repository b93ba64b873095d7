# SPDX-License-Identifier: Apache-2.0
"""Known weights by name, against a server on this machine."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import http.server
import io
import os
import shutil
import ssl
import subprocess
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import export_support as support
import trtpose
from trtpose import _parts
from trtpose.export import download, transport
from trtpose.families.anchor_grid.catalogue import CATALOGUE, Description, Entry


def _archive(content: bytes) -> bytes:
    """The kind of file that a checkpoint is."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("archive/data.pkl", content)
    return stream.getvalue()


CONTENT = _archive(bytes(range(256)) * 2000)
CHANGED = _archive(bytes(range(255, -1, -1)) * 2000)
PAGE = b"<!DOCTYPE html><html><body>Sign in to this network</body></html>" * 1000
ENTRY = Entry("known", Description((), 1, 1, ()), 64, ("person",), "GPL-3.0", url="https://192.0.2.1/release/known.pt")


@dataclass
class Server:
    """What the server does next, and what it was asked."""

    address: str = ""
    content: bytes = CONTENT
    cut: int | None = None
    ranges: bool = True
    status: int = 200
    length: bool = True
    kind: str = "application/octet-stream"
    tag: bool = True
    modified: str = ""
    redirect: str = ""
    hold: threading.Event | None = None
    asked: list[tuple[str, str]] = field(default_factory=list)


def _handler(state: Server) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted, condition = self.headers.get("Range", ""), self.headers.get("If-Range", "")
            state.asked.append((self.path, wanted))
            body, status = state.content, state.status
            headers: dict[str, str] = {"Content-Type": state.kind}
            tag = f'"{hashlib.sha256(body).hexdigest()}"'
            if state.tag:
                headers["ETag"] = tag
            if state.modified:
                headers["Last-Modified"] = state.modified
            if state.redirect:
                self.send_response(302)
                self.send_header("Location", state.redirect)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            same = not condition or condition == (tag if state.tag else state.modified)
            if wanted and state.ranges and same and status == 200:
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
            if state.hold is not None:
                self.wfile.flush()
                state.hold.wait(20)

        def log_message(self, *_: object) -> None:
            pass

    return Handler


@contextlib.contextmanager
def _running(certificate: Path | None = None) -> Iterator[Server]:
    state = Server()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(state)) as running:
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            running.socket = context.wrap_socket(running.socket, server_side=True)
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        scheme = "http" if certificate is None else "https"
        state.address = f"{scheme}://127.0.0.1:{running.server_port}/weights"
        yield state
        running.shutdown()
        thread.join()


@pytest.fixture
def server() -> Iterator[Server]:
    with _running() as state:
        yield state


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Key and certificate of this machine, signed by itself."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed, which makes the certificate of an https server")
    folder = tmp_path_factory.mktemp("certificate")
    kind = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    names = [
        "-subj",
        "/CN=127.0.0.1",
        "-addext",
        "subjectAltName=IP:127.0.0.1",
        "-keyout",
        folder / "key",
        "-out",
        folder / "certificate",
    ]
    subprocess.run([openssl, "req", *kind, *names], check=True, capture_output=True)
    both = folder / "both.pem"
    both.write_bytes((folder / "key").read_bytes() + (folder / "certificate").read_bytes())
    return both


@pytest.fixture
def secure(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with _running(certificate) as state:
        yield state


def test_download_then_cache(server: Server, tmp_path: Path) -> None:
    lines: list[str] = []
    path = download.fetch(ENTRY, base=server.address, folder=tmp_path / "cache", report=lines.append)
    assert path == tmp_path / "cache" / "known.pt"
    assert path.read_bytes() == CONTENT
    digest = hashlib.sha256(CONTENT).hexdigest()
    assert f"{digest} (compared with nothing: its authors publish none)" in lines[-1]
    assert str(len(CONTENT)) in lines[-1]
    # A second time needs no server.
    again = download.fetch(ENTRY, base="http://127.0.0.1:9/closed", folder=tmp_path / "cache", report=lines.append)
    assert again == path
    assert f"{digest} (compared with nothing: its authors publish none)" in lines[-1]
    assert server.asked == [("/weights/known.pt", "")]
    assert [p.name for p in path.parent.iterdir()] == ["known.pt"]


@pytest.mark.parametrize("ranges", [True, False])
def test_interrupted_download_goes_on(ranges: bool, server: Server, tmp_path: Path) -> None:
    server.cut, server.ranges = 1000, ranges
    with pytest.raises(trtpose.InputError, match=f"1000 of {len(CONTENT)}") as caught:
        download.fetch(ENTRY, base=server.address, folder=tmp_path)
    # What to do without a network: the official address and the place.
    assert ENTRY.url in str(caught.value)
    assert str(tmp_path / "known.pt") in str(caught.value)
    assert not (tmp_path / "known.pt").exists()
    server.cut = None
    assert download.fetch(ENTRY, base=server.address, folder=tmp_path).read_bytes() == CONTENT
    assert server.asked == [("/weights/known.pt", ""), ("/weights/known.pt", "bytes=1000-")]


def _interrupted(server: Server, folder: Path, at: int = 1000) -> None:
    server.cut = at
    with pytest.raises(trtpose.InputError, match=f"{at} of {len(server.content)}"):
        download.fetch(ENTRY, base=server.address, folder=folder)
    server.cut = None
    assert sorted(path.name for path in folder.iterdir()) == ["known.pt.part", "known.pt.part.json"]


def test_whole_part_is_taken(server: Server, tmp_path: Path) -> None:
    """All bytes had come when the process ended."""
    _interrupted(server, tmp_path)
    (tmp_path / "known.pt.part").write_bytes(CONTENT)
    assert download.fetch(ENTRY, base=server.address, folder=tmp_path).read_bytes() == CONTENT
    assert len(server.asked) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["known.pt"]


def test_part_that_is_too_long_is_dropped(server: Server, tmp_path: Path) -> None:
    _interrupted(server, tmp_path)
    (tmp_path / "known.pt.part").write_bytes(CONTENT + b"more")
    assert download.fetch(ENTRY, base=server.address, folder=tmp_path).read_bytes() == CONTENT


def test_a_server_that_refuses_to_continue(server: Server, tmp_path: Path) -> None:
    _interrupted(server, tmp_path)
    server.status = 416
    with pytest.raises(trtpose.InputError, match="HTTP Error 416"):
        download.fetch(ENTRY, base=server.address, folder=tmp_path)
    server.status = 200
    assert download.fetch(ENTRY, base=server.address, folder=tmp_path).read_bytes() == CONTENT
    assert server.asked[-1] == ("/weights/known.pt", "")


@pytest.mark.parametrize("modified", ["", "Sat, 01 Aug 2026 10:00:00 GMT"])
def test_a_file_that_changed_in_between(modified: str, server: Server, tmp_path: Path) -> None:
    """Never the beginning of one and the end of another."""
    server.tag, server.modified = not modified, modified
    _interrupted(server, tmp_path)
    server.content, server.modified = CHANGED, modified and "Sun, 02 Aug 2026 10:00:00 GMT"
    assert download.fetch(ENTRY, base=server.address, folder=tmp_path).read_bytes() == CHANGED
    assert server.asked[-1] == ("/weights/known.pt", "bytes=1000-")


@pytest.mark.parametrize("what", ["nothing", "a weak tag", "no note", "another address", "a damaged note"])
def test_what_cannot_be_continued_is_begun_anew(what: str, server: Server, tmp_path: Path) -> None:
    server.tag = what != "nothing"
    _interrupted(server, tmp_path)
    note = tmp_path / "known.pt.part.json"
    if what == "no note":
        note.unlink()
    elif what == "a weak tag":
        note.write_text(note.read_text().replace('\\"', 'W/\\"', 1))
    elif what == "another address":
        note.write_text(note.read_text().replace("weights", "other"))
    elif what == "a damaged note":
        note.write_text(note.read_text()[:20])
    server.content = CHANGED
    assert download.fetch(ENTRY, base=server.address, folder=tmp_path).read_bytes() == CHANGED
    assert server.asked[-1] == ("/weights/known.pt", "")


@pytest.mark.parametrize("kind", ["text/html", "application/octet-stream"])
def test_a_page_is_no_checkpoint(kind: str, server: Server, tmp_path: Path) -> None:
    """As a network gives that wants one to sign in."""
    server.content, server.kind = PAGE, kind
    with pytest.raises(trtpose.InputError, match="the server answers with a page"):
        download.fetch(ENTRY, base=server.address, folder=tmp_path)
    assert not list(tmp_path.iterdir())


def test_other_files_are_no_checkpoints(server: Server, tmp_path: Path) -> None:
    server.content = b"\x7fELF" + CONTENT
    with pytest.raises(trtpose.InputError, match="what arrives is no checkpoint"):
        download.fetch(ENTRY, base=server.address, folder=tmp_path)
    server.content, server.length = CONTENT[:-100], False
    with pytest.raises(trtpose.InputError, match="an archive without its end"):
        download.fetch(ENTRY, base=server.address, folder=tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("length", [True, False])
def test_the_size_is_bounded(length: bool, server: Server, tmp_path: Path) -> None:
    server.length = length
    small = dataclasses.replace(ENTRY, size=len(CONTENT) - 1)
    with pytest.raises(trtpose.InputError, match=r"are expected, so it is not the file|more than the \d+ bytes"):
        download.fetch(small, base=server.address, folder=tmp_path)
    large = dataclasses.replace(ENTRY, parameters=len(CONTENT))
    with pytest.raises(trtpose.InputError, match=f"{len(CONTENT)} bytes where {2 * len(CONTENT)} to"):
        download.fetch(large, base=server.address, folder=tmp_path / "large")
    fitting = dataclasses.replace(ENTRY, parameters=len(CONTENT) // 2)
    assert download.fetch(fitting, base=server.address, folder=tmp_path).read_bytes() == CONTENT


def test_a_known_digest(server: Server, tmp_path: Path) -> None:
    known = dataclasses.replace(ENTRY, size=len(CONTENT), sha256=hashlib.sha256(CONTENT).hexdigest())
    server.content = CHANGED
    with pytest.raises(trtpose.InputError, match=r"where [0-9a-f]{64} is published"):
        download.fetch(known, base=server.address, folder=tmp_path)
    assert not list(tmp_path.iterdir())
    server.content = CONTENT
    path = download.fetch(known, base=server.address, folder=tmp_path)
    path.write_bytes(CHANGED)
    with pytest.raises(trtpose.InputError, match="delete it to fetch it again"):
        download.fetch(known, base=server.address, folder=tmp_path)


def test_https(secure: Server, tmp_path: Path) -> None:
    _interrupted(secure, tmp_path)
    assert download.fetch(ENTRY, base=secure.address, folder=tmp_path).read_bytes() == CONTENT
    assert secure.asked == [("/weights/known.pt", ""), ("/weights/known.pt", "bytes=1000-")]


def test_an_unknown_certificate(certificate: Path, tmp_path: Path) -> None:
    with _running(certificate) as state, pytest.raises(trtpose.InputError, match="CERTIFICATE_VERIFY_FAILED"):
        download.fetch(ENTRY, base=state.address, folder=tmp_path)


def test_redirects_stay_with_https(secure: Server, server: Server, tmp_path: Path) -> None:
    secure.redirect = f"{server.address}/known.pt"
    with pytest.raises(trtpose.InputError, match=r"redirects to http://127\.0\.0\.1.*not an https address"):
        download.fetch(ENTRY, base=secure.address, folder=tmp_path)
    assert not server.asked
    assert not list(tmp_path.iterdir())
    server.redirect, secure.redirect = f"{secure.address}/known.pt", ""
    assert download.fetch(ENTRY, base=server.address, folder=tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("place", ["http://192.0.2.1/known.pt", "ftp://127.0.0.1/known.pt", "file:///etc/hostname"])
def test_redirects_to_elsewhere(place: str, server: Server, tmp_path: Path) -> None:
    server.redirect = place
    with pytest.raises(trtpose.InputError, match="the download failed"):
        download.fetch(ENTRY, base=server.address, folder=tmp_path)
    server.redirect = f"{server.address}/again"
    with pytest.raises(trtpose.InputError, match="the download failed"):
        download.fetch(ENTRY, base=server.address, folder=tmp_path)
    assert len(server.asked) < 10
    assert not list(tmp_path.iterdir())


def test_a_server_that_falls_asleep(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "_TIMEOUT", 0.3)
    server.hold, server.cut = threading.Event(), 1000
    with pytest.raises(trtpose.InputError, match="timed out"):
        download.fetch(ENTRY, base=server.address, folder=tmp_path)
    server.hold.set()
    server.hold = server.cut = None
    assert download.fetch(ENTRY, base=server.address, folder=tmp_path).read_bytes() == CONTENT


def test_two_at_once(server: Server, tmp_path: Path) -> None:
    with _parts.locked(tmp_path / "known.pt.part") as held:
        assert held is not None
        with pytest.raises(trtpose.InputError, match="another process is downloading it"):
            download.fetch(ENTRY, base=server.address, folder=tmp_path)
        assert not server.asked


@pytest.mark.parametrize("what", ["a link", "a link to a folder", "group", "all", "file by all", "part", "part.json"])
def test_a_cache_that_others_can_change(what: str, server: Server, tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "cache", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kept").write_text("kept")
    if what == "a link to a folder":
        folder.symlink_to(elsewhere)
    else:
        folder.mkdir(mode=0o700)
    if what == "a link":
        (folder / "known.pt").symlink_to(elsewhere / "kept")
    elif what in ("group", "all"):
        folder.chmod(0o770 if what == "group" else 0o707)
    elif what == "file by all":
        (folder / "known.pt").write_bytes(CONTENT)
        (folder / "known.pt").chmod(0o666)
    elif what.startswith("part"):
        (folder / f"known.pt.{what}").symlink_to(elsewhere / "kept")
    if what == "part.json":
        download.fetch(ENTRY, base=server.address, folder=folder)
    else:
        with pytest.raises(trtpose.InputError, match=r"is a link|others may write|may be changed|levels of symbolic"):
            download.fetch(ENTRY, base=server.address, folder=folder)
        assert not server.asked
    assert (elsewhere / "kept").read_text() == "kept"
    assert [path.name for path in elsewhere.iterdir()] == ["kept"]


def test_a_cache_of_another_user(server: Server, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may give a folder to another user")
    (tmp_path / "cache").mkdir(mode=0o700)
    os.chown(tmp_path / "cache", 65534, 65534)
    with pytest.raises(trtpose.InputError, match="belongs to another user"):
        download.fetch(ENTRY, base=server.address, folder=tmp_path / "cache")
    assert not server.asked


def test_a_new_cache_is_the_users_own(server: Server, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        download.fetch(ENTRY, base=server.address, folder=tmp_path / "cache")
    finally:
        os.umask(before)
    assert (tmp_path / "cache").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "cache" / "known.pt").stat().st_mode & 0o777 == 0o600


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


@pytest.mark.parametrize(
    "base", ["file:///etc", "ftp://127.0.0.1", "nonsense", "http://192.0.2.1", "http://[::", "http://localhost.example"]
)
def test_only_https(base: str, tmp_path: Path) -> None:
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
    published = [entry for entry in CATALOGUE.values() if entry.url]
    assert all(entry.url.endswith(".pt") and entry.url.startswith("https://") for entry in published)


@pytest.mark.parametrize("name", [name for name, entry in CATALOGUE.items() if entry.url])
def test_the_size_of_published_weights_is_bounded_by_their_network(name: str) -> None:
    from trtpose.families.anchor_grid.network import build

    network, _ = build(CATALOGUE[name].description, name)
    assert CATALOGUE[name].parameters == sum(parameter.numel() for parameter in network.parameters())


def test_export_by_name(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From a name to an ONNX: the served checkpoint is a small one under the official file's name."""
    from trtpose.cli import main

    entry = dataclasses.replace(CATALOGUE["yolov7-w6-pose"], parameters=0)
    monkeypatch.setitem(CATALOGUE, entry.name, entry)
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
