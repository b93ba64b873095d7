# SPDX-License-Identifier: Apache-2.0
"""Pose estimation on Ray: datasets of any number of pictures, and Ray Serve (extra ``ray``)."""

from __future__ import annotations

from ..serving.settings import Settings
from .data import infer
from .serve import deployment
from .shards import Summary, infer_files
from .table import poses, schema

__all__ = ["Settings", "Summary", "deployment", "infer", "infer_files", "poses", "schema"]
