"""The parts of a report for whoever doubts: over time, by groups, in other ways, what was registered, where
from."""

from collections.abc import Mapping
from typing import Any

from recsys.pipelines.ab.page.charts import Bar, forest, series
from recsys.pipelines.ab.page.evidence import Facts, of_role, view_of
from recsys.pipelines.ab.page.marks import (
    code,
    count,
    details,
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
from recsys.text import utc_text


def over_time(facts: Facts) -> str:
    """By day since the first exposure, and as it was known at the end of each day."""
    parts = [
        paragraph(
            "By days since a person's first exposure, of the same people each day. Points that sink "
            "towards 0 say that the new wears off, points that rise that people are still learning. 95 % "
            "intervals of one look."
        )
    ]
    for one in of_role(facts, "primary"):
        view = view_of(facts, one)
        steps, looks = view.get("by_step", ()), view.get("by_look", ())
        name = f"{one['metric']}, {one['arm']}"
        labels = [f"{step['days'][0]:g}" for step in steps]
        drawn = ""
        if steps:
            kind = view["step"]
            drawn += _figure_of(
                f"{name}: by {kind} since the first exposure",
                series(
                    labels,
                    [step["share"] for step in steps],
                    f"{name} by {kind}",
                    f"{kind} since first exposure"
                    if kind == "day"
                    else "first day of the week since first exposure",
                ),
            )
        if len(looks) > 1:
            days = [f"{int(look['at'][8:10])}.{int(look['at'][5:7])}." for look in looks]
            drawn += _figure_of(
                f"{name}: what was known at the end of each day",
                series(
                    days, [look["share"] for look in looks], f"{name} as it was known each day", "day, month"
                ),
            )
        parts.append(tag("div", drawn, class_="pair"))
        if steps:
            rows = [
                [_days(step["days"]), number(step["control"]), number(step["treated"]), share(step["share"])]
                for step in steps
            ]
            parts.append(
                details(
                    f"{name}: figures by day",
                    table("By days since the first exposure", ["days", "control", "arm's", "effect"], rows),
                )
            )
    if len(parts) == 1:
        return paragraph("The window is too short, or too few people have come.")
    return "".join(parts)


def _figure_of(title: str, picture: str) -> str:
    return tag("div", tag("h3", text(title)) + picture) if picture else ""


def _days(days: list[float]) -> str:
    first, last = days
    return f"{first:g}" if last <= first else f"{first:g} to {last:g}"


def groups(facts: Facts) -> str:
    """Primary metrics by groups of people."""
    segments = facts["segments"] or ()
    if not segments:
        return paragraph("No group has enough people.")
    rows = [
        [f"{text(one['people'])} ({text(one['metric'])}, {text(one['arm'])})", count(one["number"]),
         share(one["share"]), p_value(one["p_corrected"])]
        for one in segments
    ]  # fmt: skip
    return paragraph(
        "To be looked at and not to decide by: of many groups one looks special by chance. P-values are "
        "corrected by Benjamini and Hochberg."
    ) + table("By groups of people", ["people", "number", "effect, one look", "p, corrected"], rows)


def ways(facts: Facts) -> str:
    """The same effects with and without CUPED, caps and the largest one percent."""
    parts = [
        paragraph(
            "If an effect changes its sign or vanishes in one of these, a few people or a correction make "
            "it, and it is worth less. People who have most are found by what was measured, so leaving "
            "them out is no fair test: it shows who carries the effect."
        )
    ]
    for one in of_role(facts, "primary"):
        bars = [Bar(way["name"], way["share"]) for way in view_of(facts, one).get("ways", ())]
        if one["stratified"]:
            bars.append(Bar("active and new people weighted by their number", one["stratified"]))
        if not bars:
            continue
        name = f"{one['metric']}, {one['arm']}"
        rows = [[text(bar.label), share(bar.share)] for bar in bars]
        left = one["variance_left"]
        note = "" if left is None else f"CUPED took {100 * (1 - left):.0f} % of the variance."
        inner = tag("div", table(name, ["seen as", "effect, 95 %"], rows) + (paragraph(note) if note else ""))
        parts.append(tag("div", inner + forest(bars, f"{name} in other ways"), class_="beside"))
    return "".join(parts) if len(parts) > 1 else paragraph("Too few people have come.")


def registration(facts: Facts) -> str:
    """The plan as it was registered, and what was changed since."""
    plan, known = facts["plan"], facts["registration"]
    end = []
    if plan["people"] is not None:
        end.append(f"{count(plan['people'])} people with whole windows")
    if plan["ends"] is not None:
        end.append(f"at {utc_text(plan['ends'])}")
    weights = ", ".join(f"{arm} {percent(part)}" for arm, part in plan["weights"].items())
    rows = [
        ("hypothesis", text((known or {}).get("hypothesis") or "none was written down")),
        ("registered", _describe_plan(known)),
        (
            "planned end",
            text(" or ".join(end) or "none: only a watch decides, which costs a third of the power"),
        ),
        ("arms", text(f"{weights}; control: {plan['control']}")),
        ("window", text(f"{plan['window_days']:g} days from each person's first exposure")),
        ("before", text(f"{plan['past_days']:g} days are read for CUPED")),
        ("error", text(f"{plan['alpha']:g} over all primary metrics and all looks")),
    ]
    metrics = [
        [text(one["name"]), text(one["role"]), text(_describe_metric(one)), text(one["better"]),
         percent(one["mde"]) if one["role"] != "guardrail" else "",
         percent(one["margin"]) if one["role"] == "guardrail" else "", number(one["cap"])]
        for one in plan["metrics"]
    ]  # fmt: skip
    head = ["metric", "role", "measured", "better", "smallest that matters", "margin", "cap"]
    parts = [list_terms(rows), table("Metrics of the plan", head, metrics, words=(0, 1, 2, 3))]
    changes = (known or {}).get("changes") or ()
    if changes:
        changed = [
            [text(one["at"]), text(one["what"]), text(one["before"]), text(one["after"])] for one in changes
        ]
        parts.append(paragraph("The plan was changed after it was registered. What was changed once "
                               "results were seen makes the verdict worth less."))  # fmt: skip
        parts.append(table("Changes", ["noticed", "what", "before", "after"], changed, words=(0, 1, 2, 3)))
    elif known:
        parts.append(paragraph("Nothing was changed since."))
    return "".join(parts)


def _describe_plan(known: Mapping[str, Any] | None) -> str:
    if not known:
        return text(
            "not known: nobody can tell from here whether the plan was written before results were seen"
        )
    late = " (with the first analysis, not before it)" if known.get("late") else ""
    return f"{text(known['registered'])}{late}, digest {code(known['digest'])}"


def _describe_metric(metric: Mapping[str, Any]) -> str:
    what = metric["event"] or "events"
    measured = {"count": f"number of {what}", "sum": f"value of {what}", "any": f"any {what}"}[
        metric["value"]
    ]
    return measured + (f" per {metric['per']}" if metric["per"] else " per person")


def provenance(facts: Facts) -> str:
    """Where all figures come from, down to the data that the models learned from."""
    source = facts["provenance"]
    read = {role: code(source["tables"].get(role, "")) for role in ("exposures", "outcomes")}
    rows = [
        ("exposures", (
            f"{count(source['exposures'])} rows of {count(source['people'])} people, "
            f"{read['exposures']}"
)),
        ("outcomes", f"{count(source['outcomes'])} rows, {read['outcomes']}"),
        ("time", text(f"exposures from {source['from']} on, outcomes up to {source['until']}")),
        ("digest of what was read", code(source["log_digest"])),
        ("digest of the plan", code(source["plan_digest"])),
        ("program", text(f"recsys {source['recsys']}; nothing is drawn by chance, so there is no seed")),
    ]  # fmt: skip
    parts = [list_terms(rows)]
    models = [
        [
            text(one["arm"]),
            code(one["bundle_id"]),
            code(one["run_id"]) if one.get("run_id") else "not in this store",
            text(one.get("model") or ""),
            text(one.get("data") or ""),
            code(one["data_digest"]) if one.get("data_digest") else "",
        ]
        for one in facts["models"]
    ]
    if models:
        head = ["arm", "bundle", "run that trained it", "model", "data", "digest of the data"]
        parts.append(table("What each arm served", head, models, words=(0, 1, 2, 3, 4, 5)))
    return "".join(parts)
