"""The question of a split as files, for a system that is not ours: events to learn from, and whom to answer
when."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recsys import durable
from recsys.data.dataset import Dataset
from recsys.data.split.holdout import Holdout
from recsys.errors import SettingError
from recsys.ids import IdMap
from recsys.pipelines.run.run import Run
from recsys.text import utc_text


def write_question(run: Run, out: Path) -> dict[str, Any]:
    """Writes train.parquet, questions.parquet and, last, split.json into a folder; returns the content of
    split.json.

    The answers are not written. Raises SettingError where the folder holds anything.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise SettingError(f"--out {out} is there and not empty. Name a folder that is empty or not there.")
    out.mkdir(parents=True, exist_ok=True)
    holdout, train = run.holdout, run.holdout.train
    for name, table in (("train", events_table(train)), ("questions", questions_table(holdout))):
        durable.write_whole(out / f"{name}.parquet", partial(pq.write_table, table))
    stated = {
        "title": run.title,
        "moment": None if holdout.now is None else utc_text(holdout.now),
        "moment_s": holdout.now,
        "people": len(holdout.user),
        "events": len(train.had),
        "settings": run.settings.model_dump(
            mode="json", include={"data", "columns", "prepare", "split", "judge", "seen", "seed"}
        ),
    }
    durable.write_pointer(out / "split.json", json.dumps(stated, indent=1, ensure_ascii=False) + "\n")
    return stated


def events_table(train: Dataset) -> pa.Table:
    """A row for each event that was had, those left out of learning among them (weight 0; below 0 "not
    this").

    Columns user_id, item_id and, where the data have them, timestamp, event and weight.
    """
    events = train.had
    columns: dict[str, Any] = {
        "user_id": _ids(train.user_ids, events.user),
        "item_id": _ids(train.item_ids, events.item),
    }
    if events.time is not None:
        columns["timestamp"] = pa.array(np.asarray(events.time)).cast(pa.timestamp("s", "UTC"))
    if events.event is not None:
        columns["event"] = pa.array(events.event).cast(pa.int32())
        columns["event"] = pa.array(events.event_names, pa.string()).take(columns["event"])
    if events.weight is not None:
        columns["weight"] = pa.array(np.asarray(events.weight))
    return pa.table(columns)


def questions_table(holdout: Holdout) -> pa.Table:
    """A row for each person asked: user_id, and history, the list of items had before the question, oldest
    first."""
    items = holdout.history.items
    history = pa.LargeListArray.from_arrays(
        pa.array(items.offsets), _ids(holdout.train.item_ids, items.values)
    )
    return pa.table({"user_id": _ids(holdout.train.user_ids, holdout.user), "history": history})


def _ids(ids: IdMap, index: Any) -> pa.Array:
    return pa.array(list(ids), pa.large_string()).take(pa.array(np.asarray(index)))
