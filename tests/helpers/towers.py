"""A data set whose features say everything, and two-tower models of it."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from recsys.bundle.bundle import Bundle, load
from recsys.bundle.write import publish
from recsys.data.dataset import Dataset
from recsys.encoders.users import Users
from recsys.models.export import content_of
from recsys.models.registry import make_model
from recsys.testing.toys import checkerboard

SMALL = {"dim": 8, "epochs": 30, "batch_size": 256, "learning_rate": 0.03, "history": "others"}
COLOUR = [{"column": "colour"}]
BOTH = {"item_features": COLOUR, "user_features": [{"column": "likes"}, {"column": "age", "kind": "number"}]}


def colour_checkerboard(cold: int = 0) -> Dataset:
    """The checkerboard, where the colour of an item says for which users it is, and so does what a user says
    they like; the last `cold` items have no events."""
    data = checkerboard(40)
    events = data.interactions.where(data.interactions.item < 40 - cold)
    colour, likes = (pa.array(["even", "odd"] * 20) for _ in range(2))
    return dataclasses.replace(
        data.having(events),
        item_features=pa.table({"colour": colour}),
        user_features=pa.table({"likes": likes, "age": [float(user) for user in range(40)]}),
    )


def fit_towers(data: Dataset, **settings: Any) -> Any:
    return make_model("two_tower", SMALL | settings).fit(data, seed=1)


def publish_towers(root: Path, data: Dataset, **settings: Any) -> Bundle:
    """Published below `root`, and the current one there."""
    return load(publish(root, content_of("two_tower", fit_towers(data, **settings), data)))


def everyone(data: Dataset) -> Users:
    return Users.of_rows(np.arange(data.n_users), data.interactions.histories())
