"""What leaks from the part that is judged on into the part that is learned from.

A leak is an error: a figure measured on such a split is that of another, easier question. What merely limits
a figure (items that nobody can have learned) is a warning.
"""

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from recsys.arrays import I64, Array, Bool, Ragged, blocks_of
from recsys.data.check.findings import Finding, Level, errors, refuse, rows, whole
from recsys.data.read.cells.casts import one_dictionary
from recsys.data.read.columns import id_text, parse_times
from recsys.data.read.event_table import EventTable, event_table
from recsys.data.read.load import read_events
from recsys.data.read.storage.location import is_remote, path_of
from recsys.data.split.holdout import Holdout, Split
from recsys.errors import DataError
from recsys.matrix import on_disk
from recsys.matrix.on_disk import chunks

_FIX_FUTURE = "Cut at one moment for everybody: split.kind=global_time."
_COLD = "No model of ids can find them; the share bounds every recall."
_FIX_VALIDATION = "Let the judged model learn from train alone, or from both: split.learn_validation=true."
_FIX_REPEATS = "Ask only for what is new to the user, or count repeats: split.repeats=true with seen=allow."


def audit_split(split: Split, *, repeats: bool = False, learn_validation: bool = True) -> list[Finding]:
    """What leaks in a split: the findings of its validation and of its test part.

    repeats: targets that the user had before are asked for on purpose. learn_validation: the model that is
    judged may have learned from the validation part. A protocol without a moment of asking (published parts,
    later half, leave last out) is not judged by time: it is asked for by name, and its title says what it
    leaks.
    """
    findings = [
        finding
        for part, holdout in (("validation", split.validation), ("test", split.test))
        for finding in audit_holdout(holdout, part, repeats=repeats)
    ]
    if learn_validation or repeats:
        return findings
    asked = replace(split.validation, train=split.test.train)
    said = "a target of the validation part that the judged model learns from"
    return findings + rows(
        "error", "validation_in_train", "test.train.item_id", _find_learned(asked), said, _FIX_VALIDATION
    )


def audit_holdout(holdout: Holdout, part: str, *, repeats: bool = False) -> list[Finding]:
    """What leaks in one question: the future in train or in a history, a target in train or in a history."""
    train, now = holdout.train.interactions, holdout.now
    findings: list[Finding] = []
    if now is not None and train.time is not None:
        findings += _late("future_in_train", f"{part}.train.timestamp", train.time, now)
        first = _first(train.item, train.time, train.n_items)
        born = (first >= now) & (train.item_counts() > 0)
        said = "items of train are first seen after the cut"
        findings += _of("error", "item_from_the_future", f"{part}.train.item_id", born, said)
    if now is not None and holdout.history.time is not None:
        findings += _late("future_in_history", f"{part}.history.timestamp", holdout.history.time, now)
    if not repeats:
        n_items = train.n_items
        asked = _keys(holdout.targets, n_items)
        brought = find_keys(asked, _key_blocks(holdout.had, n_items))
        said = "a target that stands in the user's history"
        findings += rows("error", "target_in_history", f"{part}.targets.item_id", brought, said, _FIX_REPEATS)
        learned = _find_learned(holdout)
        said = "a target that the model learns from as an event of the same user"
        findings += rows(
            "error", "target_in_train", f"{part}.targets.item_id", learned & ~brought, said, _FIX_REPEATS
        )
    cold = np.bincount(train.item, minlength=train.n_items)[holdout.targets.values] == 0
    return findings + rows(
        "warning", "cold_item", f"{part}.targets.item_id", cold, "an item that train has never seen", _COLD
    )


def _find_learned(holdout: Holdout) -> Bool:
    """(nnz,): the targets that stand in train as events of the same user."""
    n_items = holdout.train.n_items
    row = np.full(holdout.train.n_users, -1, np.int64)
    row[holdout.user] = np.arange(len(holdout.user))
    own = holdout.train.judged_events(holdout.train.interactions)
    return find_keys(
        _keys(holdout.targets, n_items),
        (row[own.user[at]] * n_items + own.item[at] for at in chunks(len(own))),
    )


