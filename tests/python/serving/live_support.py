# SPDX-License-Identifier: Apache-2.0
"""A live view of cameras that the test plays."""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from support import PERSON, FakeEngine, make_poses, picture
from trtpose.results import Poses
from trtpose.sources import Frame
from trtpose.sources.frame import Counters


class Cameras:
    """What the view asks of :class:`trtpose.Sources`."""

    def __init__(self, *names: str) -> None:
        self.counters = [Counters(name) for name in names]

    def set(self, position: int, **values: Any) -> None:
        self.counters[position] = dataclasses.replace(self.counters[position], **values)

    @property
    def names(self) -> list[str]:
        return [counters.source for counters in self.counters]

    def counters_of(self, position: int) -> Counters:
        return self.counters[position]

    def is_live(self, position: int) -> bool:
        return position >= 0

    def is_passed_over(self, position: int) -> bool:
        return position < 0


@dataclass
class View:
    """The view of two cameras; :meth:`see` is what the run does with a frame."""

    live: Any
    server: Any
    url: str
    cameras: Cameras
    engine: FakeEngine = field(default_factory=FakeEngine)
    seen: int = 0

    def see(self, position: int = 0, *, index: int = 0, image: Any = None, poses: Poses | None = None) -> Frame:
        image = picture(120, 160, seed=position) if image is None else image
        name = self.cameras.counters[position].source
        frame = Frame(image, name, index, is_video=True, live=True, position=position)
        self.cameras.set(position, read=index + 1)
        self.server.add(frame, make_poses(2, image.shape[:2]) if poses is None else poses)
        return frame


def with_ids(shape: tuple[int, int], *ids: int) -> Poses:
    return dataclasses.replace(make_poses(len(ids), shape, PERSON), ids=np.array(ids, np.int32))


@contextlib.contextmanager
def viewed(engine: Any = None, *names: str, **options: Any) -> Generator[View]:
    """A view that is served meanwhile."""
    from trtpose.serving.live import Live
    from trtpose.serving.live_app import LiveServer
    from trtpose.serving.settings import Settings

    cameras = Cameras(*(names or ("door", "yard")))
    engine = engine or FakeEngine()
    settings = Settings(**{"hosts": ("127.0.0.1", "localhost"), "title": "net", **options})
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        live = Live(engine, cameras, settings)  # pyright: ignore[reportArgumentType]
        with LiveServer(live, listener) as server:
            yield View(live, server, f"http://127.0.0.1:{listener.getsockname()[1]}", cameras, engine)


def until(true: Callable[[], bool]) -> None:
    """Wait for what is to come soon; half a minute is long on any machine."""
    limit = time.monotonic() + 120
    while not true():
        assert time.monotonic() < limit
        time.sleep(0.005)
