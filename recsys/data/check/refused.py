"""What is wrong with data whose rows are all right: parts that do not meet, events of one user alone, no split.

A run finds these out when it reads and splits; a check must not take as long. A log with times is asked what the
default split asks, without maps of ids and histories; a log without times is read and split as in a run.
"""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from recsys.data.check.events import Events
from recsys.data.check.findings import Finding, refusal
from recsys.data.check.ids import unmet_parts
from recsys.data.dataset import Dataset
from recsys.data.interactions import Interactions
from recsys.data.prepare import refuse_one_sided
from recsys.data.read.event_table import EventTable
from recsys.data.read.tables import dataset_of
from recsys.data.split.holdout import SplitSettings
from recsys.data.split.protocols import refuse_global_time
from recsys.data.split.split import split as split_data
from recsys.errors import DataError
from recsys.ids import IdMap


def refused_by_a_run(
    read: EventTable, events: Events, tables: Mapping[str, Any], columns: Mapping[str, str], split: bool
) -> list[Finding]:
    """How the parts of a published split meet, and what a run refuses of a table whose rows can all be read.

    tables: of items and users, by "item" and "user". columns: the user's own names. split: also what the split refuses
    that a run makes by default.
    """
    part = read.published()[0]
    findings: list[Finding] = []
    if part is not None:
        findings += unmet_parts(events.user, events.users, part, read.roles["user_id"], "user")
        findings += unmet_parts(events.item, events.items, part, read.roles["item_id"], "item")
    try:
        if events.time is not None:
            _refuse_by_time(events, str(read.where), split)
        else:
            data = dataset_of(read, tables["item"], tables["user"], columns=columns, name=str(read.where))
            refuse_one_sided(data)
            if split:
                split_data(data, SplitSettings(), seed=1)
    except DataError as error:
        findings.append(refusal(error))
    return findings


def _refuse_by_time(events: Events, name: str, split: bool) -> None:
    """Raises the DataError of a log with times, without the maps of ids and the histories that a run makes of it."""
    log = Interactions.ordered(
        events.user, events.item, n_users=len(events.users), n_items=len(events.items), time=events.time
    )
    data = Dataset(name, log, IdMap.of([]), IdMap.of([]), pa.table({}))
    refuse_one_sided(data)
    if split:
        refuse_global_time(data)