def _late(kind: str, column: str, time: I64, now: int) -> list[Finding]:
    """Times of the moment of asking or after it; without any, no array of them is made."""
    if not len(time) or time.max() < now:
        return []
    return rows("error", kind, column, time >= now, "a time after the cut", _FIX_FUTURE)


def refuse_leaks(
    split: Split, *, repeats: bool = False, learn_validation: bool = True, allow: bool = False
) -> list[Finding]:
    """The findings about a split; a DataError with the first leak unless `allow`."""
    findings = audit_split(split, repeats=repeats, learn_validation=learn_validation)
    leaks = errors(findings)
    if leaks and not allow:
        more = f" ({len(leaks)} kinds of leak in all)" if len(leaks) > 1 else ""
        raise DataError(
            f"{leaks[0].sentence(f'the split {split.title!r}')}{more} Judge it all the same: "
            "split.allow_leaks=true."
        )
    return findings


@dataclass(frozen=True, eq=False)
class _Log:
    """Events in the order of their file, numbered as those of the other table are. time: None where there is
    none."""

    name: str
    user: I64
    item: I64
    n_users: int
    n_items: int
    time: I64 | None

    def finding(
        self, level: Level, kind: str, role: str, wrong: Array, said: str, fix: str = _FIX_FUTURE
    ) -> list[Finding]:
        return rows(level, kind, f"{self.name}.{role}", wrong, said, fix)

    def had(self) -> Bool:
        """(n_items,): whether the table has the item."""
        return np.bincount(self.item, minlength=self.n_items) > 0


def audit_tables(
    train: Any, test: Any, columns: Mapping[str, str] | None = None, *, repeats: bool = False
) -> list[Finding]:
    """What leaks from a table of events to judge on into one to learn from; both by the same column names."""
    learned, judged = _logs(train, test, columns or {})
    return _by_time(learned, judged) + _across(learned, judged, repeats) + _cold(learned, judged)


def _logs(train: Any, test: Any, columns: Mapping[str, str]) -> tuple[_Log, _Log]:
    """Both tables under the same numbers for users and items."""
    read = [_read(source, columns, name) for source, name in ((train, "train"), (test, "test"))]
    users, items = (_common_ids(read, role) for role in ("user_id", "item_id"))
    logs, first = [], 0
    for one, name, seconds in zip(read, ("train", "test"), _seconds(read), strict=True):
        part = slice(first, first + len(one.table))
        first = part.stop
        logs.append(
            _Log(
                name,
                users.indices.to_numpy()[part].astype(np.int64),
                items.indices.to_numpy()[part].astype(np.int64),
                len(users.dictionary),
                len(items.dictionary),
                seconds,
            )
        )
    return logs[0], logs[1]


def _common_ids(read: Sequence[EventTable], role: str) -> pa.DictionaryArray:
    ids = [id_text(one.table[one.roles[role]], one.roles[role], one.where) for one in read]
    return one_dictionary(pa.chunked_array(ids))


def _read(source: Any, columns: Mapping[str, str], name: str) -> EventTable:
    if isinstance(source, str | Path) or is_remote(source):
        read = read_events(path_of(source), columns)
    else:
        read = event_table(source, columns, name=name)
    if not len(read.table):
        raise DataError(f"{read.where} has no rows; an audit needs events on both sides.")
    return read


def _seconds(read: Sequence[EventTable]) -> list[I64 | None]:
    """The times of each table, None where it has none. That times have no zone is said once for both."""
    seconds: list[I64 | None] = []
    naive = []
    for one in read:
        if (column := one.roles.get("timestamp")) is None:
            seconds.append(None)
            continue
        times, findings = parse_times(one.table[column], column)
        refuse(findings, one.where)
        assert times is not None
        seconds.append(times.seconds)
        if times.naive:
            naive.append(f"{column!r} of {one.where}")
    if naive:
        warnings.warn(f"column {' and '.join(naive)}: no time zone; the times are read as UTC.", stacklevel=4)
    return seconds


