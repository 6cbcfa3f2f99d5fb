"""Commands about experiments that the service runs: ab start, stop, ramp, list."""

from pathlib import Path
from typing import Any

import click

from recsys.pipelines.ab.options import second_of
from recsys.pipelines.commands.stage import stage

TO = click.option(
    "--bundles", "root", type=click.Path(path_type=Path), help="Folder of bundles; default mlruns/bundles."
)
NAME = click.argument("name")
FOLDER = click.option(
    "--experiments",
    "folder",
    type=click.Path(path_type=Path),
    default=Path("experiments"),
    show_default=True,
    help="Folder of definitions; that of NAME is NAME.toml.",
)


@click.command()
@NAME
@FOLDER
@TO
@stage
def start(name: str, folder: Path, root: Path | None, as_json: bool) -> Any:
    """Verify an experiment and freeze it: its first phase starts at its second, which lies in the future.

    Once more, it adds what may be added: phases to come, testers, an end.
    """
    from recsys.bundle.trials import start_experiment
    from recsys.errors import SettingError
    from recsys.events.clock import now_s
    from recsys.experiments.folder import read_experiments
    from recsys.pipelines.ab.served.registered import with_registered
    from recsys.text import did_you_mean, utc_text

    known = read_experiments(folder)
    if name not in known.by_name:
        raise SettingError(f"{folder} has no {name}.toml; {did_you_mean(name, known.by_name)}")
    experiment = known.by_name[name]
    _refuse_plan(experiment)
    frozen = start_experiment(
        root_of(root), with_registered(root_of(root), experiment), known.holdouts, now_s()
    )
    _register(frozen)
    if not as_json:
        coming = [phase for phase in frozen.experiment.phases if phase.starts > now_s()]
        click.echo(f"{name} is frozen as {frozen.digest}, all bundles of its arms are verified:")
        _say_arms(frozen.experiment)
        if coming:
            click.echo(f"Its next phase starts at {utc_text(coming[0].starts)}. Next: recsys ab list")
    return plain(frozen, now_s())


@click.command()
@NAME
@click.option("--at", help="From when on, as 2026-12-29T00:00:00Z; default: in a minute.")
@TO
@stage
def stop(name: str, at: str | None, root: Path | None, as_json: bool) -> Any:
    """End an experiment: its people are served the champion from then on."""
    from recsys.bundle.trials import stop_experiment
    from recsys.events.clock import now_s
    from recsys.text import utc_text

    frozen = stop_experiment(root_of(root), name, _moment(at), now_s())
    if not as_json:
        ends = None if frozen is None else frozen.experiment.ends
        click.echo(f"{name} is taken back." if ends is None else f"{name} ends at {utc_text(ends)}.")
    return {"name": name, "state": "taken back"} if frozen is None else plain(frozen, now_s())


@click.command()
@NAME
@click.argument("share", type=click.FloatRange(0, 1))
@click.option("--at", help="From when on, as 2026-12-29T00:00:00Z; default: in a minute.")
@TO
@stage
def ramp(name: str, share: float, at: str | None, root: Path | None, as_json: bool) -> Any:
    """Let more people into an experiment: SHARE of the people of its phase. Nobody changes their arm."""
    from recsys.bundle.trials import ramp_experiment
    from recsys.events.clock import now_s
    from recsys.text import utc_text

    moment = _moment(at)
    frozen = ramp_experiment(root_of(root), name, share, moment, now_s())
    if not as_json:
        click.echo(f"From {utc_text(moment)} on, {share:.4g} of the people of {name} are in.")
    return plain(frozen, now_s())


def list_started(root: Path | None) -> tuple[str, list[dict[str, Any]]]:
    """The experiments that were started in a folder of bundles, as a table and for machines."""
    from recsys.events.clock import now_s
    from recsys.experiments.frozen import read_frozen
    from recsys.text import text_table, utc_text

    now = now_s()
    rows = [plain(one, now) for one in read_frozen(root_of(root))]
    cells = [
        [
            row["name"],
            row["state"],
            "" if row["phase"] is None else str(row["phase"] + 1),
            "" if row["share"] is None else f"{row['share']:.4g}",
            utc_text(row["starts"]),
            "" if row["ends"] is None else utc_text(row["ends"]),
            ", ".join(f"{arm} {weight:.4g}" for arm, weight in row["weights"].items()),
        ]
        for row in rows
    ]
    head = ["experiment", "state", "phase", "in it", "from", "to", "arms"]
    return (text_table(head, cells) if rows else "No experiment was started."), rows


def plain(frozen: Any, now: int) -> dict[str, Any]:
    """An experiment that was started, for machines. phase: from 0, None where none runs; share: of its
    people."""
    experiment = frozen.experiment
    number = experiment.phase_at(now)
    phase = experiment.phases[max(0, number)]
    arms = {name: experiment.arm(name).model_dump(mode="json") for name in experiment.arm_names}
    return {
        "name": frozen.name,
        "state": frozen.state(now),
        "digest": frozen.digest,
        "phase": number if number >= 0 else None,
        "share": phase.share_at(now) if number >= 0 else None,
        "starts": experiment.phases[0].starts,
        "ends": experiment.ends,
        "weights": phase.weights,
        "arms": arms,
        "history": [one._asdict() for one in frozen.history],
    }


def root_of(root: Path | None) -> Path:
    """The folder of bundles that a command means."""
    from recsys.pipelines.tracking.store import store

    return root or store() / "bundles"


def _moment(at: str | None) -> int:
    from recsys.events.clock import now_s

    return second_of(at, "--at") or now_s() + 60


def _say_arms(experiment: Any) -> None:
    for name in experiment.arm_names:
        arm = experiment.arm(name)
        serves = (
            f"the lists of {arm.interleave[0]} and {arm.interleave[1]}, merged"
            if arm.interleave
            else arm.bundle
        )
        beside = [] if arm.seen is None else [f"seen = {arm.seen}"]
        beside += [] if arm.explore is None else [f"explore = {arm.explore.model_dump(exclude_none=True)}"]
        click.echo(f"  {name}: {', '.join([serves, *beside])}")


def _register(frozen: Any) -> None:
    """Freezes the plan of the first phase in MLflow, too, so that a report can say when. A store that refuses
    stops no experiment."""
    from recsys.errors import TrackingError
    from recsys.pipelines.ab.page.facts import plan_digest
    from recsys.pipelines.ab.served.plans import plan_of
    from recsys.pipelines.tracking import ab_tests

    experiment = frozen.experiment
    if not experiment.plan:
        return
    plan = plan_of(experiment)
    try:
        ab_tests.register(frozen.name, plan.model_dump(mode="json"), plan_digest(plan), experiment.hypothesis)
    except TrackingError as error:
        click.echo(f"recsys: its plan is not registered in MLflow: {error}", err=True)


def _refuse_plan(experiment: Any) -> None:
    """Raises SettingError where the plan of the analysis breaks a rule: it is frozen with the rest."""
    if experiment.plan:
        from recsys.pipelines.ab.served.plans import plan_of

        plan_of(experiment)
