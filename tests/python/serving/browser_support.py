# SPDX-License-Identifier: Apache-2.0
"""A real browser for the tests of pages."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SHOTS = os.environ.get("TRTPOSE_SHOTS")

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")


@contextlib.contextmanager
def launched(*flags: str) -> Generator[Any]:
    """Chromium, or a skipped test where it does not start."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    try:
        runner = playwright.sync_playwright().start()
        opened = runner.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", *flags])
    except (playwright.Error, subprocess.SubprocessError) as error:
        pytest.skip(f"Chromium does not start ({str(error).splitlines()[0]})")
    yield opened
    opened.close()
    runner.stop()


class Page:
    """A page whose every error counts."""

    def __init__(self, browser: Any, url: str, **options: Any) -> None:
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.problems: list[str] = []
        self.page.on("console", lambda message: message.type == "error" and self.problems.append(message.text))
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.goto(url)

    def people(self) -> int:
        return self.page.locator("#people tr[aria-selected]").count()

    def wait(self, script: str) -> None:
        limit = time.monotonic() + 120
        while not self.page.evaluate(script):  # the page's own policy allows no waiting of Playwright's kind
            assert time.monotonic() < limit, (script, self.problems, self.page.inner_text("#error"))
            time.sleep(0.03)

    def shot(self, name: str) -> None:
        if SHOTS:
            self.page.screenshot(path=str(Path(SHOTS) / f"{name}.png"), full_page=True)

    def close(self) -> None:
        self.context.close()
