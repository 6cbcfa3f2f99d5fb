"""Reports about lists: interleaving and off-policy values, and how a log of lists is read."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from recsys.analysis.interleaving import Preference
from recsys.analysis.off_policy import ASSUMES, ListLog, Value
from recsys.analysis.tables.rows import Table, hashes
from recsys.arrays import F64, I64
from recsys.errors import DataError
from recsys.progress import silent
from recsys.text import text_table

_FIGURES = ("reward", "logged", "target", "slot_logged", "slot_target", "predicted", "predicted_target")
_ROLES = {
    "reward": ("reward",),
    "logged": ("propensity",),
    "target": ("target",),
    "slot_logged": ("slot_propensity",),
    "slot_target": ("slot_target",),
    "predicted": ("predicted",),
    "predicted_target": ("predicted_target",),
    "position": ("position",),
    "request": ("request_id",),
    "unit": ("unit_id", "user_id"),
}


def read_list_log(source: Any) -> ListLog:
    """The log of a table with a row for each shown item. Raises DataError where lists are of several
    lengths."""
    table = Table(source, "the log", _ROLES, ("reward", "logged", "target"), {})
    columns: dict[str, list[F64]] = {name: [] for name in (*_FIGURES, "position") if name in table}
    texts: dict[str, list[I64]] = {name: [] for name in ("request", "unit") if name in table}
    for part in table.parts(silent):
        for name, several in columns.items():
            several.append(part.numbers(name))
        for name, keys in texts.items():
            keys.append(hashes(part.ids(name, "id")).view(np.int64))
    if not columns["reward"]:
        raise DataError("the log has no rows.")
    flat = {name: np.concatenate(several) for name, several in columns.items()}
    n = len(flat["reward"])
    request = np.concatenate(texts["request"]) if "request" in texts else np.arange(n)
    unit = np.concatenate(texts["unit"]) if "unit" in texts else request
    order = np.lexsort((flat.get("position", np.zeros(n)), request))
    lengths = np.unique(request, return_counts=True)[1]
    if lengths.min() != lengths.max():
        raise DataError(
            f"the log has lists of {lengths.min()} to {lengths.max()} items. Give all one length."
        )
    if lengths.max() > 1 and "position" not in flat:
        raise DataError(
            "the log has several rows for a request and no column position: nobody knows what was above."
        )
    shape = (-1, int(lengths.max()))
    figures = {name: flat[name][order].reshape(shape) for name in _FIGURES if name in flat}
    return ListLog(person=unit[order].reshape(shape)[:, 0], **figures)


def told_values(log: ListLog, values: Sequence[Value]) -> str:
    """The values of a policy as a table, with what each estimator assumes."""
    logged = log.reward.sum(axis=1).mean()
    k = log.reward.shape[1]
    lines = [f"{len(log.reward):,} lists of {k}; the policy that showed them earned {logged:.4g} a list."]
    rows = [
        [one.estimator, one.value.text(".4g"), one.refused or "may be read", f"{one.effective:,.0f}",
         f"{one.largest:.2%}", f"{one.control:.3f}", f"{one.control_p:.2g}"]
        for one in values
    ]  # fmt: skip
    head = ["estimator", "value a list, 95 %", "so", "effective lists", "largest weight", "mean weight", "p"]
    lines.append(text_table(head, rows))
    lines += [f"{one.estimator} assumes {ASSUMES[one.estimator]}." for one in values]
    return "\n\n".join([lines[0], lines[1], "\n".join(lines[2:])])


def plain_values(log: ListLog, values: Sequence[Value]) -> dict[str, Any]:
    """The values as plain data, for JSON; a value that must not be read is null."""
    return {
        "lists": len(log.reward),
        "length": log.reward.shape[1],
        "logged": float(log.reward.sum(axis=1).mean()),
        "values": [
            {
                **asdict(one),
                "value": None if one.refused else one.value._asdict(),
                "refused": one.refused or None,
            }
            for one in values
        ],
    }


def told_preference(preference: Preference) -> str:
    """The preference as a sentence, with its figures."""
    (one, other), clicks = preference.arms, preference.clicks
    lines = [
        preference.sentence,
        f"{preference.people:,} people, {preference.clicked:,} with clicks on a team's item: {clicks[0]:,} "
        f"on {one}, {clicks[1]:,} on {other}, {clicks[2]:,} on what both would have shown.",
        f"A person clicks {preference.difference.text('+.4f')} more of {other} (whenever one looks: "
        f"{preference.always.text('+.4f')}); p = {preference.p:.2g}.",
    ]
    if preference.unmatched:
        lines.append(f"{preference.unmatched:,} clicks name no list, or an item that is not in it.")
    return "\n".join([*lines, *preference.faults])


def plain_preference(preference: Preference) -> dict[str, Any]:
    """The preference as plain data, for JSON; NaN is null."""
    plain = asdict(preference) | {"winner": preference.winner, "sentence": preference.sentence}
    for name in ("difference", "always"):
        plain[name] = getattr(preference, name)._asdict()
    return {
        key: None if isinstance(value, float) and math.isnan(value) else value for key, value in plain.items()
    }
