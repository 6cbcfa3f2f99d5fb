"""The training run: data -> split -> learn -> evaluate -> bundle -> MLflow."""

import json
import shutil
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pipelines import tracking
from pipelines.console import Steps
from pipelines.measure import Measured, measure, table
from pipelines.settings import WORLD, RunSettings
from pipelines.threads import set_threads
from recsys.data.dataset import Dataset
from recsys.data.sources.folder import load_dataset
from recsys.data.split import Holdout, split
from recsys.data.world import World, make_world
from recsys.errors import TrackingError
from recsys.progress import Progress
from recsys.retrieval import bundle
from recsys.retrieval.catalogue import Catalogue

_VERSIONS = ("recsys", "numpy", "scipy", "numba", "torch", "faiss-cpu", "pandas", "mlflow-skinny")


@dataclass(frozen=True, eq=False)
class Prepared:
    """What a run is about: the data, the holdout to judge on, and the world where the data are planted."""

    data: Dataset
    holdout: Holdout
    title: str
    world: World | None
    threads: int


@dataclass(frozen=True, eq=False)
class Trained:
    """A finished run: its figures, its table in words, its id (None where it could not be tracked) and its bundle."""

    measured: Measured
    table: str
    run_id: str | None
    bundle: Path


def prepare(settings: RunSettings, steps: Steps) -> Prepared:
    """Reads and splits the data of a run."""
    threads = set_threads(settings.threads)
    with steps.step("data") as progress:
        world, data = _load(settings, progress)
    with steps.step("split"):
        parts = split(data, settings.split, seed=settings.seed)
        holdout = getattr(parts, settings.judge)
    return Prepared(data, holdout, f"{data.name}, {settings.judge} part, {parts.title}", world, threads)


def _load(settings: RunSettings, progress: Progress) -> tuple[World | None, Dataset]:
    if settings.data == WORLD:
        world = make_world(settings.world, progress)
        return world, world.dataset
    return None, load_dataset(settings.data, settings.columns)


def train(settings: RunSettings, steps: Steps, prepared: Prepared | None = None) -> Trained:
    """Learns, judges, writes the bundle and the MLflow run.

    The bundle is on disk before the record is attempted: where tracking fails, it stays in `mlruns/trained`, and a
    warning says so.
    """
    prepared = prepared or prepare(settings, steps)
    measured = measure(settings, prepared.holdout, steps)
    text = table(prepared.title, measured)
    run_id: str | None = None
    try:
        with steps.step("track"):
            run_id = tracking.start_run(settings.experiment, f"{settings.model_name} on {prepared.data.name}")
    except TrackingError as error:
        steps.warn(f"no MLflow run: {error}")
    lineage = _lineage(settings, prepared) | {"run_id": run_id}
    with steps.step("bundle"):
        folder = bundle.write(tracking.store() / "trained", _content(settings, prepared, measured, lineage))
    if run_id is None:
        return Trained(measured, text, None, folder)
    try:
        with steps.step("track"):
            _track(run_id, settings, prepared, measured, text, lineage, steps, folder)
            logged = tracking.bundle_of(run_id)
    except TrackingError as error:
        steps.warn(f"MLflow run {run_id} is incomplete, the bundle is safe in {folder}: {error}")
        return Trained(measured, text, run_id, folder)
    shutil.rmtree(folder)
    return Trained(measured, text, run_id, logged)


def _lineage(settings: RunSettings, prepared: Prepared) -> dict[str, Any]:
    """Where a bundle comes from, as its manifest states it."""
    return {
        "data": prepared.data.name,
        "data_digest": prepared.data.digest,
        "train": dict(prepared.holdout.train.interactions.summary()),
        "git": tracking.git_commit(),
        "seed": settings.seed,
        "threads": prepared.threads,
        "settings": settings.model_dump(mode="json"),
        "versions": {name: version(name) for name in _VERSIONS},
    }


def _content(settings: RunSettings, prepared: Prepared, measured: Measured, lineage: dict[str, Any]) -> bundle.Content:
    train = prepared.holdout.train
    histories = train.interactions.histories()
    return bundle.Content(
        settings.model_name,
        measured.embeddings,
        train.user_ids,
        train.item_ids,
        Catalogue(train.items),
        histories.items,
        histories.time,
        measured.fallback,
        settings.fallback_days if histories.time is not None else None,
        settings.seen,
        lineage,
    )


def metrics_of(measured: Measured) -> dict[str, dict[str, dict[str, float]]]:
    """model -> metric -> mean, low, high."""
    return {
        name: {metric: report.interval(metric)._asdict() for metric in report.values}
        for name, report in measured.reports.items()
    }


def comparisons_of(measured: Measured) -> list[dict[str, Any]]:
    """The paired tests as plain data."""
    metric = next(iter(measured.report.values))
    return [
        {
            "first": measured.name,
            "second": name,
            "metric": metric,
            **comparison.difference._asdict(),
            "p": comparison.p,
            "p_holm": comparison.p_holm,
            "warm_users": comparison.warm,
            "verdict": comparison.verdict,
        }
        for name, comparison in measured.comparisons.items()
    ]


def _track(
    run_id: str,
    settings: RunSettings,
    prepared: Prepared,
    measured: Measured,
    text: str,
    lineage: dict[str, Any],
    steps: Steps,
    folder: Path,
) -> None:
    figures: dict[str, float] = {}
    for name, rows in metrics_of(measured).items():
        for metric, interval in rows.items():
            prefix = metric if name == measured.name else f"{name}.{metric}"
            figures |= {prefix: interval["mean"], f"{prefix}_low": interval["low"], f"{prefix}_high": interval["high"]}
    settings_json = settings.model_dump(mode="json")
    tags = {key: value for key, value in tracking.flat(lineage).items() if not key.startswith("settings.")}
    tracking.finish_run(
        run_id,
        settings=settings_json,
        tags=tags | {"split": prepared.title, "bundle_id": folder.name},
        metrics=figures,
        curves=steps.curves,
        texts={
            "settings.json": json.dumps(settings_json, indent=1),
            "table.md": text + "\n",
            "comparisons.json": json.dumps(comparisons_of(measured), indent=1),
        },
        bundle=folder,
    )
