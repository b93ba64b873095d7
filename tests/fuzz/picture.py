# SPDX-License-Identifier: Apache-2.0
"""The heads of picture files, read before a decoder sees them: a size and something to decode, or a BadPictureError."""

from __future__ import annotations

import support
from trtpose.sources import headers, heif, jpeg, picture_head

MOST_ADDED = 4096
"""Bytes that a reading may have more than the file."""


def one(data: bytes) -> None:
    headers.looks_like_picture(data[:512])
    try:
        _, head = headers.read_head(data)
    except picture_head.BadPictureError:
        return
    assert head.width > 0
    assert head.height > 0
    assert head.readings
    assert all(len(reading) <= len(data) + MOST_ADDED for reading in head.readings)


if __name__ == "__main__":
    support.instrument(headers, heif, jpeg, picture_head)
    support.run(one, [b"no picture"])
