"""Which metric a name stands for: recall_at_20, sum_of_price_at_10, or a user's own function as
"module:function"."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from recsys.arrays import F64
from recsys.errors import SettingError
from recsys.evaluation.metrics.hits import METRICS
from recsys.evaluation.metrics.lists import LIST_METRICS, SYSTEM_METRICS, Lists, SystemMetric
from recsys.evaluation.metrics.values import SHOWN_METRICS, VALUE_METRICS, value_kind, worth_of
from recsys.plugins import load_attribute
from recsys.text import nearest_name

OWN_CUT = 10  # what a user's own function sees of each list where its name does not say
_LOGGABLE = re.compile(r"[\w .-]+")  # what MLflow takes
_WORTH = (
    "revenue",
    "value",
    "price",
    "margin",
    "profit",
    "sales",
)  # what somebody may ask for by its own name
Named = str | Callable[[Lists], F64]


@dataclass(frozen=True)
class PerUser:
    """A metric with one value per user, of the first `cut` of each list.

    hits_only: it judges hits alone. describes: it says what lists are like, and more is not better. column:
    that of the items whose numbers it counts, empty for none.
    """

    name: str
    cut: int
    function: Callable[[Lists], F64]
    hits_only: bool = False
    describes: bool = False
    column: str = ""


@dataclass(frozen=True)
class PerSystem:
    """A metric with one value for all lists together, from how often each item stands among the first
    `cut`."""

    name: str
    cut: int
    function: SystemMetric


def resolve(metric: Named) -> PerUser | PerSystem:
    """The metric that a name or function stands for; a SettingError names the nearest known one.

    A user's own function takes `Lists` and returns a float64 value per user, NaN where it does not apply. It
    sees the first 10 of each list, or the first k where its name ends in `_at_k`.
    """
    if callable(metric):
        return _own(getattr(metric, "__name__", type(metric).__name__), metric)
    if ":" in metric:
        return _own(metric.partition(":")[2], load_attribute(metric, "metric"))
    kind, cut = _cut(metric)
    if cut and kind in METRICS:
        return PerUser(metric, cut, _of_hits(kind), hits_only=True)
    if cut and kind in LIST_METRICS:
        return PerUser(metric, cut, LIST_METRICS[kind], describes=True)
    if cut and kind in SYSTEM_METRICS:
        return PerSystem(metric, cut, SYSTEM_METRICS[kind])
    if cut and value_kind(kind) != ("", ""):
        return _of_values(metric, cut, *value_kind(kind))
    known = [*METRICS, *LIST_METRICS, *SYSTEM_METRICS]
    values = [f"{name}_price_at_10" for name in (*VALUE_METRICS, *SHOWN_METRICS)]
    near = nearest_name(kind or metric, known)
    hint = f"; did you mean {near}_at_{cut or 10}?" if near and near != kind else "."
    if kind in _WORTH:
        hint = (
            f"; did you mean sum_of_price_at_{cut or 10}, where price is the column of the items that "
            "holds it?"
        )
    listed = ", ".join([*(f"{name}_at_10" for name in known), *values])
    raise SettingError(
        f"metric {metric!r} is unknown; metrics are written like {listed}, or module:function{hint}"
    )


def resolve_all(metrics: Sequence[Named]) -> list[PerUser | PerSystem]:
    """Each metric, in order; at least one, and no name twice."""
    resolved = [resolve(metric) for metric in metrics]
    names = [metric.name for metric in resolved]
    if not resolved:
        raise SettingError("evaluation needs at least one metric, as in ndcg_at_10.")
    if twice := [name for name in names if names.count(name) > 1]:
        raise SettingError(f"metric {twice[0]!r} is named more than once; name each once.")
    return resolved


def refuse_worthless(metrics: Sequence[PerUser | PerSystem], items: pa.Table) -> None:
    """Raises SettingError or DataError where a metric counts a column that the table of items lacks or that
    is no numbers, before anything is learned."""
    for metric in metrics:
        if isinstance(metric, PerUser) and metric.column:
            worth_of(items, metric.name)


def _cut(name: str) -> tuple[str, int]:
    """("recall", 20) of recall_at_20; a cut of 0 where the name does not say one."""
    kind, separator, cut = name.rpartition("_at_")
    whole = bool(separator) and cut.isascii() and cut.isdecimal()
    return (kind, int(cut)) if whole else (name, 0)


def _of_hits(kind: str) -> Callable[[Lists], F64]:
    return lambda lists: METRICS[kind](lists.hits, lists.targets.lengths)


def _of_values(name: str, cut: int, kind: str, column: str) -> PerUser:
    if not _LOGGABLE.fullmatch(column):
        raise SettingError(
            f"metric {name!r}: a metric that is logged may be called by letters, digits, blanks and _ - . "
            f"alone, and column {column!r} is not. Rename the column."
        )
    shown = kind in SHOWN_METRICS
    function = (SHOWN_METRICS if shown else VALUE_METRICS)[kind]

    def count(lists: Lists) -> F64:
        assert lists.facts is not None
        return function(lists, lists.facts.numbers(column))

    return PerUser(name, cut, count, hits_only=not shown, describes=shown, column=column)


def _own(name: str, function: Any) -> PerUser:
    def check(lists: Lists) -> F64:
        values = np.asarray(function(lists))
        if values.shape != (len(lists),) or values.dtype.kind not in "fiub" or np.isinf(values).any():
            raise SettingError(
                f"metric function {name!r} must return one finite number (or NaN) per user, shape "
                f"({len(lists)},); it returned {values.dtype} of shape {values.shape}. Reduce over axis 1, "
                "the places of the list."
            )
        return values.astype(np.float64)

    return PerUser(name, _cut(name)[1] or OWN_CUT, check)
