# SPDX-License-Identifier: Apache-2.0
"""CMake fetches TensorRT's headers: from a server here, with files and hashes made up for it."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
TAGS = {"v8.6.1": (8, 6, 1), "v10.1.0": (10, 1, 0), "v11.1": (11, 1, 0)}

pytestmark = pytest.mark.skipif(shutil.which("cmake") is None, reason="no cmake on the path")

PROJECT = f"""
cmake_minimum_required(VERSION 3.25)
project(fetch NONE)
list(APPEND CMAKE_MODULE_PATH "{ROOT}/cmake")
set(CMAKE_FIND_USE_CMAKE_SYSTEM_PATH OFF)
set(CMAKE_FIND_USE_SYSTEM_ENVIRONMENT_PATH OFF)
set(TRTPOSE_HAVE_CUDA ON)
include(tensorrt)
message(STATUS "MODULES=${{TRTPOSE_TENSORRT_MODULES}}")
foreach(major IN LISTS TRTPOSE_TENSORRT_MODULES)
  message(STATUS "FOLDER${{major}}=${{TRTPOSE_TENSORRT_HEADERS_${{major}}}}")
endforeach()
"""


def headers(tag: str) -> dict[str, bytes]:
    """Files as far as CMake looks into them; large enough that cutting one off is seen."""
    numbers = zip(("MAJOR", "MINOR", "PATCH"), TAGS[tag], strict=True)
    version = "".join(f"#define NV_TENSORRT_{name} {number}\n" for name, number in numbers)
    return {"NvInferVersion.h": version.encode(), "NvInferRuntime.h": f"// {tag}\n".encode() * 5000}


class Server(ThreadingHTTPServer):
    """Serves the headers; what is in `odd` decides otherwise for paths that end so."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = {f"/{tag}/include/{name}": data for tag in TAGS for name, data in headers(tag).items()}
        self.odd: dict[str, str] = {}
        self.asked: list[str] = []
        self.closing = threading.Event()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        how = next((how for end, how in self.server.odd.items() if self.path.endswith(end)), "good")
        data = self.server.files.get(self.path)
        if data is None or how == "absent":
            self.send_error(404)
            return
        if how == "slow":
            self.server.closing.wait(60)
            return
        if how == "wrong":
            data = data[:-1] + b"?"
        self.send_response(200)
        if how != "short":  # else only the hash tells
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if how in ("cut", "short") else data)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.closing.set()
        server.shutdown()
        thread.join()


