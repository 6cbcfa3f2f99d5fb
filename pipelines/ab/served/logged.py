"""Commands about what the service wrote down of an experiment: ab report, and before it starts, ab
forecast."""

from pathlib import Path
from typing import Any

import click

from recsys.pipelines.ab.options import OUT, PEOPLE, REPORT, SHOW_SICK, STORE, second_of
from recsys.pipelines.ab.served.commands import FOLDER, NAME, TO, root_of
from recsys.pipelines.commands.stage import stage

_PLAN = click.option(
    "--plan", type=click.Path(path_type=Path), help="A plan, in place of the experiment's own."
)


@click.command()
@NAME
@TO
@STORE
@_PLAN
@click.option(
    "--phase", type=click.IntRange(min=1), help="Which phase, from 1; default: the last that has started."
)
@click.option(
    "--triggered", is_flag=True, help="Only people for whom the arms' lists differ, by making them again."
)
@PEOPLE
@click.option("--until", help="Up to when outcomes are complete, as 2026-12-29T00:00:00Z; default: now.")
@OUT
@REPORT
@click.option("--track", is_flag=True, help="Log it in MLflow as test NAME: verdict, report, figures by day.")
@SHOW_SICK
@stage
def report(
    name: str,
    root: Path | None,
    store: str | None,
    plan: Path | None,
    phase: int | None,
    triggered: bool,
    people: str | None,
    until: str | None,
    out: Path | None,
    page: Path | None,
    track: bool,
    show_sick: bool,
    as_json: bool,
) -> Any:
    """Say whether to ship, from what the service wrote down of the experiment NAME, as `ab analyse` does from
    tables.

    Also whether the service did what the experiment says. Of arms that interleave it says which list people
    prefer.
    """
    from recsys.events.clock import now_s
    from recsys.pipelines.ab.served.report import report_experiment
    from recsys.pipelines.console import Steps

    return report_experiment(
        Steps(quiet=as_json),
        name,
        root_of(root),
        store,
        phase=phase,
        plan_path=plan,
        triggered=triggered,
        people=people,
        until=second_of(until, "--until") or now_s(),
        out=out,
        page=page,
        track=track,
        show_sick=show_sick,
    )


@click.command()
@NAME
@FOLDER
@TO
@STORE
@_PLAN
@click.option(
    "--since", help="Lists from then on, as 2026-11-01T00:00:00Z; default: past_days after the first."
)
@click.option("--limit", type=click.IntRange(min=1), help="Make only the first so many lists again.")
@stage
def forecast(
    name: str,
    folder: Path,
    root: Path | None,
    store: str | None,
    plan: Path | None,
    since: str | None,
    limit: int | None,
    as_json: bool,
) -> Any:
    """Say for whom the lists of the experiment NAME would differ, and how long a test of this very pair would
    take.

    The lists that were served before are made again by each arm; nothing is started.
    """
    from recsys.pipelines.ab.served.forecast import forecast_experiment, plain_forecast, told_forecast
    from recsys.pipelines.console import Steps

    steps = Steps(quiet=as_json)
    needs = forecast_experiment(
        steps,
        name,
        folder,
        root_of(root),
        store,
        plan_path=plan,
        since=second_of(since, "--since"),
        limit=limit,
    )
    steps.say(told_forecast(needs))
    return plain_forecast(needs)
