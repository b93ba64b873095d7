# SPDX-License-Identifier: Apache-2.0
"""What an actor is told, and what is refused before there is one."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from trtpose import InputError, Thresholds
from trtpose.ray.data import _pool
from trtpose.ray.plan import Plan, Resources, make_plan, resources


def plan(options: dict[str, Any], need: Resources | None = None, **how: Any) -> Plan:
    given = {"column": None, "color": "rgb", "on_error": "keep", "max_pixels": 1000, "readers": 4, **how}
    return make_plan("m.onnx", options, need or Resources(1, 0), **given)


@pytest.mark.parametrize(
    ("model", "options", "cpus", "gpus", "expected"),
    [
        ("m.onnx", {}, None, None, Resources(1, 0)),
        ("m.engine", {}, None, None, Resources(1, 1)),
        ("m.onnx", {"threads": 4}, None, None, Resources(4, 0)),
        ("m.engine", {"device": "cuda:0"}, 2, 0.25, Resources(2, 0.25)),
        ("m.onnx", {"device": "cpu"}, 0.5, 0, Resources(0.5, 0)),
    ],
)
def test_resources(model: str, options: dict[str, Any], cpus: Any, gpus: Any, expected: Resources):
    assert resources(model, options, cpus, gpus) == expected


@pytest.mark.parametrize(
    ("model", "options", "cpus", "gpus", "why"),
    [
        ("m.engine", {}, None, 0, "num_gpus is 0, and m.engine runs on a GPU; leave num_gpus out"),
        ("m.onnx", {}, None, 1, "num_gpus is 1, and m.onnx runs on the CPU; leave num_gpus out"),
        ("m.engine", {"device": "cuda:1"}, None, None, "numbered from 0: say cuda"),
        ("m.engine", {}, None, 1.5, "num_gpus is 1.5; give a whole number, or a part of 1"),
        ("m.onnx", {}, -1, None, "num_cpus is -1; give a whole number, or a part of 1"),
        ("m.onnx", {}, "2", None, "num_cpus is '2'; expected a number"),
        ("m.onnx", {"device": 1}, None, None, "device is 1; use auto, cpu, cuda"),
        (3, {}, None, None, "model is 3; give the path of an ONNX model or an engine file"),
    ],
)
def test_resources_that_do_not_fit(model: Any, options: dict[str, Any], cpus: Any, gpus: Any, why: str):
    with pytest.raises(InputError, match=why):
        resources(model, options, cpus, gpus)


def test_thresholds_are_one_object_and_threads_what_ray_keeps_free():
    made = plan({"conf": 0.4, "thresholds": Thresholds(iou=0.5), "batch": 2}, Resources(3, 0))
    assert made.options == {"threads": 3, "batch": 2, "thresholds": Thresholds(conf=0.4, iou=0.5)}
    assert made.readers == 4
    assert plan({"threads": 2}).options["threads"] == 2
    assert pickle.loads(pickle.dumps(made)) == made


@pytest.mark.parametrize(
    ("options", "how", "why"),
    [
        ({"nonsense": 1}, {}, "nonsense is no option of trtpose.ray nor of Engine; known are device, "),
        ({"conf": 2}, {}, "conf"),
        ({"thresholds": 0.5}, {}, "thresholds is 0.5; give a trtpose.Thresholds"),
        ({}, {"color": "grey"}, "color 'grey' is not known; use rgb or bgr"),
        ({}, {"on_error": "skip"}, "on_error 'skip' is not known; use keep or raise"),
        ({}, {"column": 3}, "column is 3; give the name of the column with the pictures"),
        ({}, {"max_pixels": 0}, "max_pixels"),
        ({}, {"readers": 0}, "readers 0 must lie between 1 and 1024"),
    ],
)
def test_options_that_are_refused(options: dict[str, Any], how: dict[str, Any], why: str):
    with pytest.raises(InputError, match=why):
        plan(options, **how)


def test_pools():
    assert _pool(3) == {"size": 3}
    assert _pool((1, 8)) == {"min_size": 1, "max_size": 8}
    for wrong, why in (((1, 2, 3), "the least and the most"), ((3, 1), "the least comes first"), (0, "concurrency 0")):
        with pytest.raises(InputError, match=why):
            _pool(wrong)
