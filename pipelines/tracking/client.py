"""The only file that talks to MLflow: one run for each training, in a SQLite store inside `mlruns/`."""

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from recsys.errors import RecsysError, TrackingError
from recsys.pipelines.tracking.lineage import (
    TIME,
    LoggedRun,
    datasets_of,
    flat,
    grouped_name,
    plain_name,
    source_tags,
)
from recsys.pipelines.tracking.store import (
    database,
    opening_database,
    place_of_artifacts,
    refuse_read_only,
    remove_false_folder,
    store,
    tracking_uri,
)

WITHOUT_BUNDLE = "without_bundle"  # a tag, the reason why a run has none
REPORT = "report"  # a tag of a run that measured something and learned no model
MAX_RUNS = 50_000  # MLflow's own limit
UNKNOWN = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")  # how MLflow says that it has no such thing
TRIALS = (
    "/trials"  # ends the name of the experiment that holds the trials of a search for another one's settings
)
TESTS = "ab/"  # begins the name of the experiment that holds an A/B test


@contextmanager
def connection(*, making: bool = False, writing: bool = False) -> Iterator[Any]:
    """An MLflow client. What the store refuses is a TrackingError, in the block too.

    making: a missing database is made, else it is a TrackingError. writing: one that may only be read is
    refused.
    """
    if making or writing:
        refuse_read_only()
    if not making and nothing_yet():
        raise TrackingError(
            f"{store()} has no runs yet. Run `recsys train`, or set RECSYS_HOME to their folder."
        )
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    # a dead server is said at once, not in minutes
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    try:
        yield _open_store()
    except RecsysError:
        raise
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name == "mlflow":
            raise TrackingError(
                f"{error}. Tracking needs the extra `train`: pip install 'recsys-embeddings[train]'."
            ) from error
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].split(". ")[0]
        named = os.environ.get("MLFLOW_TRACKING_URI")
        fix = (
            "Mend MLFLOW_TRACKING_URI, or start its server."
            if named
            else "It needs space and access to its folder."
        )
        raise TrackingError(f"{tracking_uri()} refused: {reason.rstrip('.')}. {fix}") from error
    finally:
        remove_false_folder()


def nothing_yet() -> bool:
    """Whether no run was ever logged here, and no other store is named."""
    return not os.environ.get("MLFLOW_TRACKING_URI") and not database().exists()


def _open_store() -> Any:
    with opening_database():
        import mlflow

        for name in ("alembic", "mlflow"):
            logging.getLogger(name).setLevel(logging.WARNING)
        client = mlflow.MlflowClient(tracking_uri=tracking_uri(), registry_uri=tracking_uri())
        client.search_experiments(max_results=1)
    return client


def found_run(client: Any, run_id: str) -> Any | None:
    """A run as MLflow has it, None where it has none of this id."""
    from mlflow.exceptions import MlflowException

    try:
        return client.get_run(run_id)
    except MlflowException as error:
        if error.error_code not in UNKNOWN:
            raise
        return None


def known_run(client: Any, run_id: str) -> Any:
    """A run as MLflow has it; an id that it does not know is a TrackingError with what to do."""
    if (run := found_run(client, run_id)) is None:
        raise TrackingError(f"run {run_id!r} is not in {tracking_uri()}. `recsys runs` lists those that are.")
    return run


def start_run(experiment: str, name: str, parent: str | None = None, began: float | None = None) -> str:
    """Opens a run, nested in another where there is a `parent`, and returns its id, so that the bundle can
    name it; its duration counts from `began`, unix seconds; None = now."""
    with connection(making=True) as client:
        tags = source_tags() | ({} if parent is None else {"mlflow.parentRunId": parent})
        since = None if began is None else int(began * 1000)
        return str(client.create_run(_experiment(client, experiment), since, tags, name).info.run_id)


def finish_run(
    run_id: str,
    *,
    settings: Mapping[str, Any],
    tags: Mapping[str, Any],
    metrics: Mapping[str, float],
    curves: Mapping[str, Sequence[Mapping[str, float]]],
    files: Path | None,
    status: str = "FINISHED",
) -> None:
    """Writes the results of a run and closes it; calling it again changes nothing.

    settings: nested, logged flat as parameters. tags: of a run with a bundle also its address (`address_of`).
    curves: task -> figures of each step, perhaps with `TIME`. files: a folder of artefacts.
    """
    with connection(writing=True) as client:
        from mlflow.entities import Metric, Param, RunTag

        try:
            run = known_run(client, run_id)
            now, artifacts = run.info.start_time, artifacts_of(run)
            measured = [Metric(grouped_name(key), value, now, 0) for key, value in metrics.items()]
            measured += [
                Metric(grouped_name(f"{task.replace(' ', '_')}.{key}"), value, int(1000 * at), step)
                for task, points in curves.items()
                for step, point in enumerate(points)
                for at in [point.get(TIME, now / 1000)]
                for key, value in point.items()
                if key != TIME
            ]
            params = [Param(key, str(value)) for key, value in flat(settings).items()]
            labels = [RunTag(key, str(value)) for key, value in tags.items()]
            for start in range(0, max(len(measured), len(params), 1), 100):
                part = slice(start, start + 100)
                client.log_batch(run_id, measured[part], params[part], labels if start == 0 else [])
            if inputs := [_input(*one) for one in datasets_of(settings, tags)]:
                client.log_inputs(run_id, inputs)
            if files is not None:
                artifacts.log_artifacts(str(files))
            client.set_terminated(run_id, status)
        except BaseException:
            with suppress(Exception):  # the store may refuse this, too: the first refusal is the one to say
                client.set_terminated(run_id, "FAILED")
            raise


