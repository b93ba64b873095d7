# SPDX-License-Identifier: Apache-2.0
"""INT8 and FP16: graphs that compute in fewer bits and keep the keypoints.

Needs ``pip install "trtpose[quantize]"``; nothing here is imported by the rest of the package.
"""

from __future__ import annotations

from .calibration import calibrate
from .quantizer import QuantizeResult, quantize
from .report import Report

__all__ = ["QuantizeResult", "Report", "calibrate", "quantize"]
