"""The transfer report at the command line: what other domains bring to each, told and tracked, and what to
serve."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recsys.arrays import F64
from recsys.data.dataset import Dataset
from recsys.encoders.guarded import Weights
from recsys.evaluation.significance import Comparison
from recsys.evaluation.tables import against, comparison_data
from recsys.evaluation.transfer import (
    CONTROL,
    CROSS,
    OWN,
    DomainQuestion,
    TransferReport,
    by_domain,
    split_people,
    transfer_report,
)
from recsys.models.mixture import score_spread
from recsys.pipelines.run.measure import recommender_for
from recsys.pipelines.run.question import prepare
from recsys.pipelines.run.run import Run
from recsys.pipelines.search.by_domain import Chosen, compare_values, learn, metric_of
from recsys.pipelines.search.config_file import config_text, write_config
from recsys.pipelines.search.tune import validation_of
from recsys.pipelines.tracking import plots
from recsys.pipelines.tracking.record import holdout_digest, track_report
from recsys.pipelines.tracking.store import refuse_read_only, store
from recsys.retrieval.embeddings import Embeddings, concat

EXPERIMENT = "transfer"


def transfer(run: Run, *, joined: Sequence[float], trials: int, seeds: int) -> dict[str, Any]:
    """Tunes, learns, asks, tells and tracks. joined: shares of people who are one person in all domains.
    trials: of settings for the model of all domains, and for that of each. seeds: of learning, from that of
    the run on."""
    refuse_read_only()  # before anything is learned
    questions = by_domain(run.holdout)
    validation = prepare(validation_of(run.settings), run.steps)
    chosen = Chosen.of(validation, trials)
    learned = _learn(run, chosen, joined, seeds)
    values, served = _measure(run, questions, learned, chosen, joined, seeds)
    report = transfer_report(questions, values, metric_of(run))
    config = _write_mixture(run, chosen)
    text = "\n".join([_title(run, chosen, trials, seeds), "", report.text, "", *_guard_lines(chosen, served)])
    run.steps.say(text + f"\n\nTo serve the mixture: recsys train {run.settings.data} -c {config}")
    run_id = _track(run, report, text, chosen, served, config)
    run.steps.say(f"Run {run_id} of the experiment {EXPERIMENT}.")
    return {
        "run_id": run_id,
        "config": str(config),
        **_plain(run, report, chosen, served),
        "seconds": run.steps.seconds,
    }


# by the name of a domain or CROSS, the share joined, and the seed
Fits = dict[tuple[str, float, int], Embeddings]


def _learn(run: Run, chosen: Chosen, joined: Sequence[float], seeds: int) -> Fits:
    fits, train = Fits(), run.holdout.train

    def fit(label: str, data: Dataset, model: Mapping[str, Any], seed: int) -> Embeddings:
        with run.steps.step(f"learn {label}, seed {seed}") as progress:
            return learn(model, data, seed, progress)

    for seed in range(run.settings.seed, run.settings.seed + seeds):
        for share in joined:
            data = split_people(train, share, run.settings.seed)
            fits[CROSS, share, seed] = fit(f"all domains, {share:.0%} joined", data, chosen.cross, seed)
        for name, model in chosen.controls.items():
            fits[name, 1.0, seed] = fit(f"{name} alone", train.in_domain(name), model, seed)
    return fits


def _measure(
    run: Run,
    questions: Mapping[str, DomainQuestion],
    learned: Fits,
    chosen: Chosen,
    joined: Sequence[float],
    seeds: int,
) -> tuple[dict[tuple[str, float], dict[str, F64]], dict[str, Comparison]]:
    """Each person's values by domain and share joined, the mean over seeds; and the served mixture against
    control."""
    metric, values, served = (
        metric_of(run),
        dict[tuple[str, float], dict[str, F64]](),
        dict[str, Comparison](),
    )
    of_seeds = range(run.settings.seed, run.settings.seed + seeds)
    mixture = recommender_for(run, mix_learned(run, learned, chosen))
    for name, question in questions.items():
        with run.steps.step(f"ask in {name}"):
            control = [
                question.values(recommender_for(run, learned[name, 1.0, seed]), metric) for seed in of_seeds
            ]
            for share in joined:
                engines = [recommender_for(run, learned[CROSS, share, seed]) for seed in of_seeds]
                values[name, share] = {
                    CROSS: np.mean([question.values(engine, metric) for engine in engines], axis=0),
                    OWN: np.mean([question.values(engine, metric, own=True) for engine in engines], axis=0),
                    CONTROL: np.mean(control, axis=0),
                }
            served[name] = compare_values(question.values(mixture, metric), control[0])
    return values, served


def mix_learned(run: Run, learned: Fits, chosen: Chosen) -> Embeddings:
    """The mixture that is to be served, of what was learned by the seed of the run from all that is
    joined."""
    train, seed = run.holdout.train, run.settings.seed
    share = max(joined for label, joined, _ in learned if label == CROSS)
    parts, sizes = (
        [learned[CROSS, share, seed]],
        [score_spread(learned[CROSS, share, seed], train, seed=seed)],
    )
    for name in chosen.controls:
        parts.append(learned[name, 1.0, seed])
        sizes.append(score_spread(parts[-1], train.in_domain(name), seed=seed))
    names, codes = train.domains

    def scale(weights: Sequence[float]) -> tuple[float, ...]:
        return tuple((np.array(weights) / sizes).tolist())

    rules = {names.index(name): Weights(*map(scale, rule)) for name, rule in chosen.rules.items()}
    return concat(parts, scale([1.0] + [0.0] * len(chosen.controls)), rules, codes)


def _write_mixture(run: Run, chosen: Chosen) -> Path:
    """Writes the config of the mixture to serve, and returns its path."""
    name = run.settings.model_name
    parts = [chosen.cross, *(model | {"domain": domain} for domain, model in chosen.controls.items())]
    rules = {
        domain: {"known": list(rule.known), "new": list(rule.new)} for domain, rule in chosen.rules.items()
    }
    model = {"parts": parts, "weights": [1.0] + [0.0] * len(chosen.controls), "by_domain": rules}
    path = store() / "tuned" / f"transfer-{run.data.name}-{name}.toml"
    head = [(
        f"The model of all domains of {run.data.name} and those of each, by weights of its validation "
        "part."
),
            "Written by `recsys transfer`."]  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    settings = run.settings.model_copy(update={"model": {"name": "mixture"} | model})
    write_config(path, config_text(settings, model, list(model), head))
    return path


def _title(run: Run, chosen: Chosen, trials: int, seeds: int) -> str:
    by = f"seed {run.settings.seed}" if seeds == 1 else f"the mean of {seeds} seeds"
    tuned = f"best of {trials} settings each" if trials > 1 else "settings as given"
    return (
        f"{run.settings.model_name}, {run.title}. Lists within each domain, {metric_of(run)}, {by}, {tuned}."
    )


def _guard_lines(chosen: Chosen, served: Mapping[str, Comparison]) -> list[str]:
    lines = []
    for name, guard in chosen.guards.items():
        if guard.gain is None:
            known = "nobody with events there was asked in validation, weight 0"
        elif guard.known:
            known = (
                f"weight {guard.known:g} beside the domain's own for people with events there "
                f"({against(guard.gain)})"
            )
        else:
            known = f"no gain shown for people with events there, weight 0 ({against(guard.gain)})"
        new = "the model of all domains" if guard.new else "what is popular, which is better on validation,"
        new += " answers people without"
        new += "" if guard.gain_new is None else f" (against what is popular {against(guard.gain_new)})"
        here = (
            f"On this part against control: {against(served[name])}"
            if name in served
            else "Nobody is asked here"
        )
        lines.append(f"Served in {name}: {known}; {new}. {here}.")
    return lines


def _plain(
    run: Run, report: TransferReport, chosen: Chosen, served: Mapping[str, Comparison]
) -> dict[str, Any]:
    """The transfer report as plain data, for JSON."""
    rows = [
        {
            "domain": row.domain,
            "joined": row.joined,
            "segment": row.segment,
            "people": row.people,
            "means": dict(row.means),
        }
        | {"transfer": comparison_data(CROSS, CONTROL, report.metric, row.transfer)}
        | {"history": comparison_data(CROSS, OWN, report.metric, row.history)}
        | {"training": comparison_data(OWN, CONTROL, report.metric, row.training), "sentence": row.sentence}
        for row in report.rows
    ]
    guards: dict[str, dict[str, Any]] = {
        name: {"known": guard.known, "new": guard.new} for name, guard in chosen.guards.items()
    }
    for name, compared_to in served.items():
        guards[name]["served"] = comparison_data("served", CONTROL, report.metric, compared_to)
    settings = {"cross": chosen.cross, "controls": chosen.controls}
    return {
        "title": run.title,
        "model": run.settings.model_name,
        "metric": report.metric,
        "rows": rows,
        "served": guards,
        **settings,
    }


def _track(
    run: Run,
    report: TransferReport,
    text: str,
    chosen: Chosen,
    served: Mapping[str, Comparison],
    config: Path,
) -> str:
    """Writes table, figures and config into a run of MLflow, and returns its id."""
    metrics = dict[str, float]()
    for row in report.rows:
        # MLflow takes no other signs
        label = re.sub(r"[^\w.-]", "_", f"{row.domain}_{row.joined:g}_{row.segment}")
        mean, low, high = row.transfer.difference
        metrics |= {f"transfer_{label}": mean, f"transfer_{label}_low": low, f"transfer_{label}_high": high}
    figures = _plain(run, report, chosen, served)
    return track_report(
        EXPERIMENT,
        run.name,
        "a transfer report",
        settings=run.settings.parameters(),
        tags={"holdout": holdout_digest(run.holdout, run.data.digest)},
        metrics=metrics,
        texts={
            "transfer.json": json.dumps(figures, indent=1),
            "table.md": text + "\n",
            config.name: config.read_text("utf-8"),
        },
        pictures={"transfer.png": plots.transfer(f"{run.name}: what the other domains bring", report)},
    )
