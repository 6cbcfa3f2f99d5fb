"""Commands about experiments, from tables alone: ab analyse, plan, interleaving, off-policy, demo, assign."""

from pathlib import Path
from typing import Any

import click

from recsys.pipelines.ab import results
from recsys.pipelines.ab.options import (
    HYPOTHESIS,
    OUT,
    PEOPLE,
    PLAN,
    REPORT,
    SHOW_SICK,
    TRACK,
    UNTIL,
    second_of,
    tables,
)
from recsys.pipelines.ab.served import commands as served
from recsys.pipelines.ab.served import logged
from recsys.pipelines.commands.stage import Negative, say, stage


@click.group()
def ab() -> None:
    """Experiments: how many people they need, whether they are healthy, and what came out."""


for _command in (
    results.register,
    results.list_command,
    results.explain,
    results.ledger,
    served.start,
    served.stop,
    served.ramp,
    logged.report,
    logged.forecast,
):
    ab.add_command(_command)


@ab.command()
@tables
@PLAN
@PEOPLE
@UNTIL
@OUT
@REPORT
@TRACK
@HYPOTHESIS
@SHOW_SICK
@stage
def analyse(
    exposures: str,
    outcomes: str,
    plan: Path,
    people: str | None,
    until: str | None,
    out: Path | None,
    page: Path | None,
    track: str | None,
    hypothesis: str,
    show_sick: bool,
    as_json: bool,
) -> Any:
    """Say whether to ship: health first, then effects with intervals that hold for daily looks, then a
    sentence.

    Exposures need unit_id (or user_id), timestamp and arm (or variation_id); outcomes unit_id and timestamp,
    and event and value where the plan asks. Exit status 0 is for `ship` alone.
    """
    from recsys.analysis.plan import read_plan
    from recsys.pipelines.ab.judged import judge_tables
    from recsys.pipelines.console import Steps

    return judge_tables(
        Steps(quiet=as_json),
        exposures,
        outcomes,
        read_plan(plan),
        people=people,
        until=second_of(until, "--until"),
        out=out,
        page=page,
        name=track,
        track=track is not None,
        hypothesis=hypothesis,
        show_sick=show_sick,
    )


@ab.command("plan")
@click.option(
    "--outcomes", required=True, help="What people did in a time before: a file, folder or pattern."
)
@click.option("--exposures", help="Who was shown lists then, where only they will be in the experiment.")
@PLAN
@click.option(
    "--since", help="From when on people count as new, as 2026-11-01T00:00:00Z; default: past_days in."
)
@click.option("--share", type=click.FloatRange(0, 1, min_open=True), default=1.0, show_default=True,
              help="Of all people, who will be in the experiment.")  # fmt: skip
@stage
def plan_command(
    outcomes: str, exposures: str | None, plan: Path, since: str | None, share: float, as_json: bool
) -> Any:
    """Say how many people and days a plan needs, and which effects a given number of weeks can show.

    People who return are counted once, so days do not follow from people by a rule of three.
    """
    from recsys.analysis.plan import read_plan
    from recsys.analysis.planning import plan_power
    from recsys.pipelines.ab.report import plain_needs, told_needs
    from recsys.pipelines.console import Steps

    steps = Steps(quiet=as_json)
    asked = read_plan(plan)
    with steps.step("plan") as progress:
        needs = plan_power(
            outcomes,
            asked,
            exposures=exposures,
            since=second_of(since, "--since"),
            share=share,
            progress=progress,
        )
    steps.say(told_needs(needs))
    return plain_needs(needs)


@ab.command()
@tables
@click.option("--event", help="The type of outcome that is a click; default: all.")
@click.option(
    "--track", metavar="NAME", help="Write the preference into MLflow, beside the A/B test NAME of both arms."
)
@stage
def interleaving(exposures: str, outcomes: str, event: str | None, track: str | None, as_json: bool) -> Any:
    """Say which of two lists people prefer, from merged ones.

    Exposures need unit_id, request_id, items and team, lists as `merge_by_draft` makes them; outcomes
    request_id and item_id. Exit status 1 where no preference is shown.
    """
    from recsys.analysis.interleaving import read_preference
    from recsys.pipelines.ab.lists import plain_preference, told_preference
    from recsys.pipelines.console import Steps

    steps = Steps(quiet=as_json)
    with steps.step("interleaving") as progress:
        preference = read_preference(exposures, outcomes, event=event, progress=progress)
    steps.say(told_preference(preference))
    if track is not None:
        from recsys.pipelines.ab.ledger import write_preference

        write_preference(track, preference)
    result = plain_preference(preference)
    return result if preference.winner else Negative(result)


