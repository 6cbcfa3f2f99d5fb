"""The training run: data -> split -> learn -> evaluate -> bundle -> MLflow."""

import json
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from recsys import __version__
from recsys.bundle.bundle import Bundle
from recsys.bundle.write import write
from recsys.data.dataset import Dataset
from recsys.errors import ModelError, TrackingError
from recsys.evaluation.tables import comparison_data
from recsys.models.base import fit_with
from recsys.models.export import content_of
from recsys.models.registry import make_model
from recsys.models.warm_start import start_of
from recsys.pipelines.console import Steps
from recsys.pipelines.run.checkpoints import Kept, keeping
from recsys.pipelines.run.distributed import meet, refuse_alone
from recsys.pipelines.run.measure import Measured, measure, table
from recsys.pipelines.run.question import Prepared, prepare
from recsys.pipelines.run.settings import RunSettings
from recsys.pipelines.run.warm_start import earlier_bundle
from recsys.pipelines.tracking import client, record
from recsys.pipelines.tracking.lineage import git_commit
from recsys.pipelines.tracking.plots import draw
from recsys.pipelines.tracking.store import refuse_without_room, store
from recsys.retrieval.embeddings import Embeddings, embeddings_of
from recsys.retrieval.ranker import TrainedRanker
from recsys.text import command_line
from recsys.training.loop import Aids, Start

_VERSIONS = ("numpy", "scipy", "numba", "torch", "faiss-cpu", "pandas", "mlflow-skinny")


@dataclass(frozen=True, eq=False)
class Trained:
    """A finished run: its figures, its table in words, its id (None where it could not be tracked) and its bundle.

    without: why there is no bundle, where the model learns no vectors; then `bundle` is None.
    """

    measured: Measured
    table: str
    run_id: str | None
    bundle: Path | None
    without: str | None = None


def train(settings: RunSettings, steps: Steps, prepared: Prepared | None = None, *, resume: bool = False) -> Trained:
    """Learns, judges, writes the bundle and the MLflow run.

    resume: go on from the checkpoint of an equal run that was killed. The bundle is on disk before the record is
    attempted, and the record before the store is asked: where either fails, the bundle stays in `mlruns/trained`, a
    warning says so, and `recsys track` finishes the run later.
    """
    refuse_alone(settings)
    prepared = prepared or prepare(settings, steps)
    refuse_without_room(settings, prepared.data)
    warm = earlier_bundle(settings, prepared.holdout)
    warm_id = None if warm is None else warm.bundle_id
    with keeping(settings, prepared.data, prepared.threads, steps, warm=warm_id, resume=resume) as kept:
        meet()
        return _trained(settings, steps, prepared, warm, kept)


def _trained(settings: RunSettings, steps: Steps, prepared: Prepared, warm: Bundle | None, kept: Kept) -> Trained:
    """`train`, once all is at hand. warm: the bundle to start from. kept: where the state is saved."""
    source = prepared.holdout.train
    measured = measure(settings, prepared.holdout, steps, kept.aids("measured", _start(warm, source, steps)))
    text, learned = table(prepared.title, measured), measured.learned
    if settings.refit and isinstance(learned, Embeddings):
        judged, source = source, prepared.data.having(prepared.data.interactions, prepared.data.whole)
        learned = _learned_again(settings, source, steps, kept.aids("refit", _start(warm, source, steps)))
        text += (
            f"\n\nRefit: the bundle's model learned again, from all {len(source.interactions):,} events. The figures "
            f"are those of the model that learned from {len(judged.interactions):,}."
        )
    run_id: str | None = None
    try:
        with steps.step("open run"):
            run_id = client.start_run(settings.experiment, _name(settings, prepared))
    except TrackingError as error:
        steps.warn(f"no MLflow run: {error}")
    lineage = _lineage(settings, prepared, source) | {"run_id": run_id}
    if warm is not None:
        lineage["warm"] = warm.bundle_id
    try:
        embeddings = embeddings_of(settings.model_name, learned)
    except ModelError as error:
        kept.remove()
        return _without_bundle(settings, prepared, measured, text, lineage, steps, str(error))
    with steps.step("bundle"):
        content = content_of(
            settings.model_name,
            embeddings,
            source,
            seen=settings.seen,
            fallback_days=settings.fallback_days,
            lineage=lineage,
            prepare=settings.prepare,
        )
        folder = write(store() / "trained", content)
    kept.remove()
    try:
        with steps.step("record"):
            _record(settings, prepared, measured, text, lineage, steps, folder)
        if run_id is None:
            steps.warn(f"the bundle is safe in {folder}. Log it later: `{command_line('recsys track', folder)}`.")
            return Trained(measured, text, None, folder)
        with steps.step("track"):
            _, logged = record.track(folder, run_id)
    except (TrackingError, OSError) as error:
        what = f"MLflow run {run_id}" if run_id else "the record of the run"
        later = f"Log it later: `{command_line('recsys track', folder)}`."
        steps.warn(f"{what} is incomplete, the bundle is safe in {folder}: {error} {later}")
        return Trained(measured, text, run_id, folder)
    return Trained(measured, text, run_id, logged)


