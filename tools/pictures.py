#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Make the pictures of README.md and docs/how-to/serve.md again, from what the project draws itself.

    python tools/pictures.py [--only video|page] [--out docs/images]

video   people who walk past each other, drawn by tools/demo_model; ``trtpose infer --track`` finds and follows them
page    the page of ``trtpose serve`` in Chromium (make servers), with a picture of the demo; in the dark on a phone

Both use the packaged network, which was trained on such drawings.
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / folder) for folder in ("benchmarks", "tests/python", "tools")]

MODEL = ROOT / "python" / "trtpose" / "data" / "demo.onnx"
RATE, FRAMES, SHOWN = 30, 90, 52
"""Frames a second and in all of the video, and the one that is kept."""
SHAPE = (480, 852)


def frames() -> Iterator[NDArray[np.uint8]]:
    """A wall, a floor, and people of different statures who cross; those farther away are drawn first."""
    from tracking import Figure, background, paste
    from walks import Walker

    walkers = [
        Walker((120, 452), (720, 452), 330, 0, FRAMES),
        Walker((800, 430), (60, 430), 290, 0, FRAMES),
        Walker((60, 405), (480, 405), 250, 0, FRAMES),
        Walker((640, 395), (800, 395), 235, 0, FRAMES),
    ]
    figures = [Figure(seed, walker.height) for seed, walker in zip((3, 11, 6, 8), walkers, strict=True)]
    back = background(5, SHAPE)
    for frame in range(FRAMES):
        image, owner = back.copy(), np.full(SHAPE, -1, np.int64)
        for who in sorted(range(len(walkers)), key=lambda n: walkers[n].start[1]):
            body = walkers[who].at(frame)
            if body is not None:
                feet = np.array([body[11:13, 0].mean(), body[15:17, 1].max()])
                paste(image, owner, figures[who], figures[who].place(feet), who)
        yield image


def save(picture: Image.Image, path: Path, width: int) -> None:
    """As a JPEG of so many pixels across."""
    height = round(picture.height * width / picture.width)
    shown = picture.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
    shown.save(path, quality=82, optimize=True, progressive=True)
    print(f"{path}: {shown.width}x{shown.height}, {path.stat().st_size} bytes")


def make_video(out: Path, folder: Path) -> None:
    """A frame of an annotated video."""
    import av

    path = folder / "walk.mp4"
    with av.open(str(path), "w") as video:
        stream: Any = video.add_stream("libx264", rate=RATE)
        stream.height, stream.width, stream.pix_fmt = *SHAPE, "yuv420p"
        stream.options = {"crf": "12"}
        for image in frames():
            video.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        video.mux(stream.encode())
    command = [sys.executable, "-m", "trtpose", "infer", MODEL, path, "--track", "--imgsz", "384x640"]
    subprocess.run([*map(str, command), "--out", str(folder / "found"), "--quiet"], check=True)
    with av.open(str(folder / "found" / "walk.mp4")) as video:
        kept = next(frame for number, frame in enumerate(video.decode(video=0)) if number == SHOWN)
    save(kept.to_image(), out / "video.jpg", 852)


def busiest() -> Path:
    """The picture of the demo with the most people."""
    annotations = json.loads((MODEL.parent / "demo" / "annotations.json").read_text(encoding="utf-8"))
    people = Counter(entry["image_id"] for entry in annotations["annotations"])
    names = {entry["id"]: entry["file_name"] for entry in annotations["images"]}
    return MODEL.parent / "demo" / names[people.most_common(1)[0][0]]


def make_page(out: Path, _: Path) -> None:
    """The page of the server, by day on a desk and by night on a phone."""
    from playwright.sync_api import sync_playwright

    command = [sys.executable, "-m", "trtpose", "serve", str(MODEL), "--imgsz", "256", "--port", "0", "--quiet"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        url = server.stdout.readline().split()[3]
        with sync_playwright() as play:
            browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            desk = {"viewport": {"width": 1180, "height": 664}}
            phone = {"viewport": {"width": 390, "height": 780}, "is_mobile": True, "color_scheme": "dark"}
            for name, width, options in (("page-picture", 794, desk), ("page-phone", 215, phone)):
                page = browser.new_context(**options).new_page()
                page.goto(url)
                page.set_input_files("#file", str(busiest()))
                end = time.monotonic() + 60
                while not page.locator("#people tr[aria-selected]").count():
                    assert time.monotonic() < end, "the page shows nobody"
                    time.sleep(0.05)
                save(Image.open(io.BytesIO(page.screenshot(full_page=True))), out / f"{name}.jpg", width)
            browser.close()
    finally:
        server.terminate()
        server.wait()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("video", "page"), help="default: both")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images", help="default: docs/images")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for name, make in (("video", make_video), ("page", make_page)):
            if args.only in (None, name):
                make(args.out, Path(folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
