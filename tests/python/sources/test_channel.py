# SPDX-License-Identifier: Apache-2.0
"""The queue between the decoder thread and the run."""

from __future__ import annotations

import numpy as np

from trtpose.sources import Frame
from trtpose.sources.channel import Channel


def test_the_bound_in_bytes():
    channel = Channel(depth=10, max_bytes=100)
    small = Frame(np.zeros((2, 5, 3), np.uint8), "a")
    large = Frame(np.zeros((20, 20, 3), np.uint8), "b")
    channel.put(large)  # alone it passes
    assert channel._full(30)
    assert channel.get() is large
    for _ in range(3):
        channel.put(small)
    assert channel._full(30)
    channel.get()
    assert not channel._full(30)
