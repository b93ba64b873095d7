# SPDX-License-Identifier: Apache-2.0
"""The page of a live view, used in a real browser: by mouse, by keyboard, in the dark and on a phone."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from support import make_poses
from trtpose import Engine
from trtpose.results import Poses

from .browser_support import Page, launched, needs_chromium
from .live_support import View, until, viewed, with_ids

pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
pytest.importorskip("uvicorn", reason="the extra serve is not installed")

DATA = Path(__file__).resolve().parents[3] / "python" / "trtpose" / "data"
pytestmark = needs_chromium


@pytest.fixture(scope="module")
def browser() -> Generator[Any]:
    with launched() as opened:
        yield opened


@pytest.fixture
def view() -> Generator[View]:
    with viewed() as made:
        yield made


def at(view: View, browser: Any, **options: Any) -> Page:
    page = Page(browser, view.url, **options)
    page.wait("document.querySelectorAll('article').length === 2")
    return page


def text(position: int, part: str) -> str:
    return f"document.querySelectorAll('article')[{position}].querySelector('{part}').textContent"


def pixel(position: int, x: int, y: int) -> str:
    canvas = f"document.querySelectorAll('article')[{position}].querySelector('canvas')"
    return f"[...{canvas}.getContext('2d').getImageData({x}, {y}, 1, 1).data].join()"


def flat(value: int, height: int = 120, width: int = 160) -> Any:
    return np.full((height, width, 3), value, np.uint8)


def nobody(height: int = 120, width: int = 160) -> Poses:
    return make_poses(0, (height, width))


def test_every_source_with_its_people_and_its_state(view: View, browser: Any) -> None:
    page = at(view, browser)
    page.wait(f"{text(0, '.state')} === 'waiting for the first frame'")
    view.see(0, image=flat(200), poses=with_ids((120, 160), 4, 7))
    view.cameras.set(0, read=12, dropped=3, age=0.031)
    page.wait(f"{text(0, '.people')} === '2 people, ids 4 7'")
    page.wait(f"{text(0, '.state')} === 'connected'")
    page.wait(f"{text(0, '.figures')}.startsWith('12 frames read · 3 dropped · results 31 ms after reading · newest ')")
    page.wait("document.querySelectorAll('article.full').length === 1")
    assert page.page.evaluate("document.querySelector('canvas').getAttribute('aria-label')") == "door: 2 people"
    # The next comes when the last is shown, and people are drawn on it.
    view.see(0, image=flat(90), poses=nobody())
    page.wait(f"{pixel(0, 2, 2)} === '90,90,90,255'")
    assert page.page.evaluate(text(0, "h2")) == "door"
    view.cameras.set(1, trouble="broke off (the server ended it)")
    page.wait(f"{text(1, '.state')} === 'reconnecting: broke off (the server ended it)'")
    page.wait("document.getElementById('news').textContent === 'yard: reconnecting'")
    view.cameras.set(1, trouble="gone", ended=True)
    page.wait(f"{text(1, '.state')} === 'ended: gone'")
    page.wait("document.getElementById('summary').textContent === '2 sources, 1 connected, 0 people'")
    assert page.problems == []
    page.close()


def test_skeletons_and_boxes_are_drawn_or_not(view: View, browser: Any) -> None:
    page = at(view, browser)
    poses = make_poses(1, (120, 160))
    poses.keypoints[..., 2] = 0.9
    view.see(0, image=flat(128), poses=poses)
    marked = (
        "(() => { const c = document.querySelector('canvas'); const d = c.getContext('2d')"
        ".getImageData(0, 0, c.width, c.height).data; let n = 0; for (let i = 0; i < d.length; i += 4)"
        " n += Math.abs(d[i] - 128) > 20 || Math.abs(d[i + 1] - 128) > 20; return n; })()"
    )
    page.wait(f"{marked} > 50")
    whole = page.page.evaluate(marked)
    # The picture is drawn again with the browser's next frame, so each is waited for.
    page.page.click("#boxes")
    page.wait(f"0 < {marked} && {marked} < {whole}")
    lines = page.page.evaluate(marked)
    page.page.click("#skeletons")
    page.wait(f"{marked} === 0")
    page.page.click("#skeletons")
    page.wait(f"{marked} === {lines}")
    page.page.locator("#seen").fill("0.95")
    page.wait(f"{marked} === 0")
    assert page.problems == []
    page.close()


def test_by_keyboard_alone(view: View, browser: Any) -> None:
    page = at(view, browser)
    image = flat(60, 720, 1280)
    view.see(0, image=image, poses=nobody(720, 1280))
    view.see(1, image=flat(70), poses=nobody())
    page.wait("document.querySelectorAll('article.full').length === 2")
    assert page.page.evaluate("document.querySelector('canvas').width") == 640
    reached: list[str] = []
    for _ in range(7):
        page.page.keyboard.press("Tab")
        reached.append(page.page.evaluate("document.activeElement.id || document.activeElement.className"))
    assert reached == ["skip", "skeletons", "boxes", "seen", "pause", "picture", "picture"]
    page.page.keyboard.press("Shift+Tab")
    page.page.keyboard.press("Enter")  # the first alone, and larger
    page.wait("document.querySelector('canvas').width === 1280")
    assert page.page.evaluate("[...document.querySelectorAll('article')].map((one) => one.hidden)") == [False, True]
    assert page.page.get_attribute("button.picture >> nth=0", "aria-expanded") == "true"
    page.page.keyboard.press("Escape")
    assert page.page.evaluate("[...document.querySelectorAll('article')].map((one) => one.hidden)") == [False, False]
    page.wait("document.activeElement.className === 'picture'")
    page.page.locator("#pause").focus()
    page.page.keyboard.press("Enter")
    page.wait("document.getElementById('pause').getAttribute('aria-pressed') === 'true'")
    assert page.problems == []
    page.close()


def test_who_pauses_or_goes_asks_for_nothing(view: View, browser: Any) -> None:
    page = at(view, browser)
    view.see(0, image=flat(10), poses=nobody())
    page.wait(f"{pixel(0, 2, 2)} === '10,10,10,255'")
    page.page.click("#pause")
    page.wait("document.getElementById('pause').textContent === 'Go on'")
    until(lambda: all(one.only == frozenset() for one in view.live.viewers))
    view.see(0, index=1, image=flat(20), poses=nobody())
    page.wait(f"{text(0, '.figures')}.startsWith('2 frames read')")
    assert page.page.evaluate(pixel(0, 2, 2)) == "10,10,10,255"
    page.page.click("#pause")
    page.wait(f"{pixel(0, 2, 2)} === '20,20,20,255'")
    page.close()
    until(lambda: not view.live.viewers)


def test_the_run_ends(browser: Any) -> None:
    with viewed() as view:
        page = at(view, browser)
        view.see(0, image=flat(10), poses=nobody())
        page.wait(f"{pixel(0, 2, 2)} === '10,10,10,255'")
    page.wait("document.getElementById('summary').textContent === 'the run has ended'")
    assert page.page.evaluate("document.getElementById('error').hidden")
    assert page.page.evaluate(pixel(0, 2, 2)) == "10,10,10,255"
    assert page.problems == []
    page.close()


def test_a_token_is_asked_for(browser: Any) -> None:
    with viewed(token="correct-horse", hosts=()) as view:
        page = Page(browser, view.url)
        page.page.locator("#token").fill("wrong-battery")
        page.page.keyboard.press("Enter")
        page.wait("document.getElementById('ask').open")
        page.page.locator("#token").fill("correct-horse")
        page.page.keyboard.press("Enter")
        page.wait("document.querySelectorAll('article').length === 2")
        assert all("401" in problem for problem in page.problems)
        page.close()


def test_in_the_dark_and_on_a_phone(browser: Any) -> None:
    """With the demo's photographs and the people in them, for the screenshots too."""
    engine = Engine(DATA / "demo.onnx", imgsz=256)
    photographs = [cv2.imread(str(path)) for path in sorted((DATA / "demo").glob("*.jpg"))[:4]]
    names = ["rtsp://10.0.0.7/door", "rtsp://10.0.0.8/yard", "rtsp://10.0.0.9/hall", "0"]
    with viewed(engine, *names) as view:
        for position, image in enumerate(photographs):
            view.see(position, index=411, image=image.copy(), poses=engine.infer(image)[0])
            view.cameras.set(position, read=412, dropped=17 * position, age=0.031)
        if len(photographs) > 2:
            view.cameras.set(1, trouble="broke off (the server ended it)", reconnects=2)
            view.cameras.set(2, ended=True, trouble="the stream broke off (3 more tries); the connection is refused")
        phone = {"viewport": {"width": 390, "height": 780}, "is_mobile": True, "has_touch": True}
        looks = {"live-phone": {"color_scheme": "dark", **phone}, "live": {"viewport": {"width": 1280, "height": 900}}}
        for name, options in looks.items():
            page = Page(browser, view.url, **options)
            page.wait(f"document.querySelectorAll('article.full').length === {len(photographs)}")
            dark = page.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(15, 19, 24)"
            assert dark == (name == "live-phone")
            assert page.page.evaluate("document.documentElement.scrollWidth") <= options["viewport"]["width"]
            page.shot(name)
            assert page.problems == []
            page.close()
