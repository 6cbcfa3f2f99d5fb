"""Finished lists as a ranker, so that any system is judged by the path, the users and the rules of our
own."""

from dataclasses import dataclass

import numpy as np

from recsys.arrays import F32, I64, Bool, Ragged
from recsys.encoders.encoder import USER_ROW
from recsys.encoders.users import Users
from recsys.errors import DataError
from recsys.retrieval.ranker import Answer


@dataclass(frozen=True, eq=False)
class ListRanker:
    """Ranks each user's items in the order of a list: `lists` has a row for each user, best first.

    An item number of `n_items` stands for one that the data do not know: it may be answered, and is never a
    hit. A user without a list gets nothing, and no fallback: what a system does not answer counts against it.
    Raises DataError where a list has an item twice.
    """

    lists: Ragged
    n_items: int
    folds_in: bool = False
    explains: bool = False

    def __post_init__(self) -> None:
        row, known = self.lists.row_of_value(), self.lists.values < self.n_items
        pairs = row[known].astype(np.int64) * self.n_items + self.lists.values[known]
        ordered = np.argsort(pairs, kind="stable")
        again = ordered[1:][np.diff(pairs[ordered]) == 0]
        if len(again):
            first = np.flatnonzero(known)[again.min()]
            raise DataError(
                f"the list of user number {row[first]} has item number {self.lists.values[first]} a second "
                f"time, which would count as a second hit; keep one of them."
            )

    @property
    def trained(self) -> Bool:
        """(n_items,): any item may stand in a list."""
        return np.ones(self.n_items, bool)

    def top(
        self,
        users: Users,
        k: int,
        *,
        forbid: Ragged,
        among: Ragged | None = None,
        available: Bool | None = None,
    ) -> Answer:
        lists = self.lists.take(users.index)
        lists = lists.keep(~self._within(lists, forbid))
        if among is not None:
            lists = lists.keep(self._within(lists, among))
        if available is not None:
            lists = lists.keep(np.append(available, True)[lists.values])
        row = lists.row_of_value()
        place = np.arange(len(row)) - lists.offsets[row]
        kept = place < k
        ids = np.full((len(users), k), -1, np.int64)
        scores = np.full((len(users), k), -np.inf, np.float32)
        ids[row[kept], place[kept]] = lists.values[kept]
        scores[row[kept], place[kept]] = 1.0 / (1 + place[kept])
        return Answer(ids, scores, np.full(len(users), USER_ROW, np.int8))

    def _within(self, lists: Ragged, rows: Ragged) -> Bool:
        """(nnz,): which values of the lists are also in the same row of `rows`."""
        base = self.n_items + 1
        within: Bool = np.isin(
            lists.row_of_value() * base + lists.values, rows.row_of_value() * base + rows.values
        )
        return within

    def contributions(self, user: Users, ids: I64) -> F32 | None:
        return None
