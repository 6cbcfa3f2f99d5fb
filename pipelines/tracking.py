"""The only file that talks to MLflow: one run for each training, in a SQLite store inside `mlruns/`."""

import fcntl
import logging
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recsys.config import home
from recsys.errors import ModelError, RecsysError, TrackingError

BUNDLE, WITHOUT_BUNDLE = "bundle", "without_bundle"  # the latter: a tag, the reason why a run has none
ALIASES = ("champion", "challenger")


def store() -> Path:
    """The folder of the tracking database and the artefacts."""
    return home() / "mlruns"


def tracking_uri() -> str:
    """MLFLOW_TRACKING_URI, else the SQLite database in the store."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{store() / 'mlflow.db'}"


@contextmanager
def _client() -> Iterator[Any]:
    """An MLflow client, its database made under a file lock: two first users at once would destroy it.

    Whatever the store refuses, inside the block too, is a TrackingError.
    """
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # a dead server is said at once, not in minutes
    try:
        yield _opened()
    except RecsysError:
        raise
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise TrackingError(f"{tracking_uri()} refused: {reason}") from error


def _opened() -> Any:
    store().mkdir(parents=True, exist_ok=True)
    with (store() / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        logging.getLogger("alembic").setLevel(logging.WARNING)
        import mlflow

        logging.getLogger("mlflow").setLevel(logging.WARNING)
        client = mlflow.MlflowClient(tracking_uri=tracking_uri(), registry_uri=tracking_uri())
        client.search_experiments(max_results=1)
    return client


def start_run(experiment: str, name: str) -> str:
    """Opens a run and returns its id, so that the bundle can name it."""
    with _client() as client:
        run = client.create_run(_experiment(client, experiment), run_name=name)
        return str(run.info.run_id)


def finish_run(
    run_id: str,
    *,
    settings: Mapping[str, Any],
    tags: Mapping[str, Any],
    metrics: Mapping[str, float],
    curves: Mapping[str, Sequence[Mapping[str, float]]],
    files: Path | None,
    bundle: Path | None,
) -> None:
    """Writes what a run found, the bundle (if it has one) as artefact, and closes it; once more changes nothing.

    settings: nested, logged flat as parameters. curves: task -> figures of each step. files: a folder of artefacts.
    """
    with _client() as client:
        from mlflow.entities import Metric, Param, RunTag

        try:
            now = client.get_run(run_id).info.start_time
            measured = [Metric(key, value, now, 0) for key, value in metrics.items()]
            measured += [
                Metric(f"{task.replace(' ', '_')}.{key}", value, now, step)
                for task, points in curves.items()
                for step, point in enumerate(points)
                for key, value in point.items()
            ]
            params = [Param(key, str(value)) for key, value in flat(settings).items()]
            labels = [RunTag(key, str(value)) for key, value in tags.items()]
            for start in range(0, max(len(measured), len(params), 1), 100):
                part = slice(start, start + 100)
                client.log_batch(run_id, measured[part], params[part], labels if start == 0 else [])
            if files is not None:
                client.log_artifacts(run_id, str(files))
            if bundle is not None:
                client.log_artifacts(run_id, str(bundle), BUNDLE)
            client.set_terminated(run_id)
        except BaseException:
            with suppress(Exception):  # the store that refused may refuse this too: the first refusal is the one to say
                client.set_terminated(run_id, "FAILED")
            raise


def has_run(run_id: str) -> bool:
    """Whether the store knows a run."""
    with _client() as client:
        from mlflow.exceptions import MlflowException

        try:
            client.get_run(run_id)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return False
        return True


def _experiment(client: Any, name: str) -> str:
    """The id of an experiment, made with its artefacts beside the database."""
    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    location = None if os.environ.get("MLFLOW_TRACKING_URI") else (store() / "artifacts").as_uri()
    return str(client.create_experiment(name, artifact_location=location))


def bundle_of(run_id: str) -> Path:
    """A local folder with the bundle that a run logged."""
    if reason := run_of(run_id).tags.get(WITHOUT_BUNDLE):
        raise ModelError(reason)
    return artifact_of(run_id, BUNDLE)


def artifact_of(run_id: str, name: str) -> Path:
    """A local copy, or the place itself, of a file or folder that a run logged."""
    with _client() as client:
        from mlflow.artifacts import download_artifacts

        uri = client.get_run(run_id).info.artifact_uri
        return Path(download_artifacts(artifact_uri=f"{uri}/{name}", tracking_uri=tracking_uri()))


@dataclass(frozen=True)
class Run:
    """A run as the store has it. started: unix seconds. metrics: the last value of each."""

    run_id: str
    experiment: str
    name: str
    status: str
    started: float
    tags: Mapping[str, str]
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    aliases: tuple[str, ...]


def runs(experiment: str | None = None, limit: int = 20) -> list[Run]:
    """The newest runs, newest first, of one experiment or of all; an experiment that nobody made is a TrackingError."""
    with _client() as client:
        experiments = {found.experiment_id: found.name for found in client.search_experiments()}
        if experiment is not None and experiment not in experiments.values():
            known = ", ".join(sorted(experiments.values()))
            raise TrackingError(f"experiment {experiment!r} is not in {tracking_uri()}; its experiments: {known}.")
        chosen = [key for key, name in experiments.items() if experiment in (None, name)]
        found = client.search_runs(chosen, order_by=["attributes.start_time DESC"], max_results=limit)
        aliases = _aliases(client)
        return [_run(run, experiments[run.info.experiment_id], aliases) for run in found]


def run_of(run_id: str) -> Run:
    """One run."""
    with _client() as client:
        found = client.get_run(run_id)
        return _run(found, client.get_experiment(found.info.experiment_id).name, _aliases(client))


def _run(found: Any, experiment: str, aliases: Mapping[str, tuple[str, ...]]) -> Run:
    info, data = found.info, found.data
    return Run(
        info.run_id,
        experiment,
        info.run_name,
        info.status,
        info.start_time / 1000,
        dict(data.tags),
        dict(data.params),
        dict(data.metrics),
        aliases.get(info.run_id, ()),
    )


def _aliases(client: Any) -> dict[str, tuple[str, ...]]:
    """run id -> the aliases that the registry gives it."""
    found: dict[str, tuple[str, ...]] = {}
    for model in client.search_registered_models():
        for alias, version in (model.aliases or {}).items():
            run_id = client.get_model_version(model.name, version).run_id
            found[run_id] = (*found.get(run_id, ()), alias)
    return found


def promote(run_id: str, alias: str) -> str:
    """Registers a run's bundle, by its path, as a version of the model named like the experiment; returns the version.

    The alias moves to it; a run that is registered already keeps its version.
    """
    with _client() as client:
        from mlflow.exceptions import MlflowException

        run = client.get_run(run_id)
        if not client.list_artifacts(run_id, BUNDLE):
            raise TrackingError(f"run {run_id} has no bundle to promote. Log it with `recsys track BUNDLE` first.")
        model = client.get_experiment(run.info.experiment_id).name
        try:
            client.create_registered_model(model)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        versions = [found for found in client.search_model_versions(f"name = '{model}'") if found.run_id == run_id]
        made = versions or [client.create_model_version(model, f"{run.info.artifact_uri}/{BUNDLE}", run_id)]
        client.set_registered_model_alias(model, alias, made[0].version)
        return str(made[0].version)


def resolve(reference: str, experiment: str) -> str:
    """The run id behind `last`, `champion`, `challenger`, an id or the beginning of one.

    `shop/champion` asks the experiment `shop`, a plain word asks `experiment`.
    """
    place, _, word = reference.rpartition("/")
    place = place or experiment
    if word == "last":
        return last_run(place)
    if word in ALIASES:
        with _client() as client:
            from mlflow.exceptions import MlflowException

            try:
                return str(client.get_model_version_by_alias(place, word).run_id)
            except MlflowException as error:
                if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                    raise
                raise TrackingError(
                    f"experiment {place!r} has no {word} in {tracking_uri()}. Name one: recsys promote RUN --as {word}"
                ) from None
    if 4 <= len(reference) < 32:
        known = [run.run_id for run in runs(limit=1000) if run.run_id.startswith(reference)]
        if len(known) == 1:
            return known[0]
        if known:
            raise TrackingError(f"{len(known)} runs begin with {reference!r}; write more of the id.")
    return reference


def last_run(experiment: str) -> str:
    """The id of the newest finished run of an experiment."""
    with _client() as client:
        found = client.get_experiment_by_name(experiment)
        runs = found and client.search_runs(
            [found.experiment_id],
            "attributes.status = 'FINISHED'",
            order_by=["attributes.start_time DESC"],
            max_results=1,
        )
        if not runs:
            raise TrackingError(
                f"experiment {experiment!r} has no finished run in {tracking_uri()}. Run `recsys train`."
            )
        return str(runs[0].info.run_id)


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"model": {"dim": 64}} as {"model.dim": 64}."""
    result: dict[str, Any] = {}
    for key, value in settings.items():
        result |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return result


def git_commit() -> str:
    """The commit of the working directory, marked where files differ from it; "none" outside a repository."""
    try:
        said = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40"],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return "none"
    return said.stdout.strip() or "none"
