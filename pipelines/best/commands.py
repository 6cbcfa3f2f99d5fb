"""The command `best`: from data to the best model that a stated time gives."""

import shlex
import sys
from time import monotonic
from typing import Any

import click

from recsys.pipelines.commands.stage import config_for, data_options, run_options, stage


@click.command()
@click.argument("data")
@click.option(
    "--minutes",
    default=30.0,
    show_default=True,
    type=click.FloatRange(0, min_open=True),
    help="Minutes for the whole search.",
)
@click.option("--max-dim", type=click.IntRange(2), help="Most dimensions of the served vectors.")
@click.option("--max-mb", type=click.FloatRange(0, min_open=True), help="Most megabytes of item vectors.")
@click.option(
    "--max-ms",
    type=click.FloatRange(0, min_open=True),
    help="Most milliseconds of an exact search on this machine.",
)
@click.option("--metric", default="ndcg_at_20", show_default=True, help="The metric to maximise.")
@click.option("--anew", is_flag=True, help="Discard earlier trials and start over.")
@data_options
@run_options
@stage
def best(
    data: str,
    minutes: float,
    max_dim: int | None,
    max_mb: float | None,
    max_ms: float | None,
    metric: str,
    anew: bool,
    config: str | None,
    dry_run: bool,
    assignments: tuple[str, ...],
    as_json: bool,
) -> Any:
    """Find the best model for DATA in a stated time: chosen on validation, judged on test once, served from
    its bundle.

    Killed at any moment, the same command goes on. Settings name data and split; the models are found. With
    --dry-run it says what it would try.
    """
    from recsys.errors import SettingError
    from recsys.pipelines.run.settings import load_settings
    from recsys.pipelines.search.trial import checked_metric

    if named := [
        text
        for text in assignments
        if text.partition("=")[0] in ("model", "judge", "warm") or text[:6] == "model."
    ]:
        raise SettingError(f"{named[0]}: the search finds the model, on validation. Leave it out.")
    began = monotonic()
    settings = load_settings(config or config_for(data), assignments, data=data)
    checked_metric(metric)
    from recsys.pipelines.best.best import best as find_best
    from recsys.pipelines.best.best import width_limit
    from recsys.pipelines.best.page import sentences
    from recsys.pipelines.best.result import Asked
    from recsys.pipelines.console import Steps
    from recsys.pipelines.run.question import ask, read
    from recsys.text import command_line

    steps = Steps(quiet=as_json)
    asked = Asked(
        minutes, metric, max_dim, max_mb, max_ms, anew, shlex.join(["recsys", "best", *sys.argv[2:]])
    )
    world, read_data = read(settings, steps)
    if dry_run:
        from recsys.pipelines.best.choice import parts_of
        from recsys.pipelines.best.facts import facts_of
        from recsys.pipelines.best.portfolio import plan

        first, _ = parts_of(settings, read_data)
        run = ask(first, steps, world, read_data)
        planned = plan(facts_of(run), width_limit(asked, read_data.n_items), minutes)
        steps.say("\n".join([run.title, *planned]))
        return {"title": run.title, "plan": planned}
    result = find_best(settings, steps, asked, world, read_data, began)
    told = sentences(result, asked)
    files = [f"Page: {result.page}", f"Config: {result.config}"]
    logged = result.trained.run_id or result.trained.bundle
    files += [] if logged is None else [f"Next: {command_line('recsys export', logged)}"]
    steps.say("\n".join(["", result.trained.table, "", *told, "", *files]))
    return {
        "chosen": result.choice.winner.label,
        "model": dict(result.choice.winner.model),
        "validation": {"mean": result.choice.winner.mean, "error": result.choice.winner.error},
        "run_id": result.trained.run_id,
        "bundle": None if result.trained.bundle is None else str(result.trained.bundle),
        "config": str(result.config),
        "page": str(result.page),
        "models": len(result.tried),
        "seconds": round(result.seconds, 1),
        "told": told,
    }