class Project:
    def __init__(self, folder: Path) -> None:
        self.source, self.build, self.cache = folder / "source", folder / "build", folder / "xdg"
        self.source.mkdir()
        (self.source / "CMakeLists.txt").write_text(PROJECT)
        self.list = folder / "list.sha256"
        self.list.write_text(
            "".join(
                f"{hashlib.sha256(data).hexdigest()}  {tag}/include/{name}\n"
                for tag in TAGS
                for name, data in headers(tag).items()
            )
        )

    def configure(self, url: str, *more: str, **environment: str) -> str:
        clean = {
            key: value for key, value in os.environ.items() if not key.startswith(("TENSORRT", "TRTPOSE_CACHE"))
        } | {"XDG_CACHE_HOME": str(self.cache), "no_proxy": "127.0.0.1"}
        done = subprocess.run(
            [
                *("cmake", "-S", str(self.source), "-B", str(self.build), f"-DTRTPOSE_TENSORRT_HEADERS_URL={url}"),
                *(f"-DTRTPOSE_TENSORRT_HEADERS_LIST={self.list}", "-DTRTPOSE_TENSORRT_HEADERS_TIMEOUT=1", *more),
            ],
            env=clean | environment,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        return done.stdout

    def kept(self) -> list[str]:
        """Files in the cache folder."""
        return sorted(str(path.relative_to(self.cache)) for path in self.cache.rglob("*") if path.is_file())

    def left(self) -> list[Path]:
        """Headers in the build folder."""
        return list((self.build / "tensorrt-headers").rglob("*.h"))


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


ALL = sorted(f"trtpose/tensorrt-headers/{tag}/{name}" for tag in TAGS for name in headers(tag))


def test_headers_of_every_version_are_fetched_once(server: Server, project: Project):
    said = project.configure(server.address)
    assert "MODULES=8;10;11" in said
    assert "not fetched" not in said
    assert project.kept() == ALL
    assert project.left() == []
    assert len(server.asked) == len(ALL)
    shutil.rmtree(project.build)
    assert "MODULES=8;10;11" in project.configure(server.address)
    assert len(server.asked) == len(ALL)


@pytest.mark.parametrize("how", ["wrong", "cut", "short", "absent", "slow"])
def test_a_file_that_is_not_what_was_meant_is_not_kept(server: Server, project: Project, how: str):
    server.odd = {"v10.1.0/include/NvInferRuntime.h": how}
    start = time.monotonic()
    said = project.configure(server.address)
    assert time.monotonic() - start < 50
    words = {"wrong": "SHA-256", "short": "SHA-256", "absent": "HTTP", "slow": "imeout", "cut": "transfer"}[how].lower()
    line = next(line for line in said.lower().splitlines() if "not fetched" in line)
    assert words in line
    assert "v10.1.0/include/nvinferruntime.h" in line
    # After an answer that is no, the next version is asked for; after none or half of one, not.
    modules = "8;11" if how in ("wrong", "short", "absent") else "8"
    assert f"MODULES={modules}\n" in said
    assert not any("v10" in name for name in project.kept())
    assert project.left() == []


def test_a_failure_is_remembered_in_the_build_folder_and_mended_in_another(server: Server, project: Project):
    server.odd = {".h": "slow"}
    assert "MODULES=\n" in project.configure(server.address)
    asked = len(server.asked)
    assert asked == 1
    said = project.configure(server.address)
    assert len(server.asked) == asked
    assert "not tried again" in said
    server.odd = {}
    assert "MODULES=8;10;11" in project.configure(server.address, "-U_TRTPOSE_TENSORRT_HEADERS_FAILED")


def test_without_a_server_there_is_one_line(project: Project):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, and nobody listens
        said = project.configure(f"http://127.0.0.1:{taken.getsockname()[1]}")
    assert "MODULES=\n" in said
    assert said.count("not fetched") == 1
    assert project.kept() == []
    assert project.left() == []


def test_a_damaged_file_in_the_cache_is_fetched_again(server: Server, project: Project):
    project.configure(server.address)
    damaged = project.cache / "trtpose/tensorrt-headers/v11.1/NvInferRuntime.h"
    damaged.write_bytes(damaged.read_bytes()[:100])
    assert "MODULES=8;10;11" in project.configure(server.address)
    assert damaged.read_bytes() == headers("v11.1")["NvInferRuntime.h"]
    assert project.kept() == ALL


def test_a_cache_that_cannot_be_written_is_done_without(server: Server, project: Project):
    project.cache.write_text("a file where the folder should be")
    said = project.configure(server.address)
    assert "MODULES=8;10;11" in said
    assert len(project.left()) == len(ALL)
    asked = len(server.asked)
    assert "MODULES=8;10;11" in project.configure(server.address)
    assert len(server.asked) == asked


def test_a_folder_that_is_given_is_used_instead(server: Server, project: Project, tmp_path: Path):
    given = tmp_path / "given"
    given.mkdir()
    for name, data in headers("v10.1.0").items():
        (given / name).write_bytes(data)
    said = project.configure(server.address, f"-DTRTPOSE_TENSORRT_INCLUDE_DIR={given}")
    assert "MODULES=10\n" in said
    assert f"FOLDER10={given}" in said
    assert server.asked == []


def test_headers_that_are_found_are_not_fetched(server: Server, project: Project, tmp_path: Path):
    found = tmp_path / "root" / "include"
    found.mkdir(parents=True)
    for name, data in headers("v10.1.0").items():
        (found / name).write_bytes(data)
    (found / "NvInfer.h").write_bytes(b"")
    said = project.configure(server.address, TENSORRT_ROOT=str(found.parent))
    assert f"FOLDER10={found}" in said
    assert "FOLDER11=" in said
    assert not any("v10" in path for path in server.asked)


def test_switched_off(server: Server, project: Project):
    said = project.configure(server.address, "-DTRTPOSE_TENSORRT_DOWNLOAD_HEADERS=OFF")
    assert "MODULES=\n" in said
    assert "not fetched" not in said
    assert server.asked == []


def test_the_list_of_the_project():
    """Each version has what its session and plugin include, and the version that the list's name says."""
    lines = (ROOT / "cmake" / "tensorrt_headers.sha256").read_text().splitlines()
    files: dict[str, set[str]] = {}
    for line in lines:
        digest, path = line.split("  ")
        assert len(bytes.fromhex(digest)) == 32
        tag, folder, name = path.split("/")
        assert folder == "include"
        files.setdefault(tag, set()).add(name)
    assert list(files) == list(TAGS)
    included = {"NvInferRuntime.h", "NvInferRuntimePlugin.h", "NvInferVersion.h"}
    assert all(included <= names for names in files.values())
