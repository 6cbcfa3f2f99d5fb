"""Commands that learn and judge: demo, train, evaluate, models."""

import json
from pathlib import Path
from typing import Any

import click

from pipelines.command import config_for, run_options, shown, stage


@click.command()
@click.option("--data", default="world", show_default=True, help="`world`, a named data set, or a folder or file.")
@run_options
@stage
def demo(data: str, config: str | None, dry_run: bool, assignments: tuple[str, ...], as_json: bool) -> Any:
    """The whole line: learn, measure, log, export, serve, and recommend to three people."""
    from pipelines.settings import load_settings

    settings = load_settings(config or config_for(data), assignments, data=data)
    if dry_run:
        return shown(settings, as_json)
    from pipelines.console import Steps
    from pipelines.demo import demo as run_demo

    return run_demo(settings, Steps(quiet=as_json))


@click.command()
@click.argument("data")
@click.option("--user-col", help="Your name for the column user_id.")
@click.option("--item-col", help="Your name for the column item_id.")
@click.option("--time-col", help="Your name for the column timestamp.")
@run_options
@stage
def train(
    data: str,
    user_col: str | None,
    item_col: str | None,
    time_col: str | None,
    config: str | None,
    dry_run: bool,
    assignments: tuple[str, ...],
    as_json: bool,
) -> Any:
    """Learn from DATA (`world`, a named data set, a folder or a file), judge, and log the run with its bundle."""
    from pipelines.settings import load_settings

    named = {"user_id": user_col, "item_id": item_col, "timestamp": time_col}
    columns = {f"columns.{role}={json.dumps(column)}" for role, column in named.items() if column}
    settings = load_settings(config or config_for(data), [*sorted(columns), *assignments], data=data)
    if dry_run:
        return shown(settings, as_json)
    from pipelines.console import Steps
    from pipelines.train import comparisons_of, metrics_of
    from pipelines.train import train as run_train

    steps = Steps(quiet=as_json)
    trained = run_train(settings, steps)
    steps.say(trained.table)
    logged = trained.bundle if trained.run_id is None else trained.run_id
    steps.say(f"\nRun {trained.run_id or 'not logged'}. Next: recsys export {logged}")
    return {
        "run_id": trained.run_id,
        "bundle": str(trained.bundle),
        "metrics": metrics_of(trained.measured),
        "comparisons": comparisons_of(trained.measured),
        "seconds": steps.seconds,
    }


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@run_options
@stage
def evaluate(bundle: Path, config: str | None, dry_run: bool, assignments: tuple[str, ...], as_json: bool) -> Any:
    """Judge BUNDLE (or a folder of bundles) on the data and split of its own run.

    Others by settings: data=... split.kind=...
    """
    from pipelines.evaluate import evaluate_bundle, report_table, settings_of
    from pipelines.settings import load_settings
    from recsys.retrieval.bundle import current, load

    loaded = load(current(bundle))
    settings = load_settings(config, assignments, **({} if config else settings_of(loaded)))
    if dry_run:
        return shown(settings, as_json)
    from pipelines.console import Steps

    steps = Steps(quiet=as_json)
    title, report = evaluate_bundle(loaded, settings, steps)
    steps.say(report_table(title, report))
    return {"bundle_id": loaded.bundle_id, "metrics": {name: report.interval(name)._asdict() for name in report.values}}


@click.command()
@stage
def models(as_json: bool) -> Any:
    """List the models with their settings, defaults and reasons."""
    from recsys.models.registry import MODELS, model_class

    listed = {}
    for name in sorted(MODELS):
        cls = model_class(name)
        fields = cls.Settings.model_fields
        listed[name] = {
            "summary": cls.__doc__.split("\n")[0].strip(),
            "settings": {
                key: {"default": field.default, "meaning": field.description} for key, field in fields.items()
            },
        }
        if not as_json:
            click.echo(f"{name}: {listed[name]['summary']}")
            for key, field in fields.items():
                click.echo(f"  model.{key} = {field.default}    {field.description}")
    return listed
