"""The rows of a table of events that can be read, and every rule of a reader that the others break."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from recsys.arrays import I32, I64, Bool
from recsys.data.check.findings import Finding, whole
from recsys.data.check.ids import odd_ids
from recsys.data.read.columns import (
    MISSING_FIXES,
    REQUIRED,
    Codes,
    parse_events,
    parse_ids,
    parse_times,
    parse_weights,
)
from recsys.data.read.event_table import SPLIT, parse_split


@dataclass(frozen=True, eq=False)
class Events:
    """The rows of a table that could be read.

    users, items: the distinct ids, which `user` and `item`, int32 (n,), index into. row: int64 (n,) their
    numbers from
    0. time, kind (the code of the event type): parallel, or None.
    """

    user: I32
    item: I32
    users: pa.Array
    items: pa.Array
    row: I64
    time: I64 | None
    kind: I32 | None

    @property
    def n_users(self) -> int:
        return len(self.users)

    @property
    def n_items(self) -> int:
        return len(self.items)


def parse_table(
    table: pa.Table, roles: Mapping[str, str], *, ratings: bool = False
) -> tuple[Events | None, list[Finding]]:
    """The rows that can be read, None where a column holds no ids at all; and a finding for each rule that
    rows break which a reader would refuse, or that the columns do. ratings: as in `event_table.Reading`."""
    findings: list[Finding] = []
    parsed: dict[str, Codes | None] = {}
    times, event = None, None
    for role in REQUIRED:
        codes, wrong = parse_ids(table[roles[role]], roles[role], missing_fix=MISSING_FIXES[role])
        parsed[role] = codes
        findings += wrong
        if codes is not None:
            findings += odd_ids(codes.code, codes.names, roles[role], role.removesuffix("_id"))
    if "timestamp" in roles:
        times, wrong = parse_times(table[roles["timestamp"]], roles["timestamp"])
        findings += wrong
        if times is not None and times.naive:
            said, fix = (
                "has no time zone; its times are read as UTC",
                "Write the zone, as in 2026-01-31T12:00:00Z.",
            )
            findings.append(whole("warning", "naive_time", roles["timestamp"], said, fix))
    else:
        said, fix = (
            "has no times",
            "Name the column by --time-col: without times nothing can be judged on the future.",
        )
        findings.append(whole("warning", "no_times", "", said, fix))
    if "event" in roles:
        event, wrong = parse_events(table[roles["event"]], roles["event"])
        findings += wrong
    if "weight" in roles:
        findings += parse_weights(table[roles["weight"]], roles["weight"], ratings=ratings)[1]
    if SPLIT in table.column_names and SPLIT not in roles.values():
        findings += parse_split(table[SPLIT])[1]
    user, item = (parsed[role] for role in REQUIRED)
    if user is None or item is None:
        return None, findings
    good: Bool = (user.code >= 0) & (item.code >= 0)
    if times is not None:
        good &= times.ok
    row = np.flatnonzero(good)
    seconds, kinds = None if times is None else times.seconds[row], None if event is None else event.code[row]
    return Events(user.code[row], item.code[row], user.names, item.names, row, seconds, kinds), findings