def _by_time(train: _Log, test: _Log) -> list[Finding]:
    if train.time is None or test.time is None:
        fix = "Give both tables a time column: without it the worst leak is invisible."
        return [whole("warning", "no_times", "", "cannot be judged by time", fix)]
    cut = int(test.time.min())
    findings = train.finding(
        "error", "future_in_train", "timestamp", train.time > cut, "a time after the first test event"
    )
    first = _first(test.user, test.time, test.n_users)
    said = "a time after the same user's first test event"
    findings += train.finding(
        "error", "own_future_in_train", "timestamp", train.time > first[train.user], said
    )
    born = (_first(train.item, train.time, train.n_items) > cut) & train.had()
    return findings + _of(
        "error", "item_from_the_future", "train.item_id", born, "items are first seen after the cut"
    )


def _across(train: _Log, test: _Log, repeats: bool) -> list[Finding]:
    """Rows of test that train holds as well, and pairs of user and item that it holds at another time."""
    learned, asked = (log.user * log.n_items + log.item for log in (train, test))
    pair = np.isin(asked, learned)
    same = pair.copy()
    if train.time is not None and test.time is not None:
        at, near = np.flatnonzero(pair), np.flatnonzero(np.isin(learned, asked[pair]))
        _, keys = np.unique(np.concatenate([learned[near], asked[at]]), return_inverse=True)
        seconds = np.concatenate([train.time[near], test.time[at]])
        moments, place = np.unique(seconds, return_inverse=True)
        keys = keys.astype(np.int64) * len(moments) + place
        same[at] = np.isin(keys[len(near) :], keys[: len(near)])
    said, fix = "the same user, item and time as a row of train", "Take these rows out of train."
    findings = test.finding("error", "duplicate_across", "item_id", same, said, fix)
    said = "an item that stands in the user's history in train"
    level: Level = "warning" if repeats else "error"
    return findings + test.finding(level, "target_in_history", "item_id", pair & ~same, said, _FIX_REPEATS)


def _cold(train: _Log, test: _Log) -> list[Finding]:
    new_user = np.bincount(train.user, minlength=train.n_users) == 0
    findings = test.finding(
        "warning", "cold_item", "item_id", ~train.had()[test.item], "an item that train has never seen", _COLD
    )
    said, fix = "a user whom train has never seen", "The fallback answers them: report them separately."
    return findings + test.finding("warning", "cold_user", "user_id", new_user[test.user], said, fix)


def _first(who: Array, time: I64, n: int) -> I64:
    """int64 (n,): the second of the first event of each, the largest number where there is none."""
    first = np.full(n, np.iinfo(np.int64).max)
    for part in chunks(len(who)):
        np.minimum.at(first, who[part], time[part])
    return first


def _keys(ragged: Ragged, n_values: int) -> I64:
    keys: I64 = ragged.row_of_value() * n_values + ragged.values
    return keys


def _key_blocks(ragged: Ragged, n_values: int) -> Iterator[I64]:
    """`_keys`, those of some rows at a time."""
    for block in blocks_of(ragged.lengths, on_disk.CHUNK):
        users: I64 = np.arange(block.start, block.stop)
        part = ragged.take(users)
        yield users[part.row_of_value()] * n_values + part.values


def find_keys(asked: I64, blocks: Iterable[I64]) -> Bool:
    """(n,): which of the distinct keys asked for occur among others, which come in blocks, so that memory is
    theirs."""
    order = np.argsort(asked, kind="stable")
    ascending, occurs = asked[order], np.zeros(len(asked) + 1, bool)
    for block in blocks:
        place = np.searchsorted(ascending, block)
        hit = np.append(ascending, -1)[place] == block  # asked keys are never negative
        occurs[place[hit & (block >= 0)]] = True
    held = np.empty(len(asked), bool)
    held[order] = occurs[:-1]
    return held


def _of(level: Level, kind: str, column: str, wrong: Bool, said: str) -> list[Finding]:
    """A finding that counts items."""
    if not wrong.any():
        return []
    return [Finding(level, kind, column, int(wrong.sum()), len(wrong), None, said, _FIX_FUTURE)]


def verdict(findings: Sequence[Finding]) -> str:
    """The findings in one line."""
    leaks = errors(findings)
    kinds = ", ".join(finding.kind for finding in leaks)
    return f"{len(leaks)} kinds of leak: {kinds}" if leaks else "no leak found"
