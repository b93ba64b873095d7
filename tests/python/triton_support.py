# SPDX-License-Identifier: Apache-2.0
"""A stand-in for Triton: loads a repository's models and answers over HTTP.

The network is run by ONNX's reference evaluator, ``model.py`` as the Python backend would. There is what
``trtpose.triton`` uses of ``triton_python_backend_utils``, as that backend's documentation describes it. What Triton
would refuse fails the test: tensors that the configuration does not name, of another type or shape, a version that is
not the newest.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import re
import struct
import sys
import threading
import types
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import onnx_models
from trtpose.build import engine_file

TYPES = {"TYPE_UINT8": np.uint8, "TYPE_INT32": np.int32, "TYPE_FP32": np.float32, "TYPE_FP16": np.float16}
PROTOCOL = {"UINT8": np.uint8, "INT32": np.int32, "FP32": np.float32}


PLAN = b"ftrt" + bytes(20) + bytes([10, 13, 0, 35]) + b"the rest of a plan"
SPEC = onnx_models.spec_fields("heads", name="net")
ROOM = 300
_PLUGIN_OUTPUTS = (
    ("num_dets", "int32", [-1, 1]),
    ("boxes", "float32", [-1, ROOM, 4]),
    ("scores", "float32", [-1, ROOM]),
    ("classes", "int32", [-1, ROOM]),
    ("keypoints", "float32", [-1, ROOM, 3, 3]),
)
PLUGIN: dict[str, Any] = {
    "outputs": [{"name": name, "dtype": dtype, "shape": shape} for name, dtype, shape in _PLUGIN_OUTPUTS],
    "plugins": ["trtpose_decode_nms/1"],
    "spec": {
        **SPEC,
        "outputs": [name for name, _, _ in _PLUGIN_OUTPUTS],
        "nms": {"conf": 0.25, "iou": 0.65, "max_det": ROOM},
    },
}
"""What is different in an engine with the plugin."""


def engine(folder: Path, batches: tuple[int, int, int] = (1, 4, 8), **changes: Any) -> Path:
    """An engine file as trtpose build describes it, with a plan that nobody opens."""
    n = batches[0] if batches[0] == batches[2] else -1
    entries: dict[str, Any] = {
        "format": 1,
        "runtime": "tensorrt",
        "version": "10.13.0.35",
        "profiles": [{"images": {key: [b, 3, 64, 96] for key, b in zip(("min", "opt", "max"), batches, strict=True)}}],
        "inputs": [{"name": "images", "dtype": "float32", "shape": [n, 3, 64, 96]}],
        "outputs": [
            {"name": "head_8", "dtype": "float32", "shape": [n, 30, 8, 12]},
            {"name": "head_16", "dtype": "float16", "shape": [n, 30, 4, 6]},
        ],
        "plugins": [],
        "trtpose": "0.1.0",
    }
    spec = changes.pop("spec", SPEC)
    path = folder / "net.engine"
    engine_file.write(path, {"trtpose": spec, "trtpose_engine": {**entries, **changes}}, changes.pop("plan", PLAN))
    return path


def parse(path: Path) -> Any:
    """A ``config.pbtxt`` as the message of Triton's own protobuf."""
    client = pytest.importorskip("tritonclient", reason="tritonclient is not installed")
    text_format = pytest.importorskip("google.protobuf.text_format", reason="protobuf is not installed")
    # By its file: the package around it wants grpcio, which it does not need.
    file = Path(client.__path__[0]) / "grpc" / "model_config_pb2.py"
    name = "triton_model_config_pb2"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        sys.modules[name] = module
    return text_format.Parse(path.read_text(), sys.modules[name].ModelConfig())


class Tensor:
    def __init__(self, name: str, array: np.ndarray) -> None:
        self._name, self._array = name, array

    def name(self) -> str:
        return self._name

    def as_numpy(self) -> np.ndarray:
        return self._array

    def is_cpu(self) -> bool:
        return True


class TritonError:
    INVALID_ARG, INTERNAL = 3, 1

    def __init__(self, message: str, code: int = INTERNAL) -> None:
        self._message, self.code = message, code

    def message(self) -> str:
        return self._message


class TritonModelException(Exception):
    pass


