"""Commands about what is known of tests: ab register, tests, explain, ledger."""

from pathlib import Path
from typing import Any

import click

from recsys.pipelines.ab.options import PEOPLE, PLAN, UNTIL, second_of, tables
from recsys.pipelines.commands.stage import stage


@click.command()
@click.argument("name")
@PLAN
@click.option("--hypothesis", default="", help="What the test is to show, in a sentence.")
@stage
def register(name: str, plan: Path, hypothesis: str, as_json: bool) -> Any:
    """Freeze the plan of test NAME in MLflow, with its digest and the moment, before anybody looks.

    The report names every later change. The same plan once more changes nothing.
    """
    from recsys.analysis.plan import read_plan
    from recsys.pipelines.ab.page.facts import plan_digest
    from recsys.pipelines.tracking import ab_tests

    asked = read_plan(plan)
    test = ab_tests.register(name, asked.model_dump(mode="json"), plan_digest(asked), hypothesis)
    if not as_json:
        click.echo(f"Test {name} is registered since {test.run.tags['registered']}, plan {test.digest[:12]}.")
    return {"name": name, "run_id": test.run.run_id, **test.registration()}


@click.command("tests")
@stage
def tests_command(as_json: bool) -> Any:
    """List the tests that MLflow knows: when each was registered, and what came out."""
    from recsys.pipelines.tracking import ab_tests
    from recsys.text import text_table

    found = ab_tests.tests()
    rows = [_row(one) for one in found]
    if not as_json:
        cells = [
            [row["name"], row["registered"] + (" (late)" if row["late"] else ""), str(row["changed"] or ""),
             row["until"] or "", row["sentence"] or "not analysed yet"]
            for row in rows
        ]  # fmt: skip
        head = ["test", "plan registered", "changes", "outcomes up to", "verdict"]
        click.echo(text_table(head, cells) if rows else "No test is tracked. Track one: recsys ab register")
    return {"tests": rows}


def _row(test: Any) -> dict[str, Any]:
    """A test for machines."""
    tags = test.run.tags
    return {
        "name": test.name,
        "run_id": test.run.run_id,
        "registered": tags["registered"],
        "late": tags["late"] == "True",
        "changed": int(tags.get("changed", 0)),
        "verdict": test.word,
        "arm": tags.get("arm") or None,
        "until": tags.get("until"),
        "sentence": tags.get("sentence"),
        "models": {arm: run.tags.get("model_run") or None for arm, run in sorted(test.arms.items())},
    }


@click.command()
@tables
@PLAN
@PEOPLE
@UNTIL
@click.option("--user", required=True, help="The person, by the id that is assigned.")
@stage
def explain(
    exposures: str, outcomes: str, plan: Path, people: str | None, until: str | None, user: str, as_json: bool
) -> Any:
    """Show one person of a test: their arm, the lists they were shown, what they did, and what of it counts
    and why."""
    from recsys.analysis.plan import read_plan
    from recsys.analysis.study import read_study
    from recsys.analysis.trail import follow
    from recsys.pipelines.ab.person import plain_trail, told_trail
    from recsys.pipelines.console import Steps

    steps = Steps(quiet=as_json)
    asked = read_plan(plan)
    with steps.step("explain") as progress:
        study = read_study(
            exposures, outcomes, asked, people=people, until=second_of(until, "--until"), progress=progress
        )
        trail = follow(exposures, outcomes, study, user, progress=progress)
    steps.say(told_trail(trail))
    return plain_trail(trail)


@click.command()
@click.option("--offline", type=float, help="An offline difference to forecast from, as a share: 0.03 is +3 %.")
@click.option("--error", type=click.FloatRange(min=0), default=0.0, show_default=True, help="Its standard error.")
@stage
def ledger(offline: float | None, error: float, as_json: bool) -> Any:
    """Show what offline differences have meant online: every finished test of MLflow, and what they say
    together."""
    from recsys.pipelines.ab.ledger import ASKED, learned, lines, plain_ledger, told_ledger

    known = lines()
    fitted = learned(known)
    asked = ASKED if offline is None else offline
    if not as_json:
        click.echo(told_ledger(known, fitted, asked, error))
    return plain_ledger(known, fitted, asked, error)
