"""Commands that learn and judge: demo, train, evaluate, order, transfer, models."""

from pathlib import Path
from typing import Any

import click

from recsys.pipelines.commands.stage import (
    Negative,
    config_for,
    data_options,
    quote_value,
    run_options,
    show_settings,
    stage,
)


@click.command()
@click.option(
    "--data", default="world", show_default=True, help="`world`, a named data set, or a folder or file."
)
@click.option(
    "--domains", is_flag=True, help="Two domains, and people of one who ask for things of the other."
)
@data_options
@run_options
@stage
def demo(
    data: str, domains: bool, config: str | None, dry_run: bool, assignments: tuple[str, ...], as_json: bool
) -> Any:
    """The whole line: learn, measure, log, export, serve, and recommend to three people."""
    from recsys.pipelines.run.settings import load_settings

    usual = "domains" if domains and data == "world" else config_for(data)
    settings = load_settings(config or usual, assignments, data=data)
    if dry_run:
        return show_settings(settings, as_json)
    from recsys.pipelines.console import Steps
    from recsys.pipelines.demo import demo as run_demo

    return run_demo(settings, Steps(quiet=as_json), domains=domains)


@click.command()
@click.argument("data")
@click.option(
    "--resume", is_flag=True, help="Go on where an equal run was killed: it ends in the same bytes."
)
@data_options
@run_options
@stage
def train(
    data: str,
    resume: bool,
    config: str | None,
    dry_run: bool,
    assignments: tuple[str, ...],
    as_json: bool,
) -> Any:
    """Learn from DATA (`world`, a named data set, a folder or a file), judge, and log the run with its
    bundle.

    Under torchrun several processes share the batches of a two_tower model: torchrun --nproc-per-node 2 -m
    recsys.pipelines.cli train DATA 'model={name="two_tower"}'
    """
    from recsys.pipelines.run.settings import load_settings

    settings = load_settings(config or config_for(data), assignments, data=data)
    if dry_run:
        return show_settings(settings, as_json)
    from recsys.evaluation.tables import report_data
    from recsys.pipelines.console import Steps
    from recsys.pipelines.machine.distributed import assist, assists, refuse_alone
    from recsys.pipelines.run.question import prepare
    from recsys.pipelines.run.train import comparisons_of, metrics_of
    from recsys.pipelines.run.train import train as run_train
    from recsys.text import command_line

    steps = Steps(quiet=as_json or assists())
    if assists():
        assist(prepare(settings, steps))
        return None
    refuse_alone(settings)
    trained = run_train(prepare(settings, steps), resume=resume)
    steps.say(trained.table)
    logged = trained.bundle if trained.run_id is None else trained.run_id
    exporting = f"Next: {command_line('recsys export', logged)}"
    following = "It has no bundle to export." if trained.bundle is None else exporting
    steps.say(f"\nRun {trained.run_id or 'not logged'}. {following}")
    return {
        "run_id": trained.run_id,
        "bundle": None if trained.bundle is None else str(trained.bundle),
        "metrics": metrics_of(trained.measured),
        "system": {name: report.system for name, report in trained.measured.reports.items()},
        "segments": report_data(trained.measured.report)["segments"],
        "comparisons": comparisons_of(trained.measured),
        "seconds": steps.seconds,
    }