@dataclass
class Response:
    output_tensors: Sequence[Tensor] = ()
    error_: TritonError | None = None

    def has_error(self) -> bool:
        return self.error_ is not None

    def error(self) -> TritonError | None:
        return self.error_


@dataclass
class Request:
    inputs: Sequence[Tensor]
    names: Sequence[str]
    given: Mapping[str, Any] = field(default_factory=dict)

    def requested_output_names(self) -> Sequence[str]:
        return self.names

    def parameters(self) -> str:
        return json.dumps(dict(self.given)) if self.given else ""


def _named(tensors: Sequence[Tensor], name: str) -> Tensor | None:
    return next((tensor for tensor in tensors if tensor.name() == name), None)


class Triton:
    """The models of a repository.

    Attributes:
        runs: shapes of the inputs that the network was run with.
        broken: what the network fails with from now on.
        network: what runs in place of a plan, which nobody can open here.
    """

    def __init__(self, repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.repository = repository
        self.runs: list[tuple[int, ...]] = []
        self.broken = ""
        self.network: Callable[[np.ndarray], list[np.ndarray]] | None = None
        self._programs: dict[str, Any] = {}
        monkeypatch.setitem(sys.modules, "triton_python_backend_utils", self._utils())
        self.configs = {folder.name: parse(folder / "config.pbtxt") for folder in repository.iterdir()}

    def version(self, name: str) -> int:
        return max(int(entry.name) for entry in (self.repository / name).iterdir() if entry.name.isdigit())

    def json_config(self, name: str) -> dict[str, Any]:
        from google.protobuf.json_format import MessageToDict

        return MessageToDict(self.configs[name], preserving_proto_field_name=True)

    def load(self, name: str) -> Any:
        """The program of a model, initialised."""
        if name not in self._programs:
            version = self.version(name)
            path = self.repository / name / str(version) / "model.py"
            spec = importlib.util.spec_from_file_location("model", path)
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            program = module.TritonPythonModel()
            config = json.dumps(self.json_config(name))
            program.initialize({"model_config": config, "model_version": str(version), "model_name": name})
            self._programs[name] = program
        return self._programs[name]

    def infer(
        self, name: str, inputs: Sequence[Tensor], parameters: Mapping[str, Any] | None = None, version: int = -1
    ) -> Response:
        """The answer of a model; what Triton itself would refuse is an AssertionError."""
        assert version in (-1, self.version(name))
        config = self.configs[name]
        stated = {entry.name: entry for entry in config.input}
        for tensor in inputs:
            check(stated[tensor.name()], tensor.as_numpy(), config.max_batch_size)
        missing = [entry.name for entry in config.input if not entry.optional and _named(inputs, entry.name) is None]
        assert not missing
        names = [entry.name for entry in config.output]
        if config.backend == "python":
            (response,) = self.load(name).execute([Request(inputs, names, parameters or {})])
        else:
            response = self._run(name, names, inputs[0].as_numpy())
        if not response.has_error():
            outputs = {entry.name: entry for entry in config.output}
            for tensor in response.output_tensors:
                check(outputs[tensor.name()], tensor.as_numpy(), config.max_batch_size)
        return response

    def _run(self, name: str, names: Sequence[str], images: np.ndarray) -> Response:
        if self.broken:
            return Response(error_=TritonError(self.broken))
        self.runs.append(images.shape)
        if self.network is not None:
            return Response([Tensor(one, array) for one, array in zip(names, self.network(images), strict=True)])
        file = self.repository / name / str(self.version(name)) / self.configs[name].default_model_filename
        found = onnx_models.run_model(file, images)
        return Response([Tensor(one, array) for one, array in zip(names, found, strict=True)])

    def _utils(self) -> Any:
        outer = self

        class InferenceRequest:
            def __init__(self, **given: Any) -> None:
                self.given = given

            def exec(self) -> Response:
                given = self.given
                assert given["preferred_memory"] == ("CPU", 0)
                response = outer.infer(given["model_name"], given["inputs"], version=given["model_version"])
                if not response.has_error():
                    names = [tensor.name() for tensor in response.output_tensors]
                    assert sorted(given["requested_output_names"]) == sorted(names)
                return response

        def make_response(output_tensors: Sequence[Tensor] = (), error: TritonError | None = None) -> Response:
            return Response(output_tensors, error)

        module: Any = types.ModuleType("triton_python_backend_utils")
        module.Tensor, module.TritonError, module.TritonModelException = Tensor, TritonError, TritonModelException
        module.InferenceRequest, module.InferenceResponse = InferenceRequest, make_response
        module.TRITONSERVER_MEMORY_CPU = "CPU"
        module.PreferredMemory = lambda memory, device: (memory, device)
        module.get_input_tensor_by_name = lambda request, name: _named(request.inputs, name)
        module.get_output_tensor_by_name = lambda response, name: _named(response.output_tensors, name)
        return module


def check(stated: Any, array: np.ndarray, max_batch_size: int) -> None:
    """See that an array is what a configuration says."""
    kind = stated.DESCRIPTOR.fields_by_name["data_type"].enum_type.values_by_number[stated.data_type].name
    assert array.dtype == (np.object_ if kind == "TYPE_STRING" else TYPES[kind]), stated.name
    shape = array.shape
    if max_batch_size > 0:
        assert 1 <= shape[0] <= max_batch_size, stated.name
        shape = shape[1:]
    assert len(shape) == len(stated.dims), stated.name
    assert all(side in (-1, own) for side, own in zip(stated.dims, shape, strict=True)), (stated.name, shape)


def _read_request(body: bytes, length: int) -> tuple[list[Tensor], dict[str, Any], list[str]]:
    head = json.loads(body[:length])
    (entry,) = head["inputs"]
    data = body[length:]
    assert entry["parameters"]["binary_data_size"] == len(data)
    if entry["datatype"] == "BYTES":
        found: list[bytes] = []
        while data:
            (size,) = struct.unpack_from("<I", data)
            found.append(data[4 : 4 + size])
            data = data[4 + size :]
        array = np.array(found, np.object_).reshape(entry["shape"])
    else:
        array = np.frombuffer(data, PROTOCOL[entry["datatype"]]).reshape(entry["shape"])
    assert all(output["parameters"] == {"binary_data": True} for output in head["outputs"])
    return [Tensor(entry["name"], array)], head.get("parameters", {}), [output["name"] for output in head["outputs"]]


def _written(name: str, version: int, tensors: Sequence[Tensor]) -> tuple[int, bytes]:
    kinds = {np.dtype(dtype): kind for kind, dtype in PROTOCOL.items()}
    outputs = [
        {
            "name": tensor.name(),
            "datatype": kinds[tensor.as_numpy().dtype],
            "shape": list(tensor.as_numpy().shape),
            "parameters": {"binary_data_size": tensor.as_numpy().nbytes},
        }
        for tensor in tensors
    ]
    head = json.dumps({"model_name": name, "model_version": str(version), "outputs": outputs}).encode()
    return len(head), head + b"".join(tensor.as_numpy().tobytes() for tensor in tensors)


@contextlib.contextmanager
def serving(triton: Triton) -> Generator[str]:
    """The address at which a stand-in answers meanwhile."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if self.path == "/v2":
                self.answer({"name": "triton", "extensions": ["binary_tensor_data", "model_configuration"]})
                return
            name, _, rest = self.path.removeprefix("/v2/models/").partition("/")
            if name not in triton.configs:
                self.answer({"error": f"Request for unknown model: '{name}' is not found"}, 400)
            elif rest == "config":
                self.answer(triton.json_config(name))
            else:
                self.answer({"name": name, "versions": [str(triton.version(name))], "platform": "python"})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path == "/v2/repository/index":
                self.answer([{"name": name, "version": "1", "state": "READY"} for name in triton.configs])
                return
            match = re.fullmatch(r"/v2/models/([^/]+)/infer", self.path)
            assert match is not None
            tensors, parameters, names = _read_request(body, int(self.headers["Inference-Header-Content-Length"]))
            response = triton.infer(match[1], tensors, parameters)
            error = response.error()
            if error is not None:
                self.answer({"error": error.message()}, 400 if error.code == TritonError.INVALID_ARG else 500)
                return
            wanted = [tensor for tensor in response.output_tensors if tensor.name() in names]
            length, data = _written(match[1], triton.version(match[1]), wanted)
            self.send(200, data, {"Inference-Header-Content-Length": str(length)})

        def answer(self, value: Any, status: int = 200) -> None:
            self.send(status, json.dumps(value).encode(), {})

        def send(self, status: int, data: bytes, headers: Mapping[str, str]) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(data)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
