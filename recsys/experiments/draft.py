"""Two lists made into one by team draft, so that one person's clicks say which list they prefer.

Source: Radlinski, Kurup and Joachims, "How Does Clickthrough Data Reflect Retrieval Quality?", CIKM 2008;
picks that both lists would make next carry no credit, as in Airbnb's competitive pairs (arXiv 2508.00751).
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from recsys.experiments.hashing import uniforms

PURPOSE = "draft"


class Draft(NamedTuple):
    """A merged list. items: at most k; team: for each the arm whose pick it is, None where both would have
    made it."""

    items: list[str]
    team: list[str | None]


def merge_by_draft(lists: Mapping[str, Sequence[str]], k: int, request_id: str) -> Draft:
    """The lists of two arms, best first, merged for one request.

    In each round both teams pick their best item that is not taken yet, a coin of the request says who is
    first. Where
    both would pick the same item, it is taken once and belongs to nobody: that a person likes it says
    nothing. Rules about the whole list (diversity, at most so many of a seller) are to be applied to the
    merged list.
    """
    (one, first), (other, second) = sorted(lists.items())
    coins = uniforms(request_id, PURPOSE)
    items: list[str] = []
    team: list[str | None] = []
    taken: set[str] = set()
    starts = {one: 0, other: 0}

    def next_of(arm: str, ranked: Sequence[str]) -> str | None:
        at = starts[arm]
        while at < len(ranked) and ranked[at] in taken:
            at += 1
        starts[arm] = at
        return ranked[at] if at < len(ranked) else None

    def take(item: str, arm: str | None) -> None:
        items.append(item)
        team.append(arm)
        taken.add(item)

    while len(items) < k:
        picks = {one: next_of(one, first), other: next_of(other, second)}
        if picks[one] == picks[other]:
            if (common := picks[one]) is None:
                break
            take(common, None)
            continue
        turn = (one, other) if next(coins) < 0.5 else (other, one)
        for arm in turn:
            pick = next_of(arm, first if arm == one else second)
            if pick is not None and len(items) < k:
                take(pick, arm)
    return Draft(items, team)
