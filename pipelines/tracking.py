"""The only file that talks to MLflow: one run for each training, in a SQLite store inside `mlruns/`."""

import fcntl
import logging
import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from recsys.config import home
from recsys.errors import RecsysError, TrackingError

BUNDLE = "bundle"


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
    texts: Mapping[str, str],
    bundle: Path,
) -> None:
    """Writes what a run found, the bundle as artefact, and closes it.

    settings: nested, logged flat as parameters. curves: task -> figures of each step. texts: file name -> content.
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
            for start in range(0, max(len(measured), len(params)), 100):
                part = slice(start, start + 100)
                client.log_batch(run_id, measured[part], params[part], labels if start == 0 else [])
            with tempfile.TemporaryDirectory() as folder:
                for file, text in texts.items():
                    Path(folder, file).write_text(text, encoding="utf-8")
                client.log_artifacts(run_id, folder)
            client.log_artifacts(run_id, str(bundle), BUNDLE)
            client.set_terminated(run_id)
        except BaseException:
            client.set_terminated(run_id, "FAILED")
            raise


def _experiment(client: Any, name: str) -> str:
    """The id of an experiment, made with its artefacts beside the database."""
    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    location = None if os.environ.get("MLFLOW_TRACKING_URI") else (store() / "artifacts").as_uri()
    return str(client.create_experiment(name, artifact_location=location))


def bundle_of(run_id: str) -> Path:
    """A local folder with the bundle that a run logged."""
    with _client() as client:
        from mlflow.artifacts import download_artifacts

        uri = client.get_run(run_id).info.artifact_uri
        return Path(download_artifacts(artifact_uri=f"{uri}/{BUNDLE}", tracking_uri=tracking_uri()))


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
