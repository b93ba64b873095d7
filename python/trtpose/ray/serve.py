# SPDX-License-Identifier: Apache-2.0
"""The server of ``trtpose serve`` as a deployment of Ray Serve."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any

from .._checks import instance, whole
from .._optional import require
from ..serving.settings import Settings
from .plan import Plan, make_plan, resources

if TYPE_CHECKING:
    from ..engine import Engine

__all__ = ["deployment"]

_HERE = ("localhost", "127.0.0.1", "[::1]")

_Message = MutableMapping[str, Any]


def deployment(
    model: str | os.PathLike[str],
    *,
    settings: Settings | None = None,
    clones: int = 1,
    num_cpus: float | None = None,
    num_gpus: float | None = None,
    replicas: dict[str, Any] | None = None,
    **options: Any,
) -> Any:
    """An application of Ray Serve that answers as ``trtpose serve`` does: the same paths, batches, bounds and page.

    Each replica has an engine and a batcher of its own. ``ray.serve.run(trtpose.ray.deployment("model.onnx"))`` starts
    it.

    Args:
        model: path of an ONNX model or an engine file, the same on each machine.
        settings: bounds and access. Where it has neither a token nor ``hosts``, only requests to names of this machine
            are answered, as ``trtpose serve`` does it.
        clones: engines of a replica that run at the same time.
        num_cpus, num_gpus: of a replica, as of :func:`trtpose.ray.infer`.
        replicas: more of what ``ray.serve.deployment`` takes: ``num_replicas``, ``autoscaling_config``...
        options: of :class:`trtpose.Engine`: ``conf``, ``batch``, ``imgsz``, ``device``...

    Returns:
        ``ray.serve.Application``, not started.

    Raises:
        InputError: an option has no valid value.
        DeviceError: Ray Serve or what the server needs is not installed; the message says how.
    """
    serve = require("ray.serve", package="ray[serve]", extra="ray", purpose="trtpose.ray.deployment")
    for module in ("starlette", "python_multipart", "prometheus_client"):
        require(module, package=module.replace("_", "-"), extra="serve", purpose="trtpose.ray.deployment")
    kept = Settings() if settings is None else settings
    instance(kept, "settings", Settings, "a trtpose.ray.Settings")
    if not kept.token and not kept.hosts:
        kept = dataclasses.replace(kept, hosts=_HERE)
    instance(replicas, "replicas", (dict, type(None)), "a dict of what ray.serve.deployment takes")
    given = {"streams": whole(clones, "clones", 1), **options}
    need = resources(model, given, num_cpus, num_gpus)
    how = {"column": None, "color": "rgb", "on_error": "keep", "max_pixels": kept.max_pixels, "readers": 1}
    plan = make_plan(model, given, need, **how)
    actor = {"num_cpus": need.cpus, "num_gpus": need.gpus, **(replicas or {}).get("ray_actor_options", {})}
    # More than may wait, so that it is the server which refuses, with its own sentence.
    own = {"max_ongoing_requests": 2 * kept.queue, **(replicas or {}), "ray_actor_options": actor}
    return serve.deployment(name="trtpose", **own)(serve.ingress(Replica(plan, kept, clones))(_Deployment)).bind()


class _Deployment:
    """What Ray Serve hangs the server on."""


class Replica:
    """The ASGI application of ``trtpose serve``, whose engines are opened where it is first called.

    It is sent to other processes before that; engines cannot be.

    Args:
        plan: the model and the engine's options.
        settings: bounds and access.
        clones: engines.
    """

    def __init__(self, plan: Plan, settings: Settings, clones: int) -> None:
        self._plan = plan
        self._settings = settings
        self._clones = clones
        self._app: Any = None

    def _open(self) -> Any:
        from ..engine import Engine
        from ..serving.app import create_app
        from ..serving.batcher import worthwhile_sizes

        engine: Engine = Engine(self._plan.model, **self._plan.options)
        sizes = self._settings.batches or tuple(worthwhile_sizes(engine))
        settings = dataclasses.replace(self._settings, batches=sizes)
        return create_app([engine, *(engine.clone() for _ in range(self._clones - 1))], settings)

    async def __call__(
        self,
        scope: _Message,
        receive: Callable[[], Awaitable[_Message]],
        send: Callable[[_Message], Awaitable[None]],
    ) -> None:
        """Answer; the first call is the one that begins the application, before any request."""
        if self._app is None:
            self._app = self._open()
        await self._app(scope, receive, send)
