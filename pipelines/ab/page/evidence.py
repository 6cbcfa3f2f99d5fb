"""The parts of a report that a decision stands on: trust, what decides, what must not be lost, how lists
differ."""

from collections.abc import Mapping, Sequence
from typing import Any

from recsys.pipelines.ab.page.advice import ADVICE
from recsys.pipelines.ab.page.charts import Bar, forest
from recsys.pipelines.ab.page.marks import (
    SEEN,
    STATE,
    absolute,
    count,
    list_terms,
    number,
    p_value,
    paragraph,
    percent,
    share,
    table,
    tag,
    text,
)

Facts = Mapping[str, Any]
KINDS = {
    "group-sequential": "holds for a look each day up to the planned end (group-sequential)",
    "at the end": "one test at the planned end, after a watch that may be looked at each day (hybrid)",
    "always-valid watch": "holds whenever one looks, and is therefore wide (always-valid)",
}
_SHOWN_SOURCES = 6


def trust(facts: Facts) -> str:
    """The health checks, who was left out, and what was wrong with rows."""
    sick = [one for one in facts["health"] if one["state"] == "sick"]
    checked = sum(one["state"] != "not checked" for one in facts["health"])
    said = (
        f"{len(sick)} of {checked} checks found something. Until it is mended no effect can be believed."
        if sick
        else (
            f"All {checked} checks that could be made are well. Each may be wrong once in a thousand "
            "healthy tests."
        )
    )
    parts = [paragraph(said)]
    for one in sick:
        advice = ADVICE.get(one["name"])
        inner = tag("h3", f"Not so: {text(one['name'])}") + paragraph(one["said"])
        if advice:
            inner += paragraph(advice.meaning) + paragraph(f"What to do: {advice.remedy}", "todo")
        parts.append(tag("div", inner, class_="fault"))
    rows = [
        [text(one["name"]), f"{SEEN.get(one['state'], '')} {text(one['state'])}", text(one["said"])]
        for one in facts["health"]
    ]
    parts.append(table("Health checks", ["is it so that", STATE, "figures"], rows, words=(0, 1, 2)))
    arms = list(facts["people"])
    left = [
        [text(reason), *(count(by_arm.get(arm, 0)) for arm in arms)]
        for reason, by_arm in facts["excluded"].items()
        if sum(by_arm.values())
    ]
    people = [[text("analysed"), *(count(facts["people"][arm]) for arm in arms)], *left]
    parts.append(table("People who count, and who do not count and why", ["people", *arms], people))
    if facts["notes"]:
        parts.append(tag("ul", "".join(tag("li", text(note)) for note in facts["notes"])))
    return "".join(parts)


def primary(facts: Facts) -> str:
    """Each primary metric of each arm: absolute, relative, what the interval is, people, planned and
    reached."""
    return "".join(_primary(facts, one) for one in of_role(facts, "primary"))


def of_role(facts: Facts, role: str) -> list[dict[str, Any]]:
    return [one for one in facts["effects"] or () if one["role"] == role]


def view_of(facts: Facts, effect: Mapping[str, Any]) -> dict[str, Any]:
    """The further views of an effect in the facts; empty where there are none."""
    views = facts["views"] or ()
    return next(
        (one for one in views if (one["metric"], one["arm"]) == (effect["metric"], effect["arm"])), {}
    )


def metric_of(facts: Facts, effect: Mapping[str, Any]) -> dict[str, Any]:
    """The metric as the plan has it."""
    metric: dict[str, Any] = next(one for one in facts["plan"]["metrics"] if one["name"] == effect["metric"])
    return metric


def _primary(facts: Facts, one: Mapping[str, Any]) -> str:
    metric, view = metric_of(facts, one), view_of(facts, one)
    control = facts["plan"]["control"]
    head = tag("h3", f"{text(one['metric'])}: {text(one['arm'])} against {text(control)}")
    reached = view.get("smallest_shown")
    good = "more is better" if metric["better"] == "higher" else "less is better"
    sensitive = f"{percent(metric['mde'])} planned"
    if reached:
        enough = "large enough" if reached <= metric["mde"] else "not yet large enough"
        sensitive = f"from {percent(reached)} on ({sensitive}): {enough}"
    low, high = (one["share"]["low"], one["share"]["high"]) if one["share"] else (None, None)
    best = None if low is None else (-low if metric["better"] == "lower" else high)
    if best is not None and best < metric["mde"]:
        sensitive += f". A gain of {percent(metric['mde'])}, the smallest that matters, is ruled out"
    rows = [
        ("so it is", tag("strong", text(one["state"])) + f" ({good})"),
        ("relative effect", share(one["share"]) or "none: the control is too near zero"),
        ("absolute effect", absolute(one["difference"]) or "none"),
        ("per person" if not metric["per"] else f"per {metric['per']}",
         f"{number(one['control'])} {text(control)}, {number(one['treated'])} {text(one['arm'])}"),
        ("interval", f"95 %; {text(KINDS.get(one['interval'], one['interval']))}"),
        ("p-value", f"{p_value(one['p_corrected'])}, corrected for all primary metrics and arms"),
        ("people", (
            f"{count(one['people'][0])} {text(control)}, {count(one['people'][1])} "
            f"{text(one['arm'])}"
)),
        ("an effect that 4 of 5 such tests would find", sensitive),
    ]  # fmt: skip
    bars = [Bar("as it decides", one["share"]), Bar("holds whenever one looks", one["always_share"])]
    lost = metric["better"] == "lower"
    mark = -metric["mde"] if lost else metric["mde"]
    what = f"Relative effect of {one['arm']} on {one['metric']}, with 95 % intervals"
    drawn = forest(bars, what, mark=mark, marked=f"smallest that matters: {100 * mark:+g} %")
    return tag("div", head + tag("div", list_terms(rows) + drawn, class_="beside"), class_="effect")


