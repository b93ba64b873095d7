# SPDX-License-Identifier: Apache-2.0
"""The sound of a video stays with its annotated pictures."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from av_videos import times_of, write_times
from command_support import Run

TENTH = Fraction(1, 10)


def sound_of(path: Path) -> tuple[str, float, float, bytes]:
    """Codec, beginning and end in seconds, and packets one behind the other."""
    with av.open(str(path)) as video:
        (stream,) = video.streams.audio
        packets: list[Any] = [p for p in video.demux(stream) if p.size]
        begin, last = packets[0], packets[-1]
        end = float((last.pts + last.duration) * last.time_base)
        return stream.codec_context.name, float(begin.pts * begin.time_base), end, b"".join(bytes(p) for p in packets)


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [
        (".mp4", "aac"),
        (".mkv", "aac"),
        (".mkv", "flac"),
        (".mkv", "libmp3lame"),
        (".webm", "libopus"),
        (".mov", "aac"),
        (".avi", "libmp3lame"),
        (".avi", "pcm_s16le"),
    ],
)
def test_sound_is_copied(run: Run, tmp_path: Path, suffix: str, codec: str):
    pictures = {".webm": "libvpx-vp9", ".avi": "mpeg4"}.get(suffix, "libx264")
    source = write_times(tmp_path / f"in{suffix}", list(range(20)), TENTH, codec=pictures, sound=codec, sound_to=2.0)
    status, _, err = run("infer", "m.onnx", source, "--out", tmp_path / "out")
    assert (status, err) == (0, "")
    made = tmp_path / "out" / "in.mp4"
    name, begin, end, data = sound_of(made)
    wanted_name, wanted_begin, wanted_end, wanted = sound_of(source)
    assert name == wanted_name
    # What lies before zero, a codec's lead-in, and after the last picture is left out.
    assert data in wanted
    assert len(data) > 0.8 * len(wanted)
    assert begin == pytest.approx(max(0, wanted_begin), abs=0.08)
    assert end == pytest.approx(min(2.0, wanted_end), abs=0.08)
    assert times_of(made)[0] == pytest.approx(times_of(source)[0], abs=1e-3)
    with av.open(str(made)) as video:
        heard = np.concatenate([f.to_ndarray().ravel() for f in video.decode(audio=0)])
    assert np.abs(heard).max() > 0


def test_sound_of_a_transport_stream_that_begins_late(run: Run, tmp_path: Path):
    """Times of broadcasts begin anywhere; pictures and sound keep their distance."""
    source = write_times(
        tmp_path / "in.ts", [250, 260, 270, 280], TENTH, sound="aac", sound_from=24.5, sound_to=29.0, last=10
    )
    status, _, err = run("infer", "m.onnx", source, "--out", tmp_path / "out")
    assert (status, err) == (0, "")
    name, begin, _, _ = sound_of(tmp_path / "out" / "in.mp4")
    assert name == "aac"
    assert begin == pytest.approx(0.0, abs=0.06)
    assert times_of(tmp_path / "out" / "in.mp4")[0] == pytest.approx([0.5, 1.5, 2.5, 3.5], abs=0.06)


def test_sound_ends_with_the_pictures(run: Run, tmp_path: Path):
    source = write_times(tmp_path / "in.mp4", list(range(40)), TENTH, sound="aac", sound_to=4.0)
    assert run("infer", "m.onnx", source, "--out", tmp_path / "out", "--max-frames", "10")[0] == 0
    assert sound_of(tmp_path / "out" / "in.mp4")[2] == pytest.approx(1.0, abs=0.05)


def test_sound_that_mp4_cannot_hold_is_told(run: Run, tmp_path: Path):
    source = write_times(tmp_path / "in.avi", [0, 1, 2], TENTH, codec="mpeg4", sound="pcm_mulaw", sound_to=0.3)
    status, _, err = run("infer", "m.onnx", source, "--out", tmp_path / "out")
    assert status == 0
    assert (
        err == f"warning: {tmp_path / 'out' / 'in.mp4'}: has no sound: MP4 holds none of the input's kind (pcm_mulaw)\n"
    )
    with av.open(str(tmp_path / "out" / "in.mp4")) as video:
        assert not video.streams.audio
