"""The vectors of an earlier bundle as rows to start learning from, in the numbering of the new data."""

import numpy as np

from recsys.arrays import F32, I32, Bool
from recsys.bundle.bundle import Bundle
from recsys.data.dataset import Dataset
from recsys.encoders.encoder import StartRows
from recsys.encoders.users import Users
from recsys.errors import ModelError
from recsys.evaluation.foreign import BundleInDataIds
from recsys.training.loop import Start


def start_of(bundle: Bundle, train: Dataset) -> Start:
    """The vectors of a bundle in the numbering of the data to learn from.

    Ids that the bundle knows keep their rows. A new user's row is the bundle's fold-in of what they had of
    its items, a new item's the mean of the rows of those who had it, brought to the length of the other
    items' rows. What has no such relation to the bundle has zeros. A column that all users end in alike is
    left out: its learner finds it anew.
    """
    asked = BundleInDataIds(bundle, train)
    everybody = Users.of_rows(np.arange(train.n_users), train.interactions.histories())
    rows = bundle.encoder.start_rows(asked.translate(everybody), bundle.item_vectors)
    if rows is None:
        raise ModelError(
            f"bundle {bundle.bundle_id} holds nothing of a taste that learning could start from."
        )
    return _start(rows, asked.item, train)


def _start(rows: StartRows, item: I32, train: Dataset) -> Start:
    """Rows whose items have the numbers of the bundle as a start. item: int32 (n_items of the data,), or
    -1."""
    if rows.parts:
        parts = tuple(None if part is None else _start(part, item, train) for part in rows.parts)
        return Start(rows.users, np.zeros((train.n_items, 0), np.float32), parts)
    items = np.zeros((train.n_items, rows.users.shape[1]), np.float32)
    items[item >= 0] = rows.items[item[item >= 0]]
    return Start(rows.users, _with_new(items, rows.users, train))


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
