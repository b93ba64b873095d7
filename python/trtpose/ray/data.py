# SPDX-License-Identifier: Apache-2.0
"""People in the pictures of a Ray dataset."""

from __future__ import annotations

import os
from typing import Any, Literal

from .._checks import instance, whole
from .._optional import require
from ..errors import InputError
from ..sources import MAX_PIXELS
from .plan import Plan, Resources, make_plan, resources
from .worker import Finder

__all__ = ["infer", "ray_data"]

Concurrency = int | tuple[int, int]


def ray_data() -> Any:
    """The package ``ray.data``.

    Raises:
        DeviceError: Ray is not installed, or without what its datasets need; the message says how.
    """
    return require("ray.data", package="ray[data]", extra="ray", purpose="trtpose.ray")


def infer(
    dataset: Any,
    model: str | os.PathLike[str],
    *,
    column: str | None = None,
    color: Literal["rgb", "bgr"] = "rgb",
    on_error: Literal["keep", "raise"] = "keep",
    max_pixels: int = MAX_PIXELS,
    rows: int = 64,
    readers: int = 4,
    concurrency: Concurrency = 1,
    num_cpus: float | None = None,
    num_gpus: float | None = None,
    actors: dict[str, Any] | None = None,
    **options: Any,
) -> Any:
    """Find the people in the pictures of a dataset, by actors that each hold an engine.

    Args:
        dataset: ``ray.data.Dataset`` of files (``ray.data.read_binary_files(..., include_paths=True)``: ``bytes``),
            of paths or addresses that the actors read (``path``, such as of a Parquet file), or of decoded pictures
            (``ray.data.read_images``: ``image``). A column ``path`` beside another names the pictures.
        model: path of an ONNX model or an engine file, the same on each machine.
        column: the one with the pictures, where it has another name.
        color: channel order of decoded pictures; ``read_images`` gives RGB.
        on_error: ``keep`` makes a picture that cannot be read a row that says why; ``raise`` ends the run.
        max_pixels: width times height of a picture that is still decoded.
        rows: pictures that an actor takes at once; best some times the engine's batch.
        readers: threads of an actor that read and decode. Of a store that takes L seconds to answer an actor gets at
            most ``readers`` / L pictures a second.
        concurrency: actors, or the least and the most of them.
        num_cpus: processors that Ray keeps free for an actor, with as many threads of the engine on the CPU;
            by default ``threads``, or 1.
        num_gpus: GPUs for an actor, such as 0.5; by default 1 for an engine file and none for an ONNX model.
        actors: more of what ``Dataset.map_batches`` takes for its actors, such as ``accelerator_type``, ``memory``.
        options: of :class:`trtpose.Engine`: ``conf``, ``batch``, ``imgsz``, ``device``...

    Returns:
        A lazy ``ray.data.Dataset``, a row per picture as :func:`trtpose.ray.schema` says, the dataset's other columns
        beside it. Rows come in any order, unless Ray is told to keep it.

    Raises:
        InputError: an option has no valid value. What only an actor sees, such as a model that is not there, ends the
            run when it is consumed.
        DeviceError: Ray is not installed.
    """
    ray = ray_data()
    instance(dataset, "dataset", ray.Dataset, "a ray.data.Dataset")
    need = resources(model, options, num_cpus, num_gpus)
    how = {"column": column, "color": color, "on_error": on_error, "max_pixels": max_pixels, "readers": readers}
    plan = make_plan(model, options, need, **how)
    return mapped(dataset, plan, need, rows=rows, concurrency=concurrency, actors=actors)


def mapped(
    dataset: Any, plan: Plan, need: Resources, *, rows: int, concurrency: Concurrency, actors: dict[str, Any] | None
) -> Any:
    """The dataset with a plan carried out; arguments as of :func:`infer`."""
    instance(actors, "actors", (dict, type(None)), "a dict of what Dataset.map_batches takes")
    return dataset.map_batches(
        Finder,
        fn_constructor_args=(plan,),
        batch_size=whole(rows, "rows", 1, 1 << 16),
        batch_format="pyarrow",
        compute=ray_data().ActorPoolStrategy(**_pool(concurrency)),
        num_cpus=need.cpus,
        num_gpus=need.gpus,
        **(actors or {}),
    )


def _pool(concurrency: Any) -> dict[str, int]:
    """Bounds of a pool of actors.

    Raises:
        InputError: they are none.
    """
    if not isinstance(concurrency, tuple):
        return {"size": whole(concurrency, "concurrency", 1)}
    if len(concurrency) != 2:
        raise InputError(f"concurrency is {concurrency}; give the number of actors, or the least and the most of them")
    least, most = (whole(one, "concurrency", 1) for one in concurrency)
    if least > most:
        raise InputError(f"concurrency is {concurrency}; the least comes first")
    return {"min_size": least, "max_size": most}
