# SPDX-License-Identifier: Apache-2.0
"""The operator set of an ONNX graph, and a newer one for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import ModelError

if TYPE_CHECKING:
    import onnx

__all__ = ["opset_of", "raised"]

_IR = {13: 7, 19: 9}
"""The first version of the file format that may hold each operator set."""


def opset_of(model: onnx.ModelProto) -> int:
    """The version of the standard operators that a graph is written in."""
    return max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=1)


def raised(model: onnx.ModelProto, opset: int, what: str) -> onnx.ModelProto:
    """The graph in a newer operator set, with its metadata.

    Args:
        model: is left as it is.
        opset: 13 or 19.
        what: needs it, for the error.

    Raises:
        ModelError: the package onnx cannot convert it.
    """
    from onnx import version_converter

    try:
        made = version_converter.convert_version(model, opset)
    except Exception as error:  # onnx has no common base class for its exceptions
        line = (str(error).strip().splitlines() or [""])[0][:200]
        raise ModelError(
            f"{what} needs opset {opset}, and this graph of opset {opset_of(model)} cannot be raised to it ({line}); "
            f"write it from its framework with opset {opset} (opset_version={opset} of torch.onnx.export)"
        ) from None
    del made.metadata_props[:]
    made.metadata_props.extend(model.metadata_props)
    made.producer_name, made.producer_version = model.producer_name, model.producer_version
    made.doc_string = model.doc_string
    made.ir_version = max(made.ir_version, _IR[opset])
    return made
