"""Commands about runs that are done: runs, promote, track."""

from pathlib import Path
from typing import Any

import click

from recsys.pipelines.commands.stage import EXPERIMENT, stage


@click.command()
@click.argument("chosen", nargs=-1, metavar="[RUN]...")
@EXPERIMENT
@click.option("--metric", help="The metric of the paired test; default: the first that all runs have.")
@click.option("-n", "--limit", default=20, show_default=True, help="How many runs to list.")
@stage
def runs(chosen: tuple[str, ...], experiment: str | None, metric: str | None, limit: int, as_json: bool) -> Any:
    """List runs, or compare the first RUN with the others, user by user, on the holdout that they share.

    RUN: an id or its beginning, `last`, `champion` or `challenger`; `shop/last` is that of experiment `shop`.
    """
    from recsys.errors import TrackingError
    from recsys.pipelines.tracking.runs import compared, judged, listed

    if not chosen:
        text, found = listed(experiment, limit)
        result: Any = {"runs": found}
    elif len(chosen) == 1:
        raise TrackingError(f"{chosen[0]!r} names one run; name a second one to compare it with.")
    else:
        text, result = compared([judged(reference, experiment) for reference in chosen], metric)
    if not as_json:
        click.echo(text)
    return result


@click.command()
@click.argument("run")
@EXPERIMENT
@click.option(
    "--as",
    "alias",
    type=click.Choice(["champion", "challenger"]),
    default="champion",
    show_default=True,
    help="The name that it gets.",
)
@stage
def promote(run: str, experiment: str | None, alias: str, as_json: bool) -> Any:
    """Name RUN's bundle the champion or the challenger of its experiment, in the MLflow model registry."""
    from recsys.pipelines.run.settings import DEFAULT_EXPERIMENT
    from recsys.pipelines.tracking import client
    from recsys.pipelines.tracking.reference import resolve
    from recsys.text import command_line

    run_id = resolve(run, experiment)
    version = client.promote(run_id, alias)
    place = client.run_of(run_id).experiment
    if not as_json:
        named = alias if place == DEFAULT_EXPERIMENT else f"{place}/{alias}"
        following = command_line("recsys export", named)
        click.echo(f"Run {run_id} is the {alias} of {place}, version {version}. Next: {following}")
    return {"run_id": run_id, "experiment": place, "alias": alias, "version": version}


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@stage
def track(bundle: Path, as_json: bool) -> Any:
    """Log BUNDLE, which could not be logged when it was trained (`recsys train` said so), with all its figures."""
    from recsys.bundle.manifest import verify
    from recsys.bundle.root import current
    from recsys.pipelines.tracking import record

    folder = current(bundle)
    verify(folder)
    run_id, logged = record.track(folder)
    if not as_json:
        click.echo(f"Run {run_id} is complete; its bundle is {logged}. Next: recsys export {run_id}")
    return {"run_id": run_id, "bundle": str(logged)}