def guardrails(facts: Facts) -> str:
    """The section on guardrails: effects beside the margin that the plan allows."""
    effects = of_role(facts, "guardrail")
    if not effects:
        return paragraph("The plan has no guardrails.")
    rows = []
    for one in effects:
        metric = metric_of(facts, one)
        worst = one["share"] and (
            one["share"]["low"] if metric["better"] == "higher" else one["share"]["high"]
        )
        direction = "loss" if metric["better"] == "higher" else "rise"
        rows.append([
            f"{text(one['metric'])}, {text(one['arm'])}", text(one["state"]),
            share(one["share"]) or absolute(one["difference"]), f"{direction} of {percent(metric['margin'])}",
            percent(worst, sign=True), p_value(one["p_corrected"]),
        ])  # fmt: skip
    return paragraph(
        "A guardrail is kept where the whole interval stays inside the margin. It is never corrected for "
        "others: each one alone can stop the arm."
    ) + table(
        "Guardrails",
        ["metric, arm", "so it is", "effect, 95 %", "allowed", "worst that is plausible", "p"],
        rows,
        words=(0, 1),
    )


def others(facts: Facts) -> str:
    """The section on exploratory metrics; empty where there are none."""
    effects = of_role(facts, "exploratory")
    if not effects:
        return ""
    rows = [
        [
            f"{text(one['metric'])}, {text(one['arm'])}",
            text(one["state"]),
            number(one["control"]),
            number(one["treated"]),
            share(one["share"]) or absolute(one["difference"]),
            p_value(one["p_corrected"]),
        ]
        for one in effects
    ]
    head = ["metric, arm", "so it is", "control", "arm's", "effect, 95 %", "p, corrected"]
    return paragraph("These decide nothing: they are here to learn from.") + table(
        "Exploratory metrics", head, rows, words=(0, 1)
    )


def lists(facts: Facts) -> str:
    """The section on the lists of the arms: how many, from which source and bundle, how far they overlap."""
    facts_of_lists = facts["lists"]
    if facts_of_lists is None or not sum(facts_of_lists["lists"].values()):
        return paragraph("Not known: the exposures were not read for it.")
    arms = list(facts_of_lists["lists"])
    rows = [["lists", *(count(facts_of_lists["lists"][arm]) for arm in arms)]]
    if sum(facts_of_lists["shown"].values()):
        rows.append(["items shown", *(count(facts_of_lists["shown"][arm]) for arm in arms)])
        rows.append(["different items", *(count(facts_of_lists["items"][arm]) for arm in arms)])
        both = {arm: percent(part) for arm, part in facts_of_lists["overlap"].items()}
        rows.append(
            ["share of what was shown that the control showed too", *(both.get(arm, "") for arm in arms)]
        )
    sources = sorted({name for by in facts_of_lists["sources"].values() for name in by})[:_SHOWN_SOURCES]
    for source in sources:
        parts = [
            facts_of_lists["sources"][arm].get(source, 0) / max(facts_of_lists["lists"][arm], 1)
            for arm in arms
        ]
        rows.append([f"from {text(source)}", *(percent(part) for part in parts)])
    for bundle in _bundles(facts_of_lists["bundles"].values()):
        shown = [facts_of_lists["bundles"][arm].get(bundle, 0) for arm in arms]
        rows.append([f"of bundle {text(bundle)}", *(count(one) if one else "" for one in shown)])
    said = []
    if facts_of_lists["differs"] is not None:
        said.append(
            f"For {percent(facts_of_lists['differs'])} of the lists the arms would have shown something else."
        )
    mixed = [arm for arm in arms if len(facts_of_lists["bundles"][arm]) > 1]
    if mixed:
        said.append(
            f"{', '.join(mixed)} served more than one bundle: the effect is that of their mixture. Arms "
            f"should keep one."
        )
    if not any(facts_of_lists["bundles"].values()) and not sum(facts_of_lists["shown"].values()):
        said.append("The exposures name neither items nor bundles: how lists differ is not known.")
    return "".join(map(paragraph, said)) + table("What each arm showed", ["", *arms], rows)


def _bundles(by_arm: Any) -> Sequence[str]:
    return sorted({name for by in by_arm for name in by})[:_SHOWN_SOURCES]
