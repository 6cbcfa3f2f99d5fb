"""The report as a page: in its order, on its own, the same bytes anywhere, and no text of the user's is
markup."""

import json
import os
import re
import subprocess
import sys
import tomllib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from recsys.analysis.health.checks import check_health
from recsys.analysis.plan import Plan
from recsys.analysis.planted import PLAN, START, plant, write_log
from recsys.analysis.tables.lists import read_lists
from recsys.analysis.verdict import analyse
from recsys.history import DAY_S
from recsys.pipelines.ab.page.advice import ADVICE
from recsys.pipelines.ab.page.charts import Bar, forest, series
from recsys.pipelines.ab.page.facts import facts_of, log_digest, plan_digest
from recsys.pipelines.ab.page.marks import percent
from recsys.pipelines.ab.page.page import STYLE, page_of
from tests.helpers.browser import needs_chromium, open_tab

ROOT = Path(__file__).parents[3]
PEOPLE = 4_000
LOG = plant(PEOPLE, 0.3, seed=1)
SAME = plant(PEOPLE, 0.0, seed=2)
EVIL = '"><script>alert(1)</script><img src=x onerror=alert(2)>'
PARTS = [
    "Can it be trusted?",
    "What decides",
    "What must not be lost",
    "What else was looked at",
    "What differs between the lists?",
    "Does it last?",
    "For whom?",
    "Does it depend on how one looks?",
    "What was planned, and what was changed",
    "Where does it come from?",
]


def plan(**changes: Any) -> Plan:
    return Plan.build(
        tomllib.loads(PLAN.format(people=PEOPLE, window=7, past=28, mde=0.1)) | changes, where="a test"
    )


def facts(
    log: Any = LOG, asked: Plan | None = None, *, show_sick: bool = False, **more: Any
) -> dict[str, Any]:
    asked = asked or plan()
    verdict = analyse(log.exposures, log.outcomes, asked, **more)
    where = {"exposures": "shop/exposures", "outcomes": "shop/outcomes"}
    lists = read_lists(log.exposures, asked)
    return facts_of(verdict, "wide-towers", tables=where, lists=lists, show_sick=show_sick)


WIN = facts()
SICK = plan(weights={"control": 0.6, "wide": 0.4})
CASES = {
    "win": lambda: WIN,
    "null": lambda: facts(SAME),
    "early": lambda: facts(SAME, until=START + 16 * DAY_S),
    "untrusted": lambda: facts(LOG, SICK),
}


class Read(HTMLParser):
    """Elements that are opened and closed, texts by element, and all attributes."""

    VOID = ("meta", "line", "circle", "polyline")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            self.texts.append((self.open[-1], data))

    def headings(self) -> list[str]:
        return [said for tag, said in self.texts if tag == "h2"]


@pytest.mark.parametrize(
    ("case", "verdict", "word"),
    [
        ("win", "ship", "Ship"),
        ("null", "do not ship", "Do not ship"),
        ("early", "cannot tell yet", "Cannot tell yet"),
        ("untrusted", "cannot be trusted", "Cannot be trusted"),
    ],
)
def test_a_page_says_its_verdict_first_and_asks_nothing_of_the_net(
    case: str, verdict: str, word: str
) -> None:
    case_facts = CASES[case]()
    assert case_facts["verdict"] == verdict
    page = page_of(case_facts)
    read = Read(page)
    texts = [said for _, said in read.texts]
    order = [
        texts.index(said)
        for said in (word, case_facts["sentence"], case_facts["next_step"], "Can it be trusted?")
    ]
    assert order == sorted(order)
    assert not re.search(r"https?:|//|url\(|@import|<script|<link|src=|\son\w+=", page)
    hrefs = {attributes["href"] for tag, attributes in read.elements if tag == "a"}
    ids = {attributes["id"] for _, attributes in read.elements if "id" in attributes}
    assert {href and href.removeprefix("#") for href in hrefs} <= ids


def test_the_parts_come_in_their_order() -> None:
    assert Read(page_of(WIN)).headings() == PARTS
    assert Read(page_of(CASES["untrusted"]())).headings() == [PARTS[0], "Effects", PARTS[4], *PARTS[-2:]]


