"""Which of two lists people prefer, from merged ones: a person's clicks on one team's items less those on the
other's.

It says what people prefer, not what it is worth: whoever wins goes on to an A/B test.

Source: Chapelle, Joachims, Radlinski and Yue, "Large-Scale Validation and Analysis of Interleaved Search
Evaluation", ACM TOIS 2012.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy import stats

from recsys.analysis.effects.bounds import band
from recsys.analysis.tables.rows import Part, Table, UnitIndex, hashes
from recsys.arrays import F64, I64, Bool
from recsys.errors import DataError
from recsys.evaluation.significance import Interval
from recsys.ids import U64
from recsys.progress import Progress, silent

LEAST_PEOPLE = 50  # who clicked on a team's item, before anything is said
PLANNED = 1_000.0  # people at which the always-valid band is narrowest


@dataclass(frozen=True)
class Preference:
    """arms: the two teams. difference: clicks a person gives the second team more than the first, with the
    interval of one look; always: the one that holds whenever one looks. z, p: of one look. clicks: on items
    of each team, and on those of neither. people: with a merged list; clicked: who clicked on a team's item.
    unmatched: clicks that name no list, or an item that is not in it.
    """

    arms: tuple[str, str]
    difference: Interval
    always: Interval
    z: float
    p: float
    clicks: tuple[int, int, int]
    people: int
    clicked: int
    unmatched: int
    faults: Sequence[str] = ()

    @property
    def winner(self) -> str | None:
        """The preferred arm; None where none is shown."""
        if self.clicked < LEAST_PEOPLE or not self.p < 0.05:
            return None
        return self.arms[1 if self.difference.mean > 0 else 0]

    @property
    def sentence(self) -> str:
        if self.clicked < LEAST_PEOPLE:
            return (
                f"Cannot tell yet: {self.clicked} people clicked on a team's item, and {LEAST_PEOPLE} are "
                "needed."
            )
        if self.winner is None:
            return f"Cannot tell: no preference between {self.arms[0]} and {self.arms[1]} was shown."
        return f"People prefer {self.winner}: go on to an A/B test, which says what it is worth."


def preference(score: F64, alpha: float = 0.05) -> tuple[Interval, Interval, float, float]:
    """Of one score per person (n,): the mean with its interval and its always-valid one, z and p."""
    n = len(score)
    mean = float(score.mean()) if n else 0.0
    error = float(score.std(ddof=1) / np.sqrt(n)) if n > 1 else 0.0
    if not error:
        return Interval(mean, mean, mean), Interval(mean, mean, mean), 0.0, 1.0
    half, always = (
        error * stats.t.isf(alpha / 2, n - 1),
        error * float(band(np.array([n]), alpha, PLANNED)[0]),
    )
    z = mean / error
    return (
        Interval(mean, mean - half, mean + half),
        Interval(mean, mean - always, mean + always),
        z,
        float(2 * stats.t.sf(abs(z), n - 1)),
    )


def read_preference(
    exposures: Any, outcomes: Any, *, event: str | None = None, progress: Progress = silent
) -> Preference:
    """From exposures with request_id, unit_id, items and team (lists of one length), or a row for each item
    (item_id, team); and outcomes with request_id and item_id, of one type or of all. A click counts once for
    each item of a list. Raises DataError where a column is missing or the teams are not two."""
    units = UnitIndex()
    keys: list[U64] = []
    people, team_of = list[I64](), list[I64]()
    names: dict[str, int] = {}
    roles = {
        "unit": ("unit_id", "user_id"),
        "request": ("request_id",),
        "items": ("items", "item_id"),
        "team": ("team",),
    }
    shown = Table(exposures, "exposures", roles, tuple(roles), {})
    for part in shown.parts(progress):
        person = units.rows(part.ids("unit", "unit id"), add=True)
        request = hashes(part.ids("request", "request id"))
        row, items, team = _list_shown(part)
        keys.append(_pair_keys(request[row], items))
        codes = [names.setdefault(one, len(names)) if one is not None else -1 for one in team]
        people.append(person[row].astype(np.int64))
        team_of.append(np.array(codes, np.int64))
    if len(names) != 2:
        said = f"{len(names)} teams: {', '.join(sorted(names)[:5])}" if names else "no teams"
        raise DataError(
            f"the exposures name {said}. A merged list is drawn of two arms, by `merge_by_draft`."
        )
    arms = sorted(names)
    second = names[arms[1]]
    key, who, team_code = np.concatenate(keys), np.concatenate(people), np.concatenate(team_of)
    clicked, unmatched = _find_clicks(outcomes, key, event, progress)
    sign = np.where(team_code < 0, 0, np.where(team_code == second, 1, -1))
    score = np.bincount(who[clicked], weights=sign[clicked], minlength=len(units)).astype(np.float64)
    active = np.bincount(who[clicked & (sign != 0)], minlength=len(units)) > 0
    inside = np.bincount(who, minlength=len(units)) > 0
    difference, always, z, p = preference(score[inside])
    counts = tuple(int((clicked & (sign == value)).sum()) for value in (-1, 1, 0))
    return Preference(
        (arms[0], arms[1]),
        difference,
        always,
        z,
        p,
        counts,  # type: ignore[arg-type]
        int(inside.sum()),
        int(active.sum()),
        unmatched,
        shown.faults.sentences(),
    )


def _find_clicks(outcomes: Any, key: U64, event: str | None, progress: Progress) -> tuple[Bool, int]:
    """Which shown items were clicked, (shown,), and how many clicks name none of them."""
    roles = {"request": ("request_id",), "item": ("item_id",), "event": ("event", "event_type")}
    required = ("request", "item", *(["event"] if event else []))
    table = Table(outcomes, "outcomes", roles, required, {})
    order = np.argsort(key, kind="stable")
    ordered = key[order]
    clicked, unmatched = np.zeros(len(key), bool), 0
    for part in table.parts(progress):
        request, item = part.labels("request"), part.labels("item")
        kept = (request.code >= 0) & (item.code >= 0)
        if event is not None:
            kinds = part.labels("event")
            wanted = np.append(
                np.asarray(pc.equal(kinds.names, event).to_numpy(zero_copy_only=False), bool), False
            )
            kept &= wanted[kinds.code]
        asked = _mix_hashes(hashes(request), hashes(item))[kept]
        at = np.minimum(np.searchsorted(ordered, asked), len(ordered) - 1)
        hit = ordered[at] == asked
        clicked[order[at[hit]]] = True
        unmatched += int((~hit).sum())
    return clicked, unmatched


def _list_shown(part: Part) -> tuple[I64, pa.Array, list[str | None]]:
    """The row of each shown item, the items, and the team of each."""
    items, team = (_whole(part.columns[role]) for role in ("items", "team"))
    row = np.arange(len(items))
    if part.names["items"] == "items":
        for role, column in (("items", items), ("team", team)):
            if not (pa.types.is_list(column.type) or pa.types.is_large_list(column.type)):
                raise DataError(
                    f"column {role!r} of {part.where} must hold a list in each row, and holds {column.type}."
                )
        lengths = [pc.list_value_length(column).fill_null(0).to_numpy() for column in (items, team)]
        if (lengths[0] != lengths[1]).any():
            raise DataError(
                f"{part.where}: items and team must be lists of one length, a team or null for each item."
            )
        row, items, team = np.repeat(row, lengths[0]), pc.list_flatten(items), pc.list_flatten(team)
    return row, items, [None if one is None else str(one) for one in team.to_pylist()]


def _whole(column: pa.ChunkedArray) -> pa.Array:
    column = column.combine_chunks()
    return column.chunk(0) if isinstance(column, pa.ChunkedArray) else column


def _pair_keys(request: U64, items: pa.Array) -> U64:
    from recsys.data.read.columns import parse_ids

    codes, _ = parse_ids(pa.chunked_array([items]), "items")
    return _mix_hashes(request, np.zeros(len(request), np.uint64) if codes is None else hashes(codes))


def _mix_hashes(request: U64, item: U64) -> U64:
    return np.asarray((request * np.uint64(0x9E3779B97F4A7C15)) ^ item, np.uint64)
