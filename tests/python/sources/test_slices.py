# SPDX-License-Identifier: Apache-2.0
"""Key pictures that come in several slices, each behind parameter sets of its own, are whole when they are decoded."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest

from trtpose.sources.slices import WholePictures

START = b"\0\0\0\1"


def units(data: bytes) -> list[bytes]:
    """What stands between the start codes."""
    return [unit.rstrip(b"\0") for unit in data.split(b"\0\0\1")[1:]]


def encoded(codec: str, images: list[Any]) -> list[Any]:
    """A packet for each picture: the first and the fourth are key pictures, of four slices with one for all others."""
    options = {"h264": {"x264-params": "slices=4:keyint=3:scenecut=0:bframes=0:sliced-threads=0:annexb=1"}}
    options["hevc"] = {"x265-params": "slices=4:keyint=3:scenecut=0:bframes=0:log-level=none:repeat-headers=1:ctu=16"}
    context: Any = av.CodecContext.create({"h264": "libx264", "hevc": "libx265"}[codec], "w")
    context.width, context.height, context.pix_fmt = images[0].shape[1], images[0].shape[0], "yuv420p"
    context.time_base, context.framerate, context.options = Fraction(1, 25), Fraction(25), options[codec]
    packets: list[Any] = []
    for number, image in enumerate(images):
        frame = av.VideoFrame.from_ndarray(image, format="bgr24")
        frame.pts, frame.time_base = number, Fraction(1, 25)
        packets += context.encode(frame)
    return packets + context.encode(None)


def split(packets: list[Any], codec: str) -> list[Any]:
    """As FFmpeg hands on what GStreamer sends: every slice of a key picture with the sets, as a packet of its own."""

    def kind(unit: bytes) -> int:
        return unit[0] & 31 if codec == "h264" else unit[0] >> 1 & 63

    sets, slices = ((7, 8), (1, 5)) if codec == "h264" else ((32, 33, 34), range(32))
    parts: list[Any] = []
    for packet in packets:
        found = units(bytes(packet))
        head = [unit for unit in found if kind(unit) in sets]
        body = [unit for unit in found if kind(unit) in slices]
        pieces = [[*head, unit] for unit in body] if packet.is_keyframe else [body]
        for piece in pieces:
            part = av.Packet(b"".join(START + unit for unit in piece))
            part.pts, part.dts, part.time_base = packet.pts, packet.dts, packet.time_base
            part.is_keyframe = packet.is_keyframe
            parts.append(part)
    parts[0].pts = parts[0].dts = None  # as the first of a stream
    return parts


def decoded(packets: list[Any], codec: str) -> list[Any]:
    context: Any = av.CodecContext.create(codec, "r")
    return [frame for packet in [*packets, None] for frame in context.decode(packet)]


def whole(packets: list[Any], codec: str) -> list[Any]:
    pictures = WholePictures(av, codec)
    return [one for packet in packets for one in pictures.take(packet)] + list(pictures.rest())


def moving(count: int) -> list[Any]:
    rows = np.arange(256)[:, None, None]
    return [
        np.broadcast_to((rows + 40 * number) % 256, (256, 128, 3)).astype(np.uint8).copy() for number in range(count)
    ]


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_slices_become_one_picture(codec: str):
    packets = encoded(codec, moving(7))
    parts = split(packets, codec)
    assert len(parts) == 7 + 3 * 3
    joined = whole(parts, codec)
    assert [one.pts for one in joined] == [one.pts for one in packets]
    expected = [frame.to_ndarray(format="gray") for frame in decoded(packets, codec)]
    found = [frame.to_ndarray(format="gray") for frame in decoded(joined, codec)]
    assert len(found) == len(expected) == 7
    assert all(np.array_equal(one, other) for one, other in zip(found, expected, strict=True))
    assert len(decoded(parts, codec)) > 7 or not np.array_equal(
        decoded(parts, codec)[-1].to_ndarray(format="gray"), expected[-1]
    ), "FFmpeg puts them together by itself; the module is not needed any more"


@pytest.mark.parametrize("codec", ["h264", "hevc", "mjpeg"])
def test_whole_pictures_wait_once_at_most(codec: str):
    """Only the first key picture waits for the packet behind it."""
    packets = encoded("h264" if codec == "mjpeg" else codec, moving(7))
    pictures = WholePictures(av, codec)
    given = [len(list(pictures.take(packet))) for packet in packets]
    assert given == ([1] * 7 if codec == "mjpeg" else [0, 2, 1, 1, 1, 1, 1])
    assert list(pictures.rest()) == []


def test_slices_that_begin_later_are_joined_from_the_next_key_picture_on():
    packets = encoded("h264", moving(9))
    parts = packets[:3] + [part for part in split(packets, "h264") if (part.pts or 0) >= 3]
    joined = whole(parts, "h264")
    # Of the first its first slice has gone before it was known that there are more.
    assert [one.pts for one in joined] == [0, 1, 2, 3, 3, 4, 5, 6, 7, 8]


def parts_without_their_beginning(packet: Any, count: int) -> list[Any]:
    """Later slices as packets of pictures that follow one another, their first slices lost on the way."""
    slices = [unit for unit in units(bytes(packet)) if unit[0] & 31 == 5]
    lost: list[Any] = []
    for number in range(count):
        part = av.Packet(START + slices[-1])
        part.pts = part.dts = number + 1
        part.time_base = packet.time_base
        lost.append(part)
    return lost


def test_what_is_left_of_a_later_picture_is_not_joined():
    packets = encoded("h264", moving(1))
    joined = whole([*split(packets, "h264"), *parts_without_their_beginning(packets[0], 3)], "h264")
    assert [one.pts for one in joined] == [0, 1, 2, 3]
    expected, found = decoded(packets, "h264"), decoded(joined[:1], "h264")
    assert np.array_equal(found[0].to_ndarray(format="gray"), expected[0].to_ndarray(format="gray"))


def test_parts_without_end_are_not_held():
    packets = encoded("h264", moving(1))
    pictures = WholePictures(av, "h264")
    parts = parts_without_their_beginning(packets[0], 2000)
    for part in parts:
        part.is_keyframe = True
    given = [one for part in [packets[0], *parts] for one in pictures.take(part)]
    assert len(given) == 3  # of 600 each


def test_a_picture_that_waits_at_the_end_comes_out():
    (packet,) = encoded("h264", moving(1))
    end = av.Packet(0)
    pictures = WholePictures(av, "h264")
    assert [*pictures.take(packet), *pictures.take(end)] == [packet, end]
    pictures = WholePictures(av, "h264")
    assert [*pictures.take(packet), *pictures.rest()] == [packet]
