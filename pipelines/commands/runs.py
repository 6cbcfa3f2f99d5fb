"""Commands about runs that are done: runs, promote, track."""

from pathlib import Path
from typing import Any

import click

from pipelines.command import stage


@click.command()
@click.argument("chosen", nargs=-1, metavar="[RUN]...")
@click.option("--experiment", help="Only this experiment; default: all in the list, `recsys` for names such as `last`.")
@click.option("--metric", help="The metric of the paired test; default: the first that all runs have.")
@click.option("-n", "--limit", default=20, show_default=True, help="How many runs to list.")
@stage
def runs(chosen: tuple[str, ...], experiment: str | None, metric: str | None, limit: int, as_json: bool) -> Any:
    """List runs, or compare the first RUN with the others, user by user, on the holdout that they share.

    RUN: an id or its beginning, `last`, `champion` or `challenger`.
    """
    from pipelines.runs import compared, judged, listed
    from recsys.errors import TrackingError

    if not chosen:
        text, found = listed(experiment, limit)
        result: Any = {"runs": found}
    elif len(chosen) == 1:
        raise TrackingError(f"`recsys runs {chosen[0]}` names one run; name a second one to compare it with.")
    else:
        place = experiment or default_experiment()
        text, result = compared([judged(reference, place) for reference in chosen], metric)
    if not as_json:
        click.echo(text)
    return result


@click.command()
@click.argument("run")
@click.option("--as", "alias", type=click.Choice(["champion", "challenger"]), default="champion", show_default=True)
@stage
def promote(run: str, alias: str, as_json: bool) -> Any:
    """Name RUN's bundle the champion or the challenger of its experiment, in the MLflow model registry."""
    from pipelines import tracking

    run_id = tracking.resolve(run, default_experiment())
    version = tracking.promote(run_id, alias)
    if not as_json:
        click.echo(f"Run {run_id} is the {alias}, version {version}. Next: recsys export {alias}")
    return {"run_id": run_id, "alias": alias, "version": version}


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@stage
def track(bundle: Path, as_json: bool) -> Any:
    """Log BUNDLE, which could not be logged when it was trained (`recsys train` said so), with all its figures."""
    from pipelines import record
    from recsys.retrieval.bundle import current, verify

    folder = current(bundle)
    verify(folder)
    run_id, logged = record.track(folder)
    if not as_json:
        click.echo(f"Run {run_id} is complete; its bundle is {logged}. Next: recsys export {run_id}")
    return {"run_id": run_id, "bundle": str(logged)}


def default_experiment() -> str:
    """Where names such as `last` are looked up."""
    from pipelines.settings import RunSettings

    return str(RunSettings.model_fields["experiment"].default)
