#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Check that every part of the native code includes only what its layer may (docs/architecture.md).

python tools/check_includes.py [ROOT]
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

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

# What each layer may include of ours, as prefixes of the path in the #include. TYPES are the headers directly under
# trtpose/ that hold types alone and know no model; PUBLIC adds what a model says of itself and what a caller asks for.
TYPES = (
    "trtpose/error.hpp",
    "trtpose/export.hpp",
    "trtpose/version.hpp",
    "trtpose/types.hpp",
    "trtpose/context.hpp",
)
PUBLIC = (*TYPES, "trtpose/model_spec.hpp", "trtpose/options.hpp", "trtpose/own_nms.hpp")
ALLOWED = {
    "math": ("trtpose/math/",),
    "public": (*PUBLIC, "trtpose/session.hpp", "trtpose/device_poses.hpp", "trtpose/math/"),
    "core": (*TYPES, "core/"),
    # What files say of themselves; which family a file belongs to is asked of the registry.
    "model": (*PUBLIC, "core/", "model/", "families/family.hpp"),
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
    # The registry asks for libraries before it opens a module; neither header of tensorrt/ knows a vendor's.
    "backends": (
        *PUBLIC,
        "trtpose/session.hpp",
        "core/",
        "model/onnx_content.hpp",
        "backends/backend.hpp",
        "backends/own_process.hpp",
        "backends/tensorrt/vendor.hpp",
        "backends/tensorrt/vendor_library.hpp",
    ),
    "openvino": (
        *PUBLIC,
        "trtpose/session.hpp",
        "core/",
        "model/onnx_content.hpp",
        "model/onnx_limits.hpp",
        "backends/backend.hpp",
        "backends/openvino/",
    ),
    "tensorrt": (*PUBLIC, "trtpose/session.hpp", "core/", "model/", "backends/backend.hpp", "backends/tensorrt/"),
    "engine": (
        *PUBLIC,
        "trtpose/between_runs.hpp",
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
    # The attributes that nodes had before they had the spec.
    "plugins": (
        *PUBLIC,
        "trtpose/views.hpp",
        "trtpose/math/",
        "core/",
        "families/family.hpp",
        "families/anchor_grid/spec_attributes.hpp",
        "plugins/",
    ),
    # vendor.hpp is TensorRT without its headers; its other side is TensorRT's Python package.
    "bindings": ("trtpose/", "bindings.hpp", "dlpack.hpp", "gil.hpp", "backends/tensorrt/vendor.hpp"),
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
FAMILY = re.compile(r"^(?:cpp/src/)?families/(\w+)/")
OWN = re.compile(r"^(trtpose|core|model|ops|families|backends|engine|plugins)/|^bindings\.hpp$")


def layer_of(path: str) -> str | None:
    return next((layer for prefix, layer in LAYERS if path.startswith(prefix)), None)


def of_another_family(name: str, target: str) -> bool:
    mine, theirs = FAMILY.match(name), FAMILY.match(target)
    return bool(mine and theirs and mine[1] != theirs[1])


def complaint(name: str, target: str, own: bool) -> str | None:
    """What is wrong with an #include of ``target`` in the file ``name``; ``own`` says that it stands in quotes."""
    for pattern, places in VENDORS:
        if pattern.match(target) and not any(place in name for place in places):
            return f"{target} belongs in {' or '.join(places) or 'no part of the library'}"
    if own and target.startswith("."):
        return f"{target} hides its layer; write the path from cpp/src"
    layer = layer_of(name)
    if OWN.match(target) and layer and not target.startswith(ALLOWED[layer]):
        return f"layer {layer} must not include {target}"
    if of_another_family(name, target):
        return f"a family must not include another one's {target}; what several share is an operation, in ops"
    return None


def problems(path: Path, root: Path) -> list[str]:
    name = path.relative_to(root).as_posix()
    found: list[str] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        match = INCLUDE.match(line)
        wrong = match and complaint(name, match[2], match[1] == '"')
        if wrong:
            found.append(f"{name}:{number}: {wrong}")
    return found


def main() -> int:
    root = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else Path(__file__).resolve().parent.parent
    files = [
        path
        for folder in ("cpp", "plugins", "python/bindings")
        for path in sorted((root / folder).rglob("*"))
        if path.suffix in (".hpp", ".cpp", ".cu", ".cuh", ".h")
    ]
    bad = [problem for path in files for problem in problems(path, root)]
    print("\n".join(bad) if bad else f"includes: {len(files)} files follow the layers")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
