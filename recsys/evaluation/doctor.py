"""What ails a bundle: measures that a sick one has and a healthy one has not, each with its cause and its
fix.

Every threshold lies in a gap that was measured: each ailment was planted at three strengths, and left out;
the table is benchmarks/results/doctor.md (`python -m benchmarks.doctor`).
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from recsys.arrays import F32, I64, Array, Ragged
from recsys.bundle.bundle import Bundle
from recsys.encoders.users import Users
from recsys.history import DAY_S
from recsys.retrieval.ranker import order_of
from recsys.seeding import generator

_SAMPLE = 1_000  # users looked at
_EVENTS = 2_000_000  # events whose times are looked at
_K, _HEAD, _LONGEST = 10, 100, 30
_STALE_DAYS = 30.0
_OFF = 0.01  # relative distance between two user vectors that should be one


class Ailment(NamedTuple):
    """threshold: above it (below it where `low`) the measure is a finding. cause, fix: sentences; {value} is
    filled."""

    threshold: float
    low: bool
    cause: str
    fix: str


AILMENTS = {
    "same_list": Ailment(
        0.4,
        False,
        "Two users share {value:.0%} of their ten best items: almost everyone gets the same list.",
        "Lower the regularization, or unobserved_weight, and compare with the popularity rows of the run.",
    ),
    "collapsed_space": Ailment(
        1.25,
        True,
        (
            "Users differ along {value:.2f} directions: the space has collapsed, and tastes lie on top of "
            "each other."
        ),
        "Lower the regularization; if that does not help, the data hold no taste beyond popularity.",
    ),
    "norms_are_popularity": Ailment(
        0.82,
        False,
        "{value:.0%} of the best items have the longest vectors, those of popular items: direction, where "
        "taste is, has no say.",
        "Lower the regularization, or do not scale vectors by popularity after training.",
    ),
    "swapped_columns": Ailment(
        0.3,
        False,
        "Events come in sessions of what is called items and not of what is called users ({value:+.2f} "
        "nats): the user and the item column look swapped.",
        "Swap --user-col and --item-col and train again.",
    ),
    "mixed_ids": Ailment(
        0.02,
        False,
        "{value:.0%} of the item ids that are not plain numbers are user ids as well: some files or rows "
        "have the two columns swapped.",
        "Look for these ids in your files, one by one, and mend the rows.",
    ),
    "stale_data": Ailment(
        1.0,
        False,
        (
            "The newest event is {value:.1f} times as old as the data may be: what is new or popular now "
            "is not in here."
        ),
        "Train again on newer events, and do it on a schedule.",
    ),
    "train_serve_skew": Ailment(
        0.01,
        False,
        "For {value:.0%} of the users the vector that training gave is not the one that their stored "
        "history gives: they were learned with other events or weights than are served.",
        "Train and export again, so that the bundle holds the events and weights it was learned from; "
        "bundles of older versions hold no weights.",
    ),
    "fallback_skew": Ailment(
        0.9,
        True,
        (
            "Only {value:.0%} of the 100 items that are most popular by the stored histories lead the "
            "fallback list."
        ),
        "Build fallback and histories from the same events: export the run again.",
    ),
}


@dataclass(frozen=True)
class Finding:
    """An ailment. value and threshold: the measure that gave it away; cause and fix: sentences."""

    code: str
    value: float
    threshold: float
    cause: str
    fix: str


@dataclass(frozen=True)
class Diagnosis:
    """findings: what is wrong, none if healthy. measures: every figure that was taken; None = does not apply
    here."""

    findings: list[Finding]
    measures: dict[str, float | None]
    note: str


def examine(bundle: Bundle, *, now: int | None, seed: int = 1) -> Diagnosis:
    """All checks on one bundle. now: unix seconds at which it is served; None = do not ask how old the data
    are.

    Costs the lists of a thousand users, one pass over the item vectors and a sort of two million events;
    memory beside the bundle stays below 1 GiB at 300,000 items and dim 64.
    """
    measures: dict[str, float | None] = dict.fromkeys(AILMENTS)
    active = np.flatnonzero(bundle.histories.lengths)
    rows = np.sort(generator(seed, "doctor").permutation(active)[:_SAMPLE])
    if len(rows) > 1 and bundle.encoder.personal:
        lists = list_unfiltered(bundle, rows)
        measures["same_list"] = lists_alike(lists)
        measures["collapsed_space"] = _directions(bundle, rows)
        measures["norms_are_popularity"] = longest_share(lists, bundle.norms)
        measures["train_serve_skew"] = users_off(bundle, rows)
    if bundle.histories.time is not None and len(active):
        measures["swapped_columns"] = _sessions(bundle, seed)
        if now is not None:
            measures["stale_data"] = _age(bundle, now)
    measures["mixed_ids"] = shared_ids(list(bundle.user_ids), list(bundle.item_ids))
    measures["fallback_skew"] = fallback_agreement(bundle)
    findings = []
    for code, value in measures.items():
        ailment = AILMENTS[code]
        threshold = ailment.threshold
        if value is not None and (value < threshold if ailment.low else value > threshold):
            findings.append(Finding(code, value, threshold, ailment.cause.format(value=value), ailment.fix))
    return Diagnosis(findings, measures, _note(bundle, constant=not bundle.encoder.personal))


def _note(bundle: Bundle, *, constant: bool) -> str:
    if constant:
        return "This bundle holds popularity: the same list for everyone, by design. Its data were examined."
    counts = bundle.manifest["counts"]
    return (
        f"{counts['items_with_vector']:,} of {counts['items']:,} items have a vector; the others are never "
        "answered."
    )


def list_unfiltered(bundle: Bundle, rows: I64) -> I64:
    """int64 (n, 10): the best items of these users where nothing is left out as seen; -1 pads."""
    ranker, available = bundle.recommender.ranker, bundle.recommender.available
    users = Users.of_rows(rows, bundle.histories.take(rows))
    k = min(_K, ranker.n_items)
    return ranker.top(users, k, forbid=Ragged.empty(len(rows)), available=available).ids


def lists_alike(ids: I64) -> float:
    """The share of one user's list that is in another user's, over all pairs of rows of ids (n, k), -1 for
    none."""
    counts = np.bincount(ids[ids >= 0]).astype(np.float64)
    return float((counts * (counts - 1)).sum() / ((counts.sum() * (len(ids) - 1)) or 1))


def _directions(bundle: Bundle, rows: I64) -> float | None:
    """`directions` of the bundle's vectors; None without two of each."""
    encoded = bundle.encoder.encode(Users.of_rows(rows, bundle.histories.take(rows)))
    users, known = encoded.vectors, encoded.known
    items = bundle.item_vectors[np.flatnonzero(bundle.norms)]
    return (
        directions(users[known], items) if len(items) > 1 and known.sum() > 1 and items.shape[1] > 1 else None
    )


