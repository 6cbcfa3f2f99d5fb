"""Which settings of a learner are the best single choice for data that nobody has tuned on?

    RECSYS_DATA=... python -m benchmarks.defaults [--family NAME] ... [--data NAME] ... [--json]

Every combination of a small grid learns and is judged on the validation part of each development set: the
sets that configs of ours name, and the planted world. Its share is its figure over the best one of the same
learner there; its regret is what is missing to 1. The best single choice has the lowest mean regret. The
width is not searched: wider is nearly always better, and dearer. What was measured is kept, so that a run
that was stopped goes on.
"""

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import click
import numpy as np

from benchmarks.best import SETS, question_settings
from benchmarks.results import read_rows, report
from recsys.evaluation.significance import bootstrap
from recsys.models.registry import model_class
from recsys.pipelines.best.choice import parts_of
from recsys.pipelines.best.facts import facts_of
from recsys.pipelines.commands.stage import config_for
from recsys.pipelines.console import Steps
from recsys.pipelines.run.question import ask, read
from recsys.pipelines.run.run import Run
from recsys.pipelines.run.settings import RunSettings, load_settings
from recsys.pipelines.search.trial import Judge, Tried

WORLD = "world"
DEVELOPMENT = (
    "ml-100k",
    "ml-1m-ncf",
    "gowalla",
    "poi-gowalla",
    "s3rec-beauty",
    "s3rec-sports-outdoors",
    WORLD,
)
GRIDS: dict[str, dict[str, Sequence[Any]]] = {
    "als": {
        "unobserved_weight": (0.03, 0.1, 0.3, 1.0),
        "regularization": (0.003, 0.01, 0.03),
        "half_life": (None, 4.0, 20.0),
    },
    "spectral": {"exponent": (0.4, 0.5, 0.6), "filter": (0.0, 0.5), "half_life": (None, 4.0, 20.0)},
    "cooccurrence": {
        "back": (0.05, 0.25, 0.5),
        "from_exponent": (0.4, 0.5, 0.6),
        "to_exponent": (0.2, 0.3, 0.4),
        "half_life": (1.5, 2.5, 5.0),
    },
    "cooccurrence_svd": {
        "back": (0.05, 0.25, 0.5),
        "from_exponent": (0.4, 0.5, 0.6),
        "to_exponent": (0.2, 0.3),
        "half_life": (1.5, 2.5, 5.0),
    },
    "item_knn": {
        "shrinkage": (0.3, 3.0, 10.0, 30.0),
        "amplification": (1.0, 1.5, 2.0),
        "half_life": (5.0, 20.0, 80.0),
    },
    "ease": {
        "regularization": (100.0, 300.0, 500.0, 1000.0, 2000.0, 4000.0),
        "half_life": (None, 4.0, 20.0),
    },
    "softmax": {"temperature": (0.1, 0.15), "propagation": (0.0, 0.3), "half_life": (None, 20.0)},
    "variational": {"regularization": (4.0, 8.0), "propagation": (0.0, 0.05), "half_life": (None, 4.0)},
}
DENSE_ITEMS = 15_000  # items up to which EASE is asked for
OF_ORDER = ("cooccurrence", "cooccurrence_svd")  # not asked where events are in no order
_PAIRS = {"back": 0.25, "from_exponent": 0.5, "to_exponent": 0.3, "half_life": 1.5}
# what learners had by default before it was set from this table
BEFORE: dict[str, dict[str, Any]] = {
    "spectral": {"exponent": 0.5, "filter": 0.0, "half_life": None},
    "cooccurrence": _PAIRS,
    "cooccurrence_svd": _PAIRS,
    "item_knn": {"shrinkage": 3.0, "amplification": 1.0, "half_life": 20.0},
    "ease": {"regularization": 300.0, "half_life": None},
}

Figures = dict[tuple[str, str], dict[str, float]]  # by learner and settings: the figure of each set


def grid(family: str) -> Iterator[dict[str, Any]]:
    """Every combination of its grid."""
    names, values = list(GRIDS[family]), GRIDS[family].values()
    for combination in itertools.product(*values):
        yield dict(zip(names, combination, strict=True))


def default_of(family: str) -> dict[str, Any]:
    """What the learner has where nothing is said, of the settings that are searched here."""
    declared = model_class(family).Settings.model_fields
    return {name: declared[name].default for name in GRIDS[family]}


def settings_of(name: str) -> RunSettings:
    """The question of a set: that of `benchmarks.best`, or of the demo's planted world."""
    if name != WORLD:
        return question_settings(name, 1)
    own = ('metrics=["ndcg_at_10"]', "seed=1", "baselines_days=[]")
    return load_settings(config_for(WORLD), list(own), data=WORLD)


