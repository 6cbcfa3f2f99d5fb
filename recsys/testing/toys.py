"""Small data sets whose right answers are known."""

from typing import Any

import numpy as np
import pyarrow as pa

from recsys.arrays import Array
from recsys.data.dataset import Dataset
from recsys.data.interactions import Interactions
from recsys.ids import IdMap


def dataset(user: Array, item: Array, n_users: int, n_items: int, **events: Any) -> Dataset:
    """A data set of these events with ids u0, u1 ... and i0, i1 ..., titles and two domains.

    events: `time`, `weight`, `event` and `event_names`, as `Interactions.in_order` takes them.
    """
    items = pa.table(
        {
            "title": [f"Title {item}" for item in range(n_items)],
            "domain": ["films" if item % 2 else "books" for item in range(n_items)],
        }
    )
    return Dataset(
        "toy",
        Interactions.in_order(np.asarray(user), np.asarray(item), n_users=n_users, n_items=n_items, **events),
        IdMap.of([f"u{user}" for user in range(n_users)]),
        IdMap.of([f"i{item}" for item in range(n_items)]),
        items,
    )


def checkerboard(n: int = 50) -> Dataset:
    """User u has had every item of the same parity but item u: item u is the only right answer."""
    user, item = (grid.ravel() for grid in np.meshgrid(np.arange(n), np.arange(n), indexing="ij"))
    had = ((user + item) % 2 == 0) & (user != item)
    return dataset(user[had], item[had], n, n)


def random_log(seed: int, n_users: int = 40, n_items: int = 30, n: int = 400) -> Dataset:
    """Events without any pattern, repeats included, with times."""
    rng = np.random.default_rng(seed)
    user, item = rng.integers(n_users, size=n), rng.integers(n_items, size=n)
    return dataset(user, item, n_users, n_items, time=1_700_000_000 + rng.integers(10**7, size=n))
