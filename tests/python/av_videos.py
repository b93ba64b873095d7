# SPDX-License-Identifier: Apache-2.0
"""Videos as they can be, written with PyAV: any times, codec, container and sound."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

SIZE = (48, 64)
"""Height and width."""


def grey(index: int) -> int:
    return 20 + 10 * (index % 20)


def stripes() -> Any:
    """A picture of SIZE in four colours side by side."""
    image = np.zeros((*SIZE, 3), np.uint8)
    image[:, :16], image[:, 16:32], image[:, 32:48], image[:, 48:] = (
        (0, 0, 255),
        (0, 255, 0),
        (255, 0, 0),
        (90, 200, 40),
    )
    return image


def write_times(
    path: Path,
    times: Sequence[int],
    time_base: Fraction,
    *,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    size: tuple[int, int] = SIZE,
    last: int | None = None,
    sound: str = "",
    sound_from: float = 0.0,
    sound_to: float = 0.0,
    images: Sequence[Any] | None = None,
    options: dict[str, str] | None = None,
    container: dict[str, str] | None = None,
    title: str = "",
) -> Path:
    """A video whose frame i is shown at ``times[i] * time_base`` and is of the grey :func:`grey` of i.

    Args:
        last: how long the last frame is shown, in time bases.
        sound: a codec for a tone beside it, from ``sound_from`` to ``sound_to`` seconds.
        images: pictures to take, BGR.
        container: options of the muxer.
        title: what the container says that it is.
    """
    with av.open(str(path), "w", options=container or {}) as out:
        if title:
            out.metadata["title"] = title
        step = times[1] - times[0] if len(times) > 1 else last or 1
        stream = out.add_stream(codec, rate=1 / (step * time_base), options=options or {})
        stream.width, stream.height, stream.pix_fmt = size[1], size[0], pix_fmt
        stream.time_base = stream.codec_context.time_base = time_base
        packets: list[Any] = []
        tone = out.add_stream(sound, rate=48_000, layout="mono") if sound else None
        for index, ticks in enumerate(times):
            image = np.full((*size, 3), grey(index), np.uint8) if images is None else images[index]
            frame = av.VideoFrame.from_ndarray(image, format="bgr24")
            frame.pts, frame.time_base = ticks, time_base
            packets += stream.encode(frame)
        packets += stream.encode()
        ends = [*times[1:], times[-1] + (last or (times[-1] - times[-2] if len(times) > 1 else 1))]
        lasting = dict(zip(times, (end - begin for begin, end in zip(times, ends, strict=True)), strict=True))
        for packet in packets:
            packet.duration = lasting.get(packet.pts, 0)
        if tone is not None:
            packets += tone_packets(tone, sound_from, sound_to)
        for packet in sorted(packets, key=lambda p: p.dts * p.time_base):
            out.mux(packet)
    return path


def tone_packets(stream: Any, begin: float, end: float) -> list[Any]:
    packets: list[Any] = []
    step = stream.codec_context.frame_size or 1024
    for at in range(round(begin * 48_000), round(end * 48_000), step):
        wave = np.sin(np.arange(at, at + step) * (2 * np.pi * 440 / 48_000))
        if stream.codec_context.format.name == "fltp":
            frame = av.AudioFrame.from_ndarray(wave[None].astype(np.float32) / 2, format="fltp", layout="mono")
        else:
            frame = av.AudioFrame.from_ndarray((wave[None] * 16000).astype(np.int16), format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 48_000, at, Fraction(1, 48_000)
        packets += stream.encode(frame)
    return packets + stream.encode()


def turn_mp4(path: Path, a: float, b: float, c: float, d: float) -> Path:
    """Write a display matrix into the header of an MP4's only track (ISO/IEC 14496-12, tkhd)."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    for place, value in ((0, a), (1, b), (3, c), (4, d)):
        struct.pack_into(">i", data, at + 4 * place, round(value * 65536))
    path.write_bytes(data)
    return path


def times_of(path: Path) -> tuple[list[float], float]:
    """When each frame of a video is shown, in seconds, and when it ends, as PyAV reads it without trtpose."""
    with av.open(str(path)) as video:
        stream = video.streams.video[0]
        shown = sorted((p.pts, p.duration or 0) for p in video.demux(stream) if p.pts is not None)
        assert stream.time_base is not None
        base = stream.time_base
        return [float(pts * base) for pts, _ in shown], float((shown[-1][0] + shown[-1][1]) * base)
