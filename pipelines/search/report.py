"""What a search says in the end: its table, the head of its config, its trials as data and as a picture."""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recsys.arrays import F64
from recsys.evaluation.significance import Interval, paired_gap
from recsys.models.search import Span
from recsys.pipelines.search import pictures
from recsys.pipelines.search.space import Searched, describe_space
from recsys.pipelines.search.study import Trial
from recsys.text import command_line, text_table

_SHOWN = 10  # trials of the table


def report_text(
    title: str,
    space: Searched,
    metric: str,
    trials: Sequence[Trial],
    best: Trial,
    remarks: Sequence[str],
    at_edge: bool,
) -> str:
    """The report: the best trials with intervals, counts of the others, and how to use the best."""
    done = sorted((one for one in trials if one.state == "done"), key=lambda one: -one.mean)
    shown = [*done[:_SHOWN], *(one for one in done[_SHOWN:] if one.facts["start"])]
    rows = [
        [
            f"{one.place}{' (as given)' if one.facts['start'] else ''}",
            band(one.facts),
            *(short(one.values[field]) for field in space.space),
            "-" if one.facts["epochs"] is None else str(one.facts["epochs"]),
            f"{one.facts['seconds']:.1f}",
        ]
        for one in shown
    ]
    counts = Counter(one.state for one in trials)
    reasons = Counter(one.facts["reason"] for one in trials if one.state == "failed")
    searched = ", ".join(f"{field} {span}" for field, span in describe_space(space.space).items())
    lines = [
        f"{title}. Searched in {space.name}: {searched}.",
        "",
        text_table(["trial", metric, *space.space, "epochs", "seconds"], rows),
        "",
        f"{len(trials)} trials: {counts['done']} done, {counts['pruned']} pruned, {counts['failed']} failed.",
        *(f"Failed {count} times: {reason}" for reason, count in reasons.most_common(3)),
    ]
    inside = "" if at_edge else ", not at an edge of the space"
    lines.append(f"Best: trial {best.place}, {band(best.facts)}{inside}.")
    return "\n".join([*lines, *(remark for remark in remarks if remark)])


def against_start(trials: Sequence[Trial], best: Trial, values_of: Callable[[Trial], F64 | None]) -> str:
    """A sentence on how far the best trial lies above the settings as given, and whether chance may have put
    it there.

    values_of: float64 (n,), what a trial gave each user; None where that is not known. Empty where there is
    nothing to compare.
    """
    start = next((one for one in trials if one.state == "done" and one.facts["start"]), None)
    if start is None or start.place == best.place:
        return ""
    first, second = values_of(best), values_of(start)
    if first is None or second is None or len(first) != len(second):
        return ""
    gap, error = paired_gap(first, second)
    chance = (
        "more than two of them" if gap > 2 * error else f"the best of {len(trials)} may be that far by chance"
    )
    return f"Above the settings as given by {gap:.4f}, standard error {error:.4f}, paired: {chance}."


def config_head(
    model: str,
    data: tuple[str, str],
    metric: str,
    figures: Mapping[str, Any],
    trials: int,
    found_by: str,
    config: Path,
) -> list[str]:
    """The lines on top of the config. data: its name, and what a command calls it by."""
    return [
        f"Purpose: {model} on {data[0]}, the best of {trials} trials on the validation part.",
        f"Command: {train_command(data[1], config)}",
        f"Found by: {found_by}",
        f"There {metric} was {band(figures)}; the best of many flatters itself, the test part does not.",
    ]


def train_command(data: str, config: Path) -> str:
    """The command that trains by a config, whose path is relative to the current folder."""
    place = config.relative_to(Path.cwd()) if config.is_relative_to(Path.cwd()) else config
    return command_line("recsys train", data, c=place)


def write_artefacts(
    config: Path, text: str, searched: Searched, metric: str, trials: Sequence[Trial], best: Trial
) -> list[Path]:
    """Writes the table, the trials as data and the picture beside the config, and returns their paths."""
    files = [config.with_suffix(suffix) for suffix in (".md", ".json", ".png")]
    files[0].write_text(text + "\n", encoding="utf-8")
    files[1].write_text(json.dumps([trial._asdict() for trial in trials], indent=1), encoding="utf-8")
    done = [one for one in trials if one.state == "done"]
    rows = [{**one.values, metric: one.mean} for one in done]
    fields = {field: isinstance(one, Span) and one.log for field, one in list(searched.space.items())[:6]}
    at = int(np.flatnonzero([one.place == best.place for one in done])[0])
    pictures.by_setting(metric, fields, rows, at).savefig(files[2], dpi=130)
    return files


def band(facts: Mapping[str, Any]) -> str:
    """Mean, low and high in words."""
    return Interval(facts["mean"], facts["low"], facts["high"]).text()


def short(value: Any) -> str:
    """A value as text; fractions with three significant digits."""
    if value is None:
        return "none"
    return f"{float(f'{value:.3g}'):g}" if isinstance(value, float) else str(value)
