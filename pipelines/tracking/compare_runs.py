"""Lists runs, and compares runs on one holdout: means with intervals and a paired test over the same
users."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np

from recsys.arrays import F64, Bool
from recsys.errors import TrackingError
from recsys.evaluation.significance import FEW_USERS, Interval, bootstrap, compare
from recsys.evaluation.tables import against as against_text
from recsys.evaluation.tables import comparison_data
from recsys.pipelines.tracking import address, client
from recsys.pipelines.tracking.lineage import LoggedRun
from recsys.pipelines.tracking.record import VALUES
from recsys.pipelines.tracking.registry import resolve
from recsys.text import text_table


class Judged(NamedTuple):
    """A run with its judged metrics: one value per user (n,) each, in the order of the holdout. warm: bool
    (n,)."""

    run: LoggedRun
    values: Mapping[str, F64]
    warm: Bool


def list_runs(experiment: str | None, limit: int) -> tuple[str, list[dict[str, Any]]]:
    """The newest runs as a table and as plain data. Figures of different holdouts stand side by side: do not
    compare.

    The column `holdout` tells which may be: runs with the same eight letters have the same data, users and
    targets.
    """
    every = client.runs(experiment, limit)
    rows, plain = [], []
    for run in every:
        metric = _first_metric(run)
        started = datetime.fromtimestamp(run.started, UTC).strftime("%Y-%m-%d %H:%M")
        figure = f"{metric} {_figure(run, metric)}" if metric else ""
        holdout = run.tags.get("holdout", "")
        rows.append(
            [
                run.run_id[:8],
                started,
                run.name,
                figure,
                ", ".join(run.aliases),
                holdout[:8],
                run.status.lower(),
            ]
        )
        plain.append(
            {
                "run_id": run.run_id,
                "experiment": run.experiment,
                "name": run.name,
                "status": run.status,
                "started": run.started,
                "holdout": holdout or None,
                "data_digest": run.tags.get("data_digest"),
                "bundle_id": run.tags.get("bundle_id"),
                "aliases": list(run.aliases),
                "metrics": dict(run.metrics),
            }
        )
    # a narrow console leaves columns out from the right
    header = ["run", "started (UTC)", "name", "first metric", "alias", "holdout", "status"]
    return (text_table(header, rows) if rows else "No runs yet. Run `recsys train world`."), plain


def _first_metric(run: LoggedRun) -> str | None:
    """The metric that a run was judged by: the first of its setting, else the first of those it has."""
    named = [word.strip("'\" ") for word in run.params.get("metrics", "").strip("()[]").split(",")]
    return next((metric for metric in (*named, *sorted(run.metrics)) if metric in run.metrics), None)


def _figure(run: LoggedRun, metric: str) -> str:
    """The metric of a run, with its interval where it has one."""
    low, high = (run.metrics.get(f"{metric}_{end}") for end in ("low", "high"))
    mean = run.metrics[metric]
    return f"{mean:.4f}" if low is None or high is None else Interval(mean, low, high).text()


def read_judged(reference: str, experiment: str | None) -> Judged:
    """A run with its values per user; `experiment` as in `resolve`. A TrackingError where it has none."""
    run = client.run_of(resolve(reference, experiment))
    if "holdout" not in run.tags:
        raise TrackingError(
            f"run {run.run_id} ({run.name}) has no values per user to compare. Train it again."
        )
    with np.load(address.artifact_of(run.run_id, VALUES), allow_pickle=False) as stored:
        values = {name: stored[name] for name in stored.files if name not in ("user", "warm")}
        return Judged(run, values, stored["warm"])


def compare_judged(runs: Sequence[Judged], metric: str | None = None) -> tuple[str, dict[str, Any]]:
    """The first run against each other one, as a table and as plain data; Holm's correction over all tests.

    metric: what the paired test is on; the first metric that all have, where none is named. Raises
    TrackingError where the runs were judged on different holdouts (other data, users or targets), or have no
    such metric.
    """
    first, *others = runs
    for other in others:
        _refuse_another_question(first.run, other.run)
    common = [name for name in first.values if all(name in other.values for other in others)]
    if metric is None and common:
        metric = common[0]
    if metric is None or metric not in common:
        raise TrackingError(
            f"metric {metric!r} is not in all of these runs; they share {', '.join(common) or 'none'}."
        )
    warm = int(first.warm.sum())
    names = [f"{one.run.run_id[:8]} {one.run.name}" for one in runs]
    against = compare(
        first.values[metric],
        dict(zip(names[1:], (other.values[metric] for other in others), strict=True)),
        warm=warm,
    )
    shown = [metric, *(name for name in common if name != metric)][:4]
    intervals = [{name: _interval(one.values[name]) for name in common} for one in runs]
    rows = [
        [name, *(by_metric[m].text() for m in shown)]
        for name, by_metric in zip(names, intervals, strict=True)
    ]
    few = f" Under {FEW_USERS} warm users: too few to compare." if warm < FEW_USERS else ""
    lines = [
        f"{first.run.tags.get('data', '')}: {first.run.tags.get('split', '')}. "
        f"{len(first.warm):,} users ({warm:,} warm).{few}",
        "",
        text_table(["run", *shown], rows),
        "",
        (
            f"Mean over users, 95 % bootstrap interval. Paired t-test on {metric}, Holm-corrected over "
            f"{len(others)}:"
        ),
    ]
    tests = []
    for other, name in zip(others, names[1:], strict=True):
        lines.append(f"- {names[0]} against {name}: {against_text(against[name])}")
        tests.append(comparison_data(first.run.run_id, other.run.run_id, metric, against[name]))
    metrics = {
        one.run.run_id: {name: interval._asdict() for name, interval in by_metric.items()}
        for one, by_metric in zip(runs, intervals, strict=True)
    }
    return "\n".join(lines), {"metrics": metrics, "comparisons": tests}


def relative_difference(base: Judged, other: Judged) -> tuple[str, Interval, float]:
    """By how much `other` is above `base`, as a share of it, on the first metric that both have: (metric,
    difference with its 95 % interval, standard error). Paired over users, by the delta method. Raises
    TrackingError where they were judged on different holdouts, or nothing can be divided by."""
    _refuse_another_question(base.run, other.run)
    metric = next((name for name in base.values if name in other.values), None)
    if metric is None:
        raise TrackingError(f"runs {base.run.run_id[:8]} and {other.run.run_id[:8]} share no metric.")
    pairs = np.stack([base.values[metric], other.values[metric]], 1).astype(np.float64)
    pairs = pairs[np.isfinite(pairs).all(axis=1)]
    mean = pairs.mean(axis=0) if len(pairs) > 1 else np.zeros(2)
    if not mean[0] > 0:
        raise TrackingError(f"run {base.run.run_id[:8]} has {metric} = 0: nothing is a share of it.")
    ratio = mean[1] / mean[0]
    error = float((pairs[:, 1] - ratio * pairs[:, 0]).std(ddof=1) / mean[0] / np.sqrt(len(pairs)))
    centre = float(ratio - 1)
    return metric, Interval(centre, centre - 1.96 * error, centre + 1.96 * error), error


def best_of(run: LoggedRun, control: LoggedRun, metric: str) -> int:
    """Of how many runs of its experiment that were asked the same question a run has the highest metric,
    itself counted and the control not: what was chosen for its figure is too high by chance. 1 where another
    is higher."""
    asked = [
        one
        for one in client.runs(run.experiment, client.MAX_RUNS)
        if one.tags.get("holdout") == run.tags["holdout"]
    ]
    figures = {one.run_id: one.metrics[metric] for one in asked if metric in one.metrics}
    figures.pop(control.run_id, None)
    mine = figures.get(run.run_id)
    return 1 if mine is None or max(figures.values()) > mine else len(figures)


def _interval(values: F64) -> Interval:
    """Mean and interval over the users (n,) to whom the metric applies; NaN stands for the others."""
    return bootstrap(values[~np.isnan(values)])


def _refuse_another_question(first: LoggedRun, other: LoggedRun) -> None:
    """Raises TrackingError, with what differs, unless both runs were asked about the same users and
    targets."""
    if first.tags["holdout"] == other.tags["holdout"]:
        return
    pair = f"runs {first.run_id[:8]} and {other.run_id[:8]}"
    for tag, what in (("data_digest", "data"), ("split", "splits")):
        if first.tags.get(tag) != other.tags.get(tag):
            said = [
                run.tags.get("data" if tag == "data_digest" else tag, "unknown") for run in (first, other)
            ]
            raise TrackingError(
                f"{pair} were judged on different {what} ({said[0]!r} and {said[1]!r}): their figures "
                f"answer different questions. Train one of them again on the other's."
            )
    raise TrackingError(
        f"{pair} were judged on different holdouts (other users or targets): their figures answer "
        f"different questions. Give both the same split and seed."
    )
