"""From a data set and what was learned on it to the content of a bundle."""

from collections.abc import Mapping
from typing import Any

from recsys.arrays import I32
from recsys.bundle.catalogue import Catalogue
from recsys.bundle.content import Content
from recsys.data.dataset import Dataset
from recsys.data.prepare import PrepareSettings
from recsys.models.popularity import fallback_order
from recsys.retrieval.embeddings import Embeddings
from recsys.retrieval.seen import SeenSettings


def content_of(
    name: str,
    embeddings: Embeddings,
    train: Dataset,
    *,
    seen: str | SeenSettings = "exclude",
    fallback_days: float | None = 30,
    fallback: I32 | None = None,
    lineage: Mapping[str, Any] | None = None,
    prepare: PrepareSettings | None = None,
) -> Content:
    """What `publish` writes: the vectors, and of the data they were learned on the ids, titles and histories.

    fallback_days: the window of the popularity fallback, None = all time; without times it is all time in any
    case. fallback: int32 (n_items,), its order where it is known already. lineage: where it comes from; by
    default the name, digest and summary of the data. prepare: the rules by which the data were made, for
    events that come with a request to count as those learned from did: a type's weight, and which of its
    duplicates.
    """
    prepare = prepare or PrepareSettings()
    weights = (
        {} if prepare.duplicates == "sum" else train.interactions.type_weights()
    )  # a sum is no type's weight
    histories = train.had.histories()
    return Content(
        name=name,
        embeddings=embeddings,
        user_ids=train.user_ids,
        item_ids=train.item_ids,
        catalogue=Catalogue.of(train.items),
        histories=histories,
        event_names=train.interactions.event_names,
        event_weights=weights | prepare.event_weights,
        duplicates=prepare.duplicates,
        fallback=fallback_order(train.interactions, fallback_days) if fallback is None else fallback,
        fallback_days=fallback_days if histories.time is not None else None,
        seen=seen,
        lineage=lineage_of(train) if lineage is None else lineage,
    )


def lineage_of(train: Dataset) -> dict[str, Any]:
    """What a manifest says of the data: name, digest, and the summary of the events learned from."""
    return {"data": train.name, "data_digest": train.digest, "train": dict(train.interactions.summary())}
