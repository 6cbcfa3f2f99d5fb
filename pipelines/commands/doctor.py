"""The command that looks for ailments: doctor."""

from typing import Any

import click

from recsys.pipelines.commands.stage import Negative, stage


@click.command()
@click.argument("reference", metavar="RUN_OR_BUNDLE")
@click.option("--now", type=int, help="Unix seconds at which the bundle is served; default: the clock.")
@stage
def doctor(reference: str, now: int | None, as_json: bool) -> Any:
    """Look for what ails a bundle, each with cause and fix; exit status 1 where something is found.

    Everyone gets the same list, a collapsed space, norms that only encode popularity, swapped columns, stale data,
    and training that differs from serving.
    """
    from recsys.pipelines.doctor import diagnose, opened, plain, told

    bundle = opened(reference)
    diagnosis = diagnose(bundle, now)
    if not as_json:
        click.echo(told(bundle, diagnosis))
    result = plain(bundle, diagnosis)
    return Negative(result) if diagnosis.findings else result