def test_figures_of_the_page_are_those_of_the_json() -> None:
    texts = " ".join(said for _, said in Read(page_of(WIN)).texts)
    effect, view = WIN["effects"][0], WIN["views"][0]
    assert f"{100 * effect['share']['mean']:+.2f} %" in texts
    assert f"{100 * effect['share']['low']:+.2f} to {100 * effect['share']['high']:+.2f} %" in texts
    assert f"from {percent(view['smallest_shown'])} on" in texts
    assert "holds for a look each day up to the planned end (group-sequential)" in texts
    assert len(view["by_step"]) == 7
    names = [one["name"] for one in view["ways"]]
    assert names[:2] == ["as it was decided", "without CUPED"]
    assert names[3] == "without the 1 % who have most"
    assert json.loads(json.dumps(WIN)) == WIN


def test_effects_of_a_sick_test_are_not_in_the_page_unless_they_are_asked_for() -> None:
    page = page_of(CASES["untrusted"]())
    assert "Not so: people came to the arms as planned" in page
    assert ADVICE["people came to the arms as planned"].remedy in page
    assert "What decides" not in page
    assert "<svg" not in page
    shown = page_of(facts(LOG, SICK, show_sick=True))
    assert "THE TEST IS SICK" in shown
    inside = shown.partition("<details>")[2]
    assert "What decides" in inside
    assert "What decides" not in shown.partition("<details>")[0]


def test_every_check_has_advice_and_the_docs_say_the_same() -> None:
    names = [one.name for one in check_health(analyse(LOG.exposures, LOG.outcomes, plan()).study)]
    assert set(names) <= ADVICE.keys()
    docs = " ".join((ROOT / "docs/ab-report.md").read_text().split())
    for name, advice in ADVICE.items():
        assert f"| {name} | {advice.meaning} | {advice.remedy} |" in docs, name


def test_no_name_becomes_markup() -> None:
    hostile = json.loads(
        json.dumps(WIN).replace("plays", json.dumps(EVIL)[1:-1]).replace("wide", json.dumps(EVIL)[1:-1])
    )
    hostile |= {"notes": [EVIL], "sentence": EVIL, "next_step": EVIL, "name": EVIL}
    hostile["registration"] = {
        "registered": EVIL,
        "digest": EVIL,
        "hypothesis": EVIL,
        "changes": [{"at": EVIL, "what": EVIL, "before": EVIL, "after": EVIL}],
    }
    hostile["models"] = [dict.fromkeys(("arm", "bundle_id", "run_id", "model", "data", "data_digest"), EVIL)]
    hostile["provenance"]["tables"] = {"exposures": EVIL, "outcomes": EVIL}
    hostile["lists"]["bundles"] = {arm: {EVIL: 3} for arm in hostile["lists"]["lists"]}
    read = Read(page_of(hostile))
    plain = Read(page_of(WIN))
    assert {tag for tag, _ in read.elements} <= {tag for tag, _ in plain.elements} | {"li", "ul"}
    assert not any(
        name.startswith("on") or name == "src" for _, attributes in read.elements for name in attributes
    )
    assert sum(EVIL in said for _, said in read.texts) > 10


def test_who_cannot_see_hears_and_who_sees_little_can_read() -> None:
    read = Read(page_of(WIN))
    pictures = [attributes for tag, attributes in read.elements if tag == "svg"]
    assert len(pictures) == 4
    assert all(one["role"] == "img" and "%" in (one["aria-label"] or "") for one in pictures)
    assert all(attributes.get("data-head") is not None for tag, attributes in read.elements if tag == "td")
    assert ("html", {"lang": "en"}) in read.elements
    colours = dict(re.findall(r"--(\w+):(#\w{6})", STYLE))
    tones = re.findall(r"--tone:(#\w{6})", STYLE)
    for ink in (colours["ink"], colours["soft"], colours["line"], *tones):
        for ground in (colours["paper"], colours["wash"]):
            assert _contrast(ink, ground) >= 4.5, (ink, ground)


