# SPDX-License-Identifier: Apache-2.0
"""How large an ONNX model is and how much it computes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .errors import InputError, ModelError
from .formats import onnx_file

__all__ = ["channels_last", "model_cost"]


def model_cost(path: str | Path, imgsz: int | tuple[int, int] | None = None) -> dict[str, int]:
    """Parameters and multiply-adds of an ONNX model for one picture.

    Multiply-adds are those of convolutions and matrix products, as the tables of the published networks count them
    (GMACs; twice as many FLOPs); activations, additions, pooling and decoding are left out. The shapes are inferred by
    OpenVINO's reader; nothing is compiled or run.

    Args:
        path: the ONNX file.
        imgsz: input height and width in pixels, or the side of a square; only needed where the model leaves them open.

    Returns:
        ``parameters``: numbers in the weights, whether floating-point or quantised, with batch norm folded or not as
        the file has it; ``macs``: multiply-adds per picture.

    Raises:
        ModelError: the file cannot be read, is no ONNX model, or its size is open and ``imgsz`` is not given.
        InputError: ``imgsz`` is not positive, or the model's size is fixed and another is asked for.
    """
    wanted = (imgsz, imgsz) if isinstance(imgsz, int) else imgsz
    if wanted is not None and (len(wanted) != 2 or min(wanted) < 1):
        raise InputError(f"imgsz is {imgsz}, expected a positive height and width in pixels")
    content = onnx_file.read(path)
    try:
        model = onnx_file.openvino_model(content)
        batch = _set_size(model, wanted, path)
        model.validate_nodes_and_infer_types()
    except RuntimeError as error:
        lines = str(error).strip().splitlines()
        raise ModelError(
            f"{path}: not an ONNX model, damaged or not for this size ({lines[-1][:200] if lines else ''})"
        ) from None
    parameters = macs = 0
    for node in model.get_ops():
        kind = node.get_type_name()
        if kind == "Constant":
            parameters += math.prod(node.get_output_shape(0)) if _is_weight(node) else 0
            continue
        if kind not in ("Convolution", "GroupConvolution", "ConvolutionBackpropData", "MatMul"):
            continue
        source, weight = (node.input(i).get_partial_shape() for i in (0, 1))
        result = node.output(0).get_partial_shape()
        if source.is_dynamic or weight.is_dynamic or result.is_dynamic:
            name = node.get_friendly_name()
            raise ModelError(f"{path}: the shapes around {name} cannot be inferred, so the model cannot be counted")
        counts = [[int(d) for d in shape.to_shape()] for shape in (source, weight, result)]
        if kind == "Convolution":
            macs += math.prod(counts[2]) * math.prod(counts[1][1:])
        elif kind == "GroupConvolution":  # weights: groups x outputs x inputs x kernel
            macs += math.prod(counts[2]) * math.prod(counts[1][2:])
        elif kind == "ConvolutionBackpropData":
            macs += math.prod(counts[0]) * math.prod(counts[1][1:])
        else:
            macs += math.prod(counts[2]) * counts[0][-2 if node.get_attributes().get("transpose_a") else -1]
    return {"parameters": parameters, "macs": macs // batch}


def channels_last(shape: Sequence[int]) -> bool:
    """Whether a batch of pictures of this shape, 0 or less where it is open, has its channels last (NHWC)."""
    return len(shape) == 4 and shape[1] not in (1, 3) and shape[3] in (1, 3)


def _is_weight(node: Any) -> bool:
    kind = node.get_element_type().get_type_name()
    return kind in ("f16", "bf16", "f32", "f64") or (
        kind in ("i8", "u8", "i4", "u4") and len(node.get_output_shape(0)) > 1
    )


def _set_size(model: Any, wanted: tuple[int, int] | None, path: str | Path) -> int:
    """Fix the open dimensions of the input; returns the batch."""
    shape = model.inputs[0].get_partial_shape() if len(model.inputs) == 1 else None
    if shape is None or shape.rank.is_dynamic or len(shape) != 4:
        raise ModelError(f"{path}: expected one input, a batch of pictures with 4 dimensions")
    dims = [0 if dim.is_dynamic else int(dim.get_length()) for dim in shape]
    first = 1 if channels_last(dims) else 2
    fixed = dims[first : first + 2]
    if wanted is None and min(fixed) < 1:
        raise ModelError(f"{path}: the model takes any input size; say with imgsz at which to count")
    for have, want in zip(fixed, wanted or fixed, strict=True):
        if have and have != want:
            size = f"{fixed[0]}x{fixed[1]}"
            raise InputError(f"{path}: the model is made for {size} pixels and cannot be counted at another size")
    size = wanted or (fixed[0], fixed[1])
    batch = dims[0] or 1
    if 0 in dims:
        channels = [dims[3 if first == 1 else 1] or 3]
        model.reshape([batch, *size, *channels] if first == 1 else [batch, *channels, *size])
    return batch
