# SPDX-License-Identifier: Apache-2.0
"""OpenCV's own messages."""

from __future__ import annotations

import pytest

from source_support import with_size
from trtpose.errors import InputError
from trtpose.sources import decode_picture, opencv_log


def test_opencv_keeps_its_log_level():
    log = opencv_log._logging()
    if log is None:
        pytest.skip("this OpenCV has no log level")
    before = log.getLogLevel()
    with pytest.raises(InputError):
        decode_picture(with_size(".bmp", 30, 30000))
    assert log.getLogLevel() == before
