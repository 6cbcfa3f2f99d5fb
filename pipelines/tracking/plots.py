"""The pictures of a run, as PNG files: metrics by k, by length of history, popularity against score, training
curves.

Drawn without a display and without global state: each picture is a `Figure` of its own.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recsys.arrays import I64, Bool
from recsys.data.split.holdout import Holdout
from recsys.evaluation.evaluate import Report, users_of
from recsys.evaluation.significance import Interval
from recsys.evaluation.transfer import TransferReport
from recsys.pipelines.run.measure import Measured
from recsys.retrieval.embeddings import Embeddings
from recsys.retrieval.tuner import Trial

MODEL, GREYS, INK = "#1f5fa8", ("#444444", "#b07020", "#888888", "#7a9a60"), "#333333"
DASHES = ("-", "--", ":", "-.")
LENGTHS = ((0, 0, "none"), (1, 4, "1 to 4"), (5, 19, "5 to 19"), (20, None, "20 and more"))
_USERS, _ITEMS = 1_000, 400
_PREFERRED = ("ndcg", "recall", "hit_rate", "mrr")


def draw(
    folder: Path, measured: Measured, holdout: Holdout, curves: Mapping[str, Sequence[Mapping[str, float]]]
) -> None:
    """Writes every picture that the run can fill into `folder`."""
    pictures = {"metrics_by_k.png": metrics_by_k(measured.name, measured.reports)}
    pictures["by_history.png"] = by_history(measured.name, measured.reports, holdout)
    pictures["by_segment.png"] = by_segment(measured.name, measured.reports)
    space = measured.learned
    if isinstance(space, Embeddings) and space.encoder.personal:
        pictures["popularity_against_score.png"] = popularity_against_score(space, holdout)
    if any(points for points in curves.values()):
        pictures["curves.png"] = training_curves(curves)
    for name, figure in pictures.items():
        if figure is not None:
            figure.savefig(folder / name, dpi=130)


def metrics_by_k(name: str, reports: Mapping[str, Report]) -> Any:
    """A panel for each metric that was computed at several k: mean with its 95 % band, the model in blue."""
    cuts: dict[str, list[int]] = {}
    for metric in reports[name].values:
        kind, _, cut = metric.rpartition("_at_")
        if cut.isdecimal():
            cuts.setdefault(kind, []).append(int(cut))
    shown = [kind for kind in (*_PREFERRED, *cuts) if len(cuts.get(kind, ())) > 1]
    shown = list(dict.fromkeys(shown))[:4]
    if not shown:
        return None
    figure, panels = figure_of(len(shown))
    for panel, kind in zip(panels, shown, strict=True):
        ks = sorted(cuts[kind])
        for row, color, dashes in _style_rows(name, reports):
            figures = np.array([reports[row].interval(f"{kind}_at_{k}") for k in ks])  # (ks, 3)
            panel.plot(ks, figures[:, 0], dashes, color=color, marker="o", markersize=3.5, label=row)
            panel.fill_between(ks, figures[:, 1], figures[:, 2], color=color, alpha=0.15, linewidth=0)
        panel.set_xscale("log")
        panel.set_xticks(ks, [str(k) for k in ks])
        panel.minorticks_off()
        panel.set(title=kind.replace("_", " "), xlabel="k", ylim=(0, None))
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(5, len(labels)), frameon=False)
    return figure


def by_row(title: str, reports: Mapping[str, Report], metrics: Sequence[str]) -> Any:
    """A group of bars for each metric, one for each row of a table."""
    intervals = {row: [report.interval(metric) for metric in metrics] for row, report in reports.items()}
    return _bars(title, metrics, intervals)


def transfer(title: str, report: TransferReport) -> Any:
    """A panel for each domain: cross - control with its interval, by the events that people bring there, a
    colour for each share of people who are joined. Above the line of zero the other domains bring
    something."""
    domains = list(dict.fromkeys(row.domain for row in report.rows))
    shares, segments = (
        list(dict.fromkeys(getattr(row, name) for row in report.rows)) for name in ("joined", "segment")
    )
    figure, panels = figure_of(len(domains))
    for panel, domain in zip(panels, domains, strict=True):
        for number, share in enumerate(shares):
            rows = [row for row in report.rows if (row.domain, row.joined) == (domain, share)]
            at = np.array([segments.index(row.segment) for row in rows]) + 0.12 * (
                number - (len(shares) - 1) / 2
            )
            figures = np.array([row.transfer.difference for row in rows])  # (rows, 3): mean, low, high
            beside = np.abs(figures[:, 1:] - figures[:, :1]).T
            panel.errorbar(
                at,
                figures[:, 0],
                beside,
                fmt="o",
                color=(MODEL, *GREYS)[number % 5],
                label=f"{share:.0%} joined",
            )
        panel.axhline(0, color=INK, linewidth=0.8)
        panel.set_xticks(range(len(segments)), segments)
        panel.set(title=domain, xlabel="events there", ylabel=f"{report.metric}: cross - control")
    figure.suptitle(title)
    panels[0].legend(frameon=False)
    return figure


def by_history(name: str, reports: Mapping[str, Report], holdout: Holdout) -> Any:
    """The first metric for users by the number of events they bring: the model beside the best other row."""
    metric = next(iter(reports[name].values))
    lengths = holdout.history.lengths
    groups: list[tuple[str, Bool]] = [
        (label, (lengths >= low) & (lengths <= (np.inf if high is None else high)))
        for low, high, label in LENGTHS
    ]
    groups = [(label, where) for label, where in groups if where.any()]
    labels = [f"{label}\n{int(where.sum()):,} users" for label, where in groups]
    rows = _beside(name, reports, metric)
    intervals = {row: [reports[row].interval(metric, where) for _, where in groups] for row in rows}
    return _bars(f"{metric} by the events a user brings", labels, intervals)


def by_segment(name: str, reports: Mapping[str, Report]) -> Any:
    """The first metric in each segment of users or items that the report has, at most eight, those of columns
    first."""
    metric = next(iter(reports[name].values))
    values = reports[name].segments
    ordered = sorted(values, key=lambda part: part not in reports[name].own)
    segments = [
        part for part in ordered if metric in values[part] and not np.isnan(values[part][metric]).all()
    ][:8]
    if not segments:
        return None
    labels = [f"{part}\n{int((~np.isnan(values[part][metric])).sum()):,} users" for part in segments]
    rows = [row for row in _beside(name, reports, metric) if set(segments) <= set(reports[row].segments)]
    intervals = {row: [reports[row].interval(metric, segment=part) for part in segments] for row in rows}
    return _bars(f"{metric} by segment", labels, intervals)


def _beside(name: str, reports: Mapping[str, Report], metric: str) -> list[str]:
    """The model and the best other row."""
    others = [row for row in reports if row != name]
    return [name, *sorted(others, key=lambda row: -float(np.nanmean(reports[row].values[metric])))[:1]]


def _bars(title: str, labels: Sequence[str], intervals: Mapping[str, Sequence[Interval]]) -> Any:
    """A group of bars for each label, one for each row of `intervals`."""
    figure, (panel,) = figure_of(1)
    if len(labels) > 5:
        figure.set_figwidth(10)
    width = 0.8 / len(intervals)
    for at, (row, groups) in enumerate(intervals.items()):
        figures = np.array(groups)
        place = np.arange(len(labels)) + (at - (len(intervals) - 1) / 2) * width
        panel.bar(place, figures[:, 0], width * 0.92, color=MODEL if at == 0 else GREYS[2], label=row)
        errors = np.abs(figures[:, 1:].T - figures[:, 0])
        panel.errorbar(place, figures[:, 0], errors, fmt="none", ecolor=INK, elinewidth=1, capsize=2)
    panel.set_xticks(range(len(labels)), labels)
    panel.set(title=title, ylim=(0, None))
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure


def popularity_against_score(space: Embeddings, holdout: Holdout) -> Any:
    """Scores of sampled items over sampled users against training events: mean, and the range of nine users
    in ten.

    A thin rising band is a model that has learned popularity; a tall one tells people apart.
    """
    rows = _spread_over(len(holdout.user), _USERS)
    users = users_of(holdout).take(rows)
    encoded = space.encoder.encode(users)
    vectors, known = encoded.vectors, encoded.known
    counts = holdout.train.interactions.item_counts()
    trained = np.flatnonzero(space.trained & (counts > 0))
    if not known.any() or not len(trained):
        return None
    items = trained[np.argsort(counts[trained], kind="stable")][_spread_over(len(trained), _ITEMS)]
    scores = vectors[known] @ space.items[items].T  # (users, items)
    low, high = np.percentile(scores, [5, 95], axis=0)
    figure, (panel,) = figure_of(1)
    panel.vlines(counts[items], low, high, color=MODEL, alpha=0.22, linewidth=1.2, label="nine users in ten")
    panel.plot(counts[items], scores.mean(axis=0), ".", color=MODEL, markersize=4, label="mean")
    panel.set(
        xscale="log",
        title=f"Popularity against score: {len(items):,} items, {int(known.sum()):,} users",
        xlabel="events in training",
        ylabel="score",
    )
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure


def _spread_over(n: int, most: int) -> I64:
    """int64: at most `most` places, evenly over 0 ... n - 1."""
    return np.linspace(0, n - 1, min(most, n)).astype(np.int64)


def training_curves(curves: Mapping[str, Sequence[Mapping[str, float]]]) -> Any:
    """A panel for each figure that training reported, by step."""
    series = {
        f"{task}: {key}": [point[key] for point in points if key in point]
        for task, points in curves.items()
        for key in (points[0] if points else ())
    }
    series = dict(list(series.items())[:6])
    figure, panels = figure_of(len(series))
    for panel, (name, values) in zip(panels, series.items(), strict=True):
        panel.plot(np.arange(1, len(values) + 1), values, color=MODEL, marker="o", markersize=3)
        panel.xaxis.get_major_locator().set_params(integer=True)
        panel.set(title=name, xlabel="step")
    return figure


def recall_by_time(trials: Sequence[Trial]) -> Any:
    """Recall by the time of one question, a line for each index with rising effort; the exact scan is the
    blue dot."""
    figure, (panel,) = figure_of(1)
    kinds = dict.fromkeys(trial.settings.factory for trial in trials)
    for at, kind in enumerate(kinds):
        mine = [trial for trial in trials if trial.settings.factory == kind]
        look = (
            {"color": MODEL} if at == 0 else {"color": GREYS[at % len(GREYS)], "ls": DASHES[at % len(DASHES)]}
        )
        recall = [trial.quality["all"].recall for trial in mine]
        panel.plot([trial.p50_ms for trial in mine], recall, marker="o", markersize=4, label=kind, **look)
    panel.axhline(trials[0].settings.target, color=INK, linewidth=0.8)
    panel.set(
        xlabel="milliseconds of one question, median",
        ylabel=f"recall at {trials[0].settings.k}",
        xlim=(0, None),
    )
    panel.legend(fontsize=7)
    return figure


def figure_of(count: int) -> tuple[Any, list[Any]]:
    """A figure with panels in one or two columns, axes in grey, a light grid."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = 1 if count == 1 else 2
    lines = -(-count // columns)
    figure = Figure(figsize=(6.4 if count == 1 else 10, 1.0 + 3.2 * lines), layout="constrained")
    FigureCanvasAgg(figure)
    panels = list(figure.subplots(lines, columns, squeeze=False).ravel())
    for panel in panels[count:]:
        panel.remove()
    for panel in panels[:count]:
        panel.grid(True, color="#e6e6e6", linewidth=0.8)
        panel.set_axisbelow(True)
        panel.spines[["top", "right"]].set_visible(False)
        panel.tick_params(colors=INK)
    return figure, panels[:count]


def _style_rows(name: str, reports: Mapping[str, Report]) -> list[tuple[str, str, str]]:
    """Row, colour and dashes: the model last, so that it lies on top, solid and blue."""
    others = [row for row in reports if row != name]
    return [
        *((row, GREYS[at % len(GREYS)], DASHES[at % len(DASHES)]) for at, row in enumerate(others)),
        (name, MODEL, "-"),
    ]
