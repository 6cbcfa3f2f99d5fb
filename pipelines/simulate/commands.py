"""The command `simulate`: a shop in a planted world, its people, the real service, and the report beside the
truth."""

from pathlib import Path
from typing import Any

import click

from recsys.pipelines.commands.stage import Negative, stage


@click.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--people",
    type=click.IntRange(min=2_000),
    default=9_000,
    show_default=True,
    help="Number of people in both arms together.",
)
@click.option(
    "--items",
    type=click.IntRange(min=50),
    default=400,
    show_default=True,
    help="Number of items in the shop.",
)
@click.option(
    "--effect",
    type=click.FloatRange(-0.5, 1),
    default=0.1,
    show_default=True,
    help="Effect of the better arm on clicks, as a share.",
)
@click.option(
    "--days",
    type=click.IntRange(min=7),
    default=14,
    show_default=True,
    help="Days during which people arrive.",
)
@click.option("--seed", type=int, default=1, show_default=True, help="Seed of all random draws.")
@click.option(
    "--workers",
    type=click.IntRange(1, 8),
    default=1,
    show_default=True,
    help="Worker processes of the service.",
)
@click.option(
    "--inside", is_flag=True, help="Without a service: its lines are computed and written directly."
)
@click.option("--sickness", help="With --inside: the fault to plant, by its name; `list` lists them.")
@click.option(
    "--strength", type=click.IntRange(1, 3), default=2, show_default=True, help="Strength of the fault."
)
@stage
def simulate(
    out: Path,
    people: int,
    items: int,
    effect: float,
    days: int,
    seed: int,
    workers: int,
    inside: bool,
    sickness: str | None,
    strength: int,
    as_json: bool,
) -> Any:
    """Let people whose taste is known ask the real service for three weeks, and report the test beside its
    truth.

    They arrive in cohorts, come back, click by taste and place, and buy now and then. The service, its event
    store and the report read one clock, which the simulation moves. OUT: an empty folder for bundles and
    events.
    """
    from recsys.errors import SettingError
    from recsys.pipelines.console import Steps
    from recsys.pipelines.simulate.shop import make_shop
    from recsys.pipelines.simulate.sick import SICKNESSES, mean_effect, names_sickness, run_sick
    from recsys.pipelines.simulate.weeks import prepare, report_weeks, run_inside, run_served, store_written
    from recsys.text import did_you_mean

    known = {one.name: one for one in SICKNESSES}
    if sickness == "list":
        rows = [
            {"sickness": one.name, "measure": one.measure, "strengths": one.strengths} for one in SICKNESSES
        ]
        if not as_json:
            click.echo("\n".join(f"{one['sickness']}: {one['measure']}, {one['strengths']}" for one in rows))
        return {"sicknesses": rows}
    if sickness is not None and (sickness not in known or not inside):
        fix = did_you_mean(sickness, known) if sickness not in known else "it goes with --inside."
        raise SettingError(f"--sickness {sickness!r}: {fix}")
    if out.exists() and any(out.iterdir()):
        raise SettingError(f"{out} is not empty. Name a folder that is empty or not there.")
    steps = Steps(quiet=as_json)
    with steps.step("make a shop"):
        shop = make_shop(people, items, effect, seed)
    weeks, beside = prepare(out, shop, days=days, seed=seed), dict[str, Any]()
    with steps.step("three weeks" if days == 14 else "weeks") as progress:
        if sickness is not None:
            written, beside = run_sick(weeks, known[sickness], known[sickness].strengths[strength - 1], out)
            store_written(weeks, written)
        elif inside:
            store_written(weeks, run_inside(weeks))
        else:
            run_served(weeks, out / "clock", workers, progress)
    report = report_weeks(weeks, out / "clock", steps=steps, **beside)
    mean, low, high = mean_effect(report)
    covered = low <= shop.effect <= high
    said = "covers" if covered else "MISSES"
    truth = f"The true effect on clicks is {100 * shop.effect:+.2f} %, which the interval {said}"
    steps.say(f"{truth} ({100 * mean:+.2f} %, {100 * low:+.2f} to {100 * high:+.2f}).")
    result = {"true_effect": shop.effect, "covered": covered, "lists": len(weeks.person), "report": report}
    if sickness is not None:
        result["named"] = names_sickness(report, known[sickness])
        steps.say(f"{sickness} is {'' if result['named'] else 'NOT '}named by the report.")
    return result if report["verdict"] == "ship" else Negative(result)
