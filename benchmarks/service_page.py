"""The page at `/` in a real browser: when its first text stands, when its charts do, and whether everybody
can use it.

    python -m benchmarks.service_page [--times 9] [--quick] [--json]

A service with 10,000 points of history; Debian's chromium, a fresh browser each time, nothing cached.
`paint`: from the navigation to the first text (First Contentful Paint); `charts`: until the last 1,000 points
are drawn; `all points`: from the choice of all 10,000 until they are. `complaints`: texts whose contrast is
below 4.5, fields without a label, buttons without a name, targets below 24 pixels, headings out of order and
the like, in light and dark, and what the browser's console says.
"""

import statistics
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from benchmarks.answer import make_bundle
from benchmarks.results import report
from benchmarks.service_load import serving
from recsys.bundle.root import point_to
from recsys.serving.page.history import MOST

SIZES = {"wide": (1280, 900), "phone": (375, 700)}
BAR_MS = 1_000


def visit(url: str, size: tuple[int, int], picture: Path | None) -> dict[str, Any]:
    """Milliseconds of one visit, and what is wrong with what it shows."""
    from tests.helpers.browser import CHECKS, open_tab, painted_ms

    began = time.monotonic()
    with open_tab("about:blank", width=size[0], height=size[1]) as (tab, complaints):
        began = time.monotonic()
        tab.goto(url)
        tab.wait_for_selector("body[data-drawn]")
        charts, paint = time.monotonic() - began, painted_ms(tab)
        began = time.monotonic()
        tab.select_option("#span", str(MOST))
        tab.wait_for_selector(f"body[data-drawn='{MOST}']")
        everything = time.monotonic() - began
        tab.fill("#person", "u1")
        tab.click("#ask-form button")
        tab.wait_for_selector(".answer li")
        wrong = list(complaints)
        for scheme in ("light", "dark"):
            tab.emulate_media(color_scheme=scheme)
            wrong += tab.evaluate(CHECKS)
            if picture is not None:
                tab.screenshot(path=f"{picture}-{scheme}.png", full_page=True)
    return {"paint": paint, "charts": 1e3 * charts, "all": 1e3 * everything, "wrong": wrong}


@click.command()
@click.option("--times", default=9, show_default=True, help="Visits by each size of window.")
@click.option("--pictures", type=click.Path(path_type=Path), help="Folder for a picture of each page.")
@click.option("--quick", is_flag=True, help="Two visits; writes no results.")
@click.option("--json", "as_json", is_flag=True)
def main(times: int, pictures: Path | None, quick: bool, as_json: bool) -> None:
    """Writes benchmarks/results/service_page.md; exit status 1 where the first paint is late or something is
    wrong."""
    from tests.helpers.browser import write_history

    rows = list[dict[str, Any]]()
    with TemporaryDirectory() as folder:
        state = Path(folder, "state")
        state.mkdir()
        write_history(state, MOST)
        bundle = make_bundle(10_000, 1_000, Path(folder, "bundles")).path
        point_to(bundle.parent, bundle.name)
        with serving(bundle.parent, "--state", str(state)) as process:
            url = "http://{}:{}/".format(*process.address)
            for name, size in SIZES.items():
                picture = None if pictures is None else pictures / name
                visits = [visit(url, size, picture) for _ in range(2 if quick else times)]
                median = {
                    key: statistics.median(one[key] for one in visits) for key in ("paint", "charts", "all")
                }
                worst = max(one["paint"] for one in visits)
                wrong = sorted({text for one in visits for text in one["wrong"]})
                rows.append(
                    {"window": name, **median, "worst": worst, "wrong": wrong, "complaints": len(wrong)}
                )
                print("\n".join(wrong), file=sys.stderr)
    columns = {
        "window": "window",
        "paint": "paint, ms",
        "worst": "the latest paint, ms",
        "charts": "charts, ms",
        "all": "all points, ms",
        "complaints": "complaints",
    }
    title, note = "The page in a browser", f"{MOST:,} points of history; medians of {times} visits."
    report("service_page", rows, title=title, columns=columns, note=note, quick=quick, as_json=as_json)
    sys.exit(any(row["worst"] > BAR_MS or row["wrong"] for row in rows))


if __name__ == "__main__":
    main()
