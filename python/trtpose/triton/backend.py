# SPDX-License-Identifier: Apache-2.0
"""The program that runs in Triton's Python backend: pictures in, people out, the network run by another model.

https://github.com/triton-inference-server/python_backend describes ``triton_python_backend_utils``, which only that
backend has.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..engine import Engine
from ..errors import Error, InputError, ModelError
from ..serving.requests import RequestError, thresholds_of
from ..serving.settings import Settings
from ..serving.tensors import INPUTS, OUTPUTS, arrays_of
from ..sources.pictures import decode_picture
from ..spec import METADATA_KEY, ModelSpec
from ..thresholds import Thresholds
from .config import FORMAT
from .decoded import DecodedNetwork

__all__ = ["PosesModel"]

_INPUTS = tuple(name for name, _, _ in INPUTS)
_BOUNDS = Settings()


class PosesModel:
    """What ``model.py`` of a version is: a subclass that says where it lies.

    Its network is run by Triton, through a request to the model ``NAME_network`` of the same version; letterbox and
    decoding are those of :class:`trtpose.Engine`. Where trtpose's plugin is in it nothing is left to decode.

    Attributes:
        folder: the version's folder.
    """

    folder: ClassVar[Path]

    def initialize(self, args: Mapping[str, str]) -> None:
        """Called by Triton when the model is loaded.

        Raises:
            ModelError: the configuration is of another version than the folder, or another trtpose wrote it.
        """
        self._utils: Any = importlib.import_module("triton_python_backend_utils")
        settings: dict[str, Any] = json.loads((self.folder / "trtpose.json").read_text(encoding="utf-8"))
        if settings.get("format") != FORMAT:
            raise ModelError(
                f"{self.folder}: was written by trtpose {settings.get('trtpose')}, and trtpose {_core.version()} is "
                "installed here, which reads another form; install the same, or write the repository again"
            )
        self._network: dict[str, Any] = settings["network"]
        self._version = int(args["model_version"])
        self._spec = ModelSpec.from_dict(settings["spec"], source=str(self.folder / "trtpose.json"))
        self._thresholds = Thresholds(**settings["thresholds"])
        self._engine: Engine | DecodedNetwork | None = None
        parameters: Any = json.loads(args["model_config"]).get("parameters", {})
        stated: Any = json.loads(parameters.get(METADATA_KEY, {}).get("string_value", "null"))
        # Clients read the spec there.
        if stated != settings["spec"]:
            raise ModelError(
                f"{self.folder}: config.pbtxt was written for another version; write the repository again with trtpose "
                "triton"
            )

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Called by Triton with requests; one answer for each."""
        return [self._respond(request) for request in requests]

    def _respond(self, request: Any) -> Any:
        utils = self._utils
        try:
            arrays = self._answer(request)
        except (InputError, RequestError) as error:
            return utils.InferenceResponse(error=_failure(utils, str(error), "INVALID_ARG"))
        except Error as error:
            return utils.InferenceResponse(error=_failure(utils, str(error), "INTERNAL"))
        wanted = set(request.requested_output_names())
        tensors = [utils.Tensor(name, arrays[name]) for name in OUTPUTS if name in wanted]
        return utils.InferenceResponse(output_tensors=tensors)

    def _answer(self, request: Any) -> dict[str, NDArray[Any]]:
        parameters = _parameters(request)
        thresholds: Thresholds | None = thresholds_of(self._thresholds, parameters)
        if self._network["decoded"] and not any(name in parameters for name in Thresholds.__dataclass_fields__):
            thresholds = None
        given = {name: self._utils.get_input_tensor_by_name(request, name) for name in _INPUTS}
        given = {name: tensor for name, tensor in given.items() if tensor is not None}
        if len(given) != 1:
            raise InputError(f"a request has {len(given)} of the inputs {', '.join(_INPUTS)}; give one")
        ((name, tensor),) = given.items()
        frames = _frames(name, tensor.as_numpy())
        found = self._open().infer(frames, color="rgb" if name == "rgb" else "bgr", thresholds=thresholds)
        return arrays_of(found, self._spec.keypoints)

    def _open(self) -> Engine | DecodedNetwork:
        """What stands around the network; opened with the first request, as Triton runs no other model before."""
        network = self._network
        if self._engine is None and network["decoded"]:
            height, width = (
                side if side > 0 else own
                for side, own in zip(network["input"]["shape"][2:], self._spec.imgsz, strict=True)
            )
            least, most = network["profile"][0][0], network["batch"]
            self._engine = DecodedNetwork(self._run, self._spec, size=(height, width), least=least, most=most)
        elif self._engine is None:
            self._engine = Engine.on_network(
                self._run,
                backend=f"triton-{network['backend']}",
                source=(network["input"]["name"], network["input"]["shape"]),
                profile=network["profile"],
                outputs=[(one["name"], one["shape"]) for one in network["outputs"]],
                spec=self._spec,
                batch=network["batch"],
                thresholds=self._thresholds,
            )
        return self._engine

    def _run(self, images: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """The network's outputs for an input, from the model that runs it."""
        utils, network = self._utils, self._network
        names = [one["name"] for one in network["outputs"]]
        given = images.astype(network["input"]["dtype"], copy=False)
        more: dict[str, Any] = {}
        if hasattr(utils, "PreferredMemory"):  # since Triton 23.01; before, the outputs of backends on GPUs stay there
            more["preferred_memory"] = utils.PreferredMemory(utils.TRITONSERVER_MEMORY_CPU, 0)
        response = utils.InferenceRequest(
            model_name=network["model"],
            model_version=self._version,
            requested_output_names=names,
            inputs=[utils.Tensor(network["input"]["name"], given)],
            **more,
        ).exec()
        if response.has_error():
            raise ModelError(f"{network['model']}, version {self._version}: {response.error().message()}")
        found: list[NDArray[np.float32]] = []
        for name in names:
            tensor = utils.get_output_tensor_by_name(response, name)
            if not tensor.is_cpu():
                raise ModelError(f"{network['model']}: its output {name} came on the GPU; use a newer Triton")
            found.append(np.asarray(tensor.as_numpy(), np.float32))
        return found


def _failure(utils: Any, text: str, kind: str) -> Any:
    code = getattr(utils.TritonError, kind, None)  # since Triton 23.09
    return utils.TritonError(text) if code is None else utils.TritonError(text, code)


def _parameters(request: Any) -> dict[str, Any]:
    """The parameters of a request; those that are no thresholds are others' affair."""
    values: Any = json.loads(request.parameters() or "{}")
    return cast("dict[str, Any]", values) if isinstance(values, dict) else {}


def _frames(name: str, array: NDArray[Any]) -> list[Any]:
    """The pictures of an input."""
    if not 1 <= len(array) <= _BOUNDS.max_pictures:
        raise InputError(f"{len(array)} pictures; send 1 to {_BOUNDS.max_pictures} at once")
    if name != "encoded":
        _, height, width, _ = array.shape
        if height * width > _BOUNDS.max_pixels:
            raise InputError(f"{width}x{height} pixels are more than the {_BOUNDS.max_pixels} that are taken")
        return list(array)
    return [
        decode_picture(bytes(data), name=f"picture {index}", max_pixels=_BOUNDS.max_pixels)
        for index, data in enumerate(array)
    ]
