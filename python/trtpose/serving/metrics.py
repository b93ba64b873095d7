# SPDX-License-Identifier: Apache-2.0
"""What a server counts, for Prometheus."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

__all__ = ["Metrics"]

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """The figures of one server, in a registry of its own.

    Args:
        waiting: tells how many pictures wait.
    """

    def __init__(self, waiting: Callable[[], int]) -> None:
        prometheus: Any = importlib.import_module("prometheus_client")
        self._prometheus = prometheus
        self.registry = prometheus.CollectorRegistry()
        own: dict[str, Any] = {"registry": self.registry}
        self.requests = prometheus.Counter("trtpose_requests", "Requests answered", ["path", "status"], **own)
        self.pictures = prometheus.Counter("trtpose_pictures", "Pictures in which people were looked for", **own)
        self.people = prometheus.Counter("trtpose_people", "People found", **own)
        self.stages = prometheus.Histogram(
            "trtpose_seconds", "Seconds of a picture by stage", ["stage"], buckets=_SECONDS, **own
        )
        self.batches = prometheus.Histogram("trtpose_batch_size", "Pictures of a batch", buckets=_SIZES, **own)
        queue = prometheus.Gauge("trtpose_waiting", "Pictures that wait for the engine", **own)
        queue.set_function(waiting)

    def text(self) -> tuple[bytes, str]:
        """The page for Prometheus and its media type."""
        return self._prometheus.generate_latest(self.registry), self._prometheus.CONTENT_TYPE_LATEST
