"""The training run: data -> split -> learn -> evaluate -> bundle -> MLflow."""

import json
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from recsys import __version__
from recsys.bundle.write import write
from recsys.data.dataset import Dataset
from recsys.data.interactions import Interactions
from recsys.errors import ModelError, TrackingError
from recsys.evaluation.tables import comparison_data, report_data
from recsys.history import DAY_S
from recsys.models.base import fit_with
from recsys.models.export import content_of
from recsys.pipelines.machine.distributed import meet
from recsys.pipelines.machine.load import watching
from recsys.pipelines.machine.space import refuse_without_room
from recsys.pipelines.run.checkpoints import Kept, keeping
from recsys.pipelines.run.measure import Measured, measure, table
from recsys.pipelines.run.run import Run
from recsys.pipelines.run.warm_start import start_warm
from recsys.pipelines.tracking import client, record
from recsys.pipelines.tracking.lineage import SYSTEM, git_commit
from recsys.pipelines.tracking.plots import draw
from recsys.pipelines.tracking.store import store
from recsys.retrieval.embeddings import Embeddings, embeddings_of
from recsys.retrieval.ranker import TrainedRanker
from recsys.text import command_line
from recsys.training.loop import Aids

_DESCRIPTION = 7_900  # characters that MLflow takes as a description
_VERSIONS = ("numpy", "scipy", "numba", "torch", "faiss-cpu", "pandas", "mlflow-skinny")


@dataclass(frozen=True, eq=False)
class Trained:
    """A finished run: its figures, its table in words, its id (None where it could not be tracked) and its
    bundle.

    without: why there is no bundle, where the model learns no vectors; then `bundle` is None.
    """

    measured: Measured
    table: str
    run_id: str | None
    bundle: Path | None
    without: str | None = None


def train(run: Run, *, resume: bool = False, learned: Embeddings | None = None) -> Trained:
    """Learns, judges, writes the bundle and the MLflow run.

    resume: go on from the checkpoint of an equal run that was killed. learned: what the model of the run
    learned before from the same data by the same seed, which is then not learned again. The bundle is on disk
    before the record is attempted, and the record before the store is asked: where either fails, the bundle
    stays in `mlruns/trained`, a warning says so, and `recsys track` finishes the run later.
    """
    refuse_without_room(run)
    run = start_warm(run)
    wanted = run.settings.system_metrics
    with watching(run.steps, wanted=wanted), keeping(run, resume=resume) as kept:
        meet()
        return _train(run, kept, learned)


def _train(run: Run, kept: Kept, known: Embeddings | None) -> Trained:
    """`train`, after the checks. kept: the checkpoints of the run. known: what was learned before."""
    settings, steps, source = run.settings, run.steps, run.holdout.train
    measured = measure(run, kept.aids("measured", source), known)
    text, learned = table(run.title, measured), measured.learned
    if settings.refit and isinstance(learned, Embeddings):
        judged, source = source, run.everything()
        learned = _learned_again(run, source, kept.aids("refit", source))
        text += (
            f"\n\nRefit: the bundle's model learned again, from all {len(source.interactions):,} events. "
            f"The figures are those of the model that learned from {len(judged.interactions):,}."
        )
    try:
        with steps.step("open run"):
            run = replace(run, run_id=client.start_run(settings.experiment, run.name, began=steps.began))
    except TrackingError as error:
        steps.warn(f"no MLflow run: {error}")
    trained, lineage = Trained(measured, text, run.run_id, None), _lineage(run, source)
    try:
        embeddings = embeddings_of(settings.model_name, learned)
    except ModelError as error:
        kept.remove()
        return _without_bundle(run, replace(trained, without=str(error)), lineage)
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
    later = f"Log it later: `{command_line('recsys track', folder)}`."
    try:
        with steps.step("record"):
            _record(run, trained, lineage, folder)
        if run.run_id is None:
            steps.warn(f"the bundle is safe in {folder}. {later}")
            return replace(trained, bundle=folder)
        with steps.step("track"):
            _, logged = record.track(folder, run.run_id)
    except (TrackingError, OSError) as error:
        what = f"MLflow run {run.run_id}" if run.run_id else "the record of the run"
        steps.warn(f"{what} is incomplete, the bundle is safe in {folder}: {error} {later}")
        return replace(trained, bundle=folder)
    return replace(trained, bundle=logged)


