"""Commands about what is known of tests: ab register, list, explain, ledger."""

from pathlib import Path
from typing import Any

import click

from recsys.pipelines.ab.options import PEOPLE, PLAN, STORE, UNTIL, second_of
from recsys.pipelines.ab.served.commands import TO, list_started, root_of
from recsys.pipelines.commands.stage import say, stage


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


@click.command("list")
@TO
@stage
def list_command(root: Path | None, as_json: bool) -> Any:
    """List the experiments that were started, with what their arms serve and who is in, and the tests of
    MLflow.

    Of a test it says when its plan was registered, and what came out; that is in MLflow alone, on any
    machine.
    """
    from recsys.pipelines.tracking import ab_tests
    from recsys.text import text_table

    table, experiments = list_started(root)
    rows = [_row(one) for one in ab_tests.tests()]
    if not as_json:
        cells = [
            [row["name"], row["registered"] + (" (late)" if row["late"] else ""), str(row["changed"] or ""),
             row["until"] or "", row["sentence"] or "not analysed yet"]
            for row in rows
        ]  # fmt: skip
        head = ["test", "plan registered", "changes", "outcomes up to", "verdict"]
        say(table)
        say(f"\n{text_table(head, cells)}" if rows else "No test is tracked. Track one: recsys ab register")
    return {"experiments": experiments, "tests": rows}


def _row(test: Any) -> dict[str, Any]:
    """A test as plain data, for JSON."""
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
@click.argument("name", required=False)
@click.option("--user", required=True, help="The person, by the id that is assigned.")
@click.option("--exposures", help="Without NAME: what people were shown, a file, folder or pattern.")
@click.option("--outcomes", help="Without NAME: what people did, a file, folder or pattern.")
@click.option(
    "--plan", type=click.Path(path_type=Path), help="The plan, a TOML file; of NAME its own by default."
)
@click.option(
    "--phase", type=click.IntRange(min=1), help="Of NAME, which phase; default: the last that has started."
)
@TO
@STORE
@PEOPLE
@UNTIL
@stage
def explain(
    name: str | None,
    user: str,
    exposures: str | None,
    outcomes: str | None,
    plan: Path | None,
    phase: int | None,
    root: Path | None,
    store: str | None,
    people: str | None,
    until: str | None,
    as_json: bool,
) -> Any:
    """Show one person of a test: their arm, the lists they were shown, what they did, and what of it counts
    and why.

    Of the experiment NAME as the service wrote it down, or of two tables.
    """
    from contextlib import nullcontext

    from recsys.analysis.plan import read_plan
    from recsys.analysis.study import read_study
    from recsys.analysis.trail import follow
    from recsys.errors import SettingError
    from recsys.events.clock import now_s
    from recsys.pipelines.ab.person import plain_trail, told_trail
    from recsys.pipelines.ab.served.report import served_tables
    from recsys.pipelines.console import Steps

    steps, second = Steps(quiet=as_json), second_of(until, "--until")
    if name is not None:
        second = second or now_s()
        read: Any = served_tables(
            steps, name, root_of(root), store, until=second, phase=phase, plan_path=plan
        )
    elif exposures is None or outcomes is None or plan is None:
        raise SettingError(
            "name the experiment, or exposures, outcomes and plan of a test that is not served."
        )
    else:
        read = nullcontext((exposures, outcomes, read_plan(plan)))
    with read as (shown, done, asked), steps.step("explain") as progress:
        study = read_study(shown, done, asked, people=people, until=second, progress=progress)
        trail = follow(shown, done, study, user, progress=progress)
    steps.say(told_trail(trail))
    return plain_trail(trail)


@click.command()
@click.option(
    "--offline", type=float, help="An offline difference to forecast from, as a share: 0.03 is +3 %."
)
@click.option(
    "--error",
    type=click.FloatRange(min=0),
    default=0.0,
    show_default=True,
    help="Standard error of the offline difference.",
)
@stage
def ledger(offline: float | None, error: float, as_json: bool) -> Any:
    """Show what offline differences have meant online: every finished test of MLflow, and what they say
    together."""
    from recsys.pipelines.ab.ledger import ASKED, fit_regression, lines, plain_ledger, told_ledger

    known = lines()
    fitted = fit_regression(known)
    asked = ASKED if offline is None else offline
    if not as_json:
        say(told_ledger(known, fitted, asked, error))
    return plain_ledger(known, fitted, asked, error)