@ab.command("off-policy")
@click.argument("log", metavar="LOG")
@stage
def off_policy(log: str, as_json: bool) -> Any:
    """Say what another policy would have earned, from a LOG with propensities; exit status 1 where it cannot
    know.

    A row for each item that was shown: reward, propensity and target (the chance of the item given those
    above it, under the policy that showed it and under the one asked about); request_id and position where
    lists are longer than one; unit_id, slot_propensity, slot_target, predicted and predicted_target where
    they are known.
    """
    from recsys.analysis.off_policy import evaluate_policy
    from recsys.pipelines.ab.lists import plain_values, read_list_log, told_values

    read = read_list_log(log)
    values = evaluate_policy(read)
    if not as_json:
        say(told_values(read, values))
    result = plain_values(read, values)
    return Negative(result) if all(one.refused for one in values) else result


@ab.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--people",
    type=click.IntRange(min=1_000),
    default=6_000,
    show_default=True,
    help="Number of people in both arms together.",
)
@click.option(
    "--effect",
    type=click.FloatRange(-1, 10),
    default=0.1,
    show_default=True,
    help="Effect of the arm `wide`, as a share.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of all random draws.")
@stage
def demo(out: Path, people: int, effect: float, seed: int, as_json: bool) -> Any:
    """Write logs whose truth is known into the folder OUT, and a plan, to try the other commands on.

    An A/B test with the effect on plays, merged lists with clicks on them, and lists with chances.
    """
    from recsys.analysis.planted import plant, plant_lists, write_log
    from recsys.errors import SettingError
    from recsys.text import command_line

    if out.exists() and any(out.iterdir()):
        raise SettingError(f"{out} is not empty. Name a folder that is empty or not there.")
    lists = plant_lists(min(people, 2_000), seed=seed)
    written = write_log(out, plant(people, effect, seed=seed), people, abs(effect) or 0.1, lists)
    tables = {name: str(out / name) for name in ("exposures", "outcomes")}
    if not as_json:
        line = command_line("recsys ab analyse", **tables, plan=str(out / "plan.toml"))
        click.echo(f"{len(written)} files in {out}, with an effect of {effect:+.0%} on plays. Next: {line}")
    return {"folder": str(out), "files": [str(path) for path in written], "effect": effect}


@ab.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--unit", multiple=True, help="A person, by the id that is assigned; repeatable.")
@click.option("--at", help="The moment, as 2026-12-29T00:00:00Z; default: now.")
@click.option(
    "--attribute",
    "attributes",
    multiple=True,
    metavar="KEY=VALUE",
    help="An attribute that a request would bring; repeatable.",
)
@stage
def assign(
    folder: Path, unit: tuple[str, ...], at: str | None, attributes: tuple[str, ...], as_json: bool
) -> Any:
    """Check the experiments of a FOLDER, and say which arm each UNIT gets, and why."""
    import time

    from recsys.config import overridden
    from recsys.experiments.assignment import Assigner
    from recsys.experiments.folder import read_experiments
    from recsys.text import text_table

    experiments = read_experiments(folder)
    now = second_of(at, "--at") or int(time.time())
    brought = overridden({}, attributes)
    rows = [
        {"unit": one, **given._asdict()}
        for one in unit
        for given in Assigner(experiments).assign(one, brought, now)
    ]
    if not as_json:
        click.echo(
            f"{len(experiments.by_name)} experiments and {len(experiments.holdouts)} holdouts in {folder}."
        )
        if rows:
            cells = [[str(value) if value is not None else "" for value in row.values()] for row in rows]
            say(text_table(list(rows[0]), cells))
    digests = {name: one.digest for name, one in experiments.by_name.items()}
    return {"experiments": digests, "holdouts": [one.name for one in experiments.holdouts], "assigned": rows}