def _learned_again(run: Run, everything: Dataset, aids: Aids) -> Embeddings | TrainedRanker:
    """What the model of the run learns from all events, by the same settings and seed; its curves have a name
    apart."""
    with run.steps.step("learn again") as progress:
        return fit_with(
            run.learner(),
            everything,
            seed=run.settings.seed,
            progress=lambda step: progress(step._replace(task=f"{step.task} again")),
            aids=aids,
        )


def _without_bundle(run: Run, trained: Trained, lineage: dict[str, Any]) -> Trained:
    """The record of a model that learns no vectors, logged without a bundle."""
    run.steps.say(f"No bundle: {trained.without}")
    place = store() / "trained" / f"{run.run_id or 'run'}-without-bundle"
    try:
        with run.steps.step("record"):
            _record(run, trained, lineage | {client.WITHOUT_BUNDLE: trained.without}, place)
        if run.run_id is not None:
            with run.steps.step("track"):
                record.track_alone(place, run.run_id)
    except (TrackingError, OSError) as error:
        run.steps.warn(f"MLflow run {run.run_id} is incomplete: {error}")
    return trained


def _lineage(run: Run, source: Dataset) -> dict[str, Any]:
    """Where a bundle comes from, as its manifest states it. source: what its model learned from."""
    judged = run.holdout.train
    refit = (
        {"refit": True, "measured": {"train": dict(judged.interactions.summary())}}
        if source is not judged
        else {}
    )
    warm = {} if run.start is None else {"warm": run.start.bundle_id}
    return {
        "data": run.data.name,
        "data_digest": run.data.digest,
        "train": dict(source.interactions.summary()),
        "unlearned": _count_unlearned(run.data.interactions, source.interactions),
        **refit,
        "git": git_commit(),
        "seed": run.settings.seed,
        "threads": run.threads,
        "settings": run.settings.model_dump(mode="json"),
        "versions": {"recsys": __version__} | {name: version(name) for name in _VERSIONS},
        "run_id": run.run_id,
        **warm,
    }


def _count_unlearned(data: Interactions, learned: Interactions) -> dict[str, Any]:
    """How many events of the data were not learned, and how many days these reach beyond the last one that
    was; None where they do not, as in a split that is not by time."""
    last, learned_last = data.summary()["last"], learned.summary()["last"]
    later = last is not None and learned_last is not None and last > learned_last
    days = (last - learned_last) / DAY_S if later and last is not None and learned_last is not None else None
    return {"events": len(data) - len(learned), "days": days}


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


def _record(run: Run, trained: Trained, lineage: dict[str, Any], folder: Path) -> None:
    """Writes the record of the run beside its bundle, plots included."""
    measured, curves = trained.measured, run.steps.curves
    figures: dict[str, float] = {}
    own_first = sorted(metrics_of(measured).items(), key=lambda one: one[0] != measured.name)
    for name, rows in own_first:  # MLflow compares runs by the first metric that was logged
        for metric, interval in rows.items():
            prefix = metric if name == measured.name else f"{name}.{metric}"
            figures |= {
                prefix: interval["mean"],
                f"{prefix}_low": interval["low"],
                f"{prefix}_high": interval["high"],
            }
    for name, report in measured.reports.items():
        prefix = "" if name == measured.name else f"{name}."
        figures |= {f"{prefix}{metric}": value for metric, value in report.system.items() if value == value}
    settings_json = run.settings.model_dump(mode="json")
    question = {
        "split": run.title,
        "bundle_id": folder.name,
        "holdout": record.holdout_digest(run.holdout, run.data.digest),
        "users": len(run.holdout.user),
        "mlflow.note.content": trained.table[:_DESCRIPTION],
    }
    logged = record.Record(
        run.name,
        run.settings.experiment,
        run.settings.parameters(),
        record.tags_of(lineage) | question,
        figures,
        curves | ({SYSTEM: run.steps.load} if run.steps.load else {}),
        {
            "settings.json": json.dumps(settings_json, indent=1),
            "table.md": trained.table + "\n",
            "comparisons.json": json.dumps(comparisons_of(measured), indent=1),
            "segments.json": json.dumps(report_data(measured.report)["segments"], indent=1),
        },
    )
    files = record.write(folder, logged, measured.report, run.holdout)
    draw(files, measured, run.holdout, curves)
