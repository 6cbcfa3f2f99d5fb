"""The pictures of a search: a metric by the settings that were tried, or by dim beside what it costs."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from recsys.pipelines.tracking.plots import GREYS, MODEL, figure_of


def by_setting(metric: str, fields: Mapping[str, bool], rows: Sequence[Mapping[str, Any]], best: int) -> Any:
    """A panel for each field of a search: the metric of every trial by the field's value, the best one
    ringed.

    fields: field -> whether its axis is logarithmic. rows: values by field, and the figure under `metric`.
    """
    figure, panels = figure_of(len(fields))
    figures = [row[metric] for row in rows]
    for panel, (field, logarithmic) in zip(panels, fields.items(), strict=True):
        figured = all(isinstance(row[field], int | float) for row in rows)
        values = [row[field] if figured else str(row[field]) for row in rows]
        panel.plot(values, figures, "o", color=MODEL, markersize=4, alpha=0.7)
        panel.plot(
            values[best : best + 1],
            figures[best : best + 1],
            "o",
            color=GREYS[1],
            markersize=10,
            fillstyle="none",
        )
        panel.set(xlabel=field, ylabel=metric)
        if logarithmic:
            panel.set_xscale("log")
    return figure


def by_dim(
    metric: str,
    dims: Sequence[int],
    means: Sequence[float],
    errors: Sequence[float],
    ms: Sequence[float],
    advised: int,
) -> Any:
    """The metric by dim, each with one standard error of its difference to the best, beside the time of one
    query."""
    figure, (quality, cost) = figure_of(2)
    best = int(np.argmax(means))
    quality.axhspan(means[best] - errors[advised], means[best], color=GREYS[2], alpha=0.2, linewidth=0)
    quality.errorbar(dims, means, errors, color=MODEL, marker="o", markersize=4, capsize=3)
    cost.plot(dims, ms, "-o", color=MODEL, markersize=4)
    for panel, values in ((quality, means), (cost, ms)):
        panel.plot(dims[advised], values[advised], "o", color=GREYS[1], markersize=11, fillstyle="none")
        panel.set_xscale("log", base=2)
        panel.set_xticks(dims, [str(dim) for dim in dims])
        panel.minorticks_off()
        panel.set(xlabel="dim")
    quality.set(title=f"{metric}, one standard error of the difference to the best")
    cost.set(title="one exact query, one thread", ylabel="milliseconds", ylim=(0, None))
    return figure
