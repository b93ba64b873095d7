#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Check that every part of the native code includes only what its layer may (docs/architecture.md)."""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# Layer of a file, by the first prefix that fits its path.
LAYERS = [
    ("cpp/include/trtpose/math/", "math"),
    ("cpp/include/trtpose/ops/", "ops"),
    ("cpp/include/trtpose/", "public"),
    ("cpp/src/core/", "core"),
    ("cpp/src/model/", "model"),
    ("cpp/src/ops/", "ops"),
    ("cpp/src/families/", "families"),
    ("cpp/src/backends/openvino/", "openvino"),
    ("cpp/src/backends/tensorrt/", "tensorrt"),
    ("cpp/src/backends/", "backends"),
    ("cpp/src/engine/", "engine"),
    ("plugins/", "plugins"),
    ("python/bindings/", "bindings"),
]

# What each layer may include of ours, as prefixes of the path in the #include; "public" are the headers directly under
# trtpose/ that hold types alone.
PUBLIC = (
    "trtpose/error.hpp",
    "trtpose/export.hpp",
    "trtpose/version.hpp",
    "trtpose/types.hpp",
    "trtpose/context.hpp",
    "trtpose/model_spec.hpp",
)
ALLOWED = {
    "math": ("trtpose/math/",),
    "public": (*PUBLIC, "trtpose/session.hpp", "trtpose/device_poses.hpp", "trtpose/math/"),
    "core": (*PUBLIC, "core/"),
    # What files say of themselves; which family a file belongs to is asked of the registry.
    "model": (*PUBLIC, "core/", "model/", "families/"),
    "ops": (*PUBLIC, "trtpose/views.hpp", "trtpose/math/", "core/", "ops/", "trtpose/ops/"),
    "families": (
        *PUBLIC,
        "trtpose/views.hpp",
        "trtpose/math/",
        "trtpose/ops/",
        "core/",
        "model/",
        "ops/",
        "families/",
    ),
    # The registry asks for libraries before it opens a module; library.hpp knows no vendor header.
    "backends": (*PUBLIC, "trtpose/session.hpp", "core/", "backends/backend.hpp", "backends/tensorrt/library.hpp"),
    "openvino": (*PUBLIC, "trtpose/session.hpp", "core/", "backends/backend.hpp", "backends/openvino/"),
    "tensorrt": (*PUBLIC, "trtpose/session.hpp", "core/", "model/", "backends/backend.hpp", "backends/tensorrt/"),
    "engine": (
        *PUBLIC,
        "trtpose/session.hpp",
        "trtpose/engine.hpp",
        "trtpose/device_poses.hpp",
        "trtpose/network_times.hpp",
        "trtpose/math/",
        "trtpose/ops/",
        "core/",
        "families/family.hpp",
        "engine/",
    ),
    # The plugin runs the operations: their checks of shapes and their sums of memory are not written twice.
    "plugins": (*PUBLIC, "trtpose/views.hpp", "trtpose/math/", "trtpose/ops/", "core/", "ops/", "families/", "plugins/"),
    "bindings": ("trtpose/", "bindings.hpp", "dlpack.hpp"),
}

# Vendor headers and the only places for them.
VENDORS = [
    (re.compile(r"^openvino/"), ("cpp/src/backends/openvino/",)),
    (re.compile(r"^Nv\w+\.h$"), ("cpp/src/backends/tensorrt/", "plugins/")),
    (
        re.compile(r"^(cuda|driver_types|vector_types|curand|cub/)"),
        ("_cuda.", "cuda_", "cpp/src/engine/cuda/", "cpp/src/backends/tensorrt/", "plugins/"),
    ),
    (re.compile(r"^(pybind11/|Python\.h)"), ("python/bindings/",)),
    (re.compile(r"^opencv"), ()),
]

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
OWN = re.compile(r"^(trtpose|core|model|ops|families|backends|engine|plugins)/|^bindings\.hpp$")


def layer_of(path: str) -> str | None:
    return next((layer for prefix, layer in LAYERS if path.startswith(prefix)), None)


def problems(path: Path) -> list[str]:
    name = path.relative_to(ROOT).as_posix()
    layer = layer_of(name)
    found: list[str] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        match = INCLUDE.match(line)
        if not match:
            continue
        target = match.group(2)
        for pattern, places in VENDORS:
            if pattern.match(target) and not any(place in name for place in places):
                found.append(f"{name}:{number}: {target} belongs in {' or '.join(places) or 'no part of the library'}")
        if OWN.match(target) and layer and not target.startswith(ALLOWED[layer]):
            found.append(f"{name}:{number}: layer {layer} must not include {target}")
    return found


def main() -> int:
    files = [
        path
        for folder in ("cpp", "plugins", "python/bindings")
        for path in sorted((ROOT / folder).rglob("*"))
        if path.suffix in (".hpp", ".cpp", ".cu", ".cuh", ".h")
    ]
    bad = [problem for path in files for problem in problems(path)]
    print("\n".join(bad) if bad else f"includes: {len(files)} files follow the layers")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
