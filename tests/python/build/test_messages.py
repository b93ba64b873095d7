# SPDX-License-Identifier: Apache-2.0
"""What TensorRT says went wrong, in a sentence."""

from __future__ import annotations

import pytest

from trtpose.build import messages


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            "IBuilder::buildSerializedNetwork: Error Code 1: Myelin ([pass.cpp:337: check_op] Cannot compile operation "
            "'/a/MatMul' for Turing (SM75): FP32 GEMM is not supported)",
            "Cannot compile operation '/a/MatMul' for Turing (SM75): FP32 GEMM is not supported",
        ),
        (
            "IBuilder::buildSerializedNetwork: Error Code 6: API Usage Error (Unable to load library: lib.so.1: no "
            "such file In Impl at /_src/common/dl.cpp:12)",
            "Unable to load library: lib.so.1: no such file",
        ),
        (
            "2: [optimizer.cpp::validate::3331] Error Code 2: Internal Error (Assertion engine != nullptr failed. )",
            "Assertion engine != nullptr failed",
        ),
        (
            "Assertion failed: shiftIsAllZeros(zeroPoint): Non-zero zero point is not supported. Please set something.",
            "Non-zero zero point is not supported",
        ),
        ("[ModelImporter.cpp:140] bad\nnode", "bad node"),
    ],
)
def test_what_libraries_say_in_one_sentence(said: str, told: str) -> None:
    assert messages.first_sentence(said) == told
