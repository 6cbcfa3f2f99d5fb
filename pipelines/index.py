"""The index of a bundle, tuned at the command line: what is asked, the table and the curve, and where they
go."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from recsys.bundle.bundle import Bundle, load
from recsys.bundle.root import current
from recsys.bundle.write import exact_recommender, publish
from recsys.errors import BundleError
from recsys.pipelines.console import Steps
from recsys.pipelines.threads import set_threads
from recsys.pipelines.tracking import plots
from recsys.pipelines.tracking.record import track_report
from recsys.retrieval.approximate import IndexSettings
from recsys.retrieval.tuner import Trial, Tuned, tune_index
from recsys.text import text_table

EXPERIMENT = "index"


@dataclass(frozen=True)
class Wanted:
    """What is asked of an index, and by how many people it is judged; only: FAISS's names of those to try."""

    k: int
    target: float
    target_p5: float
    people: int
    seed: int
    only: tuple[str, ...]
    dry_run: bool


def tune_bundle(root: Path, wanted: Wanted, quiet: bool) -> dict[str, Any]:
    """Tries indexes, reports and tracks them, and publishes the bundle with another index if one is
    better."""
    source = current(root)
    if source == root and not wanted.dry_run:
        raise BundleError(
            f"{root} is one bundle, which is never changed; name the folder it lies in, or --dry-run."
        )
    set_threads(1)
    steps, bundle = Steps(quiet=quiet), load(source)
    asked = IndexSettings.build(
        {"k": wanted.k, "target": wanted.target, "target_p5": wanted.target_p5}, where="the index"
    )
    for name in wanted.only:
        IndexSettings.build({"factory": name}, where="--only")
    content = bundle.content()
    with steps.step("try indexes") as progress:
        tuned = tune_index(
            exact_recommender(content),
            bundle.histories,
            wanted=asked,
            people=wanted.people,
            seed=wanted.seed,
            names=wanted.only or None,
            progress=progress,
        )
    steps.say(describe_trials(bundle, tuned))
    run_id = _track(bundle, wanted, tuned)
    folder = None
    same = tuned.chosen == content.index or (tuned.chosen.exact and content.index.exact)
    if not wanted.dry_run and not same:
        with steps.step("publish") as _:
            folder = publish(root, replace(content, index=tuned.chosen))
        steps.say(f"{folder} answers by {tuned.chosen.factory} and is the current bundle of {root}.")
    elif not wanted.dry_run:
        steps.say(f"{source.name} answers so already, and stays the current bundle of {root}.")
    return {
        "bundle": str(folder or source),
        "run_id": run_id,
        "chosen": tuned.chosen.model_dump(mode="json"),
        "measured": {name: one._asdict() for name, one in tuned.measured.items()},
        "trials": [plain(trial) for trial in tuned.trials],
    }


def plain(trial: Trial) -> dict[str, Any]:
    """A trial as plain data, for JSON."""
    quality = {source: one._asdict() for source, one in trial.quality.items()}
    return trial._asdict() | {"settings": trial.settings.model_dump(mode="json"), "quality": quality}


def describe_trials(bundle: Bundle, tuned: Tuned) -> str:
    """A row for each trial, and what was chosen."""
    k, scan = tuned.chosen.k, tuned.trials[0] if tuned.trials else None
    if scan is None:
        return f"bundle {bundle.bundle_id}: nobody can be asked, so it keeps the exact scan."
    header = [
        "index",
        "effort",
        f"recall@{k}",
        "worst source",
        "p5",
        "ndcg lost",
        "p50 ms",
        "p99 ms",
        "questions/s",
    ]
    rows = [_row(trial) for trial in tuned.trials]
    chosen, whole = tuned.chosen, tuned.measured["all"]
    name = chosen.factory + (f" at effort {chosen.effort}" if chosen.effort else "")
    why = (
        "for no other finds enough in four fifths of its time"
        if chosen.exact
        else "the soonest that finds enough"
    )
    return "\n".join(
        [
            (
                f"bundle {bundle.bundle_id}: {bundle.recommender.n_items:,} items, {whole.people:,} "
                "questions, one thread."
            ),
            "",
            text_table([*header, "build s", "MiB"], rows),
            "",
            f"Chosen: {name}, {why}. People who had no part in the choice: recall@{k} {whole.recall:.4f}, "
            f"p5 {whole.recall_p5:.2f}, ndcg {whole.ndcg:.4f}.",
        ]
    )


def _row(trial: Trial) -> Sequence[str]:
    whole, worst = trial.quality["all"], min(one.recall for one in trial.quality.values())
    figures = [f"{whole.recall:.4f}", f"{worst:.4f}", f"{whole.recall_p5:.2f}", f"{1 - whole.ndcg:.4f}"]
    times = [f"{trial.p50_ms:.3f}", f"{trial.p99_ms:.3f}", f"{trial.per_second:,.0f}", f"{trial.build_s:.1f}"]
    mark = "" if trial.meets else " (too little)"
    return [
        trial.settings.factory + mark,
        str(trial.settings.effort or "-"),
        *figures,
        *times,
        f"{trial.mib:,.0f}",
    ]


def _track(bundle: Bundle, wanted: Wanted, tuned: Tuned) -> str:
    """Writes table, curve and figures into a run of MLflow, and returns its id."""
    whole = tuned.measured.get("all")
    metrics = (
        {}
        if whole is None
        else {f"recall_at_{wanted.k}": whole.recall, "recall_p5": whole.recall_p5, "ndcg": whole.ndcg}
    )
    return track_report(
        EXPERIMENT,
        f"{bundle.bundle_id} {tuned.chosen.factory}",
        "an index report",
        settings={**asdict(wanted), **tuned.chosen.model_dump(mode="json")},
        tags={"bundle_id": bundle.bundle_id},
        metrics=metrics,
        texts={
            "trials.json": json.dumps([plain(trial) for trial in tuned.trials], indent=1),
            "table.md": describe_trials(bundle, tuned) + "\n",
        },
        pictures={"recall_by_time.png": plots.recall_by_time(tuned.trials)} if tuned.trials else {},
    )
