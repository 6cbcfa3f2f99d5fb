"""What goes into a bundle, checked before anything is written."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from recsys.arrays import F32, I8, I32, I64, Ragged
from recsys.bundle.catalogue import Catalogue
from recsys.errors import ModelError
from recsys.history import DUPLICATES, Histories
from recsys.ids import IdMap
from recsys.retrieval.embeddings import Embeddings
from recsys.retrieval.seen import SeenSettings


@dataclass(frozen=True, eq=False)
class Content:
    """What goes into a bundle.

    histories: what each known user has seen, oldest first, with `history_time` (unix seconds), `history_event` (codes
    into `event_names`) and `history_weight` (as learned from) beside it, or None. seen: the seen policy, in a word or
    as settings. fallback: int32 (n_items,), every item, best first. fallback_days: the window of its counts, None = all
    time. lineage: where it all comes from (run_id, data digest, time range, git, seed, threads, settings).
    event_weights: what an event of a type weighs that comes with a request; a type not named weighs 1, and one of 0 was
    left out of training. duplicates: which events of one user, item and type were learned from (`recsys.data.prepare`).
    """

    name: str
    embeddings: Embeddings
    user_ids: IdMap
    item_ids: IdMap
    catalogue: Catalogue
    histories: Ragged
    history_time: I64 | None
    fallback: I32
    fallback_days: float | None
    seen: str | SeenSettings
    lineage: Mapping[str, Any]
    history_event: I8 | None = None
    event_names: tuple[str, ...] = ()
    history_weight: F32 | None = None
    event_weights: Mapping[str, float] = field(default_factory=dict)
    duplicates: str = "all"

    def __post_init__(self) -> None:
        n_items, n_users, n_events = len(self.embeddings.items), len(self.user_ids), len(self.histories.values)
        time, event, weight = self.history_time, self.history_event, self.history_weight
        for name, found, expected in (
            ("item_ids", len(self.item_ids), n_items),
            ("catalogue", len(self.catalogue), n_items),
            ("fallback", len(np.intersect1d(self.fallback, np.arange(n_items))), n_items),
            ("histories", self.histories.rows, n_users),
            ("history_time", n_events if time is None else len(time), n_events),
            ("history_event", n_events if event is None else len(event), n_events),
            ("history_weight", n_events if weight is None else len(weight), n_events),
        ):
            if found != expected:
                raise ModelError(f"a bundle needs one row of {name} for each of {expected}, got {found} distinct ones.")
        if self.duplicates not in DUPLICATES:
            raise ModelError(f"a bundle's duplicates are one of {', '.join(DUPLICATES)}, got {self.duplicates!r}.")

    @cached_property
    def past(self) -> Histories:
        """The histories with what stands beside them; weights that are all 1 are no weights."""
        weight = self.history_weight
        weighted = weight is not None and bool((weight != 1).any())
        return Histories(self.histories, self.history_time, weight if weighted else None, self.history_event)