def metric_of(name: str) -> str:
    return SETS[name].metric if name in SETS else "ndcg_at_10"


def measure(name: str, families: Sequence[str], figures: Figures) -> None:
    """Judges what is not known yet of a set, on its validation part, into `figures`."""
    todo = {
        (family, _text(one)): one
        for family in families
        for one in [default_of(family), *grid(family)]
        if name not in figures.get((family, _text(one)), {})
    }
    if not todo:
        return
    settings, steps = settings_of(name), Steps()
    world, data = read(settings, steps)
    run = ask(parts_of(settings, data)[0], steps, world, data)
    asked, ordered = Judge(run, metric_of(name)), facts_of(run).ordered
    for (family, said), one in todo.items():
        if (family == "ease" and data.n_items > DENSE_ITEMS) or (family in OF_ORDER and not ordered):
            continue
        outcome = asked.try_settings(_with(run, family, one), watched=False)
        assert isinstance(outcome, Tried)
        figures.setdefault((family, said), {})[name] = float(np.nanmean(outcome.values))
        print(f"{name}: {figures[family, said][name]:.4f} {family} {said}", flush=True)


def order(family: str, figures: Figures) -> list[dict[str, Any]]:
    """The combinations of a learner that were judged on all sets, by mean regret: the best single choice
    first."""
    ours = {said: by_set for (name, said), by_set in figures.items() if name == family}
    tops: dict[str, float] = {}
    for by_set in ours.values():
        for name, figure in by_set.items():
            tops[name] = max(figure, tops.get(name, 0.0))
    rows = []
    for said, by_set in ours.items():
        regrets = {name: 1 - figure / tops[name] for name, figure in by_set.items()}
        worst = max(regrets, key=regrets.__getitem__)
        settings = json.loads(said)
        rows.append(
            {
                "family": family,
                "settings": said,
                "default": "yes" if settings == default_of(family) else "",
                "sets": len(by_set),
                "regret": sum(regrets.values()) / len(regrets) if len(regrets) == len(tops) else None,
                "worst": regrets[worst],
                "worst_on": worst,
                "figures": by_set,
            }
        )
    return sorted(rows, key=lambda row: (row["regret"] is None, row["regret"]))


def gains_of(figures: Figures) -> dict[tuple[str, str], float]:
    """By learner and set: what the default has more than the one before, as a share of the best of the
    grid."""
    gains = {}
    for family, before in BEFORE.items():
        new, old = (figures.get((family, _text(one)), {}) for one in (default_of(family), before))
        for name in sorted(new.keys() & old.keys()):  # in one order, for the draws of the interval
            tops = [by_set[name] for (one, _), by_set in figures.items() if one == family and name in by_set]
            gains[family, name] = (new[name] - old[name]) / max(tops)
    return gains


def _with(run: Run, family: str, own: Mapping[str, Any]) -> Run:
    return replace(run, settings=run.settings.model_copy(update={"model": {"name": family, **own}}))


def _text(one: Mapping[str, Any]) -> str:
    return json.dumps(dict(one), sort_keys=True)


COLUMNS = {
    "family": "learner",
    "settings": "settings",
    "default": "default",
    "sets": "sets",
    "regret": "mean regret",
    "worst": "worst",
    "worst_on": "on",
}


@click.command()
@click.option("--family", "families", multiple=True, type=click.Choice(list(GRIDS)), help="Only these.")
@click.option("--data", "names", multiple=True, type=click.Choice([*SETS, WORLD]), help="Only these.")
@click.option("--json", "as_json", is_flag=True)
def main(families: Sequence[str], names: Sequence[str], as_json: bool) -> None:
    """Writes benchmarks/results/defaults.md."""
    chosen = list(families or GRIDS)
    figures: Figures = {(row["family"], row["settings"]): row["figures"] for row in read_rows("defaults")}
    for name in names or DEVELOPMENT:
        measure(name, chosen, figures)
        _report(figures, as_json)


def _report(figures: Figures, as_json: bool) -> None:
    rows = [row for family in GRIDS for row in order(family, figures)]
    note, gains = f"By mean regret on validation parts:\n{', '.join(DEVELOPMENT)}.", gains_of(figures)
    if gains:
        mean, low, high = bootstrap(np.array(list(gains.values())))
        note += f"\n\nDefaults of {', '.join(BEFORE)} over those before,\nin shares of the best: "
        note += f"{mean:+.3f} [{low:+.3f}, {high:+.3f}], {len(gains)} pairs of a learner and a set."
    report(
        "defaults",
        rows,
        title="The best single choice of each learner",
        columns=COLUMNS,
        note=note,
        as_json=as_json,
    )


if __name__ == "__main__":
    main()
