"""What `benchmarks.mf_speed` factors: gowalla's training part, and made-up matrices of any size; and the
objective."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from recsys.arrays import F32, I32

EVENTS = {"world-quick": 100_000} | {f"world-{m}M": m * 1_000_000 for m in (1, 3, 10, 30)}


def make(name: str, root: Path) -> Path:
    """The folder of a data set, made where it is not there: events by user and item, and the same as a CSR
    matrix.

    A world of n events has n / 15 users, whose numbers of events are log-normal (sigma 1), and n / 150 items,
    whose popularity falls as rank^-0.7; a user takes 7 of 10 events from one of 50 groups of items. Repeats
    are dropped.
    """
    folder = root / name
    if (folder / "counts.json").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    user, item, users, items = _gowalla() if name == "gowalla" else _world(EVENTS[name])
    keys = np.sort(user.astype(np.int64) * items + item)
    keys = keys[np.diff(keys, prepend=-1) > 0]
    user, item = (keys // items).astype(np.int32), (keys % items).astype(np.int32)
    np.save(folder / "indptr.npy", np.searchsorted(user, np.arange(users + 1)))
    np.save(folder / "indices.npy", item)
    order = np.random.default_rng(2).permutation(len(user))  # a log is in the order of time
    np.save(folder / "user.npy", user[order])
    np.save(folder / "item.npy", item[order])
    counts = {"users": users, "items": items, "events": len(user)}
    (folder / "counts.json").write_text(json.dumps(counts))
    return folder


def _gowalla() -> tuple[I32, I32, int, int]:
    from recsys.data.dataset import TRAIN
    from recsys.data.read.load import load_dataset

    data = load_dataset("gowalla")
    assert data.published is not None
    events = data.interactions.where(data.published.part == TRAIN)
    return events.user, events.item, data.n_users, data.n_items


def _world(n: int) -> tuple[I32, I32, int, int]:
    rng, users, items, groups = np.random.default_rng(1), n // 15, n // 150, 50
    lengths = rng.poisson(rng.lognormal(np.log(n / users) - 0.5, 1, users) * 1.1) + 1
    user = np.repeat(np.arange(users, dtype=np.int32), lengths)
    ranks = np.cumsum(np.arange(1, items + 1) ** -0.7)
    item = np.searchsorted(ranks, rng.random(len(user)) * ranks[-1]).astype(np.int32)
    own = rng.integers(groups, size=users, dtype=np.int32)[user]
    inside = rng.random(len(user)) < 0.7
    item = np.where(inside, np.minimum(item // groups * groups + own, items - 1), item)
    shuffled = rng.permutation(items).astype(np.int32)
    return user, shuffled[item], users, items


def objective(folder: Path, users: F32, items: F32, settings: dict[str, Any]) -> float:
    """The objective of `benchmarks.mf_worker`, in float64 and divided by the number of events."""
    a, ridge, power = (settings[name] for name in ("unobserved_weight", "regularization", "exponent"))
    indptr, indices = np.load(folder / "indptr.npy"), np.load(folder / "indices.npy")
    matrix = sparse.csr_array(
        (np.ones(len(indices), np.float32), indices, indptr), shape=(len(users), len(items))
    )
    total = 0.0
    for start in range(0, len(users), 4_096):
        part = matrix[start : start + 4_096].tocoo()
        scores = np.einsum("ij,ij->i", users[start + part.row].astype(float), items[part.col].astype(float))
        total += np.square(scores - 1).sum()
    grams = [rows.T.astype(float) @ rows.astype(float) for rows in (users, items)]
    total += a * np.sum(grams[0] * grams[1])
    for rows, counts, others in ((users, matrix.sum(1), len(items)), (items, matrix.sum(0), len(users))):
        total += ridge * (counts + a * others) ** power @ np.square(rows.astype(float)).sum(1)
    return float(total / len(indices))
