# SPDX-License-Identifier: Apache-2.0
"""What decodes videos, and frames as decoders give them, of which pixels in BGR are made when somebody asks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._pyav import require_av
from ..errors import DeviceError
from ..nv12 import Nv12

__all__ = ["Undrawn", "accelerator", "check", "undrawn"]

_MATRICES = {1: "bt709", 2: "bt601", 5: "bt601", 6: "bt601"}
"""The matrix that swscale takes, by the number of a frame's colours in FFmpeg; 2 is of frames that say none."""

_FULL_RANGE = 2  # AVCOL_RANGE_JPEG


def check(decode: str) -> None:
    """Whether a decoder can be used here.

    Raises:
        DeviceError: it cannot; says why.
    """
    if decode == "cpu":
        return
    av = require_av(f"decoding by {decode}")
    try:
        from av.codec.hwaccel import HWAccel, hwdevices_available
    except ImportError:
        raise DeviceError(
            f"decode {decode}: PyAV {av.__version__} decodes on the CPU alone; pip install -U av, or take cpu"
        ) from None
    known = hwdevices_available()
    if decode not in known:
        raise DeviceError(
            f"decode {decode}: PyAV's FFmpeg was built without it (it has {', '.join(known) or 'none'}); take another "
            "or cpu"
        )
    try:
        HWAccel(decode).create(av.codec.Codec("h264", "r"))
    except NotImplementedError:
        raise DeviceError(f"decode {decode}: PyAV's FFmpeg decodes no H.264 by it; take another, or cpu") from None
    except (av.FFmpegError, OSError) as error:
        why = error.strerror or type(error).__name__
        raise DeviceError(
            f"decode {decode}: FFmpeg cannot open such a device here ({why}); check the GPU and its driver, or take cpu"
        ) from None


def accelerator(decode: str) -> dict[str, Any]:
    """Options of ``av.open`` for a decoder. Codecs that the device has none for are decoded on the CPU."""
    if decode == "cpu":
        return {}
    from av.codec.hwaccel import HWAccel

    return {"hwaccel": HWAccel(decode, allow_software_fallback=True)}


class Undrawn:
    """A decoded frame of which nobody has asked for the pixels.

    Attributes:
        nv12: the decoder's planes, not copied, where they are NV12 that the engine takes.
        shape: height and width.
    """

    def __init__(self, frame: Any, nv12: Nv12 | None, convert: Callable[[Any], NDArray[np.uint8]]) -> None:
        self._frame = frame
        self._convert = convert
        self.nv12 = nv12
        self.shape: tuple[int, int] = frame.height, frame.width

    def __deepcopy__(self, _: dict[int, Any]) -> Undrawn:
        return self  # nobody changes it

    @property
    def nbytes(self) -> int:
        """Bytes that are held."""
        return sum(plane.buffer_size for plane in self._frame.planes)

    def image(self) -> NDArray[np.uint8]:
        """(height, width, 3) uint8, BGR; of NV12 not to be written to, as others may look at it."""
        image = self._convert(self._frame)
        if self.nv12 is not None:
            image.setflags(write=False)
        return image


def undrawn(frame: Any, convert: Callable[[Any], NDArray[np.uint8]]) -> Undrawn | None:
    """A decoded frame of PyAV as it is; None where the engine has no such colours.

    Args:
        frame: of any format; one on a device was copied to the host by PyAV.
        convert: makes an image of it.
    """
    matrix = _MATRICES.get(int(frame.colorspace))
    if frame.format.name != "nv12" or matrix is None:
        return None
    luma, chroma = (np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size) for plane in frame.planes)
    height, width = frame.height, frame.width
    planes = luma[:height, :width], chroma[: (height + 1) // 2, : (width + 1) // 2 * 2]
    return Undrawn(frame, Nv12(*planes, matrix=matrix, full_range=int(frame.color_range) == _FULL_RANGE), convert)
