"""Debian's chromium, driven by playwright, for the tests of the page."""

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from recsys.serving.page.history import COLUMNS, FILE

CHROMIUM = shutil.which("chromium")
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium is installed: apt-get install chromium"
)
_FLAGS = ("--no-sandbox", "--disable-background-networking", "--disable-gpu", "--disable-dev-shm-usage")

# Contrast by WCAG 2 of each text with what stands behind it, names of what can be used, order of headings.
CHECKS = """() => {
  const linear = (v) => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
  const light = (c) => { const [r, g, b] = c.map(linear); return .2126 * r + .7152 * g + .0722 * b; };
  const numbers = (text) => text.match(/[\\d.]+/g).map(Number);
  const behind = (e) => { for (; e; e = e.parentElement) {
    const c = numbers(getComputedStyle(e).backgroundColor);
    if (c.length === 3 || c[3] === 1) return c.slice(0, 3); } return [255, 255, 255]; };
  const wrong = [];
  for (const e of document.querySelectorAll("body *")) {
    const isText = (n) => n.nodeType === 3 && n.textContent.trim();
    const shown = e.checkVisibility() && [...e.childNodes].some(isText);
    if (shown && !e.closest(".skip, script, noscript")) {
      const own = light(numbers(getComputedStyle(e).color).slice(0, 3));
      const [a, b] = [own, light(behind(e))].sort((x, y) => y - x);
      const ratio = (a + .05) / (b + .05);
      if (ratio < 4.5) wrong.push(`contrast ${ratio.toFixed(2)}: ${e.textContent.slice(0, 40)}`);
    }
  }
  for (const e of document.querySelectorAll("input, select, textarea"))
    if (!e.labels.length) wrong.push(`no label: ${e.id}`);
  for (const e of document.querySelectorAll("button, a[href]"))
    if (e.checkVisibility() && !e.textContent.trim()) wrong.push("no name: " + e.outerHTML);
  for (const e of document.querySelectorAll("button, input, select, textarea"))
    if (e.checkVisibility() && e.getBoundingClientRect().height < 24) wrong.push("too small: " + e.id);
  for (const e of document.querySelectorAll("th"))
    if (!e.scope) wrong.push("a heading of nothing: " + e.textContent);
  for (const e of document.querySelectorAll("[tabindex]"))
    if (e.tabIndex > 0) wrong.push("order of its own: " + e.id);
  if (!document.querySelector("meta[name=viewport]")) wrong.push("no viewport");
  const heads = [...document.querySelectorAll("h1, h2, h3")].filter((e) => e.checkVisibility());
  const levels = heads.map((e) => Number(e.tagName[1]));
  if (levels[0] !== 1 || levels.some((level, at) => at && level > levels[at - 1] + 1))
    wrong.push(`headings ${levels}`);
  if (!document.documentElement.lang || !document.title) wrong.push("no language or title");
  if (document.querySelectorAll("main").length !== 1) wrong.push("no main part");
  const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
  if (new Set(ids).size !== ids.length) wrong.push("an id twice");
  const width = document.documentElement.scrollWidth;
  if (width > innerWidth) wrong.push(`wider than the window: ${width}`);
  return wrong;
}"""


@contextmanager
def open_tab(url: str, *, width: int = 1280, height: int = 900) -> Iterator[tuple[Any, list[str]]]:
    """(a tab at an address, what it complains of: errors, refusals of the policy, and failed requests)."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*_FLAGS])
        try:
            tab = browser.new_page(viewport={"width": width, "height": height})
            complaints: list[str] = []
            tab.on(
                "console",
                lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None,
            )
            tab.on("pageerror", lambda error: complaints.append(str(error)))

            def refuse(dialog: Any) -> None:
                complaints.append(f"dialog: {dialog.message}")
                dialog.dismiss()

            tab.on("dialog", refuse)
            tab.goto(url)
            yield tab, complaints
        finally:
            browser.close()


def painted_ms(tab: Any) -> float:
    """Milliseconds from the navigation to the first text on the screen, as Lighthouse counts them."""
    asked = "() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
    tab.wait_for_function(asked)
    return float(tab.evaluate(asked))


def write_history(state: Path, points: int) -> None:
    """Writes what a service counted in so many steps of ten seconds, up to now."""
    now = int(time.time())
    rows = [
        [now - 10 * (points - at), 100 + at % 50, 0, at % 7, 2.5, 9 + at % 5, 50, 30, 0, 20, 0, 0]
        for at in range(points)
    ]
    assert len(rows[0]) == len(COLUMNS)
    (state / FILE).write_text("".join(json.dumps(row) + "\n" for row in rows))
