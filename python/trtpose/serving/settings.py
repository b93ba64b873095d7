# SPDX-License-Identifier: Apache-2.0
"""What a server allows."""

from __future__ import annotations

from dataclasses import dataclass

from ..sources import MAX_PIXELS

__all__ = ["Settings"]

_REQUESTS = 8
"""Of the largest size so many fit into what is held at the same time."""


@dataclass(frozen=True)
class Settings:
    """Bounds and access.

    Attributes:
        max_body: bytes of a request.
        max_pixels: width times height of a picture.
        max_pictures: pictures of a request; no more than may wait.
        max_held: bytes of all requests that are under way at the same time; 0 takes eight times ``max_body``.
        max_streams: WebSockets at the same time, each of which may hold two frames of ``max_body``.
        queue: pictures that wait for the engine at most; more are told to come back later.
        timeout: seconds from a request's head to its answer.
        batches: how many pictures go into the engine at once, 1 among them; empty takes a few sizes up to the engine's
            batch.
        deadline: seconds that the first picture of a batch waits at most for others that are on their way.
        token: what a client must show; empty lets everybody in.
        hosts: names that the server may be called by where there is no token, so that a page elsewhere cannot reach it
            by giving its own name this address; empty allows every name.
        origins: pages of other servers that may use it, as ``https://example.org``.
        title: what the model is called.
    """

    max_body: int = 32 << 20
    max_pixels: int = min(MAX_PIXELS, 1 << 26)
    max_pictures: int = 64
    max_held: int = 0
    max_streams: int = 32
    queue: int = 128
    timeout: float = 30.0
    batches: tuple[int, ...] = ()
    deadline: float = 0.003
    token: str = ""
    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    title: str = "model"

    def __post_init__(self) -> None:
        object.__setattr__(self, "max_pictures", min(self.max_pictures, self.queue))
        object.__setattr__(self, "max_held", self.max_held or _REQUESTS * self.max_body)
