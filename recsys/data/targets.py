"""Which events are judged, and count as having had an item: those of some types, everywhere or by domain."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys.arrays import I32, Array, Bool
from recsys.data.interactions import Interactions
from recsys.errors import DataError
from recsys.matrix.on_disk import chunks
from recsys.text import did_you_mean

Types = str | tuple[str, ...]
SETTING = "prepare.target_event"


class TargetEvents(NamedTuple):
    """The judged types of the domains that are named, and those of all other items; None = every type."""

    by_domain: Mapping[str, tuple[str, ...]]
    elsewhere: tuple[str, ...] | None

    @property
    def types(self) -> list[str]:
        """Every type that is named, once."""
        return list(
            dict.fromkeys(
                name for types in (*self.by_domain.values(), self.elsewhere or ()) for name in types
            )
        )

    @property
    def text(self) -> str:
        """In a sentence: `'buy' events`, or `'listen' events in music and all events in other domains`."""
        parts = [f"{_either(types)} in {domain}" for domain, types in self.by_domain.items()]
        others = "all events in other domains" if self.elsewhere is None else _either(self.elsewhere)
        return f"{', '.join(parts)} and {others}" if parts else others

    def types_by_item(self, items: pa.Table, event_names: tuple[str, ...]) -> tuple[I32, Bool]:
        """int32 (n_items,): the row of each item; (rows, types + 1): which types count there. The last one,
        for an event of unknown type, counts nowhere."""
        others = event_names if self.elsewhere is None else self.elsewhere
        counts = [
            [*(name in types for name in event_names), False] for types in (*self.by_domain.values(), others)
        ]
        row = np.full(len(items), len(self.by_domain), np.int32)
        for at, domain in enumerate(self.by_domain):
            row[_of_domain(items, domain)] = at
        return row, np.array(counts, bool)


def target_events(
    stated: Types | Mapping[str, Types], name: str, items: pa.Table, events: Interactions
) -> TargetEvents:
    """What a setting states, checked on the data of this name.

    Raises DataError on a domain that no item has, and on a type that does not occur (in that domain), with
    those that do.
    """
    if not isinstance(stated, Mapping):
        types = _list_types(stated)
        _refuse_unknown(types, events.event_names, name)
        return TargetEvents({}, types)
    if "domain" not in items.column_names:
        raise DataError(f"{SETTING} is by domain, and the items of {name} have none; name event types alone.")
    by_domain = {}
    for domain, own in stated.items():
        mine = _of_domain(items, domain)
        if not mine.any():
            known = [one for one in pc.unique(items["domain"]).to_pylist() if one is not None]
            raise DataError(f"{SETTING}: {name} has no domain {domain!r}; {did_you_mean(domain, known)}")
        by_domain[domain] = _list_types(own)
        _refuse_unknown(by_domain[domain], _occurring(events, mine), name, f" in domain {domain!r}")
    return TargetEvents(by_domain, None)


def _list_types(types: Types) -> tuple[str, ...]:
    return (types,) if isinstance(types, str) else tuple(types)


def _either(types: tuple[str, ...]) -> str:
    return f"{' or '.join(map(repr, types))} events"


def _of_domain(items: pa.Table, domain: str) -> Bool:
    """(n_items,): the items of a domain."""
    return np.asarray(pc.equal(items["domain"], domain).fill_null(False), bool)


def _occurring(events: Interactions, items: Bool) -> tuple[str, ...]:
    """The types of the events of some items, a mask (n_items,)."""
    occurring = np.zeros(len(events.event_names), bool)
    kinds: Array | None = events.event
    for at in chunks(len(events)) if kinds is not None else []:
        assert kinds is not None
        occurring[kinds[at][items[events.item[at]]]] = True
    return tuple(name for name, occurs in zip(events.event_names, occurring, strict=True) if occurs)


def _refuse_unknown(types: tuple[str, ...], occurring: tuple[str, ...], name: str, where: str = "") -> None:
    if not types:
        raise DataError(f"{SETTING} names no event type{where}; name one, or leave it out.")
    for one in types:
        if one not in occurring:
            types_there = f"its types{where} are {', '.join(occurring)}"
            known = types_there if occurring else f"it has no event column{where}; name it by --event-col"
            raise DataError(f"{SETTING}: {name} has no event type {one!r}{where}; {known}.")
