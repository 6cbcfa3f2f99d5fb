"""The report of an experiment that was served: out of the event store, by the analysis of any two tables."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from recsys.analysis.health.served import check_served
from recsys.analysis.interleaving import read_preference
from recsys.analysis.plan import Plan
from recsys.bundle.trials import find_frozen
from recsys.errors import SettingError
from recsys.events.address import open_store
from recsys.experiments.frozen import Frozen
from recsys.pipelines.ab.judged import judge_tables
from recsys.pipelines.ab.lists import plain_preference, told_preference
from recsys.pipelines.ab.served.plans import plan_of
from recsys.pipelines.ab.served.replayed import differing
from recsys.pipelines.ab.served.store import Logged, lines_of, read_served
from recsys.pipelines.commands.stage import Negative
from recsys.pipelines.console import Steps
from recsys.text import utc_text


def report_experiment(
    steps: Steps,
    name: str,
    root: Path,
    store: str | Path | None,
    *,
    until: int,
    phase: int | None = None,
    plan_path: Path | None = None,
    triggered: bool = False,
    people: str | None = None,
    out: Path | None = None,
    page: Path | None = None,
    track: bool = False,
    show_sick: bool = False,
) -> Any:
    """The report for machines, as of `judge_tables`. phase: from 1, None = the last that has started at
    `until`.

    Raises SettingError where no such experiment was started, or it has no plan; DataError where nobody was in
    it.
    """
    frozen, opened = find_frozen(root, name), open_store(store)
    number = _phase(frozen, phase, until)
    with TemporaryDirectory() as folder:
        differs = None
        if triggered:
            _refuse_unlike(frozen)
            with steps.step("make the other arms' lists") as progress:
                differs = differing(frozen.experiment, number, root, lines_of(opened), progress)
        with steps.step("read the event store") as progress:
            logged = read_served(
                opened, frozen, number, root, Path(folder) / "tables", differs=differs, progress=progress
            )
        beside: dict[str, Any] = {"experiment": provenance(frozen, number)}
        if differs is not None:
            beside["lists_differ"] = {"lists": len(differs), "differ": sum(differs.values())}
            steps.say(f"The arms' lists differ for {sum(differs.values()):,} of {len(differs):,} requests.")
        if logged.merged is not None:
            beside["preference"] = _preference(steps, frozen, logged)
        if len(frozen.experiment.phases[number].weights) < 2:
            won = beside.get("preference", {}).get("winner")
            return beside if won else Negative(beside)
        steps.say(_told_provenance(frozen, number))
        asked = plan_of(frozen.experiment, number, plan_path)
        return judge_tables(
            steps,
            str(logged.exposures),
            str(logged.outcomes),
            asked,
            people=people,
            until=until,
            out=out,
            page=page,
            name=test_name(frozen, number),
            track=track,
            hypothesis=frozen.experiment.hypothesis,
            read={
                "exposures": "event store",
                "outcomes": "event store",
                **({"people": people} if people else {}),
            },
            show_sick=show_sick,
            beside=check_served(logged.facts),
            more=beside,
        )


@contextmanager
def served_tables(
    steps: Steps,
    name: str,
    root: Path,
    store: str | Path | None,
    *,
    until: int,
    phase: int | None = None,
    plan_path: Path | None = None,
) -> Iterator[tuple[str, str, Plan]]:
    """Exposures, outcomes and plan of a phase, as files that are there within the block."""
    frozen, opened = find_frozen(root, name), open_store(store)
    number = _phase(frozen, phase, until)
    with TemporaryDirectory() as folder:
        with steps.step("read the event store") as progress:
            logged = read_served(opened, frozen, number, root, Path(folder) / "tables", progress=progress)
        yield str(logged.exposures), str(logged.outcomes), plan_of(frozen.experiment, number, plan_path)


def _preference(steps: Steps, frozen: Frozen, logged: Logged) -> dict[str, Any]:
    metrics = frozen.experiment.plan.get("metrics") or [{}]
    preference = read_preference(str(logged.merged), str(logged.outcomes), event=metrics[0].get("event"))
    steps.say(told_preference(preference))
    return plain_preference(preference)


def test_name(frozen: Frozen, phase: int) -> str:
    """What a phase is called among the tests of MLflow: each draws people anew, and is a test of its own."""
    return frozen.name if phase == 0 else f"{frozen.name}, phase {phase + 1}"


def _phase(frozen: Frozen, phase: int | None, until: int) -> int:
    """The index of a phase, from 0: of `phase`, which counts from 1, or of the last one that has started at
    `until`."""
    phases = frozen.experiment.phases
    if phase is not None and phase > len(phases):
        raise SettingError(
            f"experiment {frozen.name!r} has {len(phases)} phases, and none is number {phase}."
        )
    started = [number for number, one in enumerate(phases) if one.starts <= until]
    if not started:
        raise SettingError(
            f"experiment {frozen.name!r} starts at {utc_text(phases[0].starts)}: nobody was in it yet."
        )
    return phase - 1 if phase is not None else started[-1]


def _refuse_unlike(frozen: Frozen) -> None:
    """Raises SettingError where a list cannot be made again by the other arm."""
    if frozen.event_names is None:
        raise SettingError(
            f"the bundles of experiment {frozen.name!r} know other types of events, so that a line of one "
            f"arm does not hold what another would have looked at. Report it without making lists again."
        )


def provenance(frozen: Frozen, phase: int) -> dict[str, Any]:
    """What was frozen, and what was done to it since."""
    experiment = frozen.experiment
    return {
        "name": frozen.name,
        "digest": frozen.digest,
        "phase": phase,
        "hypothesis": experiment.hypothesis,
        "arms": {arm: experiment.arm(arm).model_dump(mode="json") for arm in experiment.arm_names},
        "history": [one._asdict() for one in frozen.history],
    }


def _told_provenance(frozen: Frozen, phase: int) -> str:
    experiment = frozen.experiment
    since = utc_text(experiment.phases[phase].starts)
    why = f" {experiment.hypothesis}" if experiment.hypothesis else ""
    lines = [f"{frozen.name}, phase {phase + 1} since {since}; frozen as {frozen.history[0].digest}.{why}"]
    lines += [f"{utc_text(one.at)}: {one.what}." for one in frozen.history[1:]]
    return "\n".join(lines)
