"""What goes into a bundle, checked before anything is written."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from recsys.arrays import I32
from recsys.bundle.catalogue import Catalogue
from recsys.errors import ModelError
from recsys.history import DUPLICATES, Histories
from recsys.ids import IdMap
from recsys.retrieval.approximate import IndexSettings
from recsys.retrieval.embeddings import Embeddings
from recsys.retrieval.seen import SeenSettings


@dataclass(frozen=True, eq=False, kw_only=True)
class Content:
    """The content of a bundle: vectors, encoder, ids, histories, catalogue and rules, checked against each
    other.

    histories: what each known user did, weighted as learned from, with types that are codes into
    `event_names`. seen: the seen policy, in a word or as settings. fallback: int32 (n_items,), every item,
    best first. fallback_days: the window of its counts, None = all time. index: the index to make of the item
    vectors; the default is none beside them, which is exact. lineage: where it all comes from (run_id, data
    digest, time range, git, seed, threads, settings). event_weights: what an event of a type weighs that
    comes with a request; a type not named weighs 1, and one of 0 was left out of training. duplicates: which
    events of one user, item and type were learned from (`recsys.data.prepare`).
    """

    name: str
    embeddings: Embeddings
    user_ids: IdMap
    item_ids: IdMap
    catalogue: Catalogue
    histories: Histories
    fallback: I32
    fallback_days: float | None
    seen: str | SeenSettings
    lineage: Mapping[str, Any]
    event_names: tuple[str, ...] = ()
    event_weights: Mapping[str, float] = field(default_factory=dict)
    duplicates: str = "all"
    index: IndexSettings = field(default_factory=IndexSettings)

    def __post_init__(self) -> None:
        n_items, n_users = len(self.embeddings.items), len(self.user_ids)
        for name, given, expected in (
            ("item_ids", len(self.item_ids), n_items),
            ("catalogue", len(self.catalogue), n_items),
            ("fallback", len(np.intersect1d(self.fallback, np.arange(n_items))), n_items),
            ("histories", self.histories.rows, n_users),
        ):
            if given != expected:
                raise ModelError(
                    f"a bundle needs one row of {name} for each of {expected}, got {given} distinct ones."
                )
        if self.duplicates not in DUPLICATES:
            raise ModelError(
                f"a bundle's duplicates are one of {', '.join(DUPLICATES)}, got {self.duplicates!r}."
            )