def _input(context: str, digest: str, name: str, source: str, profile: str) -> Any:
    """A data set that a run read, as an MLflow input."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    tags = [InputTag("mlflow.data.context", context)]
    return DatasetInput(Dataset(name, digest, "local", source, profile=profile), tags)


def add_to_run(
    run_id: str,
    *,
    tags: Mapping[str, Any],
    points: Sequence[tuple[str, float, int, int]] = (),
    files: Path | None = None,
    ended: bool = False,
) -> None:
    """Writes tags, points (key, value, millisecond, step) and files into a run that may go on; once more is
    nothing."""
    with connection(writing=True) as client:
        from mlflow.entities import Metric, RunTag

        run = known_run(client, run_id)
        measured = [Metric(*one) for one in points]
        client.log_batch(run_id, [], [], [RunTag(key, str(value)) for key, value in tags.items()])
        for start in range(0, len(measured), 500):
            client.log_batch(run_id, measured[start : start + 500])
        if files is not None:
            artifacts_of(run).log_artifacts(str(files))
        if ended:
            client.set_terminated(run_id, "FINISHED")


def has_run(run_id: str) -> bool:
    """Whether the store knows a run."""
    if nothing_yet():
        return False
    with connection() as client:
        return found_run(client, run_id) is not None


def _experiment(client: Any, name: str) -> str:
    """The id of an experiment, made with its artefacts beside the database."""
    experiment = client.get_experiment_by_name(name)
    if experiment is not None:
        return str(experiment.experiment_id)
    location = None if os.environ.get("MLFLOW_TRACKING_URI") else (store() / "artifacts").as_uri()
    # the page on models, and not that on prompts
    kind = {"mlflow.experimentKind": "custom_model_development"}
    return str(client.create_experiment(name, artifact_location=location, tags=kind))


def artifacts_of(run: Any) -> Any:
    """MLflow's repository of the artefacts of a run."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    return get_artifact_repository(place_of_artifacts(run.info.artifact_uri))


def runs(experiment: str | None = None, limit: int = 20) -> list[LoggedRun]:
    """The newest runs, newest first, of an experiment or of all but trials and tests; one never made is an
    error."""
    if not 1 <= limit <= MAX_RUNS:
        raise TrackingError(f"limit must be between 1 and {MAX_RUNS:,} runs, got {limit}.")
    if experiment is None and nothing_yet():
        return []
    with connection() as client:
        experiments = {one.experiment_id: one.name for one in client.search_experiments()}
        if experiment is not None and experiment not in experiments.values():
            known = ", ".join(sorted(experiments.values()))
            raise TrackingError(
                f"experiment {experiment!r} is not in {tracking_uri()}; its experiments: {known}."
            )
        chosen = [key for key, name in experiments.items() if _is_asked(name, experiment)]
        one = client.search_runs(chosen, order_by=["attributes.start_time DESC"], max_results=limit)
        aliases = _aliases(client)
        return [_run(run, experiments[run.info.experiment_id], aliases) for run in one]


def runs_below(prefix: str) -> dict[str, list[LoggedRun]]:
    """experiment -> its runs, of all experiments whose names begin so."""
    if nothing_yet():
        return {}
    with connection() as client:
        named = {
            one.experiment_id: one.name for one in client.search_experiments() if one.name.startswith(prefix)
        }
        runs: dict[str, list[LoggedRun]] = {name: [] for name in named.values()}
        for run in client.search_runs(list(named), max_results=MAX_RUNS) if named else ():
            runs[named[run.info.experiment_id]].append(_run(run, named[run.info.experiment_id], {}))
        return runs


def run_of(run_id: str) -> LoggedRun:
    """One run."""
    with connection() as client:
        run = known_run(client, run_id)
        return _run(run, client.get_experiment(run.info.experiment_id).name, _aliases(client))


def _is_asked(name: str, experiment: str | None) -> bool:
    hidden = name.endswith(TRIALS) or name.startswith(TESTS)
    return name == experiment or (experiment is None and not hidden)


def _run(run: Any, experiment: str, aliases: Mapping[str, tuple[str, ...]]) -> LoggedRun:
    info, data = run.info, run.data
    metrics = {plain_name(key): value for key, value in data.metrics.items()}
    about = info.run_id, experiment, info.run_name, info.status, info.start_time / 1000
    return LoggedRun(*about, dict(data.tags), dict(data.params), metrics, aliases.get(info.run_id, ()))


def _aliases(client: Any) -> dict[str, tuple[str, ...]]:
    """run id -> the aliases that the registry gives it."""
    aliases: dict[str, tuple[str, ...]] = {}
    for model in client.search_registered_models():
        for alias, version in (model.aliases or {}).items():
            run_id = client.get_model_version(model.name, version).run_id
            aliases[run_id] = (*aliases.get(run_id, ()), alias)
    return aliases


def last_run(experiment: str | None) -> str:
    """The id of the newest finished run that learned a model, of an experiment or of all but trials."""
    with connection() as client:
        places = [one.experiment_id for one in client.search_experiments() if _is_asked(one.name, experiment)]
        newest, done = ["attributes.start_time DESC"], "attributes.status = 'FINISHED'"
        for run in client.search_runs(places, done, order_by=newest) if places else ():
            if REPORT not in run.data.tags:
                return str(run.info.run_id)
        what = "no experiment has a" if experiment is None else f"experiment {experiment!r} has no"
        raise TrackingError(f"{what} finished run in {tracking_uri()}. Run `recsys train`.")
