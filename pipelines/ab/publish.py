"""From a verdict to whoever wants to know: the page with its JSON, and the test's runs in MLflow."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recsys.analysis.tables.lists import Lists, read_lists
from recsys.analysis.verdict import Verdict
from recsys.errors import SettingError, TrackingError
from recsys.pipelines.ab.page.charts import Bar, forest, series
from recsys.pipelines.ab.page.facts import facts_of, plan_digest
from recsys.pipelines.ab.page.page import page_of
from recsys.pipelines.tracking import ab_tests
from recsys.pipelines.tracking.ab_tests import Test
from recsys.pipelines.tracking.compare_runs import best_of, read_judged, relative_difference
from recsys.pipelines.tracking.registry import Model, models_of
from recsys.progress import Progress, silent


def publish(
    verdict: Verdict,
    exposures: Any,
    *,
    name: str | None,
    tables: Mapping[str, str],
    page: Path | None = None,
    track: bool = False,
    hypothesis: str = "",
    show_sick: bool = False,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Writes the page and logs the test, as asked for, and returns the facts that both say.

    exposures: the table that the verdict was read from, which says what lists held. name: of the test; a test
    that is registered under it says when its plan was frozen. page: an .html file, beside which a .json is
    written. track: the test is logged, and registered where it was not; what its plan has changed since is
    written down.
    """
    plan = verdict.study.plan
    settings, digest = plan.model_dump(mode="json"), plan_digest(plan)
    test: Test | None = None
    if name is not None:
        test = ab_tests.find_test(name)
        if test is None and track:
            test = ab_tests.register(name, settings, digest, hypothesis, late=True)
        if test is not None and track:
            test = ab_tests.note_changes(test, settings, digest)
    lists = read_lists(exposures, plan, progress=progress)
    models = models_of({arm: lists.main_bundle(arm) for arm in plan.arms})
    facts = facts_of(
        verdict,
        name or plan.experiment or (page.stem if page else "test"),
        tables=tables,
        lists=lists,
        registered=None if test is None else test.registration(),
        models=[one.plain() for one in models],
        show_sick=show_sick,
    )
    text = {
        ab_tests.PAGE: page_of(facts),
        ab_tests.REPORT: json.dumps(facts, indent=1, sort_keys=True) + "\n",
    }
    if page is not None:
        write_page(page, text)
    if track and test is not None:
        ledger = {arm: _line(verdict, arm, lists, models) for arm in plan.treated} if verdict.trusted else {}
        ab_tests.log_analysis(test, facts, {**text, **_pictures(facts)}, models, ledger)
    return facts


def write_page(page: Path, text: Mapping[str, str]) -> None:
    """The page, and the JSON beside it. Raises SettingError for a name that is no .html."""
    if page.suffix.lower() not in (".html", ".htm"):
        raise SettingError(
            f"{page} is no name of a page: it ends in .html, and its figures lie beside it in .json."
        )
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(text[ab_tests.PAGE], "utf-8", newline="\n")
    page.with_suffix(".json").write_text(text[ab_tests.REPORT], "utf-8", newline="\n")


def _pictures(facts: Mapping[str, Any]) -> dict[str, str]:
    """The pictures of the page as files: file name -> SVG."""
    pictures: dict[str, str] = {}
    for view in facts["views"] or ():
        name = f"{view['metric']}, {view['arm']}"
        drawn = {
            "other ways": forest(
                [Bar(one["name"], one["share"]) for one in view["ways"]], f"{name} in other ways"
            ),
            "by day": series(
                [f"{one['days'][0]:g}" for one in view["by_step"]],
                [one["share"] for one in view["by_step"]],
                f"{name} by day",
                "day since first exposure",
            ),
        }
        for what, figure in drawn.items():
            if figure:
                svg = figure.removeprefix("<figure>").removesuffix("</figure>")
                svg = svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
                file = f"plots/{ab_tests.key_of(view['metric'])} {ab_tests.key_of(view['arm'])} {what}.svg"
                pictures[file.replace(" ", "_")] = svg
    return pictures


def _line(verdict: Verdict, arm: str, lists: Lists, models: list[Model]) -> dict[str, Any]:
    """What the ledger keeps of an arm: the effect on the first primary metric, and what was known of it
    offline."""
    effect = next(one for one in verdict.effects if one.arm == arm and one.metric.role == "primary")
    line: dict[str, Any] = {"finished": verdict.looks.ended or verdict.word in ("ship", "do not ship")}
    if effect.share.mean == effect.share.mean and effect.critical == effect.critical:
        good = 1.0 if effect.metric.better == "higher" else -1.0
        ends = sorted((good * effect.share.low, good * effect.share.high))
        error = (ends[1] - ends[0]) / 2 / effect.critical
        line |= {"metric": effect.metric.name, "online": good * effect.share.mean, "online_error": error}
        line |= {"online_low": ends[0], "online_high": ends[1]}
    if lists.overlap[arm] == lists.overlap[arm]:
        line["overlap"] = lists.overlap[arm]
    runs = {one.arm: one.run for one in models}
    control, treated = runs.get(verdict.study.plan.control), runs.get(arm)
    if control is None or treated is None or control.run_id == treated.run_id:
        return line
    try:
        pair = read_judged(control.run_id, None), read_judged(treated.run_id, None)
        metric, difference, error = relative_difference(*pair)
    except TrackingError:  # other holdouts, or runs without values: offline they cannot be compared
        return line
    line |= {"offline_metric": metric, "offline": difference.mean, "offline_error": error}
    line |= {"offline_low": difference.low, "offline_high": difference.high}
    return line | {"candidates": best_of(treated, control, metric)}
