"""Whether a service did what its experiment says: each arm its bundle, each person their arm, each list
once."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from scipy import stats

from recsys.analysis.health.check import ALARM, OK, UNKNOWN, Check, sick_if
from recsys.text import utc_text

OTHER_SHARE = 0.01  # of an arm's lists: more than that were not of its bundle
MISPLACED_SHARE = 0.001  # of people: more than that were in another arm than the definition gives them
AGAIN_SHARE = 0.001  # of lists: more than that were written down twice


@dataclass
class ServedFacts:
    """What a log says of an experiment beside who was in which arm. All by arm, counts of lists.

    lists: how many; again: of these, request ids that came before. bundles: by the id of the bundle that
    answered; own: the ids that should have, those included that were published anew without somebody
    forgotten. known_until: bundle -> the last second that it learned from, None = not known. started: unix
    second. misplaced: people whose arm is not the one that the definition gives them, of `placed` people
    whose arm was looked up; None = they are assigned elsewhere. changes: what was done to the definition
    since, in words.
    """

    started: int
    own: Mapping[str, frozenset[str]]
    lists: dict[str, int] = field(default_factory=dict)
    again: dict[str, int] = field(default_factory=dict)
    bundles: dict[str, dict[str, int]] = field(default_factory=dict)
    known_until: Mapping[str, int | None] = field(default_factory=dict)
    misplaced: int | None = 0
    placed: int = 0
    changes: tuple[str, ...] = ()


def check_served(facts: ServedFacts) -> list[Check]:
    """What must be well of a service before an effect is looked at."""
    return [check_bundles(facts), check_retrained(facts), check_places(facts), check_lists_once(facts)]


def check_bundles(facts: ServedFacts) -> Check:
    """An arm whose bundle could not serve was served the champion, or somebody else's bundle by mistake."""
    name = "each arm was served its own bundle"
    said, worst = [], 0.0
    for arm, own in sorted(facts.own.items()):
        held = facts.bundles.get(arm, {})
        others = {bundle: count for bundle, count in held.items() if bundle not in own}
        total = sum(held.values())
        if not total:
            continue
        share = sum(others.values()) / total
        worst = max(worst, share)
        if others:
            most = max(others, key=lambda bundle: others[bundle])
            said.append(f"{arm}: {share:.2%} of {total:,} lists were of others, most of {most}")
    return Check(name, sick_if(worst > OTHER_SHARE), "; ".join(said) or "all lists were")


def check_retrained(facts: ServedFacts) -> Check:
    """A bundle that learned from what people of both arms did makes the arms alike."""
    name = "no arm learned from what its own test brought"
    served = {bundle for held in facts.bundles.values() for bundle in held}
    late = sorted(one for one in served if (facts.known_until.get(one) or 0) > facts.started)
    if late:
        until = max(facts.known_until.get(one) or 0 for one in late)
        said = (
            f"{late[0]} learned from events up to {utc_text(until)}, and people came from "
            f"{utc_text(facts.started)} on"
        )
        return Check(name, sick_if(True), said + (f"; and {len(late) - 1} more" if len(late) > 1 else ""))
    unknown = sum(facts.known_until.get(one) is None for one in served)
    if unknown and unknown == len(served):
        return Check(name, UNKNOWN, "no bundle says up to when it learned")
    return Check(name, OK, f"{len(served) - unknown} of {len(served)} bundles say so")


def check_places(facts: ServedFacts) -> Check:
    """Assignment is a pure function, so that it can be done again for everybody who was in an arm."""
    name = "everybody was in the arm that the definition gives them"
    if facts.misplaced is None:
        return Check(name, UNKNOWN, "people are assigned elsewhere")
    said = f"{facts.misplaced:,} of {facts.placed:,} people were not"
    if facts.misplaced and facts.changes:
        said += f"; since the start: {'; '.join(facts.changes)}"
    elif facts.misplaced:
        said += ": weights, salt or slots were others when they were assigned, or somebody else assigned them"
    return Check(name, sick_if(facts.misplaced > MISPLACED_SHARE * max(facts.placed, 1)), said)


def check_lists_once(facts: ServedFacts) -> Check:
    name = "each list was written down once"
    again, lists = sum(facts.again.values()), sum(facts.lists.values())
    if not again:
        return Check(name, OK, f"{lists:,} lists")
    arms = sorted(facts.lists)
    table = np.array([[facts.again.get(arm, 0) for arm in arms], [facts.lists[arm] for arm in arms]])
    p = float(stats.chi2_contingency(table, correction=False).pvalue) if len(arms) > 1 else 1.0
    said = ", ".join(f"{arm} {facts.again.get(arm, 0):,} of {facts.lists[arm]:,}" for arm in arms)
    return Check(
        name, sick_if(again > AGAIN_SHARE * lists or p < ALARM), f"came again, and count once: {said}"
    )
