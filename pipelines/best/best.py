"""The best for data that nobody has tuned on: a portfolio, steps from its best, spaces side by side, one
bundle.

Everything is chosen on validation; the test part is read once, by the model that was chosen. The time is that
of a clock that stands still while no process is at it, and each thing tried is on disk before the next
begins, so a search that was killed goes on where it was.
"""

import json
from hashlib import sha256
from time import monotonic

import numpy as np

from recsys import __version__
from recsys.arrays import F32
from recsys.data.dataset import Dataset
from recsys.data.planted.world import World
from recsys.errors import ModelError
from recsys.pipelines.best.choice import check_elsewhere, choose_model, parts_of, seconds_to_keep
from recsys.pipelines.best.facts import Facts, facts_of
from recsys.pipelines.best.ledger import Ledger, open_ledger
from recsys.pipelines.best.mixing import learned_before, mix_narrow, mix_spaces, spaces_to_mix
from recsys.pipelines.best.page import page
from recsys.pipelines.best.race import Passed, portfolio_share, refine_best, screen_portfolio
from recsys.pipelines.best.result import Asked, Best, Choice
from recsys.pipelines.best.trials import Trials
from recsys.pipelines.console import Steps
from recsys.pipelines.run.question import ask
from recsys.pipelines.run.run import Run
from recsys.pipelines.run.settings import RunSettings
from recsys.pipelines.run.train import train
from recsys.pipelines.search.config_file import config_text, write_config
from recsys.pipelines.search.dims import query_ms
from recsys.pipelines.search.report import train_command
from recsys.pipelines.search.space import full_settings
from recsys.pipelines.tracking.store import store
from recsys.pipelines.tracking.trial_runs import Nested
from recsys.seeding import generator

_MIXING = 0.12  # of the time
_STATED = {"prepare", "split", "seen", "fallback_days", "seed", "columns"}  # what figures depend on
_QUERIES = 50


def best(
    settings: RunSettings, steps: Steps, asked: Asked, world: World | None, data: Dataset, began: float
) -> Best:
    """Searches, chooses, and trains. world, data: as they were read. began: the moment of `time.monotonic`
    from which the minutes count.

    Raises ModelError where nothing that an index can serve could be learned, SettingError where another
    process is at the same search.
    """
    first, second = parts_of(settings, data)
    run = ask(first, steps, world, data)
    facts = facts_of(run)
    max_dim = width_limit(asked, data.n_items)
    steps.say("\n".join(facts.describe()))
    name = _name(run, asked, max_dim)
    with open_ledger(
        store() / "best" / name, 60 * asked.minutes - (monotonic() - began), asked.minutes, anew=asked.anew
    ) as ledger:
        if ledger.finished:
            steps.say(f"Found already, in {ledger.spent:,.0f} s: give it more minutes, or --anew.")
        elif ledger.tried:
            steps.say(f"Going on after {len(ledger.tried)} models and {ledger.spent:,.0f} s.")
        trials = Trials(run, asked.metric, ledger)
        spent, left = ledger.spent, ledger.left

        def portfolio_end() -> float:
            return spent + portfolio_share(trials) * left

        passed = screen_portfolio(trials, facts, max_dim, portfolio_end)
        if not trials.spaces():
            raise ModelError(_nothing(ledger))

        def steps_end() -> float:
            return (1 - _MIXING) * ledger.seconds - seconds_to_keep(trials, second is not None)

        refine_best(trials, facts, max_dim, steps_end)
        if passed and ledger.spent < steps_end():  # what was too dear for its part of the time
            passed = screen_portfolio(trials, facts, max_dim, steps_end)
            refine_best(trials, facts, max_dim, steps_end)
        mix_spaces(trials, ledger.seconds - seconds_to_keep(trials, second is not None), max_dim)
        if max_dim is not None:
            mix_narrow(trials, ledger.seconds - seconds_to_keep(trials, False))
        choice = choose_model(trials, check_elsewhere(trials, second, asked.metric, world, data))
        return _finish(trials, facts, passed, choice, asked, (settings, world, data), name)


def width_limit(asked: Asked, n_items: int) -> int | None:
    """The widest vectors within all limits: by megabytes, by the milliseconds of an exact search here, and as
    named."""
    limits = [] if asked.max_dim is None else [asked.max_dim]
    if asked.max_mb is not None:
        limits.append(int(asked.max_mb * 1e6 / (4 * n_items)))
    if asked.max_ms is not None:
        rows: F32 = generator(0, "width limit").standard_normal((n_items, 64), dtype=np.float32)
        limits.append(int(64 * asked.max_ms / max(query_ms(rows, rows[:_QUERIES]), 1e-6)))
    return max(2, min(limits)) if limits else None


def _nothing(ledger: Ledger) -> str:
    reasons = [one.reason for one in ledger.tried.values() if one.reason]
    last = f" The last reason: {reasons[-1]}" if reasons else ""
    return f"No model that an index can serve could be learned from these data.{last}"


def _name(run: Run, asked: Asked, max_dim: int | None) -> str:
    """Names all that the search depends on but its time, so that a longer one goes on from a shorter one."""
    stated = run.settings.model_dump(mode="json", include=_STATED)
    key = [stated, run.data.digest, run.title, asked.metric, max_dim, __version__]
    digest = sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:8]
    plain = "".join(letter if letter.isalnum() or letter in "._-" else "-" for letter in run.data.name[:60])
    return f"{plain}-{asked.metric.replace(':', '-')}-{digest}"


def _finish(
    trials: Trials,
    facts: Facts,
    passed: list[Passed],
    choice: Choice,
    asked: Asked,
    source: tuple[RunSettings, World | None, Dataset],
    name: str,
) -> Best:
    """Writes the config, trains by it, writes the page, and closes the search."""
    settings, world, data = source
    model = dict(choice.winner.model)
    own = {key: value for key, value in model.items() if key != "name"}
    kind = trials.run.settings.split.kind
    split = settings.split.model_copy(update={"kind": kind})
    judged = settings.model_copy(update={"model": model, "split": split, "judge": "test"})
    config, steps = store() / "best" / f"{name}.toml", trials.run.steps
    head = [
        f"Purpose: the best for {data.name} by {asked.metric}, of {len(trials.ledger.tried)} models tried.",
        f"Command: {train_command(settings.data, config)}",
        f"Found by: {asked.command}",
        f"On validation: {choice.winner.mean:.4f}, standard error {choice.winner.error:.4f}.",
    ]
    write_config(config, config_text(judged, full_settings(model["name"], own), list(own), head))
    nested = Nested(trials.run)
    run_id = nested.open(f"best of {data.name}")
    run = ask(judged, steps, world, data)
    trained = train(run, learned=learned_before(trials, choice.winner, run.holdout.train))
    best = Best(
        trials.run.title,
        facts,
        list(trials.ledger.tried.values()),
        passed,
        choice,
        trained,
        config,
        config.with_suffix(".html"),
        trials.ledger.spent,
    )
    best.page.write_text(page(best, asked), encoding="utf-8")
    data_file = config.with_suffix(".json")
    data_file.write_text(json.dumps([one.__dict__ for one in best.tried], indent=1), encoding="utf-8")
    nested.end(
        run_id,
        settings={"metric": asked.metric, "minutes": asked.minutes},
        tags={"command": asked.command, "chosen": choice.winner.label, "trained": trained.run_id or ""},
        metrics={asked.metric: choice.winner.mean, "models": len(best.tried), "seconds": best.seconds},
        files=[config, best.page, data_file],
    )
    trials.ledger.forget_vectors({one.key for one in spaces_to_mix(trials)})
    trials.ledger.finish()
    return best
