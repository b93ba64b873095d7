# SPDX-License-Identifier: Apache-2.0
"""Write the trained network as ONNX with its model spec.

Usage::

    python -m tools.demo_model.export --weights out/run/weights.pt --out python/trtpose/data/demo.onnx
"""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path

import onnx
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "python"))

from trtpose.spec import METADATA_KEY, ModelSpec

from .network import ANCHORS, STRIDES, PoseNet, fused
from .person import FLIP, KEYPOINTS, SIGMAS, SKELETON

OPSET = 17


def make_spec(size: int) -> ModelSpec:
    """The model spec of the network for an input of ``size`` × ``size`` pixels."""
    return ModelSpec(
        name="demo",
        layout="heads",
        imgsz=(size, size),
        strides=STRIDES,
        anchors=ANCHORS,
        outputs=tuple(f"head_{s}" for s in STRIDES),
        names=("person",),
        kpt_shape=(len(KEYPOINTS), 3),
        kpt_names=KEYPOINTS,
        skeleton=SKELETON,
        sigmas=SIGMAS,
        flip_idx=FLIP,
    )


def _tidy(graph: onnx.GraphProto) -> None:
    """Make equal constants one initializer and equal nodes one node, and drop what describes the program."""
    known: dict[bytes, str] = {}
    renamed: dict[str, str] = {}
    outputs = {o.name for o in graph.output}
    kept: list[onnx.NodeProto] = []
    for node in graph.node:
        node.doc_string = ""
        for i, name in enumerate(node.input):
            node.input[i] = renamed.get(name, name)
        if node.op_type == "Constant":
            tensor = node.attribute[0].t
            tensor.name = ""
            key = tensor.SerializeToString()
            if key not in known:
                known[key] = tensor.name = f"constant_{len(known)}"
                graph.initializer.append(tensor)
            renamed[node.output[0]] = known[key]
            continue
        if node.op_type == "Identity" and node.output[0] not in outputs:
            renamed[node.output[0]] = node.input[0]
            continue
        bare = onnx.NodeProto()
        bare.CopyFrom(node)
        bare.name = ""
        del bare.output[:]
        key = bare.SerializeToString(deterministic=True)
        if key in known and len(node.output) == 1 and node.output[0] not in outputs:
            renamed[node.output[0]] = known[key]
            continue
        known.setdefault(key, node.output[0])
        kept.append(node)
    for node in kept:
        for names in (node.input, node.output):
            for i, name in enumerate(names):
                names[i] = name.removesuffix("_output_0")
    del graph.node[:]
    graph.node.extend(kept)
    used = {name for node in kept for name in node.input}
    for i in reversed(range(len(graph.initializer))):
        if graph.initializer[i].name not in used:
            del graph.initializer[i]
    del graph.value_info[:]


def write(model: PoseNet, path: Path, size: int) -> None:
    """Fold batch norms, trace and write ``path``; batch, height and width (multiples of 32) are dynamic."""
    spec = make_spec(size)
    outputs = list(spec.outputs)
    shapes = {
        "images": {0: "batch", 2: "height", 3: "width"},
        **{n: {0: "batch", 2: n + "_h", 3: n + "_w"} for n in outputs},
    }
    temporary = path.with_suffix(".tmp")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            fused(model),
            (torch.zeros(1, 3, size, size),),
            str(temporary),
            input_names=["images"],
            output_names=outputs,
            dynamic_axes=shapes,
            opset_version=OPSET,
            dynamo=False,
        )
    graph = onnx.load(temporary)
    temporary.unlink()
    _tidy(graph.graph)
    for output in graph.graph.output:
        output.type.tensor_type.shape.dim[1].dim_value = spec.anchors_per_cell * spec.fields
    graph.producer_name, graph.producer_version = "trtpose", ""
    graph.doc_string = ""
    meta = {
        METADATA_KEY: spec.to_json(),
        "description": "Demo pose network of trtpose, trained on drawn pictures; for trying the software",
        "author": "The trtpose authors",
        "license": "Apache-2.0",
        "task": "pose",
        "stride": str(spec.max_stride),
        "batch": "1",
        "imgsz": str(list(spec.imgsz)),
        "names": str(dict(enumerate(spec.names))),
        "kpt_shape": str(list(spec.kpt_shape)),
        "channels": "3",
    }
    onnx.helper.set_model_props(graph, meta)
    onnx.checker.check_model(graph, full_check=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(graph, temporary)
    temporary.replace(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path, required=True, help="weights.pt or checkpoint.pt of the training run")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--size", type=int, default=320, help="default input height and width (default: %(default)s)")
    args = parser.parse_args()
    state = torch.load(args.weights, map_location="cpu", weights_only=True)
    model = PoseNet()
    model.load_state_dict(state.get("average", state))
    write(model, args.out, args.size)
    print(f"{args.out}: {args.out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
