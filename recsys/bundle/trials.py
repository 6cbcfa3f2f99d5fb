"""Experiments in a root of bundles: started once everything is verified, ramped up, stopped, always for a
later second.

Workers look at the root every second or so, so what holds from a second in the future on holds for all of
them alike.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from recsys import durable
from recsys.bundle.bundle import Bundle, load
from recsys.bundle.root import current
from recsys.errors import BundleError, SettingError
from recsys.experiments.arms import CHAMPION
from recsys.experiments.definition import Experiment, Holdout, Step
from recsys.experiments.folder import refuse_change, refuse_overlaps
from recsys.experiments.frozen import Change, Frozen, read_frozen, take_back, write_frozen
from recsys.text import did_you_mean, utc_text

LEAD_S = 10  # at least so far ahead lies what changes, so that every worker has read of it


def start_experiment(
    root: Path, experiment: Experiment, holdouts: tuple[Holdout, ...], now: int, lead_s: int = LEAD_S
) -> Frozen:
    """Freezes an experiment, whose first phase starts in the future; one that was started gets what may be
    changed.

    Every bundle of its arms is verified and asked its golden queries first. Raises SettingError or
    BundleError where a bundle is missing or damaged, an arm's rule does not fit it, a phase lies in the past,
    or a list could be of two experiments.
    """
    with durable.publishing(root):
        started = {one.name: one for one in read_frozen(root)}
        before = started.pop(experiment.name, None)
        if before is not None and before.over(now):
            raise SettingError(f"experiment {experiment.name!r} is over; give the new one another name.")
        wanted = _with_ids(experiment, current(root).name, before)
        _refuse_soon(wanted, before, now, lead_s)
        if before is not None:
            refuse_change(before.experiment, wanted, now)
            _refuse_other_arms(before.experiment, wanted, now)
        others = [one for one in started.values() if not one.over(now)]
        _refuse_two_for_a_list(wanted, [one.experiment for one in others])
        _refuse_other_holdouts(holdouts, others)
        names = _verify_arms(root, wanted)
        history = () if before is None else before.history
        what = "started" if before is None else "changed"
        if before is not None and before.digest == wanted.digest:
            return before
        change = Change(now, what, wanted.digest)
        kept = holdouts if before is None else before.holdouts
        frozen = Frozen(wanted, (*history, change), kept, names)
        write_frozen(root, frozen)
    return frozen


def verified_experiment(root: Path, experiment: Experiment) -> Experiment:
    """An experiment as it would be frozen now, with ids of bundles that are there and verified. Raises as a
    start."""
    wanted = _with_ids(experiment, current(root).name, None)
    _verify_arms(root, wanted)
    return wanted


def stop_experiment(root: Path, name: str, at: int, now: int, lead_s: int = LEAD_S) -> Frozen | None:
    """Ends an experiment at a second in the future; from then on its people are served the champion. One that
    has not started by then is taken back: nothing of it stays (None)."""
    _refuse_before(at, now, lead_s, f"experiment {name!r} would end")
    frozen = find_frozen(root, name)
    phases = tuple(phase for phase in frozen.experiment.phases if phase.starts < at)
    if not phases:
        with durable.publishing(root):
            take_back(root, name)
        return None
    left = frozen.experiment.model_copy(update={"phases": phases})
    weighed = {arm for phase in phases for arm in phase.weights}
    named = weighed | {part for arm in weighed for part in left.arm(arm).interleave or ()}
    update = {
        "ends": at,
        "phases": phases,
        "arms": {arm: left.arms[arm] for arm in left.arms if arm in named},
        "testers": {unit: arm for unit, arm in left.testers.items() if arm in phases[-1].weights},
    }
    return _change(root, name, now, update, f"to end at {utc_text(at)}")


def ramp_experiment(root: Path, name: str, share: float, at: int, now: int, lead_s: int = LEAD_S) -> Frozen:
    """Lets more people into the phase that runs, or the first to come, from a second in the future on."""
    experiment = find_frozen(root, name).experiment
    number = max(0, experiment.phase_at(now))
    phase = experiment.phases[number]
    _refuse_before(at, now, lead_s, f"the ramp of experiment {name!r} would go on")
    if not phase.ramp:
        raise SettingError(
            f"phase {number + 1} of experiment {name!r} has no ramp: everybody is in. Take people out "
            "by a new phase."
        )
    steps = (*(one for one in phase.ramp if one.at < at), Step(at=at, share=share))
    phases = list(experiment.phases)
    phases[number] = phase.model_copy(update={"ramp": steps})
    return _change(root, name, now, {"phases": tuple(phases)}, f"ramp to {share:.4g} at {utc_text(at)}")


def note_edition(root: Path, bundle_id: str, now: int) -> list[str]:
    """Writes into the history of every experiment that serves a bundle that it was written anew, under its
    id, without somebody who was forgotten; the names of these experiments."""
    touched = []
    with durable.publishing(root):
        for frozen in read_frozen(root):
            if bundle_id in frozen.bundles and not frozen.over(now):
                change = Change(
                    now, f"{bundle_id} was written anew without somebody who was forgotten", frozen.digest
                )
                write_frozen(root, frozen._replace(history=(*frozen.history, change)))
                touched.append(frozen.name)
    return touched


def find_frozen(root: Path, name: str) -> Frozen:
    """The experiment of a name. Raises SettingError where none was started by it."""
    experiments = {one.name: one for one in read_frozen(root)}
    if name not in experiments:
        raise SettingError(f"no experiment {name!r} was started in {root}; {did_you_mean(name, experiments)}")
    return experiments[name]


def _change(root: Path, name: str, now: int, update: dict[str, Any], what: str) -> Frozen:
    with durable.publishing(root):
        before = find_frozen(root, name)
        if before.over(now):
            raise SettingError(
                f"experiment {name!r} is over since {utc_text(int(before.experiment.ends or 0))}."
            )
        told = before.experiment.model_copy(update=update).model_dump()
        after = Experiment.build(told, where=f"experiment {name!r}")
        if "ends" not in update:
            refuse_change(before.experiment, after, now)
        frozen = before._replace(experiment=after, history=(*before.history, Change(now, what, after.digest)))
        write_frozen(root, frozen)
    return frozen


def _with_ids(experiment: Experiment, champion: str, before: Frozen | None) -> Experiment:
    """The experiment with the id of a bundle for every arm: the champion's is that of the start."""
    arms = dict(experiment.arms)
    for name in experiment.arm_names:
        arm = experiment.arm(name)
        if arm.interleave is None and arm.bundle == CHAMPION:
            known = before is not None and name in before.experiment.arms
            bundle = before.experiment.arm(name).bundle if known and before is not None else champion
            arms[name] = arm.model_copy(update={"bundle": bundle})
    return experiment.model_copy(update={"arms": dict(sorted(arms.items()))})


