"""Whether outcomes find the lists that they follow: a sample of their requests, looked for among the
exposures."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from recsys.analysis.plan import Plan
from recsys.analysis.tables.rows import Part, Table, hashes, one_array
from recsys.arrays import I64, Bool
from recsys.data.read.columns import Codes
from recsys.ids import U64
from recsys.progress import Progress, silent

SAMPLE = 200_000  # outcomes that are looked for
ROLES: Mapping[str, Sequence[str]] = {"request": ("request_id",)}
_NEVER = np.iinfo(np.int64).max


class Requests:
    """Sampled outcomes that name a request (n,), in the order of the hash of it.

    shown_at: the first second in which an exposure had that request; never = not among the exposures.
    """

    def __init__(self, request: U64, second: I64, units: pa.Array) -> None:
        self.request, self.second, self._units = request, second, units
        self.shown_at: I64 = np.full(len(request), _NEVER)

    def person(self, rows_of: Any) -> I64:
        """The number of each outcome's person (n,), -1 where they were never exposed. rows_of:
        `UnitIndex.rows`."""
        encoded = self._units.dictionary_encode()
        codes = Codes(encoded.indices.to_numpy().astype(np.int32), encoded.dictionary)
        return np.asarray(rows_of(codes, add=False), np.int64)

    @property
    def shown(self) -> Bool:
        return np.asarray(self.shown_at != _NEVER)

    def look_in(self, part: Part, second: I64, kept: Bool) -> None:
        """Takes from a part of the exposures which requests it shows, and when."""
        asked = hashes(part.labels("request"))
        at = np.minimum(np.searchsorted(self.request, asked), max(len(self.request) - 1, 0))
        rows = (
            np.flatnonzero(kept & (self.request[at] == asked)) if len(self.request) else np.empty(0, np.int64)
        )
        np.minimum.at(self.shown_at, at[rows], second[rows])

    def spread(self) -> None:
        """Several outcomes may follow one request: what the first of them found holds for all."""
        first = np.searchsorted(self.request, self.request)
        self.shown_at = self.shown_at[first]


def sample_requests(source: Any, plan: Plan, progress: Progress = silent) -> Requests | None:
    """Up to so many outcomes from the beginnings of all files alike; None where no column names requests."""
    roles = {"unit": ("unit_id", "user_id"), "time": ("timestamp", "time_ms"), **ROLES}
    own = {"unit": plan.columns.unit, "time": plan.columns.time}
    table = Table(source, "requests", roles, ("unit", "time"), own)
    if "request" not in table:
        return None
    each = max(1_000, SAMPLE // table.files)
    request, second = [np.empty(0, np.uint64)], [np.empty(0, np.int64)]
    units = [pa.array([], pa.large_string())]
    for part in table.parts(progress, beginnings=True):
        keys = hashes(part.labels("request"))
        codes = part.labels("unit")
        seconds, ok = part.seconds("time")
        rows = np.flatnonzero((keys != 0) & ok & (codes.code >= 0))
        rows = (
            rows[np.linspace(0, len(rows) - 1, min(each, len(rows))).astype(np.int64)] if len(rows) else rows
        )
        request.append(keys[rows])
        second.append(seconds[rows])
        units.append(one_array(codes.names).take(pa.array(codes.code[rows])))
    whole = np.concatenate(request)
    order = np.argsort(whole, kind="stable")
    return Requests(
        whole[order], np.concatenate(second)[order], pa.concat_arrays(units).take(pa.array(order))
    )
