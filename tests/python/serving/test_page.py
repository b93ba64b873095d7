# SPDX-License-Identifier: Apache-2.0
"""The page, used in a real browser: by mouse, by keyboard, with a webcam, in the dark and on a phone."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from trtpose import Engine

from .browser_support import Page, launched, needs_chromium
from .conftest import Start, running

pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")

DATA = Path(__file__).resolve().parents[3] / "python" / "trtpose" / "data"

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def demo() -> Engine:
    return Engine(DATA / "demo.onnx", imgsz=256)


@pytest.fixture(scope="module")
def photograph() -> Path:
    return sorted((DATA / "demo").glob("*.jpg"))[0]


@pytest.fixture(scope="module")
def webcam(photograph: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What Chromium's pretended camera shows: our picture, moving."""
    path = tmp_path_factory.mktemp("webcam") / "webcam.y4m"
    image = cv2.resize(cv2.imread(str(photograph)), (320, 240))
    with path.open("wb") as file:
        file.write(b"YUV4MPEG2 W320 H240 F10:1 Ip A1:1 C420jpeg\n")
        for shift in range(10):
            planes = cv2.cvtColor(np.roll(image, shift, axis=1), cv2.COLOR_BGR2YUV_I420)
            file.write(b"FRAME\n" + planes.tobytes())
    return path


@pytest.fixture(scope="module")
def browser(webcam: Path) -> Generator[Any]:
    flags = [
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-video-capture={webcam}",
    ]
    with launched(*flags) as opened:
        yield opened


@pytest.fixture
def opened(browser: Any, start: Start, demo: Engine) -> Generator[Any]:
    pages: list[Page] = []

    def begin(**options: Any) -> Page:
        server = options.pop("server", {})
        pages.append(Page(browser, start(demo, title="demo", **server), **options))
        return pages[-1]

    yield begin
    for page in pages:
        page.close()


def test_a_picture_its_people_and_the_sliders(opened: Any, demo: Engine, photograph: Path) -> None:
    view = opened()
    view.wait("document.getElementById('model').textContent.startsWith('demo on cpu')")
    view.page.set_input_files("#file", str(photograph))
    view.wait("document.querySelectorAll('#people tr[aria-selected]').length > 0")
    image = cv2.imread(str(photograph))
    expected = demo.infer(image)[0]
    assert view.people() == len(expected)
    first = view.page.locator("#people tr").first.locator("td").all_inner_texts()
    assert first[1] == "person"
    assert first[2] == f"{expected.scores[0]:.2f}"
    size = view.page.evaluate("[document.getElementById('view').width, document.getElementById('view').height]")
    assert size == [image.shape[1], image.shape[0]]
    # Something is drawn: the canvas is not the picture as it was.
    label = view.page.get_attribute("#view", "aria-label")
    assert label == f"{photograph.name}: {len(expected)} {'person' if len(expected) == 1 else 'people'}"
    assert "infer" in view.page.inner_text("#times-text")
    view.shot("page-picture")
    view.page.locator("#conf").fill("0.95")
    view.wait("document.querySelectorAll('#people tr[aria-selected]').length === 0")
    assert len(demo.infer(image, conf=0.95)[0]) == 0
    assert view.page.inner_text("#people") == "nobody"
    assert view.problems == []


def test_by_keyboard_alone(opened: Any, photograph: Path) -> None:
    view = opened()
    view.wait("document.getElementById('model').textContent.startsWith('demo')")
    reached: list[str] = []
    for _ in range(12):
        view.page.keyboard.press("Tab")
        reached.append(view.page.evaluate("document.activeElement.id || document.activeElement.className"))
    assert [name for name in reached if name][:8] == ["skip", "view", "file", "camera", "conf", "iou", "seen", "boxes"]
    view.page.set_input_files("#file", str(photograph))
    view.wait("document.querySelectorAll('#people tr[aria-selected]').length > 0")
    view.page.locator("#people tr").first.focus()
    view.page.keyboard.press("Enter")
    assert view.page.locator("#people tr").first.get_attribute("aria-selected") == "true"
    view.page.keyboard.press("Space")
    assert view.page.locator("#people tr").first.get_attribute("aria-selected") == "false"
    view.page.locator("#conf").focus()
    before = view.page.inner_text("#conf-value")
    view.page.keyboard.press("ArrowRight")
    assert float(view.page.inner_text("#conf-value")) == pytest.approx(float(before) + 0.05)
    assert view.problems == []


def test_the_webcam(opened: Any) -> None:
    view = opened(permissions=["camera"])
    view.wait("document.getElementById('model').textContent.startsWith('demo')")
    view.page.click("#camera")
    view.wait("document.querySelectorAll('#people tr[aria-selected]').length > 0")
    assert view.page.get_attribute("#camera", "aria-pressed") == "true"
    assert view.page.evaluate("document.getElementById('view').width") == 320
    first = view.page.inner_text("#times-text")
    view.wait(f"document.getElementById('times-text').textContent !== {first!r}")
    view.shot("page-webcam")
    view.page.click("#camera")
    assert view.page.get_attribute("#camera", "aria-pressed") == "false"
    assert view.problems == []


