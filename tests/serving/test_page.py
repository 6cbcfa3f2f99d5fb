"""The page at `/` in a real browser: what it shows, what it refuses to run, and that everybody can use it."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from recsys.bundle.catalogue import Catalogue
from recsys.bundle.root import assign
from recsys.bundle.write import publish, write
from recsys.keys import FILE, make_key
from recsys.serving.page.history import MOST
from tests.helpers.browser import CHECKS, needs_chromium, open_tab, painted_ms, write_history
from tests.helpers.service import ITEMS, Running, content, publish_toy, running

MARKUP = "<img src=x onerror=\"document.title='run'\"><script>document.title='run'</script>"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, str]]:
    """(a service with 10,000 points of history and hostile titles, the bundle of an arm)."""
    folder = tmp_path_factory.mktemp("page")
    state = folder / "state"
    state.mkdir()
    write_history(state, MOST)
    titles = [MARKUP if number % 3 == 0 else f"Title {number}" for number in range(len(ITEMS))]
    domains = [("film", MARKUP)[number % 2] for number in range(len(ITEMS))]
    hostile = replace(content(), catalogue=Catalogue.of(pa.table({"title": titles, "domain": domains})))
    publish(folder / "bundles", hostile)
    second = write(folder / "bundles", content(2)).name
    assign(folder / "bundles", "towers/b", second)
    with running(folder / "bundles", folder / "log", "--state", str(state)) as service:
        yield service, second


@needs_chromium
@pytest.mark.parametrize("size", [(1280, 900), (375, 700)], ids=["wide", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_person_in_two_bundles_by_keyboard_alone(
    service: tuple[Running, str], size: tuple[int, int], scheme: str
) -> None:
    running, second = service
    with open_tab(running.url, width=size[0], height=size[1]) as (tab, complaints):
        tab.emulate_media(color_scheme=scheme)
        tab.wait_for_selector(f"body[data-drawn='{1000}']")
        tab.keyboard.press("Tab")
        assert tab.evaluate("document.activeElement.className") == "skip"
        tab.keyboard.press("Tab")
        assert tab.evaluate("document.activeElement.id") == "person"
        assert tab.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        tab.keyboard.type("u1")
        tab.keyboard.press("Tab")
        tab.keyboard.type("007")
        for _ in range(4):
            tab.keyboard.press("Tab")
        assert tab.evaluate("document.activeElement.id") == "right-bundle"
        tab.keyboard.press("ArrowDown")
        tab.keyboard.press("ArrowDown")
        assert tab.evaluate("document.activeElement.value") == second
        tab.keyboard.press("Tab")
        tab.keyboard.press("Enter")
        tab.wait_for_selector(".answer:nth-child(2) li")
        shown = tab.locator(".answer").all_inner_texts()
        for text, bundle_id in zip(shown, (running.bundle_id, second), strict=True):
            asked = {"user_id": "u1", "history": [{"item_id": "007"}], "k": 10, "reasons": 10}
            answer = running.ask("POST", "/v1/recommend", asked, {"X-Recsys-Shadow": bundle_id}).json
            assert answer["bundle_id"] == bundle_id
            assert answer["source"] in text
            assert answer["why"] in text
            for item in answer["items"]:
                assert (item["title"] or item["item_id"]) in text
                assert item["reason"] is None or item["reason"] in text
        assert tab.locator("li.differs").count() > 0
        assert tab.evaluate(CHECKS) == []
        assert tab.title() == "recsys"  # the titles' markup did not run
        assert tab.locator("main img, main script").count() == 0
        assert complaints == []
    assert running.lines() == []  # no exposure


@needs_chromium
def test_what_is_wrong_is_said_and_the_page_goes_on(service: tuple[Running, str]) -> None:
    with open_tab(service[0].url) as (tab, _):
        tab.wait_for_selector("body[data-drawn]")
        tab.fill("#person", "x" * 2000)
        tab.click("#ask-form button")
        tab.wait_for_selector("#problem:not([hidden])")
        assert "user_id" in tab.inner_text("#problem")
        assert "xxx" not in tab.inner_text("#problem")
        tab.fill("#person", "nobody")
        tab.click("#ask-form button")
        tab.wait_for_selector(".answer li")
        assert not tab.is_visible("#problem")
        assert "fallback" in tab.inner_text(".answer")


@needs_chromium
def test_ten_thousand_points_are_painted(service: tuple[Running, str]) -> None:
    """With ten thousand points of history; benchmarks/service_page.py measures it, this bound is for a busy
    machine."""
    with open_tab(service[0].url) as (tab, complaints):
        assert painted_ms(tab) < 3_000
        tab.select_option("#span", "10000")
        tab.wait_for_selector(f"body[data-drawn='{MOST}']")
        assert tab.locator(".chart canvas").count() == 4
        assert "10,000 points" in tab.inner_text("#time-note")
        assert complaints == []


@needs_chromium
def test_a_key_is_asked_for_kept_nowhere_and_goes_in_a_header(tmp_path: Path) -> None:
    publish_toy(tmp_path / "bundles")
    key, _ = make_key(tmp_path / "state" / FILE, "page", ["read"])
    asked: list[Any] = []
    options = ("--state", str(tmp_path / "state"))
    with running(tmp_path / "bundles", Path("off"), *options) as service, open_tab(service.url) as (tab, _):
        tab.on("request", lambda request: asked.append(request))
        tab.wait_for_selector("#key-section:not([hidden])")
        tab.fill("#key", key)
        tab.keyboard.press("Enter")
        tab.locator("#state", has_text="bundle").wait_for()
        tab.fill("#person", "u1")
        tab.click("#ask-form button")
        tab.wait_for_selector(".answer li")
        assert key not in tab.content()
        assert tab.evaluate("JSON.stringify([localStorage, sessionStorage, document.cookie])") == '[{},{},""]'
        assert all(key not in request.url for request in asked)
        assert asked[-1].headers["authorization"] == f"Bearer {key}"
        tab.reload()
        tab.wait_for_selector("#key-section:not([hidden])")


def test_the_page_is_allowed_nothing_from_elsewhere(service: tuple[Running, str]) -> None:
    for path in ("/", "/page/page.js", "/page/page.css", "/page/uPlot.iife.min.js", "/page/uPlot.min.css"):
        answer = service[0].ask("GET", path)
        policy = answer.headers["content-security-policy"]
        assert answer.status == 200
        assert "unsafe" not in policy
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        again = service[0].ask("GET", path, headers={"if-none-match": answer.headers["etag"]})
        assert (again.status, again.body) == (304, b"")
        text = answer.body.decode()
        assert path.endswith("js") or "http" not in text.replace("http-equiv", "")
        if path == "/":
            assert "style=" not in text
            assert "onclick" not in text
            assert text.count("<script") == text.count("<script src=")
    for path in ("/page/uPlot.LICENSE", "/page/index.html%00", "/page/../app.py", "/page/%2e%2e%2fapp.py"):
        assert service[0].ask("GET", path).status == 404


def test_own_code_never_makes_markup_of_what_it_is_told() -> None:
    from recsys.serving.page.files import FOLDER

    text = (FOLDER / "page.js").read_text()
    for way in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "Function(",
        "setAttribute",
    ):
        assert way not in text
