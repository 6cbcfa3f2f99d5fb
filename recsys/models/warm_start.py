"""The vectors of an earlier bundle as rows to start learning from, in the numbering of the new data."""

import numpy as np

from recsys.arrays import F32, I32, Bool
from recsys.bundle.bundle import Bundle
from recsys.data.dataset import Dataset
from recsys.encoders.bag import Bag
from recsys.encoders.concat import Concat
from recsys.encoders.encoder import Encoder
from recsys.encoders.users import Users
from recsys.evaluation.foreign import BundleInDataIds
from recsys.training.loop import Start

_STARTS = ("bag", "concat", "solve", "tower")  # kinds of encoder that hold vectors to start from


def start_of(bundle: Bundle, train: Dataset) -> Start:
    """The vectors of a bundle in the numbering of the data to learn from.

    Ids that the bundle knows keep their rows. A new user's row is the bundle's fold-in of what he had of its items, a
    new item's the mean of the rows of those who had it, brought to the length of the other items' rows. What has no
    such relation to the bundle has zeros. A column that all users end in alike is left out: its learner finds it anew.
    """
    asked = BundleInDataIds(bundle, train)
    everybody = Users.known(np.arange(train.n_users), train.interactions.histories())
    return _start(bundle.encoder, bundle.item_vectors, asked.translated(everybody), asked.item, train)


def _start(encoder: Encoder, vectors: F32, users: Users, item: I32, train: Dataset) -> Start:
    """vectors: (n_items of the bundle, dim). users, item: those of the data, in the bundle's numbering."""
    if isinstance(encoder, Concat):
        ends = np.cumsum([part.dim for part in encoder.parts])
        parts = tuple(
            _start(part, vectors[:, end - part.dim : end], users, item, train) if part.kind in _STARTS else None
            for part, end in zip(encoder.parts, ends, strict=True)
        )
        users_of_none, items_of_none = (np.zeros((count, 0), np.float32) for count in (train.n_users, train.n_items))
        return Start(users_of_none, items_of_none, parts)
    rows, _ = encoder.encode(users)
    if isinstance(encoder, Bag):  # a level is no taste
        rows, vectors = rows[:, : encoder.width], vectors[:, : encoder.width]
    items = np.zeros((train.n_items, rows.shape[1]), np.float32)
    items[item >= 0] = vectors[item[item >= 0]]
    return Start(rows, _with_new(items, rows, train))


def _with_new(items: F32, users: F32, train: Dataset) -> F32:
    """The item rows, with those of zeros filled by the mean of the rows of the users who had them."""
    matrix = train.interactions.matrix()
    old: Bool = np.asarray(items.any(axis=1))
    had = matrix.T @ users.any(axis=1).astype(np.float32)  # (n_items,): by so many who have a row
    means = (matrix.T @ users) / np.maximum(had, np.float32(1e-12))[:, None]
    both = old & (had > 0)
    length, mean_length = (float(np.linalg.norm(rows[both])) for rows in (items, means))
    scale = length / mean_length if mean_length else 1.0
    return np.where(old[:, None], items, means * np.float32(scale)).astype(np.float32)
