"""Reports as plain data and as tables."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from recsys.evaluation.evaluate import DEFAULT_METRICS, Report
from recsys.evaluation.significance import Comparison, Interval, compare, p_text
from recsys.text import text_table

TABLE_METRICS = ("ndcg_at_10", "recall_at_20", "recall_at_100")


def shown_metrics(report: Report) -> list[str]:
    """The metrics of the main table: all of hits that were asked for, of the default ones the usual three.

    Where no metric of hits was asked for, all.
    """
    hits = next(iter(report.segments.values()), {})
    named = [name for name in report.values if name in hits] or list(report.values)
    return list(TABLE_METRICS) if named == list(DEFAULT_METRICS) else named


def report_data(report: Report) -> dict[str, Any]:
    """metrics: name -> mean, low, high; system: name -> value; segments: name -> users and the metrics of
    hits of the table, and beside them what lists are like for the people of a column's value.

    What does not apply to anybody is null.
    """
    return {
        "metrics": {name: plain_interval(report.interval(name)) for name in report.values},
        "system": {name: _number(value) for name, value in report.system.items()},
        "segments": {
            name: {"users": _users(report, name)}
            | {
                metric: plain_interval(report.interval(metric, segment=name))
                for metric in (*shown_metrics(report), *list_metrics(report))
                if metric in of
            }
            for name, of in report.segments.items()
        },
    }


def list_metrics(report: Report) -> list[str]:
    """The metrics with a value per user that judge no hits; none where no segment tells them apart."""
    hits = next(iter(report.segments.values()), {}) or report.values
    return [name for name in report.values if name not in hits]


def plain_interval(interval: Interval) -> dict[str, float | None]:
    """An interval as plain data, null where there is none."""
    return {name: _number(value) for name, value in interval._asdict().items()}


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _users(report: Report, segment: str) -> int:
    """How many users a segment is about."""
    values = list(report.segments[segment].values())
    return int(np.count_nonzero(~np.isnan(values).all(axis=0))) if values else 0


def main_table(reports: Mapping[str, Report]) -> str:
    """A row per system: the metrics of hits with their intervals."""
    metrics = shown_metrics(next(iter(reports.values())))
    rows = [
        [name, *(report.interval(metric).text() for metric in metrics)] for name, report in reports.items()
    ]
    return text_table(["model", *metrics], rows)


def lists_table(reports: Mapping[str, Report]) -> str:
    """A row per system: what its lists are like beside right or wrong; empty text where nothing of it was
    asked for."""
    first = next(iter(reports.values()))
    metrics = list_metrics(first)
    if not (metrics or first.system):
        return ""
    rows = [
        [
            name,
            *(f"{_mean(report, metric):.4f}" for metric in metrics),
            *(f"{x:.4f}" for x in report.system.values()),
        ]
        for name, report in reports.items()
    ]
    return text_table(["model", *metrics, *first.system], rows)


def _mean(report: Report, metric: str) -> float:
    values = report.values[metric]
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def segments_table(reports: Mapping[str, Report]) -> str:
    """A row per segment with users in it, a column per system: the first metric of the table. Below it
    `own_table`."""
    first = next(iter(reports.values()))
    metric = shown_metrics(first)[0]
    rows = [
        [_with_users(first, name)]
        + [report.interval(metric, segment=name).text() for report in reports.values()]
        for name, of in first.segments.items()
        if name not in first.own and metric in of and _users(first, name)
    ]
    fixed = text_table([f"{metric} by segment", *reports], rows) if rows else ""
    return "\n\n".join(table for table in (fixed, own_table(reports)) if table)


def own_table(reports: Mapping[str, Report]) -> str:
    """A row per system for each segment that was named by a column: all metrics of the main table."""
    first = next(iter(reports.values()))
    metrics = shown_metrics(first)
    rows = [
        [_with_users(first, segment), name]
        + [report.interval(metric, segment=segment).text() if metric in of else "" for metric in metrics]
        for segment, of in first.segments.items()
        if segment in first.own and _users(first, segment)
        for name, report in reports.items()
    ]
    return text_table(["segment", "model", *metrics], rows) if rows else ""


def _with_users(report: Report, segment: str) -> str:
    users = _users(report, segment)
    return f"{segment} ({users:,} {'user' if users == 1 else 'users'})"


def against(comparison: Comparison) -> str:
    """A comparison in words."""
    return f"{comparison.difference.text('+.4f')}, {p_text(comparison.p_holm)}: {comparison.verdict}"


def compared_lines(reports: Mapping[str, Report], name: str) -> str:
    """A line for each other system: the paired test on the first metric of the table, Holm-corrected."""
    metric = shown_metrics(reports[name])[0]
    values = {other: report.values[metric] for other, report in reports.items() if other != name}
    compared = compare(reports[name].values[metric], values, warm=_users(reports[name], "warm"))
    return "\n".join(
        f"{name} against {other}: {against(comparison)}" for other, comparison in compared.items()
    )


def comparison_data(first: str, second: str, metric: str, comparison: Comparison) -> dict[str, Any]:
    """A comparison as plain data."""
    return {
        "first": first,
        "second": second,
        "metric": metric,
        **comparison.difference._asdict(),
        "p": comparison.p,
        "p_holm": comparison.p_holm,
        "warm_users": comparison.warm,
        "verdict": comparison.verdict,
    }
