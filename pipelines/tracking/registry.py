"""The model registry: which run of an experiment is the champion, which the challenger, and on what
verdict; and the run that people mean by such a word."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from recsys.errors import TrackingError
from recsys.pipelines.tracking.address import (
    BUNDLE,
    COPY,
    MODEL,
    address_of,
    find_bundle,
    path_of,
    refuse_missing,
)
from recsys.pipelines.tracking.client import (
    REPORT,
    TESTS,
    UNKNOWN,
    artifacts_of,
    connection,
    found_run,
    known_run,
    last_run,
    nothing_yet,
    run_of,
    runs,
)
from recsys.pipelines.tracking.lineage import LoggedRun
from recsys.pipelines.tracking.logged_model import write_model
from recsys.pipelines.tracking.store import place_of_artifacts, tracking_uri

_DESCRIPTION = 4_900  # characters that MLflow takes as the description of a version
ALIASES = ("champion", "challenger")


def promote(run_id: str, alias: str, tags: Mapping[str, Any] | None = None) -> str:
    """Registers a run's bundle as a version of the model named like the experiment; returns the version. The
    store then holds a copy, so that other machines have it.

    The alias moves to it; a run that is registered already keeps its version. tags: written on the version,
    as the verdict that it was promoted on.
    """
    with connection(writing=True) as client:
        run = known_run(client, run_id)
        if path_of(run, BUNDLE) is None and (here := find_bundle(run.data.tags)) is not None:
            if path_of(run, MODEL) is None:  # a run of an earlier version
                with TemporaryDirectory() as aside:
                    write_model(Path(aside), run_id, address_of(here) | {"bundle_id": here.name})
                    artifacts_of(run).log_artifacts(aside)
            artifacts_of(run).log_artifacts(str(here), COPY)
        path = refuse_missing(run, BUNDLE)
        model = client.get_experiment(run.info.experiment_id).name
        try:
            client.create_registered_model(model)
        except Exception as error:
            if _code(error) != "RESOURCE_ALREADY_EXISTS":
                raise
        versions = [
            version
            for version in client.search_model_versions(f"name = '{model}'")
            if version.run_id == run_id
        ]
        source = f"{place_of_artifacts(run.info.artifact_uri)}/{MODEL if path == COPY else path}"
        told = run.data.tags.get("mlflow.note.content", "")[:_DESCRIPTION] or None
        made = versions or [client.create_model_version(model, source, run_id, description=told)]
        version = made[0].version
        for key, value in (tags or {}).items():
            client.set_model_version_tag(model, version, key, str(value))
        client.set_registered_model_alias(model, alias, version)
        return str(version)


def run_named(alias: str, experiment: str) -> str | None:
    """The id of the run that has an alias in an experiment; None where none has."""
    version = _version(alias, experiment)
    return None if version is None else str(version.run_id)


def tags_named(alias: str, experiment: str) -> dict[str, str]:
    """What is written on the version that has an alias: the verdict it was promoted on; empty where none
    has."""
    version = _version(alias, experiment)
    return {} if version is None else dict(version.tags)


def resolve(reference: str, experiment: str | None = None) -> str:
    """The run id behind `last`, `champion`, `challenger`, an id or the beginning of one.

    `shop/champion` asks the experiment `shop`, a plain word asks `experiment`; without one, `last` is the
    last run of any, and an alias that of the experiment `recsys`.
    """
    # a machine that only serves lacks what it loads
    from recsys.pipelines.run.settings import DEFAULT_EXPERIMENT

    place, _, word = reference.rpartition("/")
    if word == "last":
        return last_run(place or experiment)
    place = place or experiment or DEFAULT_EXPERIMENT
    if word in ALIASES:
        if (named := run_named(word, place)) is None:
            raise TrackingError(
                f"experiment {place!r} has no {word} in {tracking_uri()}. Name one: recsys promote RUN "
                f"--as {word}"
            )
        return named
    if 4 <= len(reference) < 32:
        known = [run.run_id for run in runs(limit=1000) if run.run_id.startswith(reference)]
        if len(known) == 1:
            return known[0]
        if known:
            raise TrackingError(f"{len(known)} runs begin with {reference!r}; write more of the id.")
    return reference


def _version(alias: str, experiment: str) -> Any | None:
    with connection() as client:
        try:
            return client.get_model_version_by_alias(experiment, alias)
        except Exception as error:
            if _code(error) not in UNKNOWN:
                raise
            return None


def _code(error: Exception) -> str | None:
    """How MLflow calls its refusal; None of any other exception."""
    return getattr(error, "error_code", None)


def registered_copies() -> dict[str, tuple[Any, str]]:
    """run id -> MLflow's repository of its artefacts, and where in it the bundle lies; of the runs of which a
    store that is not ours has a bundle."""
    if not os.environ.get("MLFLOW_TRACKING_URI"):
        return {}  # what is ours lies below mlruns/
    with connection() as client:
        named = {version.run_id for version in client.search_model_versions() if version.run_id}
        runs = [run for run_id in sorted(named) if (run := found_run(client, run_id)) is not None]
        return {run.info.run_id: (artifacts_of(run), path) for run in runs if (path := path_of(run, BUNDLE))}


class Model(NamedTuple):
    """The run that trained what an arm served. run: None where this store does not know it."""

    arm: str
    bundle_id: str
    run: LoggedRun | None

    def plain(self) -> dict[str, Any]:
        """As reports and tags have it."""
        known = {} if self.run is None else self.run.tags
        return {
            "arm": self.arm,
            "bundle_id": self.bundle_id,
            "run_id": None if self.run is None else self.run.run_id,
            "model": None if self.run is None else self.run.name,
            "data": known.get("data"),
            "data_digest": known.get("data_digest"),
        }


def models_of(bundles: Mapping[str, str | None]) -> list[Model]:
    """Of each arm's bundle the run that trained it, where this store knows it. bundles: arm -> id."""
    return [Model(arm, bundle, _run_of_bundle(bundle)) for arm, bundle in bundles.items() if bundle]


def _run_of_bundle(bundle_id: str) -> LoggedRun | None:
    if nothing_yet() or not re.fullmatch(r"[\w\-.]+", bundle_id):
        return None
    with connection() as store:
        places = [one.experiment_id for one in store.search_experiments() if not one.name.startswith(TESTS)]
        runs = store.search_runs(places, f"tags.bundle_id = '{bundle_id}'", max_results=20) if places else ()
        learned = [run.info.run_id for run in runs if REPORT not in run.data.tags]
    return run_of(learned[0]) if learned else None