def _start(warm: Bundle | None, source: Dataset, steps: Steps) -> Start | None:
    """Where learning from `source` starts, if from an earlier bundle."""
    if warm is None:
        return None
    with steps.step("warm start"):
        return start_of(warm, source)


def _learned_again(settings: RunSettings, everything: Dataset, steps: Steps, aids: Aids) -> Embeddings | TrainedRanker:
    """What the model of the run learns from all events, by the same settings and seed; its curves have a name apart."""
    model = make_model(settings.model_name, settings.model_settings)
    with steps.step("learn again") as progress:
        return fit_with(
            model,
            everything,
            seed=settings.seed,
            progress=lambda step: progress(step._replace(task=f"{step.task} again")),
            aids=aids,
        )


def _without_bundle(
    settings: RunSettings,
    prepared: Prepared,
    measured: Measured,
    text: str,
    lineage: dict[str, Any],
    steps: Steps,
    reason: str,
) -> Trained:
    """The record of a model that learns no vectors, logged without a bundle."""
    run_id = lineage["run_id"]
    steps.say(f"No bundle: {reason}")
    place = store() / "trained" / f"{run_id or 'run'}-without-bundle"
    try:
        with steps.step("record"):
            _record(settings, prepared, measured, text, lineage | {client.WITHOUT_BUNDLE: reason}, steps, place)
        if run_id is not None:
            with steps.step("track"):
                record.track_alone(place, run_id)
    except (TrackingError, OSError) as error:
        steps.warn(f"MLflow run {run_id} is incomplete: {error}")
    return Trained(measured, text, run_id, None, reason)


def _name(settings: RunSettings, prepared: Prepared) -> str:
    return f"{settings.model_name} on {prepared.data.name}"


def _lineage(settings: RunSettings, prepared: Prepared, source: Dataset) -> dict[str, Any]:
    """Where a bundle comes from, as its manifest states it. source: what its model learned from."""
    judged = prepared.holdout.train
    refit = {"refit": True, "measured": {"train": dict(judged.interactions.summary())}} if source is not judged else {}
    return {
        "data": prepared.data.name,
        "data_digest": prepared.data.digest,
        "train": dict(source.interactions.summary()),
        **refit,
        "git": git_commit(),
        "seed": settings.seed,
        "threads": prepared.threads,
        "settings": settings.model_dump(mode="json"),
        "versions": {"recsys": __version__} | {name: version(name) for name in _VERSIONS},
    }


def metrics_of(measured: Measured) -> dict[str, dict[str, dict[str, float]]]:
    """model -> metric -> mean, low, high."""
    return {
        name: {metric: report.interval(metric)._asdict() for metric in report.values}
        for name, report in measured.reports.items()
    }


def comparisons_of(measured: Measured) -> list[dict[str, Any]]:
    """The paired tests as plain data."""
    metric = next(iter(measured.report.values))
    return [comparison_data(measured.name, name, metric, one) for name, one in measured.comparisons.items()]


def _record(
    settings: RunSettings,
    prepared: Prepared,
    measured: Measured,
    text: str,
    lineage: dict[str, Any],
    steps: Steps,
    folder: Path,
) -> None:
    """Writes the record of the run beside its bundle, plots included."""
    figures: dict[str, float] = {}
    for name, rows in metrics_of(measured).items():
        for metric, interval in rows.items():
            prefix = metric if name == measured.name else f"{name}.{metric}"
            figures |= {prefix: interval["mean"], f"{prefix}_low": interval["low"], f"{prefix}_high": interval["high"]}
    for name, report in measured.reports.items():
        prefix = "" if name == measured.name else f"{name}."
        figures |= {f"{prefix}{metric}": value for metric, value in report.system.items() if value == value}
    settings_json = settings.model_dump(mode="json")
    question = {
        "split": prepared.title,
        "bundle_id": folder.name,
        "holdout": record.holdout_digest(prepared.holdout, prepared.data.digest),
        "users": len(prepared.holdout.user),
    }
    found = record.Record(
        _name(settings, prepared),
        settings.experiment,
        settings_json,
        record.tags_of(lineage) | question,
        figures,
        steps.curves,
        {
            "settings.json": json.dumps(settings_json, indent=1),
            "table.md": text + "\n",
            "comparisons.json": json.dumps(comparisons_of(measured), indent=1),
        },
    )
    files = record.write(folder, found, measured.report, prepared.holdout)
    draw(files, measured, prepared.holdout, steps.curves)
