# SPDX-License-Identifier: Apache-2.0
"""The plugin in a real TensorRT, 10 or newer: built, written, read again and run without anything else of trtpose.

The library is the one TRTPOSE_PLUGIN names; arrays on the GPU are cupy's or torch's.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import onnx
import pytest

import trtpose
from trtpose.build.graft import OUTPUTS, find_plugin, graft

pytestmark = pytest.mark.gpu

DATA = Path(trtpose.__file__).parent / "data"
CONF, IOU, MAX_DET = 0.3, 0.65, 50


@pytest.fixture(scope="module")
def trt() -> Any:
    module = pytest.importorskip("tensorrt", reason="TensorRT's Python package is not installed")
    major = int(module.__version__.split(".")[0])
    if major < 10:
        pytest.skip(f"TensorRT {module.__version__} has no plugins of this kind")
    try:
        path = find_plugin(major)
    except trtpose.DeviceError as error:
        pytest.skip(str(error))
    assert module.get_plugin_registry().load_library(str(path)) is not None
    return module


class Arrays:
    """Arrays and a stream of cupy or torch."""

    def __init__(self) -> None:
        for name in ("cupy", "torch"):
            try:
                self.library: Any = importlib.import_module(name)
            except ImportError:
                continue
            self.is_cupy = name == "cupy"
            self.stream: Any = self.library.cuda.Stream(**({"non_blocking": True} if self.is_cupy else {}))
            return
        pytest.skip("neither cupy nor torch is installed")

    @property
    def handle(self) -> int:
        return int(self.stream.ptr if self.is_cupy else self.stream.cuda_stream)

    def put(self, values: np.ndarray) -> Any:
        return self.library.asarray(values) if self.is_cupy else self.library.from_numpy(values).cuda()

    def get(self, array: Any) -> np.ndarray:
        return self.library.asnumpy(array) if self.is_cupy else array.cpu().numpy()

    @staticmethod
    def address(array: Any) -> int:
        return int(array.__cuda_array_interface__["data"][0])


def build(trt: Any, model: onnx.ModelProto, shapes: list[tuple[int, ...]]) -> bytes:
    log = trt.Logger(trt.Logger.WARNING)
    builder = trt.Builder(log)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, log)
    assert parser.parse(model.SerializeToString()), [str(parser.get_error(i)) for i in range(parser.num_errors)]
    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)
    profile = builder.create_optimization_profile()
    profile.set_shape("images", *shapes)
    config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, config)
    assert plan is not None
    return bytes(plan)


def run(trt: Any, context: Any, engine: Any, images: np.ndarray) -> dict[str, np.ndarray]:
    """What the engine writes for a batch; the memory is rubbish before."""
    arrays = Arrays()
    assert context.set_input_shape("images", images.shape)
    kept = {"images": arrays.put(np.ascontiguousarray(images))}
    for name in OUTPUTS:
        shape = tuple(context.get_tensor_shape(name))
        dtype = np.dtype(trt.nptype(engine.get_tensor_dtype(name)))
        kept[name] = arrays.put(np.full(shape, -7, dtype))
    for name, array in kept.items():
        assert context.set_tensor_address(name, arrays.address(array))
    arrays.library.cuda.Device().synchronize() if arrays.is_cupy else arrays.library.cuda.synchronize()
    assert context.execute_async_v3(arrays.handle)
    arrays.stream.synchronize()
    return {name: arrays.get(kept[name]) for name in OUTPUTS}


def poses_of(outputs: dict[str, np.ndarray], image: int) -> list[tuple[float, np.ndarray]]:
    count = int(outputs["num_dets"][image, 0])
    for name in OUTPUTS[1:]:
        assert not outputs[name][image, count:].any(), f"{name} beyond the poses is not zero"
    scores = outputs["scores"][image, :count]
    assert (np.diff(scores) <= 0).all()
    assert (scores > CONF).all()
    return [(float(scores[i]), outputs["keypoints"][image, i]) for i in range(count)]


def lacking(these: list[tuple[float, np.ndarray]], those: list[tuple[float, np.ndarray]]) -> list[float]:
    """Scores, not just at the threshold, of poses that have no like among the others."""
    # FP32 on both sides, summed in another order: hundredths of a pixel, far from half of one.
    return [
        score
        for score, points in these
        if score > CONF + 0.01 and not any(np.abs(points[:, :2] - other[:, :2]).max() < 0.5 for _, other in those)
    ]


def test_an_engine_with_the_plugin_finds_what_trtpose_finds(trt: Any) -> None:
    engine = trtpose.Engine(DATA / "demo.onnx", device="cpu", conf=CONF, iou=IOU, max_det=MAX_DET)
    height, width = engine.imgsz
    # Pictures of the network's own size: its pixels are theirs.
    paths = sorted((DATA / "demo").glob("*.jpg"))[:3]
    frames = [cv2.resize(cast("Any", cv2.imread(str(path))), (width, height)) for path in paths]
    assert len(frames) == 3
    images = np.stack([trtpose.letterbox(frame, (height, width), spec=engine.spec) for frame in frames])
    grafted = graft(onnx.load(str(DATA / "demo.onnx")), engine.spec, conf=CONF, iou=IOU, max_det=MAX_DET)
    plan = build(trt, grafted.model, [(1, 3, height, width), (2, 3, height, width), (3, 3, height, width)])
    runtime = trt.Runtime(trt.Logger(trt.Logger.WARNING))
    loaded = runtime.deserialize_cuda_engine(plan)
    assert loaded is not None
    context = loaded.create_execution_context()
    together = run(trt, context, loaded, images)
    total = 0
    for i, frame in enumerate(frames):
        found = poses_of(together, i)
        (expected,) = engine.infer(frame)
        wanted = [(float(s), k) for s, k in zip(expected.scores, expected.keypoints, strict=True)]
        assert lacking(wanted, found) == []
        assert lacking(found, wanted) == []
        total += len(found)
        alone = run(trt, context, loaded, images[i : i + 1])
        assert abs(int(alone["num_dets"][0, 0]) - len(found)) <= 1  # another batch may take another kernel
    assert total > 0


def test_every_size_of_the_profile(trt: Any) -> None:
    model = onnx.load(str(DATA / "demo.onnx"))
    grafted = graft(model, max_det=MAX_DET, conf=CONF)
    side = max(grafted.spec.strides)
    shapes = [(1, 3, side, side), (1, 3, 4 * side, 4 * side), (2, 3, 6 * side, 8 * side)]
    plan = build(trt, grafted.model, shapes)
    loaded = trt.Runtime(trt.Logger(trt.Logger.WARNING)).deserialize_cuda_engine(plan)
    context = loaded.create_execution_context()
    rng = np.random.default_rng(11)
    for batch, height, width in ((1, side, side), (2, 6 * side, 8 * side), (1, 2 * side, 5 * side)):
        outputs = run(trt, context, loaded, rng.random((batch, 3, height, width), np.float32))
        for i in range(batch):
            poses_of(outputs, i)
            boxes = outputs["boxes"][i]
            assert boxes.min() >= 0
            assert boxes[:, [0, 2]].max() <= width
            assert boxes[:, [1, 3]].max() <= height
