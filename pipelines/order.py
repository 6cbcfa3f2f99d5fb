"""The order report at the command line: what order brings on the question of a run, told and tracked."""

import json
from typing import Any

from recsys.data.dataset import Dataset
from recsys.errors import SettingError
from recsys.evaluation.metrics.item_facts import facts_of
from recsys.evaluation.order import ASKED, BOTH, IN_ORDER, Learned, OrderReport, order_report
from recsys.evaluation.tables import comparison_data, plain_interval, shown_metrics
from recsys.models.base import fit_with
from recsys.pipelines.run.measure import judge, recommender_for
from recsys.pipelines.run.run import Run
from recsys.pipelines.tracking import plots
from recsys.pipelines.tracking.record import holdout_digest, track_report
from recsys.pipelines.tracking.store import refuse_read_only

EXPERIMENT = "order"


def order(run: Run, seeds: int) -> dict[str, Any]:
    """Trains and evaluates with each seed, in order and shuffled; prints, tracks and returns the report.
    Raises SettingError on a warm start."""
    refuse_read_only()  # before anything is learned
    settings = run.settings
    if settings.warm is not None:
        raise SettingError(
            f"warm={settings.warm}: what it starts from has learned in order. Leave `warm` out."
        )
    report = measure_order(run, seeds)
    run.steps.say(describe_order(run, report))
    run_id = _track(run, report)
    run.steps.say(f"\nRun {run_id} of the experiment {EXPERIMENT}.")
    return {"run_id": run_id, **plain(run, report), "seconds": run.steps.seconds}


def measure_order(run: Run, seeds: int) -> OrderReport:
    """The order report of the model of a run, by seeds from its own on."""
    train, facts = run.holdout.train, facts_of(run.holdout.train)

    def fit(data: Dataset, seed: int) -> Learned:
        with run.steps.step(f"learn {'in order' if data is train else 'shuffled'}, seed {seed}") as progress:
            return fit_with(run.learner(), data, seed=seed, progress=progress)

    with run.steps.step("order report") as progress:
        return order_report(
            run.holdout,
            fit=fit,
            engine=lambda learned: recommender_for(run, learned),
            judge=lambda engine: judge(run, engine, facts, progress),
            seeds=range(run.settings.seed, run.settings.seed + seeds),
        )


def describe_order(run: Run, report: OrderReport) -> str:
    """What was asked, the table, the differences and the sentence."""
    by = (
        f"seed {run.settings.seed}"
        if len(report.by_seed) == 1
        else f"the mean of {len(report.by_seed)} seeds"
    )
    return f"{run.settings.model_name}, {run.title}. {len(run.holdout.user):,} users, {by}.\n\n{report.text}"


def plain(run: Run, order: OrderReport) -> dict[str, Any]:
    """The order report as plain data, for JSON."""
    rows = {
        name: {metric: plain_interval(report.interval(metric)) for metric in shown_metrics(report)}
        for name, report in order.reports.items()
    }
    return {
        "title": run.title,
        "model": run.settings.model_name,
        "users": len(run.holdout.user),
        "gain_by_seed": dict(order.by_seed),
        "rows": rows,
        "gain": comparison_data(IN_ORDER, BOTH, order.metric, order.gain),
        "leaning": comparison_data(IN_ORDER, ASKED, order.metric, order.leaning),
        "sentence": order.sentence,
    }


def _track(run: Run, order: OrderReport) -> str:
    """Writes table, figures and picture into a run of MLflow, and returns its id."""
    metrics = {f"{order.metric}_{name.replace(' ', '_')}": report.interval(order.metric).mean
               for name, report in order.reports.items()}  # fmt: skip
    for name, compared in (("gain", order.gain), ("leaning", order.leaning)):
        mean, low, high = compared.difference
        metrics |= {name: mean, f"{name}_low": low, f"{name}_high": high, f"{name}_p_holm": compared.p_holm}
    picture = plots.by_row(f"{run.name}, and shuffled", order.reports, shown_metrics(order.reports[IN_ORDER]))
    return track_report(
        EXPERIMENT,
        run.name,
        "an order report",
        settings=run.settings.parameters(),
        tags={"holdout": holdout_digest(run.holdout, run.data.digest), "seeds": len(order.by_seed)},
        metrics=metrics,
        texts={
            "order.json": json.dumps(plain(run, order), indent=1),
            "table.md": describe_order(run, order) + "\n",
        },
        pictures={"order.png": picture},
    )