def test_errors_are_sentences_on_the_page(opened: Any, tmp_path: Path, photograph: Path) -> None:
    view = opened()
    view.wait("document.getElementById('model').textContent.startsWith('demo')")
    (tmp_path / "notes.jpg").write_bytes(b"no picture at all")
    view.page.set_input_files("#file", str(tmp_path / "notes.jpg"))
    view.wait("!document.getElementById('error').hidden")
    assert "notes.jpg" in view.page.inner_text("#error")
    view.page.set_input_files("#file", str(photograph))
    view.wait("document.getElementById('error').hidden")
    # The browser itself logs answers of 400, and nothing else.
    assert all("400" in problem for problem in view.problems)


def test_people_never_stand_beside_another_picture(opened: Any, tmp_path: Path, photograph: Path) -> None:
    """A browser shows no TIFF, the server reads it: the picture before it must go."""
    view = opened()
    view.wait("document.getElementById('model').textContent.startsWith('demo')")
    view.page.set_input_files("#file", str(photograph))
    drawn = "document.getElementById('view').getContext('2d').getImageData(100, 100, 1, 1).data[3]"
    view.wait(f"{drawn} === 255")
    cv2.imwrite(str(tmp_path / "other.tiff"), cv2.imread(str(photograph))[:, ::-1].copy())
    view.page.set_input_files("#file", str(tmp_path / "other.tiff"))
    view.wait("document.getElementById('error').textContent.startsWith('this browser cannot show')")
    assert view.people() > 0
    assert view.page.evaluate(drawn) == 0
    assert view.page.get_attribute("#view", "aria-label") == "other.tiff: cannot be shown"
    assert view.problems == []


def test_the_server_goes_away(browser: Any, demo: Engine, photograph: Path) -> None:
    pytest.importorskip("uvicorn", reason="the extra serve is not installed")
    with running([demo], title="demo") as url:
        view = Page(browser, url, permissions=["camera"])
        view.wait("document.getElementById('model').textContent.startsWith('demo')")
        view.page.click("#camera")
        view.wait("document.querySelectorAll('#people tr[aria-selected]').length > 0")
    view.wait("!document.getElementById('error').hidden")
    assert view.page.get_attribute("#camera", "aria-pressed") == "false"
    view.page.set_input_files("#file", str(photograph))
    view.wait("document.getElementById('error').textContent.startsWith('the server does not answer')")
    assert view.people() == 0
    assert all("net::ERR" in problem for problem in view.problems)
    view.close()


def test_an_answer_that_breaks_off(opened: Any, photograph: Path) -> None:
    view = opened()
    view.wait("document.getElementById('model').textContent.startsWith('demo')")
    view.page.route("**/v1/poses*", lambda route: route.fulfill(status=200, body='{"width": 3', content_type="x/y"))
    view.page.set_input_files("#file", str(photograph))
    view.wait("document.getElementById('error').textContent.includes('broke off')")
    assert view.problems == []


def test_an_error_of_the_webcam_goes_with_the_next_answer(opened: Any) -> None:
    view = opened(permissions=["camera"], server={"queue": 1})
    view.wait("document.getElementById('model').textContent.startsWith('demo')")
    view.page.click("#camera")
    view.wait("document.querySelectorAll('#people tr[aria-selected]').length > 0")
    # A threshold that the server refuses, then one that it takes.
    view.page.evaluate("document.getElementById('conf').type = 'text', document.getElementById('conf').value = '7'")
    view.wait("document.getElementById('error').textContent.includes('conf')")
    view.page.evaluate("document.getElementById('conf').value = '0.3'")
    view.wait("document.getElementById('error').hidden")
    assert view.problems == []


def test_a_token_is_asked_for(opened: Any, photograph: Path) -> None:
    view = opened(server={"token": "correct-horse", "hosts": ()})
    view.page.locator("#token").fill("“wrong” battery")  # no header can hold such signs
    view.page.keyboard.press("Enter")
    view.wait("document.getElementById('ask').open")
    view.page.locator("#token").fill("correct-horse")
    view.page.keyboard.press("Enter")
    view.wait("document.getElementById('model').textContent.startsWith('demo')")
    view.page.set_input_files("#file", str(photograph))
    view.wait("document.querySelectorAll('#people tr[aria-selected]').length > 0")
    view.page.click("#camera")
    view.wait("document.getElementById('view').width === 320")
    assert all("401" in problem for problem in view.problems)


def test_in_the_dark_and_on_a_phone(opened: Any, photograph: Path) -> None:
    view = opened(color_scheme="dark", viewport={"width": 390, "height": 780}, is_mobile=True, has_touch=True)
    view.page.set_input_files("#file", str(photograph))
    view.wait("document.querySelectorAll('#people tr[aria-selected]').length > 0")
    back = view.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert back == "rgb(15, 19, 24)"
    assert view.page.evaluate("document.documentElement.scrollWidth") <= 390
    view.shot("page-phone")
    assert view.problems == []
