"""What the other domains bring to each: one model of all of them, held against one of the domain alone.

For each domain, the people with a target in it are asked for the items of the domain, by protocol
`by_domain`. Three answers are compared person by person. **cross**: the model of all domains, shown the whole
history. **own history**: the same model, shown what the history holds of this domain. **control**: a model of
the same kind that has learned from the events of this domain alone, with settings that were tuned on as many
trials. So `cross - control` is the transfer, of which `cross - own history` came from what the person did
elsewhere, and `own history - control` from having learned there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from recsys.arrays import F64, I64, Array, Bool
from recsys.data.dataset import Dataset
from recsys.data.split.holdout import Holdout
from recsys.encoders.users import Users
from recsys.errors import SettingError
from recsys.evaluation.evaluate import evaluate, users_of
from recsys.evaluation.significance import FEW_USERS, Comparison, compare_pairs, p_text
from recsys.history import Histories
from recsys.ids import IdMap
from recsys.retrieval.recommender import Recommender
from recsys.seeding import generator
from recsys.text import text_table

CROSS, OWN, CONTROL = "cross", "own history", "control"
SEGMENTS: Mapping[str, tuple[int, float]] = {
    "all": (0, np.inf),
    "0": (0, 0),
    "1 to 4": (1, 4),
    "5 and more": (5, np.inf),
}


@dataclass(frozen=True, eq=False)
class DomainQuestion:
    """What is asked in one domain. name, code: of the domain. holdout: who has a target in it, and these
    targets. inside: (n_items,), its items. events: int64 (n,), how many events of it each person brings."""

    name: str
    code: int
    holdout: Holdout
    inside: Bool
    events: I64

    def users(self, own: bool = False) -> Users:
        """The people, who ask for this domain. own: known by what they did in it alone.

        Everybody is known by their history, so that it alone says what is known of them."""
        holdout = self.holdout
        if own:
            holdout = replace(holdout, history=within(holdout.history, self.inside))
        users = users_of(replace(holdout, known=np.zeros(len(holdout.user), bool)))
        return replace(users, domain=np.full(len(users), self.code, np.int32))

    def values(self, engine: Recommender, metric: str, *, own: bool = False) -> F64:
        """float64 (n,): the metric of each person, whose list is of the items of this domain."""
        shown = self.inside if engine.available is None else engine.available & self.inside
        users = self.users(own)
        return evaluate(
            replace(engine, available=shown), users, self.holdout.targets, metrics=(metric,)
        ).values[metric]

    def segment(self, name: str) -> Bool:
        """(n,): who has as many events in the domain as a segment says."""
        low, high = SEGMENTS[name]
        mask: Bool = (self.events >= low) & (self.events <= high)
        return mask


def by_domain(holdout: Holdout) -> dict[str, DomainQuestion]:
    """The question of a holdout, one for each domain in which anybody has a target.

    Raises SettingError where the data have fewer than two domains."""
    names, codes = holdout.train.domains
    if len(names) < 2:
        told = f"one domain alone, {names[0]!r}" if names else "no domains"
        raise SettingError(
            f"{holdout.train.name} has {told}: nothing can be brought from one to another. Give the table "
            f"of items a column `domain` with two names or more."
        )
    found = {}
    for code, name in enumerate(names):
        inside = codes == code
        targets = holdout.targets.keep(inside[holdout.targets.values])
        rows = np.flatnonzero(targets.lengths)
        if not len(rows):
            continue
        part = replace(holdout, targets=targets).take(rows)
        events = within(part.history, inside).counting().lengths
        found[name] = DomainQuestion(name, code, part, inside, events)
    return found


def within(history: Histories, inside: Bool) -> Histories:
    """The histories with the events of these items alone."""
    return history.keep(inside[history.items.values])


def split_people(train: Dataset, joined: float, seed: int) -> Dataset:
    """The data in which this share of the people stays one person in all domains; each of the others becomes
    one in each domain, so that nothing says that they are the same. Who is, is drawn; more who are joined add
    to fewer."""
    if joined >= 1:
        return train
    names, codes = train.domains
    lot = generator(seed, "people split").random(train.n_users)
    apart = np.flatnonzero(lot >= joined)
    place = np.full(train.n_users, -1)
    place[apart] = np.arange(len(apart))
    more = len(names) - 1

    def move(user: Array, item: Array) -> Array:
        code = np.maximum(codes[item], 0)
        elsewhere = (place[user] >= 0) & (code > 0)
        return np.where(elsewhere, train.n_users + more * place[user] + code - 1, user).astype(np.int32)

    ids = [train.user_ids[row] for row in range(train.n_users)]
    ids += [f"{ids[row]} in {name}" for row in apart for name in names[1:]]
    rows = np.concatenate([np.arange(train.n_users), np.repeat(apart, more)])
    features = None if train.user_features is None else train.user_features.take(rows)
    events = train.interactions
    if train.whole is not None:
        whole = replace(train.whole, user=move(train.whole.user, train.whole.item), n_users=len(ids))
    else:
        whole = None
    events = replace(events, user=move(events.user, events.item), n_users=len(ids))
    return replace(
        train,
        interactions=events,
        whole=whole,
        user_ids=IdMap.of(ids),
        user_features=features,
        published=None,
    )


class TransferRow(NamedTuple):
    """One domain, share of people who are joined, and segment by events in the domain.

    means: of CROSS, OWN and CONTROL. transfer: cross - control, the sum of history: cross - own history, and
    training: own history - control.
    """

    domain: str
    joined: float
    segment: str
    people: int
    means: Mapping[str, float]
    transfer: Comparison
    history: Comparison
    training: Comparison

    @property
    def sentence(self) -> str:
        """The transfer in words."""
        who = {"all": "everybody", "0": "people without events there"}.get(
            self.segment, f"people with {self.segment} events there"
        )
        said = f"{self.transfer.difference.text('+.4f')}, {p_text(self.transfer.p_holm)}"
        where = f"{self.domain}, {who}, {self.joined:.0%} joined"
        if self.people < FEW_USERS:
            return f"{where}: too few, {self.people} of {FEW_USERS}: {said}."
        words = {"better": "the other domains bring", "worse": "the other domains take"}
        return f"{where}: {words.get(self.transfer.verdict, 'no gain shown')}: {said}."


@dataclass(frozen=True)
class TransferReport:
    """metric: what is compared. rows: by domain, share joined and segment."""

    metric: str
    rows: Sequence[TransferRow]

    @property
    def text(self) -> str:
        """A table, and a sentence for everybody of each domain."""
        table = [
            [row.domain, f"{row.joined:.0%}", row.segment, f"{row.people:,}"]
            + [f"{row.means[name]:.4f}" for name in (CONTROL, OWN, CROSS)]
            + [row.transfer.difference.text("+.4f"), p_text(row.transfer.p_holm)]
            + [part.difference.text("+.4f") for part in (row.history, row.training)]
            for row in self.rows
        ]
        heads = ["domain", "joined", "events there", "people", CONTROL, OWN, CROSS]
        heads += ["cross - control", "p (Holm)", "from the history", "from learning"]
        said = [row.sentence for row in self.rows if row.segment in ("all", "0")]
        return "\n".join([text_table(heads, table), "", *said])


Values = Mapping[str, F64]  # of CROSS, OWN and CONTROL, one value a person


_COMPARED = ((CROSS, CONTROL), (CROSS, OWN), (OWN, CONTROL))


def transfer_report(
    questions: Mapping[str, DomainQuestion], found: Mapping[tuple[str, float], Values], metric: str
) -> TransferReport:
    """The report of what was measured: found by the name of a domain and the share of people who are joined,
    each person's values the mean over seeds.

    p-values are corrected (Holm) over the domains and shares of the same segment and the same difference.
    """
    rows = dict[tuple[str, float, str], tuple[dict[str, float], list[Comparison]]]()
    for segment in SEGMENTS:
        values, people = dict[tuple[str, float, str], F64](), dict[tuple[str, float], int]()
        for (name, joined), each in found.items():
            some = questions[name].segment(segment)
            if some.sum() > 1:
                people[name, joined] = int(some.sum())
                values |= {(name, joined, label): one[some] for label, one in each.items()}
        for first, second in _COMPARED:
            pairs = [((*key, first), (*key, second)) for key in people]
            compared = compare_pairs(values, pairs, warm={pair: people[pair[0][:2]] for pair in pairs})
            for pair, comparison in compared.items():
                key = pair[0][:2]
                means = {label: float(np.nanmean(values[(*key, label)])) for label in (CROSS, OWN, CONTROL)}
                rows.setdefault((*key, segment), (means, []))[1].append(comparison)
    listed = [(*key, segment) for key in found for segment in SEGMENTS if (*key, segment) in rows]
    return TransferReport(
        metric, [TransferRow(*key, rows[key][1][0].warm, rows[key][0], *rows[key][1]) for key in listed]
    )