def _refuse_soon(experiment: Experiment, before: Frozen | None, now: int, lead_s: int) -> None:
    """Raises SettingError where a phase that has not started yet would do so too soon for all workers to
    agree."""
    started = (
        set() if before is None else {phase.salt for phase in before.experiment.phases if phase.starts <= now}
    )
    for number, phase in enumerate(experiment.phases, start=1):
        if phase.salt not in started:
            _refuse_before(
                phase.starts, now, lead_s, f"phase {number} of experiment {experiment.name!r} would start"
            )


def _refuse_before(at: int, now: int, lead_s: int, what: str) -> None:
    if at < now + lead_s:
        when = "in the past" if at <= now else f"in {at - now} s"
        raise SettingError(
            f"{what} {when}, at {utc_text(at)}. It must lie at least {lead_s} s ahead, so that all workers "
            f"agree: name {utc_text(now + max(60, lead_s))} or later."
        )


def _refuse_other_arms(before: Experiment, after: Experiment, now: int) -> None:
    """Raises SettingError where what an arm of a phase that has started serves is changed."""
    started = {name for phase in before.phases if phase.starts <= now for name in phase.weights}
    started |= {part for name in started for part in before.arm(name).interleave or ()}
    for name in sorted(started):
        if before.arm(name) != after.arm(name):
            raise SettingError(
                f"arm {name!r} of experiment {before.name!r} has people, and what it serves stays. Add an "
                f"arm of another name in a phase that starts in the future."
            )


def _refuse_two_for_a_list(experiment: Experiment, others: Iterable[Experiment]) -> None:
    """Raises SettingError where a list could be of two experiments: then nobody could say whose effect is
    seen."""
    for other in others:
        refuse_overlaps([experiment, other])
        apart = experiment.placement is not None and other.placement not in (None, experiment.placement)
        if apart or (experiment.namespace is not None and experiment.namespace == other.namespace):
            continue
        if any(
            start < other_end and other_start < end
            for start, end in experiment.spans()
            for other_start, other_end in other.spans()
        ):
            raise SettingError(
                f"experiments {experiment.name!r} and {other.name!r} would both decide what one list "
                "holds. Give them one namespace, and slots apart; or each a placement of its own; or "
                "start one after the other's end."
            )


def _refuse_other_holdouts(holdouts: Iterable[Holdout], others: Iterable[Frozen]) -> None:
    known = {holdout.name: holdout for one in others for holdout in one.holdouts}
    for holdout in holdouts:
        if holdout.name in known and known[holdout.name] != holdout:
            raise SettingError(
                f"holdout {holdout.name!r} is another one in an experiment that runs; a holdout stays "
                "as it is."
            )


def _verify_arms(root: Path, experiment: Experiment) -> tuple[str, ...] | None:
    """The types of events that all bundles know, None where they differ. Raises where an arm cannot be
    served."""
    opened: dict[str, Bundle] = {}
    for name in experiment.arm_names:
        arm = experiment.arm(name)
        if arm.interleave is not None:
            continue
        folder = root / arm.bundle
        if not folder.is_dir():
            near = did_you_mean(arm.bundle, [path.name for path in root.iterdir() if path.is_dir()])
            raise BundleError(
                f"arm {name!r} of experiment {experiment.name!r} has no bundle: {root} holds no "
                f"{arm.bundle!r}; {near}"
            )
        if arm.bundle not in opened:
            opened[arm.bundle] = load(folder)
        if arm.seen is not None:
            try:
                opened[arm.bundle].seeing(arm.seen)
            except SettingError as error:
                raise SettingError(f"arm {name!r} of experiment {experiment.name!r}: {error}") from None
    names = {bundle.event_names for bundle in opened.values()}
    return next(iter(names)) if len(names) == 1 else None