def _contrast(one: str, other: str) -> float:
    """Of two colours, as WCAG 2 defines it."""

    def light(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((light(one), light(other)))
    return (high + 0.05) / (low + 0.05)


def test_digests_name_what_was_read_and_nothing_else() -> None:
    study = analyse(LOG.exposures, LOG.outcomes, plan()).study
    assert log_digest(study) == WIN["provenance"]["log_digest"]
    assert log_digest(analyse(SAME.exposures, SAME.outcomes, plan()).study) != log_digest(study)
    assert plan_digest(plan()) == plan_digest(plan())
    assert plan_digest(plan(min_days=8)) != plan_digest(plan())


def test_charts_of_odd_figures_are_drawn_or_left_out() -> None:
    assert forest([Bar("none", None)], "nothing") == ""
    assert series(["1"], [{"mean": 0.1, "low": 0.0, "high": 0.2}], "one", "day") == ""
    drawn = series(["1", "2", "3"], [{"mean": 0.0, "low": -9.0, "high": 9.0}, None,
                                     {"mean": 0.01, "low": 0.0, "high": 0.02}], "odd", "day")  # fmt: skip
    places = [float(at) for at in re.findall(r'y[12]?="(-?[\d.]+)"', drawn)]
    assert min(places) >= 0
    assert "nan" not in drawn
    flat = forest([Bar("flat", {"mean": 0.0, "low": 0.0, "high": 0.0})], "flat")
    assert "nan" not in flat


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    write_log(folder / "shop", LOG, PEOPLE, 0.1)
    return folder


def _report(folder: Path, name: str, **variables: str) -> tuple[bytes, bytes]:
    page = folder / name / "report.html"
    words = [
        "ab",
        "analyse",
        "--exposures",
        "shop/exposures",
        "--outcomes",
        "shop/outcomes",
        "--plan",
        "shop/plan.toml",
    ]
    command = [sys.executable, "-m", "recsys.pipelines.cli", *words, "--report", str(page)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "RECSYS_HOME": str(folder), **variables}
    said = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=folder, timeout=120)
    assert said.returncode == 0, said.stderr
    return page.read_bytes(), page.with_suffix(".json").read_bytes()


def test_the_same_log_is_the_same_bytes_in_another_zone_and_locale(folder: Path) -> None:
    here = _report(folder, "here", TZ="UTC", LC_ALL="C", PYTHONHASHSEED="1")
    there = _report(
        folder, "there", TZ="Asia/Kolkata", LC_ALL="de_DE.UTF-8", LANG="tr_TR.UTF-8", PYTHONHASHSEED="2"
    )
    assert here == there
    assert b"wide" in here[0]
    assert json.loads(here[1])["verdict"] == "ship"


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    pages = {}
    for case, make in CASES.items():
        pages[case] = tmp_path / f"{case}.html"
        pages[case].write_text(page_of(make()), "utf-8")
    return pages


@needs_chromium
def test_a_browser_shows_it_wide_and_on_a_phone_without_a_request(files: dict[str, Path]) -> None:
    with open_tab(files["win"].as_uri()) as (tab, complaints):
        for case, width in [("win", 1_200), *((case, 360) for case in files)]:
            tab.set_viewport_size({"width": width, "height": 800})
            tab.goto(files[case].as_uri())
            assert tab.evaluate("document.documentElement.scrollWidth") <= width, case
            assert tab.evaluate("performance.getEntriesByType('resource').length") == 0
            small = tab.evaluate(
                "[...document.querySelectorAll('svg')].map(e => e.getBoundingClientRect().width / 360 * 11)"
            )
            assert all(size >= 9 for size in small), case
        assert complaints == []


ODD: dict[str, dict[str, Any]] = {
    "nobody yet": {"least_people": 100_000},
    "no past": {"past_days": 0},
    "hours": {"window_days": 0.5, "people": None},
    "weeks": {"window_days": 40, "people": None, "min_days": 1},
    "no plan of people": {"people": None},
    "a ratio decides, less is better": {
        "metrics": [
            {"name": "skips", "event": "skip", "per": "exposures", "role": "primary", "better": "lower"},
            {"name": "plays", "event": "play", "value": "any", "role": "guardrail"},
        ]
    },
    "capped": {"metrics": [{"name": "plays", "event": "play", "role": "primary", "cap": 3.0}]},
    "a third arm": {"weights": {"control": 0.4, "wide": 0.4, "deep": 0.2}},
}


@pytest.mark.parametrize("changes", ODD.values(), ids=ODD)
def test_odd_tests_have_whole_pages(changes: dict[str, Any]) -> None:
    log = LOG
    if "weights" in changes:
        arms = LOG.exposures["arm"].to_pylist()
        deep = {
            unit for at, unit in enumerate(dict.fromkeys(LOG.exposures["unit_id"].to_pylist())) if at % 5 == 0
        }
        arms = ["deep" if unit in deep else arm
                for unit, arm in zip(LOG.exposures["unit_id"].to_pylist(), arms, strict=True)]  # fmt: skip
        log = LOG._replace(exposures=LOG.exposures.set_column(2, "arm", pa.array(arms)))
    until = {"until": START + 60 * DAY_S} if changes.get("window_days") == 40 else {}
    odd = facts(log, plan(**changes), **until)
    page = page_of(json.loads(json.dumps(odd)))
    texts = [said for _, said in Read(page).texts]
    assert odd["sentence"] in texts
    assert not re.search(r"\bnan\b|\binf\b|None", page)
