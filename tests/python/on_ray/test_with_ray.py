# SPDX-License-Identifier: Apache-2.0
"""With Ray itself, two workers on this machine: the rows of ``infer``, also when a worker is killed; and Ray Serve."""

from __future__ import annotations

import importlib.util
import json
import socket
from pathlib import Path
from typing import Any

import pytest

from process_support import finish, start
from ray_support import some_pictures, tiny_model
from trtpose.cli import main
from trtpose.formats.metadata import find_spec

if importlib.util.find_spec("ray") is None or importlib.util.find_spec("ray.data") is None:
    pytest.skip("Ray is not installed", allow_module_level=True)

pa: Any = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
parquet: Any = pytest.importorskip("pyarrow.parquet", reason="pyarrow has no Parquet")

from trtpose.ray import poses  # noqa: E402

PICTURES = 1000


def told_by(program: str, *arguments: Any) -> dict[str, Any]:
    """What a program found out: one line of its output, as Ray writes there too."""
    status, said, err = finish(start(program, *arguments), 600)
    assert status == 0, f"{said[-2000:]}\n{err[-4000:]}"
    return json.loads(next(line for line in said.splitlines() if line.startswith("TOLD "))[5:])


PROGRAM = """
import json
from pathlib import Path

import ray, ray.data
import trtpose.ray

model, folder, out = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
paths = sorted(str(path) for path in folder.iterdir())
ray.init(num_cpus=2, object_store_memory=200 << 20, include_dashboard=False, log_to_driver=False)
ray.data.DataContext.get_current().enable_progress_bars = False
given = dict(conf=0.05, batch=4)

def parent(pid):
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return 0

def is_ours(pid):
    while pid > 1:
        if pid == os.getpid():
            return True
        pid = parent(pid)
    return False

def workers():
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and is_ours(int(entry.name)):
            try:
                name = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            # Named after the actor or after its work, in words that differ from release to release.
            if name.startswith(b"ray::") and (b"MapWorker" in name or b"MapBatches" in name):
                found.append(int(entry.name))
    return found

told = {}

class StopError(Exception):
    pass

def stop(ready, count):
    if ready == 2:
        raise StopError

def kill(ready, count):
    if ready == 4:
        told["workers"] = len(workers())
        victim = workers()[0]
        os.kill(victim, signal.SIGKILL)
        told["killed"] = victim

how = dict(shard=100, rows=25, concurrency=2, num_cpus=1, **given)
try:
    trtpose.ray.infer_files(paths, model, out, notify=stop, **how)
except StopError:
    told["stopped"] = len(list(out.glob("*.parquet")))
summary = trtpose.ray.infer_files(paths, model, out, notify=kill, **how)
told["summary"] = vars(summary)

few = paths[:6]
files = ray.data.read_binary_files(few, include_paths=True)
told["bytes"] = trtpose.ray.infer(files, model, num_cpus=0.5, **given).take_all()
images = ray.data.read_images(few, include_paths=True)
told["images"] = trtpose.ray.infer(images, model, num_cpus=0.5, **given).take_all()
for row in told["bytes"] + told["images"]:
    for name, value in row.items():
        row[name] = value.tolist() if hasattr(value, "tolist") else value
try:
    trtpose.ray.infer(ray.data.from_items([{"path": "x"}]), model, on_error="raise", num_cpus=0.5).take_all()
except Exception as error:
    told["raised"] = str(error)
told["alive"] = Path(f"/proc/{told['killed']}").exists()
print("TOLD " + json.dumps(told, default=lambda value: value.tolist()))
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return some_pictures(tmp_path_factory.mktemp("pictures"), PICTURES)


@pytest.fixture(scope="module")
def lines(model: str, paths: list[str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What ``infer --jsonl`` says of each picture that can be read."""
    file = tmp_path_factory.mktemp("lines") / "j"
    folder = str(Path(paths[0]).parent)
    assert main(["infer", model, folder, "--jsonl", str(file), "--conf", "0.05", "--batch", "4", "-q"]) == 1
    entries = [json.loads(line) for line in file.read_text().splitlines()[1:]]
    return {entry.pop("source"): entry for entry in entries}


@pytest.mark.slow
def test_two_workers_give_the_rows_of_infer_also_when_one_is_killed(
    model: str, paths: list[str], lines: dict[str, Any], tmp_path: Path
):
    out = tmp_path / "out"
    told = told_by(PROGRAM, model, Path(paths[0]).parent, out)
    assert (told["workers"], told["stopped"], told["alive"]) == (2, 2, False)

    spec = find_spec(model).spec
    assert len(lines) == PICTURES - 1
    rows = [row for file in sorted(out.glob("*.parquet")) for row in parquet.read_table(file).to_pylist()]
    assert [row["source"] for row in rows] == paths
    for row in rows:
        if row["source"] in lines:
            assert poses(row, spec).to_dict() == lines[row["source"]]
    assert [row["source"] for row in rows if row["error"]] == [paths[PICTURES // 2]]
    people = sum(len(entry["poses"]) for entry in lines.values())
    assert told["summary"] == {"pictures": PICTURES, "failed": 1, "people": people, "shards": 10, "before": 2}
    assert people > PICTURES

    for kind in ("bytes", "images"):
        found = {row["source"]: poses(row, spec).to_dict() for row in told[kind]}
        assert found == {path: lines[path] for path in paths[:6]}, kind
    assert "x: no such file; check the name" in told["raised"]


SERVER = """
import json, urllib.error, urllib.request
from pathlib import Path

import ray
from ray import serve

import trtpose.ray

model, picture, port = sys.argv[1], Path(sys.argv[2]).read_bytes(), int(sys.argv[3])
ray.init(num_cpus=2, object_store_memory=200 << 20, include_dashboard=False, log_to_driver=False)
serve.start(http_options={"host": "127.0.0.1", "port": port}, logging_config={"enable_access_log": False})
settings = trtpose.ray.Settings(max_body=100_000, title="tiny")
app = trtpose.ray.deployment(model, settings=settings, num_cpus=0.5, conf=0.05, batch=4, clones=2)
serve.run(app)

def ask(path, data=None, **headers):
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as reply:
            return reply.status, json.loads(reply.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())

kind = {"Content-Type": "image/png"}
told = {
    "picture": ask("/v1/poses?name=a.png", picture, **kind),
    "other": ask("/v1/poses?name=a.png&conf=0.9", picture, **kind),
    "large": ask("/v1/poses", b"x" * 100_001, **kind),
    "broken": ask("/v1/poses?name=b.png", b"x", **kind),
    "stranger": ask("/v1/model", Host="example.org"),
    "ready": ask("/v2/models/tiny"),
}
with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=60) as reply:
    told["page"] = reply.headers["Content-Type"]
print("TOLD " + json.dumps(told))
serve.shutdown()
"""


@pytest.mark.slow
def test_ray_serve_answers_as_the_server_does(model: str, paths: list[str], lines: dict[str, Any], free_port: int):
    for module in ("ray.serve", "starlette", "python_multipart", "prometheus_client"):
        pytest.importorskip(module, reason=f"{module} is not installed")
    told = told_by(SERVER, model, paths[0], free_port)
    assert told["picture"] == [200, {"source": "a.png", **lines[paths[0]]}]
    assert len(told["other"][1]["poses"]) < len(told["picture"][1]["poses"])
    assert told["large"][0] == 413
    assert told["broken"][0] == 400
    assert told["broken"][1]["error"].startswith("b.png: ")
    assert told["stranger"][0] == 421
    assert told["ready"][0] == 200
    assert told["page"].startswith("text/html")


@pytest.fixture
def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