def directions(users: F32, items: F32) -> float:
    """How many directions tell users (n, dim) apart: effective rank of their scores for items (m, dim).

    Around the mean user; exp of the entropy of the shares of the squared singular values. 1 = one difference
    at most. Source: Roy and Vetterli, "The effective rank: a measure of effective dimensionality", EUSIPCO
    2007.
    """
    apart = (users - users.mean(axis=0)).astype(np.float64)
    values, axes = np.linalg.eigh(apart.T @ apart)
    root = axes * np.sqrt(values.clip(0))
    energy = np.linalg.eigvalsh(root.T @ (items.T @ items).astype(np.float64) @ root).clip(0)
    shares = energy[energy > 0] / (energy.sum() or 1.0)
    return float(np.exp(-(shares * np.log(shares)).sum()))


def longest_share(ids: I64, norms: F32) -> float:
    """The share of the answered ids (n, k), -1 for none, that are among the longest vectors: 30, at most a
    tenth."""
    most = max(1, min(_LONGEST, int(np.count_nonzero(norms)) // 10))
    longest = np.zeros(len(norms), bool)
    longest[np.argsort(-norms, kind="stable")[:most]] = True
    answered = ids[ids >= 0]
    return float(longest[answered].mean()) if len(answered) else 0.0


def users_off(bundle: Bundle, rows: I64) -> float | None:
    """The share of these users whose row of the table is not what the service solves from their stored
    history."""
    if not bundle.encoder.rows_are_fold_ins:
        return None
    past = bundle.histories.take(rows)
    asked = Users.unknown(past), Users.of_rows(rows, past)
    solved, rows_of_training = (bundle.encoder.encode(users).vectors for users in asked)
    length = np.maximum(np.linalg.norm(rows_of_training, axis=1), np.linalg.norm(solved, axis=1))
    off = np.linalg.norm(solved - rows_of_training, axis=1) > _OFF * length
    return float(off.mean())


def _sessions(bundle: Bundle, seed: int) -> float:
    """How much more the events of an item come in bursts than those of a user, in nats; sessions make it
    negative."""
    assert bundle.histories.time is not None
    everyone = generator(seed, "doctor events").permutation(bundle.histories.rows)
    last = int(np.searchsorted(np.cumsum(bundle.histories.lengths[everyone]), _EVENTS)) + 1
    rows = everyone[:last]
    at = bundle.histories.items.positions(rows)
    time, item = np.asarray(bundle.histories.time[at]), np.asarray(bundle.histories.items.values[at])
    user = np.repeat(rows, bundle.histories.lengths[rows])
    return burstiness(user, time, seed) - burstiness(item, time, seed)


def burstiness(row: Array, time: I64, seed: int) -> float:
    """Mean log gap between neighbouring events of a row, minus the same with the times shuffled: 0 = no
    sessions.

    row, time: (n,) parallel. Deeply negative: events of a row come close together.
    """
    return _mean_log_gap(row, time) - _mean_log_gap(row, generator(seed, "doctor times").permutation(time))


def _mean_log_gap(row: Array, time: I64) -> float:
    order = np.lexsort((time, row))
    gaps = np.diff(time[order])[np.diff(row[order]) == 0]
    return float(np.log1p(gaps).mean()) if len(gaps) else 0.0


def _age(bundle: Bundle, now: int) -> float:
    """The age of the newest event over the age that the fallback's window allows."""
    assert bundle.histories.time is not None
    days = bundle.manifest["fallback"]["days"] or _STALE_DAYS
    return max(0.0, (now - int(bundle.histories.time.max())) / (DAY_S * max(days, _STALE_DAYS)))


def shared_ids(users: list[str], items: list[str]) -> float | None:
    """The share of the item ids that are user ids as well; plain numbers are left out, for both count from
    one."""
    named = {id_ for id_ in items if not id_.isdecimal()}
    return len(named.intersection(users)) / len(named) if named else None


def fallback_agreement(bundle: Bundle) -> float | None:
    """The share of the most popular items by the stored histories that stand at the head of the fallback.

    Popular: most events in the fallback's window before the last event, ties by all time, as the fallback is
    built.
    """
    items, days = bundle.histories.items.values, bundle.manifest["fallback"]["days"]
    if not len(items):
        return None
    n_items = bundle.recommender.n_items
    counts = np.bincount(items, minlength=n_items).astype(np.float64)
    if days is not None and bundle.histories.time is not None:
        recent = bundle.histories.time >= int(bundle.histories.time.max() - days * DAY_S)
        counts = np.bincount(items[recent], minlength=n_items) + counts / (len(items) + 1)
    head = min(_HEAD, int(np.count_nonzero(counts)))
    return len(np.intersect1d(order_of(counts)[:head], bundle.recommender.fallback[:head])) / head
