"""From the words by which people name a run to its id."""

from recsys.errors import TrackingError
from recsys.pipelines.run.settings import DEFAULT_EXPERIMENT
from recsys.pipelines.tracking import client, registry
from recsys.pipelines.tracking.store import tracking_uri


def resolve(reference: str, experiment: str | None = None) -> str:
    """The run id behind `last`, `champion`, `challenger`, an id or the beginning of one.

    `shop/champion` asks the experiment `shop`, a plain word asks `experiment`; without one, `last` is the last run of
    any, and an alias that of the experiment `recsys`.
    """
    place, _, word = reference.rpartition("/")
    if word == "last":
        return client.last_run(place or experiment)
    place = place or experiment or DEFAULT_EXPERIMENT
    if word in registry.ALIASES:
        if (named := registry.run_named(word, place)) is None:
            raise TrackingError(
                f"experiment {place!r} has no {word} in {tracking_uri()}. Name one: recsys promote RUN --as {word}"
            )
        return named
    if 4 <= len(reference) < 32:
        known = [run.run_id for run in client.runs(limit=1000) if run.run_id.startswith(reference)]
        if len(known) == 1:
            return known[0]
        if known:
            raise TrackingError(f"{len(known)} runs begin with {reference!r}; write more of the id.")
    return reference
