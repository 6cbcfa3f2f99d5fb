"""Commands about runs that are done: runs, promote, track."""

from pathlib import Path
from typing import Any

import click

from recsys.pipelines.commands.stage import EXPERIMENT, Negative, say, stage


@click.command()
@click.argument("chosen", nargs=-1, metavar="[RUN]...")
@EXPERIMENT
@click.option("--metric", help="The metric of the paired test; default: the first that all runs have.")
@click.option("-n", "--limit", default=20, show_default=True, help="How many runs to list.")
@stage
def runs(
    chosen: tuple[str, ...], experiment: str | None, metric: str | None, limit: int, as_json: bool
) -> Any:
    """List runs, or compare the first RUN with the others, user by user, on the holdout that they share.

    Where finished A/B tests are tracked, it also says what such a difference has meant online: of the first
    RUN against the second, or of the challenger against the champion.

    RUN: an id or its beginning, `last`, `champion` or `challenger`; `shop/last` is that of experiment `shop`.
    """
    from recsys.errors import TrackingError
    from recsys.pipelines.tracking.compare_runs import compare_judged, list_runs, read_judged

    if not chosen:
        text, rows = list_runs(experiment, limit)
        result: Any = {"runs": rows}
        pair = _challenger(rows)
    elif len(chosen) == 1:
        raise TrackingError(f"{chosen[0]!r} names one run; name a second one to compare it with.")
    else:
        asked = [read_judged(reference, experiment) for reference in chosen]
        text, result = compare_judged(asked, metric)
        pair = (asked[0].run.run_id, asked[1].run.run_id)
    if pair is not None:
        from recsys.pipelines.ab.ledger import forecast

        if (told := forecast(*pair)) is not None:
            text, result = f"{text}\n\n{told['sentence']}", {**result, "forecast": told}
    if not as_json:
        say(text)
    return result


def _challenger(rows: list[dict[str, Any]]) -> tuple[str, str] | None:
    """(challenger, champion) of the first experiment among listed runs that has both, asked the same
    question."""
    for one in rows:
        for other in rows:
            same = all(one[key] == other[key] is not None for key in ("experiment", "holdout"))
            if same and "challenger" in one["aliases"] and "champion" in other["aliases"]:
                return one["run_id"], other["run_id"]
    return None


@click.command()
@click.argument("run", required=False)
@EXPERIMENT
@click.option(
    "--as",
    "alias",
    type=click.Choice(["champion", "challenger"]),
    default="champion",
    show_default=True,
    help="The alias that the run gets.",
)
@click.option(
    "--verdict",
    metavar="TEST",
    help="On the verdict of this A/B test, which is attached; RUN may be left out.",
)
@click.option("--force", is_flag=True, help="With --verdict: even where it is not `ship`, or of another run.")
@stage
def promote(
    run: str | None, experiment: str | None, alias: str, verdict: str | None, force: bool, as_json: bool
) -> Any:
    """Name RUN's bundle the champion or the challenger of its experiment, in the MLflow model registry.

    With --verdict the alias moves on the verdict of a test alone: exit status 1, and nothing moves, where it
    is not to ship what RUN trained.
    """
    from recsys.errors import SettingError
    from recsys.pipelines.run.settings import DEFAULT_EXPERIMENT
    from recsys.pipelines.tracking import client, registry
    from recsys.pipelines.tracking.registry import resolve
    from recsys.text import command_line

    if run is None and verdict is None:
        raise SettingError("name the run to promote, or the test whose winner it is.")
    run_id = None if run is None else resolve(run, experiment)
    tags: dict[str, Any] = {}
    if verdict is not None:
        run_id, tags, refusal = _on_verdict(verdict, run_id, force)
        if refusal:
            click.echo(f"Not promoted: {refusal}", err=True)
            return Negative({"run_id": run_id, "promoted": False, "refusal": refusal, **tags})
    assert run_id is not None
    version = registry.promote(run_id, alias, tags)
    place = client.run_of(run_id).experiment
    if not as_json:
        named = alias if place == DEFAULT_EXPERIMENT else f"{place}/{alias}"
        following = command_line("recsys export", named)
        click.echo(f"Run {run_id} is the {alias} of {place}, version {version}. Next: {following}")
    return {"run_id": run_id, "experiment": place, "alias": alias, "version": version, **tags}


def _on_verdict(name: str, run_id: str | None, force: bool) -> tuple[str | None, dict[str, Any], str]:
    """(the run to promote, what is written on its version, why it is refused; empty = it is not)."""
    from recsys.errors import TrackingError
    from recsys.pipelines.tracking.ab_tests import known_test

    test = known_test(name)
    said = test.run.tags
    arm = said.get("arm")
    winner = test.arms[arm].tags.get("model_run") if arm else None
    refusal = ""
    if test.word is None:
        refusal = f"test {name!r} was not analysed yet."
    elif test.word != "ship":
        refusal = f"the verdict of test {name!r} is {test.word!r}. {said.get('sentence', '')}"
    elif not winner:
        refusal = f"no run of this store trained what the arm {arm!r} of test {name!r} served."
    elif run_id not in (None, winner):
        refusal = f"test {name!r} is won by run {winner}, the arm {arm!r}, and not by run {run_id}."
    if force and run_id is None and not winner:
        raise TrackingError(f"test {name!r} names no run that won. Name the run to promote in spite of it.")
    keys = ("sentence", "until", "plan_digest", "log_digest", "report_sha256")
    tags = {"verdict": test.word or "none", "verdict.test": name, "verdict.run": test.run.run_id}
    tags |= {f"verdict.{key}": said.get(key, "") for key in keys}
    if force and refusal:
        tags["verdict.forced"] = refusal
    return run_id or winner, tags, "" if force else refusal


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@stage
def track(bundle: Path, as_json: bool) -> Any:
    """Log BUNDLE, which could not be logged when it was trained (`recsys train` said so), with all its
    figures."""
    from recsys.bundle.manifest import verify
    from recsys.bundle.root import current
    from recsys.pipelines.tracking import record

    folder = current(bundle)
    verify(folder)
    run_id, logged = record.track(folder)
    if not as_json:
        click.echo(f"Run {run_id} is complete; its bundle is {logged}. Next: recsys export {run_id}")
    return {"run_id": run_id, "bundle": str(logged)}
