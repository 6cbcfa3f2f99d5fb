"""What commands about experiments share: the two tables, the plan, and moments on the command line."""

from pathlib import Path
from typing import Any

import click

PLAN = click.option("--plan", required=True, type=click.Path(path_type=Path), help="The plan, a TOML file.")
PEOPLE = click.option(
    "--people", help="What is known of people: bot, tester, covariates, segments; a row for each."
)
UNTIL = click.option(
    "--until", help="Up to when outcomes are complete, as 2026-12-29T00:00:00Z; default: the last outcome."
)
STORE = click.option("--store", help="Folder of the event store; default mlruns/state.")
OUT = click.option(
    "--out", type=click.Path(path_type=Path), help="Also write the verdict as JSON into this file."
)
REPORT = click.option(
    "--report",
    "page",
    type=click.Path(path_type=Path),
    help="Also write the report: PAGE.html, and PAGE.json.",
)
TRACK = click.option(
    "--track", metavar="NAME", help="Log it in MLflow as test NAME: verdict, report, figures by day."
)
HYPOTHESIS = click.option(
    "--hypothesis", default="", help="Where --track meets a new NAME: what the test is to show."
)
SHOW_SICK = click.option(
    "--show-sick", is_flag=True, help="Show effects of a sick test: to find the fault, not to decide."
)


def tables(command: Any) -> Any:
    """Adds --exposures and --outcomes."""
    command = click.option("--outcomes", required=True, help="What people did: a file, folder or pattern.")(
        command
    )
    return click.option(
        "--exposures", required=True, help="What people were shown: a file, folder or pattern."
    )(command)


def second_of(text: str | None, option: str) -> int | None:
    """Unix seconds of a moment on the command line. Raises SettingError where it is none."""
    from datetime import UTC, datetime

    from recsys.errors import SettingError

    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        if text.isdigit():
            return int(text)
        raise SettingError(f"{option} {text!r} is no moment; write it as 2026-12-29T00:00:00Z.") from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
