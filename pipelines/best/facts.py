"""What a log is like, as far as it decides which models and settings can matter to it."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys.data.dataset import Dataset
from recsys.pipelines.run.run import Run

_NAMES = 1_000  # distinct words up to which a column of texts is one of categories
_DESCRIBED = 0.5  # share of items or users that a column must describe


@dataclass(frozen=True)
class Facts:
    """Of the part that is learned from. repeats: share of the events whose item their user had before.
    ordered: whether the events of a person stand in the order in which they happened, by times or by the
    protocol of the split. returns: whether answers may hold what somebody had. item_features, user_features:
    columns to learn from, as settings."""

    users: int
    items: int
    events: int
    times: bool
    ordered: bool
    repeats: float
    returns: bool
    types: int
    domains: int
    item_features: tuple[dict[str, Any], ...] = ()
    user_features: tuple[dict[str, Any], ...] = ()

    @property
    def per_item(self) -> float:
        """Mean number of events per item."""
        return self.events / max(self.items, 1)

    def describe(self) -> list[str]:
        """Sentences on the data, which explain why models are tried or not."""
        lines = [
            (
                f"{self.users:,} users, {self.items:,} items, {self.events:,} events ({self.per_item:.1f} "
                "an item)."
            ),
            "With times."
            if self.times
            else "In order, without times."
            if self.ordered
            else "No times and no order.",
        ]
        if self.repeats >= 0.01:
            lines.append(f"{self.repeats:.0%} of the events repeat an item that the user had.")
        for name, count in (("types of events", self.types), ("domains", self.domains)):
            lines += [f"{count} {name}."] if count > 1 else []
        for who, columns in (("items", self.item_features), ("users", self.user_features)):
            if columns:
                lines.append(f"Described {who}: {', '.join(one['column'] for one in columns)}.")
        return lines

    def plain(self) -> dict[str, Any]:
        return asdict(self)


def facts_of(run: Run) -> Facts:
    """The facts of what a run learns from."""
    train, settings = run.holdout.train, run.settings
    events = train.interactions
    pairs = events.user.astype(np.int64) * events.n_items + events.item
    ordered = events.time is not None or settings.split.kind == "leave_last_out" or _asks_for_the_next(run)
    return Facts(
        users=int((events.user_counts() > 0).sum()),
        items=int((events.item_counts() > 0).sum()),
        events=len(events),
        times=events.time is not None,
        ordered=ordered,
        repeats=1 - len(np.unique(pairs)) / max(len(events), 1),
        returns=settings.seen.stated != "exclude",
        types=len(events.event_names),
        domains=len(train.domains[0]),
        item_features=_features(train, "item"),
        user_features=_features(train, "user"),
    )


def _asks_for_the_next(run: Run) -> bool:
    """Whether a published split leaves the last event of each person out, which files of sequences do."""
    published, asked = run.data.published, run.holdout.targets.lengths
    return published is not None and published.name.startswith("column") and bool((asked == 1).all())


def _features(train: Dataset, who: str) -> tuple[dict[str, Any], ...]:
    """The columns of the items, or users, that say something of most of them: lists, words of a short list,
    numbers."""
    table = train.item_features if who == "item" else train.user_features
    features: list[dict[str, Any]] = []
    categories = (
        train.items["categories"] if who == "item" and "categories" in train.items.column_names else None
    )
    if categories is not None and categories.null_count < (1 - _DESCRIBED) * len(train.items):
        features.append({"column": "categories", "kind": "categories"})
    columns = {} if table is None else {name: table[name] for name in table.column_names}
    for name, column in columns.items():
        if column.null_count > (1 - _DESCRIBED) * len(column):
            continue
        if kind := _kind(column):
            features.append({"column": name, "kind": kind})
    return tuple(features)


def _kind(column: pa.ChunkedArray) -> str | None:
    """How a column is best read; None for ids and sentences."""
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        words = pa.types.is_string(column.type.value_type) or pa.types.is_large_string(column.type.value_type)
        return "categories" if words or pa.types.is_integer(column.type.value_type) else None
    if pa.types.is_floating(column.type):
        return "number"
    distinct: int = pc.count_distinct(column).as_py()
    return "category" if 1 < distinct <= min(_NAMES, len(column) // 5) else None
