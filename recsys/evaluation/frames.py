"""From a recommender or a data set to DataFrames, for notebooks and batch jobs."""

from typing import TYPE_CHECKING, Any

import numpy as np

from recsys.data.dataset import Dataset
from recsys.encoders.encoder import SOURCES
from recsys.encoders.users import Users
from recsys.retrieval.recommender import Recommender

if TYPE_CHECKING:
    import pandas as pd


def recommend_frame(recommender: Recommender, data: Dataset, k: int) -> "pd.DataFrame":
    """The k best items of every user of a data set, by the path that evaluation and service take.

    A seen policy that counts days looks at the second of the last event.

    Columns user_id, rank (from 1), item_id, score, source; a user for whom fewer than k items are allowed has
    fewer rows.
    """
    import pandas as pd

    index, events = np.arange(data.n_users, dtype=np.int32), data.had
    histories = events.histories()
    now = None if events.time is None else np.full(data.n_users, events.time.max(initial=0), np.int64)
    users = Users.of_rows(index, histories, now)
    answer = recommender.recommend(users, k)
    user, rank = np.nonzero(answer.ids >= 0)
    item = answer.ids[user, rank]
    return pd.DataFrame(
        {
            "user_id": np.array(list(data.user_ids), object)[user],
            "rank": rank + 1,
            "item_id": np.array(list(data.item_ids), object)[item],
            "score": answer.scores[user, rank],
            "source": np.array(SOURCES)[answer.source][user],
        }
    )


def events_frame(data: Dataset) -> "pd.DataFrame":
    """The events of a data set, a row each in their order: what `dataset_of` reads.

    Columns user_id and item_id, and where the data have them timestamp (UTC), event and weight.
    """
    import pandas as pd

    events = data.interactions
    columns: dict[str, Any] = {
        "user_id": np.array(list(data.user_ids), object)[events.user],
        "item_id": np.array(list(data.item_ids), object)[events.item],
    }
    if events.time is not None:
        columns["timestamp"] = pd.to_datetime(events.time, unit="s", utc=True)
    if events.event is not None:
        columns["event"] = np.array(events.event_names, object)[events.event]
    if events.weight is not None:
        columns["weight"] = events.weight
    return pd.DataFrame(columns)


def items_frame(data: Dataset) -> "pd.DataFrame":
    """The items of a data set: item_id, title, and domain and categories where the data have them."""
    import pandas as pd

    return pd.DataFrame({"item_id": list(data.item_ids), **data.items.to_pydict()})
