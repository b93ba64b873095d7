# SPDX-License-Identifier: Apache-2.0
"""Model repositories for NVIDIA's Triton Inference Server."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from .. import _core
from .._checks import choice, file_path, shown, whole
from ..errors import InputError
from ..formats.metadata import GivenSpec
from ..thresholds import Thresholds, checked
from .config import FORMAT, network_config, poses_config, text_of
from .network import Network, default_name, read_network
from .repository import Model, write_models

__all__ = ["Written", "write_repository"]

_NETWORK = "_network"
"""What the name of the network's model ends in."""

_PROGRAM = '''# SPDX-License-Identifier: Apache-2.0
"""Pictures in, people out. Written by trtpose triton, and run by the trtpose that Triton's Python has."""

from pathlib import Path

try:
    from trtpose.triton.backend import PosesModel
except ModuleNotFoundError as error:
    raise ImportError(f"{error}; install trtpose in the Python that Triton's Python backend runs") from error


class TritonPythonModel(PosesModel):
    folder = Path(__file__).parent
'''


@dataclass(frozen=True)
class Written:
    """What was written.

    Attributes:
        model: the model that clients name.
        network: the model of the network behind it.
        version: number of both.
        backend: the backend that runs the network.
        decoded: whether trtpose's plugin is in the network, which Triton must load.
        folders: folders of the versions.
    """

    model: str
    network: str
    version: int
    backend: str
    decoded: bool
    folders: tuple[Path, ...]


def write_repository(
    model: str | os.PathLike[str],
    repository: str | os.PathLike[str],
    *,
    name: str | None = None,
    spec: GivenSpec = None,
    backend: str | None = None,
    batch: int = 8,
    instances: int = 2,
    thresholds: Thresholds | None = None,
) -> Written:
    """Write a model into a repository of Triton.

    Two models are written: ``NAME_network``, the network as TensorRT's, ONNX Runtime's or OpenVINO's backend takes it,
    and ``NAME``, a program for the Python backend that feeds it pictures and reads its outputs as
    :class:`trtpose.Engine` does.

    Args:
        model: an engine file of :func:`trtpose.build`, or an ONNX model.
        repository: the folder, made where it is missing. What is there stays; a further version is a folder beside.
        name: what the model is called; by default as its file.
        spec: model spec for an ONNX that carries none.
        backend: of an ONNX model, ``onnxruntime`` (by default) or ``openvino``.
        batch: frames per run at most, of an ONNX model that takes any number.
        instances: processes that feed the network at the same time.
        thresholds: of requests that name none.

    Returns:
        What was written.

    Raises:
        ModelError: the file cannot be read, or Triton's backends do not run it.
        InputError: an argument is not valid, a model of that name is another's, or the repository cannot be written.
    """
    folder = file_path(repository, "repository", "the folder of a model repository")
    called = default_name(file_path(model, "model")) if name is None else name
    given = cast("Any", called)
    if not isinstance(given, str) or not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,100}", given):
        raise InputError(f"name is {shown(given)}; give letters, digits and ._- alone, not beginning with a dot")
    if backend is not None:
        choice(backend, "backend", ("onnxruntime", "openvino"))
    whole(batch, "batch", 1, 1024)
    whole(instances, "instances", 1, 64)
    kept = Thresholds() if thresholds is None else checked(thresholds)
    network = read_network(model, spec=spec, backend=backend, batch=batch)
    if network.decoded and thresholds is not None and kept != Thresholds():
        raise InputError(f"{model}: has its thresholds built in; build it with others, or give none")
    behind = called + _NETWORK
    files = {"model.py": _PROGRAM.encode(), "trtpose.json": _settings(network, behind, kept)}
    models = [
        _model(behind, network_config(behind, network), _network_files(network)),
        _model(called, poses_config(called, network.spec, instances), files),
    ]
    number = write_models(folder, models)
    folders = tuple(folder / one.name / str(number) for one in models)
    return Written(called, behind, number, network.backend, network.decoded, folders)


def _model(name: str, config: Mapping[str, Any], files: Mapping[str, bytes]) -> Model:
    return Model(name, text_of(config), files)


def _network_files(network: Network) -> dict[str, bytes]:
    """The network, and beside it its spec under the name by which trtpose finds it."""
    return {network.file: network.data, "model.json": (network.spec.to_json(indent=2) + "\n").encode()}


def _settings(network: Network, name: str, thresholds: Thresholds) -> bytes:
    """What the program must know: :class:`.backend.PosesModel` reads it."""
    fields = {
        "format": FORMAT,
        "trtpose": _core.version(),
        "spec": network.spec.to_dict(),
        "network": {
            "model": name,
            "backend": network.backend,
            "input": {"name": network.input.name, "dtype": network.input.dtype, "shape": list(network.input.shape)},
            "profile": [list(shape) for shape in network.profile],
            "outputs": [{"name": one.name, "shape": list(one.shape)} for one in network.outputs],
            "batch": network.batch,
            "decoded": network.decoded,
        },
        "thresholds": asdict(thresholds),
    }
    return (json.dumps(fields, indent=2) + "\n").encode()
