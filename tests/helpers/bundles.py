"""Content for bundles, made by hand: no learning, every size an argument."""

import mmap
from typing import Any

import numpy as np
import pyarrow as pa

from recsys.arrays import F32, I64, Ragged, offsets_of
from recsys.bundle.catalogue import Catalogue
from recsys.bundle.content import Content
from recsys.encoders.encoder import Constant
from recsys.encoders.solve import Solve
from recsys.encoders.users import Users
from recsys.history import Histories
from recsys.ids import IdMap
from recsys.retrieval.embeddings import Embeddings
from recsys.retrieval.ranker import order_of
from recsys.retrieval.recommender import recommender_of

WEIGHTS = {"regularization": 0.01, "unobserved_weight": 0.1, "exponent": 1.0}
START = 1_700_000_000


def content(
    n_users: int = 30,
    n_items: int = 40,
    dim: int = 8,
    *,
    events: int = 6,
    seed: int = 1,
    timed: bool = True,
    solved: bool = True,
    embeddings: Embeddings | None = None,
    fallback_days: float | None = 30.0,
    seen: str = "exclude",
    weighted: bool = False,
) -> Content:
    """Users u0 ... with `events` distinct items each, an hour apart; items i0 ... in two domains.

    The last item has no vector and item 1 has no title. solved: the rows of known users are the exact
    solutions for their histories; else random ones, which is what large sizes can afford. embeddings: in
    place of the random ones.
    weighted: every second event is a "buy" that weighs 5, the others are "view"s.
    """
    rng = np.random.default_rng(seed)
    first = rng.integers(n_items - 1, size=(n_users, 1))
    seen_items = (first + np.arange(events) * max(1, (n_items - 1) // max(events, 1))) % (n_items - 1)
    items = Ragged(offsets_of(np.full(n_users, events)), seen_items.ravel().astype(np.int32))
    time: I64 = np.tile(START + 3600 * np.arange(events), n_users).astype(np.int64)
    event = (np.arange(n_users * events) % 2).astype(np.int8)
    weight = np.where(event, 5, 1).astype(np.float32) if weighted else None
    histories = Histories(
        items, time=time if timed else None, weight=weight, event=event if weighted else None
    )
    if embeddings is None:
        embeddings = _solving(rng, Histories(items, weight=weight), n_items, dim, solved)
    titles = [None if item == 1 else f"Title {item}" for item in range(n_items)]
    domains = ["books" if item % 2 else "films" for item in range(n_items)]
    return Content(
        name="made",
        embeddings=embeddings,
        user_ids=IdMap.of([f"u{user}" for user in range(n_users)]),
        item_ids=IdMap.of([f"i{item}" for item in range(n_items)]),
        catalogue=Catalogue.of(pa.table({"title": titles, "domain": domains})),
        histories=histories,
        fallback=order_of(np.bincount(items.values, minlength=n_items)),
        fallback_days=fallback_days,
        seen=seen,
        lineage={"seed": seed, "data": "made by hand"},
        event_names=("view", "buy") if weighted else (),
        event_weights={"buy": 5.0} if weighted else {},
    )


def popularity(counts: F32) -> Embeddings:
    """Vectors of dim 1 that hold the counts (n_items,)."""
    return Embeddings(counts[:, None].astype(np.float32), Constant(np.ones(1, np.float32)))


def _solving(
    rng: np.random.Generator, histories: Histories, n_items: int, dim: int, solved: bool
) -> Embeddings:
    items = rng.normal(0, dim**-0.5, (n_items, dim)).astype(np.float32)
    items[-1] = 0
    gram = items.T @ items
    if solved:
        table, _ = Solve(items, gram, None, **WEIGHTS).encode(Users.unknown(histories))
    else:
        table = rng.standard_normal((histories.items.rows, dim), np.float32)
    return Embeddings(items, Solve(items, gram, table, **WEIGHTS))


def is_mapped(array: Any) -> bool:
    """Whether its numbers lie in a file."""
    while isinstance(array, np.ndarray):
        array = array.base
    return isinstance(array, mmap.mmap)


def exact(made):
    return recommender_of(made.embeddings, made.fallback, made.seen)


def single(recommender, users, k, deny=None, among=None):
    """Each user alone: the way of the service, through FAISS where there is an index."""
    answers = []
    for row in range(len(users)):
        rows = np.array([row])
        mine = [None if rules is None else rules.take(rows) for rules in (deny, among)]
        answers.append(recommender.recommend(users.take(rows), k, deny=mine[0], among=mine[1]))
    return np.concatenate([a.ids for a in answers]), np.concatenate([a.scores for a in answers])
