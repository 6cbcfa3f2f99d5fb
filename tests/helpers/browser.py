"""Debian's chromium, driven by playwright, for the tests of the page."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed: apt-get install chromium")
_FLAGS = ("--no-sandbox", "--disable-background-networking", "--disable-gpu", "--disable-dev-shm-usage")


@contextmanager
def opened(url: str, *, width: int = 1280, height: int = 900) -> Iterator[tuple[Any, list[str]]]:
    """(a tab at an address, what it complains of: errors, refusals of the policy, and failed requests)."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*_FLAGS])
        try:
            tab = browser.new_page(viewport={"width": width, "height": height})
            complaints: list[str] = []
            tab.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
            tab.on("pageerror", lambda error: complaints.append(str(error)))
            tab.on("dialog", lambda dialog: (complaints.append(f"dialog: {dialog.message}"), dialog.dismiss()))
            tab.goto(url)
            yield tab, complaints
        finally:
            browser.close()