@click.command()
@click.argument("bundle", required=False)
@click.option(
    "--candidates",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Lists of any system: a table of user_id, item_id, and rank or score. Repeat to compare several.",
)
@click.option("--data", help="What to judge on; data=... Default: the data of the bundle's run.")
@data_options
@run_options
@stage
def evaluate(
    bundle: str | None,
    candidates: tuple[Path, ...],
    data: str | None,
    config: str | None,
    dry_run: bool,
    assignments: tuple[str, ...],
    as_json: bool,
) -> Any:
    """Judge BUNDLE (or a folder of bundles) on the data and split of its own run, or the lists of any other
    system.

    Others by settings: --data shop split.kind=...

    With --candidates, the lists stand beside popularity, each other, and BUNDLE if one is named:
    recsys evaluate --candidates FILE.parquet --data ml-100k

    Exit status 1 where lists know what the judged part holds and leave it out: they were learned too late.
    """
    from recsys.bundle.bundle import load
    from recsys.bundle.root import current
    from recsys.config import toml_value
    from recsys.errors import SettingError
    from recsys.pipelines.run.evaluate import evaluate_bundle, report_table, settings_of
    from recsys.pipelines.run.settings import load_settings
    from recsys.text import utc_text

    if bundle is not None and "=" in bundle and not Path(bundle).exists():  # the first setting, and no bundle
        assignments, bundle = (bundle, *assignments), None
    assignments = assignments if data is None else (f"data={quote_value(data)}", *assignments)
    if bundle is None and not candidates:
        raise SettingError("evaluate needs a BUNDLE or --candidates FILE; name what is to be judged.")
    loaded = None if bundle is None else load(current(Path(bundle)))
    data = next(
        (toml_value(value) for key, _, value in (one.partition("=") for one in assignments) if key == "data"),
        None,
    )
    if loaded is not None and not (config or data or settings_of(loaded)):
        raise SettingError(
            f"bundle {loaded.bundle_id} was written without a run and does not say what to judge it on. "
            "Name it: --data DATA."
        )
    if loaded is not None and not config:
        settings = load_settings(config, assignments, **settings_of(loaded))
    else:
        settings = load_settings(config or (data and config_for(data)), assignments)
    if dry_run:
        return show_settings(settings, as_json)
    from recsys.evaluation.tables import report_data
    from recsys.pipelines.console import Steps
    from recsys.pipelines.run.question import prepare

    steps = Steps(quiet=as_json)
    if candidates:
        from recsys.pipelines.run.candidates import by_name, evaluate_candidates, judged_data, judged_table

        files = by_name(candidates)
        judged = evaluate_candidates(prepare(settings, steps), files, loaded)
        steps.say(judged_table(judged))
        result = judged_data(judged)
        return Negative(result) if judged.impossible else result
    assert loaded is not None
    run = prepare(settings, steps)
    title, report = evaluate_bundle(run, loaded)
    moment = run.holdout.now
    steps.say(report_table(title, report))
    asked = {"moment": None if moment is None else utc_text(moment), "moment_s": moment}
    return {"bundle_id": loaded.bundle_id, "title": title, **asked, **report_data(report)}


@click.command()
@click.argument("data")
@click.option(
    "--seeds",
    default=1,
    show_default=True,
    type=click.IntRange(1),
    help="Number of seeds to train with, counted from `seed`.",
)
@data_options
@run_options
@stage
def order(
    data: str, seeds: int, config: str | None, dry_run: bool, assignments: tuple[str, ...], as_json: bool
) -> Any:
    """Say what the order of histories brings on DATA: the same model learned and asked in order, and
    shuffled.

    The model is `sequence` unless another one is named, or a config file by -c names its own. It learns twice
    for each seed. Table, figures and picture go to MLflow; there is no bundle.
    """
    from recsys.pipelines.run.settings import load_settings

    named = assignments if config else ("model=sequence", *assignments)
    settings = load_settings(config or config_for(data), named, data=data)
    if dry_run:
        return show_settings(settings, as_json)
    from recsys.pipelines.console import Steps
    from recsys.pipelines.order import order as run_order
    from recsys.pipelines.run.question import prepare

    return run_order(prepare(settings, Steps(quiet=as_json)), seeds)


@click.command()
@click.argument("data")
@click.option(
    "--joined",
    multiple=True,
    type=click.FloatRange(0, 1),
    help=(
        "Share of people who are one person in all domains; the others are split, one for each. "
        "Repeatable; 1 and .1."
    ),
)
@click.option(
    "--trials",
    default=1,
    show_default=True,
    type=click.IntRange(1),
    help="Number of settings to try for each model.",
)
@click.option(
    "--seeds",
    default=1,
    show_default=True,
    type=click.IntRange(1),
    help="Number of seeds to train with, counted from `seed`.",
)
@data_options
@run_options
@stage
def transfer(
    data: str,
    joined: tuple[float, ...],
    trials: int,
    seeds: int,
    config: str | None,
    dry_run: bool,
    assignments: tuple[str, ...],
    as_json: bool,
) -> Any:
    """Say what the domains of DATA bring to each other: a model of all of them against one of each domain
    alone.

    The model is `sequence` unless another one is named, or a config file by -c names its own. Table and
    figures go to MLflow; a config is written that trains both side by side, by weights of the validation
    part.
    """
    from recsys.pipelines.run.settings import load_settings

    named = assignments if config else ("model=sequence", *assignments)
    settings = load_settings(config or config_for(data), named, data=data)
    if dry_run:
        return show_settings(settings, as_json)
    from recsys.pipelines.console import Steps
    from recsys.pipelines.run.question import prepare
    from recsys.pipelines.transfer import transfer as run_transfer

    shares = tuple(dict.fromkeys((1.0, *joined))) if joined else (1.0, 0.1)
    return run_transfer(prepare(settings, Steps(quiet=as_json)), joined=shares, trials=trials, seeds=seeds)


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
