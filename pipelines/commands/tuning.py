"""Commands that choose: settings on the validation part (tune, dims), and the index of a bundle (index
tune)."""

import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from recsys.pipelines.commands.stage import config_for, data_options, run_options, stage


def search_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options that `tune` and `dims` share."""
    command = click.option(
        "--metric", default="ndcg_at_20", show_default=True, help="The metric to maximise."
    )(command)
    return click.option(
        "--space",
        multiple=True,
        metavar="FIELD=LOW:HIGH[:log]",
        help="A range to search instead of the declared one; FIELD=A,B: choices; FIELD=VALUE: not searched.",
    )(command)


@click.command()
@click.argument("data")
@click.option(
    "--trials",
    default=30,
    show_default=True,
    type=click.IntRange(1),
    help="Number of trials, earlier ones included.",
)
@click.option("--timeout", type=click.FloatRange(0), help="Seconds after which no further trial begins.")
@click.option("--no-prune", is_flag=True, help="Train every trial to its last epoch.")
@click.option("--anew", is_flag=True, help="Discard earlier trials of this search and start over.")
@search_options
@data_options
@run_options
@stage
def tune(
    data: str,
    trials: int,
    timeout: float | None,
    no_prune: bool,
    anew: bool,
    space: tuple[str, ...],
    metric: str,
    config: str | None,
    dry_run: bool,
    assignments: tuple[str, ...],
    as_json: bool,
) -> Any:
    """Search the settings of a model on the validation part of DATA, and write the best as a config for
    `train`.

    Stopped or killed at any moment, the same command goes on. The test part is not read.
    """
    from recsys.pipelines.console import Steps
    from recsys.pipelines.search.space import describe_space, search_space, without_order
    from recsys.pipelines.search.trial import checked_metric

    settings = _settings(data, config, assignments)
    checked_metric(metric)
    searched = search_space(settings.model_name, settings.model_settings, space)
    if dry_run:
        shown = {"space": describe_space(searched.space), "settings": settings.model_dump(mode="json")}
        if not as_json:
            click.echo(json.dumps(shown, indent=2))
        return shown
    from recsys.pipelines.best.facts import facts_of
    from recsys.pipelines.run.question import prepare
    from recsys.pipelines.search.report import train_command
    from recsys.pipelines.search.tune import Asked
    from recsys.pipelines.search.tune import tune as run_tune

    steps = Steps(quiet=as_json)
    asked = Asked(trials, timeout, metric, not no_prune, anew, _join_command("tune"))
    run = prepare(settings, steps)
    if not facts_of(run).ordered:
        searched, out = without_order(searched, space)
        if out:
            steps.say(f"Not searched, for the events of a person are in no order: {', '.join(out)}.")
    tuned = run_tune(run, searched, asked)
    steps.say(f"\n{tuned.text}\n\nNext: {train_command(data, tuned.config)}")
    return {
        "search": tuned.name,
        "run_id": tuned.run_id,
        "config": str(tuned.config),
        "model": dict(tuned.model),
        "figures": {key: tuned.figures[key] for key in ("mean", "low", "high", "epochs")},
        "best": tuned.best._asdict(),
        "at_edge": list(tuned.edges),
        "trials": [trial._asdict() for trial in tuned.trials],
    }


@click.command()
@click.argument("data")
@click.option(
    "--dims", default="16,32,64,128,256", show_default=True, help="The dims to compare, separated by commas."
)
@click.option(
    "--retune",
    default=0,
    show_default=True,
    type=click.IntRange(0),
    help="Trials of a search of its own for each dim; 0 = none.",
)
@search_options
@data_options
@run_options
@stage
def dims(
    data: str,
    dims: str,
    retune: int,
    space: tuple[str, ...],
    metric: str,
    config: str | None,
    dry_run: bool,
    assignments: tuple[str, ...],
    as_json: bool,
) -> Any:
    """Weigh what each dim of a model gives and costs on the validation part of DATA, and advise the smallest
    that is within one standard error of the best.

    With --retune, every dim has the settings that a search of so many trials finds for it.
    """
    from recsys.errors import SettingError
    from recsys.pipelines.console import Steps
    from recsys.pipelines.search.dims import checked_dims
    from recsys.pipelines.search.space import Searched, search_space
    from recsys.pipelines.search.trial import checked_metric

    settings = _settings(data, config, assignments)
    checked_metric(metric)
    try:
        wanted = [int(word) for word in dims.split(",")]
    except ValueError:
        raise SettingError(
            f"--dims {dims!r} must be whole numbers with commas between them, as in 16,32,64."
        ) from None
    name, own = settings.model_name, settings.model_settings
    wanted = checked_dims(wanted, name, own)
    if space and not retune:
        raise SettingError("--space says what --retune searches; say how many trials, as in --retune 10.")
    fixed = {dim: [*space, f"dim={dim}"] for dim in wanted}
    spaces: dict[int, Searched] = (
        {dim: search_space(name, own, fixed[dim]) for dim in wanted} if retune else {}
    )
    if dry_run:
        shown = {"dims": wanted, "settings": settings.model_dump(mode="json")}
        if not as_json:
            click.echo(json.dumps(shown, indent=2))
        return shown
    from recsys.pipelines.run.question import prepare
    from recsys.pipelines.search.dims import advise
    from recsys.pipelines.search.report import train_command
    from recsys.pipelines.search.tune import Asked

    steps = Steps(quiet=as_json)
    typed = _join_command("dims")
    search = (lambda dim: (spaces[dim], Asked(retune, metric=metric, command=typed))) if retune else None
    advice = advise(prepare(settings, steps), wanted, metric, search=search, command=typed)
    steps.say(f"\n{advice.text}\n\nNext: {train_command(data, advice.config)}")
    return {
        "advised": advice.advised,
        "best": advice.best,
        "run_id": advice.run_id,
        "config": str(advice.config),
        "dims": [
            {
                "dim": one.dim,
                "model": dict(one.model),
                "reason": one.reason,
                **(
                    {
                        **one.interval._asdict(),
                        "difference": advice.differences[one.dim][0],
                        "standard_error": advice.differences[one.dim][1],
                        "megabytes": one.megabytes,
                        "query_ms": one.query_ms,
                        "seconds": one.seconds,
                    }
                    if one.reason is None
                    else {}
                ),
            }
            for one in advice.weighed
        ],
    }


def _settings(data: str, config: str | None, assignments: tuple[str, ...]) -> Any:
    from recsys.pipelines.run.settings import load_settings
    from recsys.pipelines.search.tune import validation_of

    return validation_of(load_settings(config or config_for(data), assignments, data=data), assignments)


def _join_command(command: str) -> str:
    """The command line as it was typed, quoted for a shell."""
    return shlex.join(["recsys", command, *sys.argv[2:]])


@click.group()
def index() -> None:
    """Measure which index answers soonest and finds enough, and give it to a bundle."""


@index.command("tune")
@click.argument("root", metavar="BUNDLE", type=click.Path(path_type=Path))
@click.option(
    "--target",
    default=0.99,
    show_default=True,
    type=click.FloatRange(0, 1),
    help="Mean recall at k that the index must reach.",
)
@click.option(
    "--target-p5", default=0.9, show_default=True, help="Recall at k that 95 % of people must reach."
)
@click.option(
    "-k", "--k", default=100, show_default=True, type=click.IntRange(1, 1_000), help="Items in a list."
)
@click.option(
    "--people",
    default=500,
    show_default=True,
    type=click.IntRange(1),
    help="People the index is chosen by; 500 others judge it.",
)
@click.option("--seed", default=0, show_default=True, help="Seed of the draw of people.")
@click.option("--only", multiple=True, metavar="FACTORY", help="An index to try beside Flat; repeatable.")
@click.option("--dry-run", is_flag=True, help="Measure, and publish nothing.")
@stage
def tune_index(
    root: Path,
    target: float,
    target_p5: float,
    k: int,
    people: int,
    seed: int,
    only: tuple[str, ...],
    dry_run: bool,
    as_json: bool,
) -> Any:
    """Try the indexes of FAISS on BUNDLE by its own people's questions, and publish it with the best.

    An index is taken where it finds enough, for known people, for their histories alone and for three events,
    and is really faster than the exact scan; else the bundle keeps the scan. The table and the curve go to
    MLflow.
    """
    from recsys.pipelines.index import Wanted, tune_bundle

    return tune_bundle(root, Wanted(k, target, target_p5, people, seed, only, dry_run), as_json)
