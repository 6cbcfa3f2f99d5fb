"""Which index finds enough of what the exact scan finds, and soonest: measured by the questions of real
people.

Every way is asked through the recommender, one person at a time, with what they have seen left out: what is
measured is what is served.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from recsys.arrays import F64, I64, Array
from recsys.encoders.encoder import FALLBACK
from recsys.encoders.users import Users
from recsys.history import Histories
from recsys.progress import Progress, Step, silent
from recsys.retrieval.allowed import FEW
from recsys.retrieval.approximate import FLAT, Approximate, IndexSettings, factories
from recsys.retrieval.index import Flat, Index
from recsys.retrieval.recommender import Recommender
from recsys.retrieval.vector_ranker import VectorRanker
from recsys.seeding import generator

KNOWN, FOLDED_IN, THREE_EVENTS = "known", "fold-in", "three events"
SHARES = (0.9, 0.7, 0.5, 0.35, 0.25, 0.18, 1 / FEW)  # of items allowed, at which an effort is sought
_WORTH_AN_INDEX = 1_000  # items: below, a scan takes less time than what surrounds it
_FASTER = 0.8  # of the scan's time: an index that needs more is not worth what it may miss
PEOPLE = 500  # who judge an index, each as three
_HOPELESS = 1.5  # times the soonest that finds enough: what takes longer is not tried with more effort
_AT_SHARES = 100  # people who are asked at each share
# candidates for each item answered, where few bits of a number are kept
_FETCH = {"SQ8": (1.5,), "SQfp16": (1.1,), "x4fs": (2.0, 4.0, 8.0)}


class Quality(NamedTuple):
    """How much of the exact answers is found: mean and 5th percentile of recall at k, and ndcg at k with the
    exact answer as the ideal one, every item of it worth the same."""

    recall: float
    recall_p5: float
    ndcg: float
    people: int


class Trial(NamedTuple):
    """An index under trial. p50_ms, p99_ms: the processor's time for one question; per_second: questions;
    build_s: seconds; mib: of the index beside the vectors. quality: by source of the people's vectors, and
    "all"."""

    settings: IndexSettings
    quality: dict[str, Quality]
    p50_ms: float
    p99_ms: float
    per_second: float
    build_s: float
    mib: float

    @property
    def meets(self) -> bool:
        """Whether it finds what the settings ask for, whatever the source."""
        return all(reaches(self.settings, one) for one in self.quality.values())


@dataclass(frozen=True)
class Tuned:
    """trials: all, in the order in which they were made. chosen: the settings of the cheapest that finds
    enough; Flat unless one is really faster. measured: the chosen one by people who had no part in the
    choice."""

    trials: list[Trial]
    chosen: IndexSettings
    measured: dict[str, Quality]


def reaches(settings: IndexSettings, quality: Quality) -> bool:
    return quality.recall >= settings.target and quality.recall_p5 >= settings.target_p5


def people_of(histories: Histories, n: int, seed: int, half: str) -> dict[str, Users]:
    """Up to `n` people who did something, of one half, "tune" or "measure", as those whom a recommender may
    meet: known by their row, by their history alone, and by its last three events."""
    active = np.flatnonzero(histories.lengths > 0)
    # The same halves whoever asks: nobody chooses and judges.
    halves = generator(0, "index people").permutation(active)
    side = halves[0 if half == "tune" else 1 :: 2]
    mine = np.sort(generator(seed, "index people").permutation(side)[:n])
    if not len(mine):
        mine = active[:n]
    past = histories.take(mine)
    now = None if past.time is None else np.full(len(mine), past.time.max(initial=0))
    later = past.items.offsets[1:][past.items.row_of_value()] - np.arange(len(past))
    return {
        KNOWN: Users.of_rows(mine, past, now),
        FOLDED_IN: Users.unknown(past, now),
        THREE_EVENTS: Users.unknown(past.keep(later <= 3), now),
    }


def with_index(exact: Recommender, index: Index) -> Recommender:
    """The same recommender through an index."""
    ranker = exact.ranker
    assert isinstance(ranker, VectorRanker)
    return replace(exact, ranker=VectorRanker(ranker.embeddings, index))


def measure_index(
    exact: Recommender, index: Index, people: Mapping[str, Users], k: int
) -> tuple[dict[str, Quality], F64]:
    """How much of the exact answers an index gives these people, by source and of "all", and float64 (n,),
    the processor's seconds for each question. Whoever has no vector is not asked; a source of nobody is left
    out."""
    through, by_source, seconds = with_index(exact, index), dict[str, Array](), list[float]()
    for source, users in people.items():
        truth = exact.recommend(users, k)
        rows = np.flatnonzero(truth.source != FALLBACK)
        if not len(rows):
            continue
        scores = []
        for row in rows:
            one = users.take(np.array([row]))
            start = time.process_time()  # a clock would measure who else computes, and choose by it
            ids = through.recommend(one, k).ids[0]
            seconds.append(time.process_time() - start)
            scores.append(_agreement(truth.ids[row], ids))
        by_source[source] = np.array(scores)
    if by_source:
        by_source["all"] = np.concatenate(list(by_source.values()))
    return {source: _quality(scores) for source, scores in by_source.items()}, np.array(seconds)


def _agreement(truth: I64, answer: I64) -> tuple[float, float]:
    """The share of the true items that the answer holds, and its ndcg by them."""
    wanted = truth[truth >= 0]
    if not len(wanted):
        return 1.0, 1.0
    hit = np.isin(answer, wanted)
    discounts = 1 / np.log2(np.arange(2, len(answer) + 2))
    return float(hit.sum() / len(wanted)), float(discounts[hit].sum() / discounts[: len(wanted)].sum())


def _quality(scores: F64) -> Quality:
    recall, ndcg = scores[:, 0], scores[:, 1]
    return Quality(float(recall.mean()), float(np.percentile(recall, 5)), float(ndcg.mean()), len(scores))


def tune_index(
    exact: Recommender,
    histories: Histories,
    *,
    wanted: IndexSettings | None = None,
    people: int = 500,
    seed: int = 0,
    names: Sequence[str] | None = None,
    progress: Progress = silent,
) -> Tuned:
    """Tries indexes, each with rising effort until it finds enough, and chooses.

    exact: the recommender without an index. histories: of the known users, row by row. wanted: k and targets.
    people: how many are asked at most, half to choose and half to measure. names: FAISS's names of the
    indexes; None = those that are worth a trial for so many items. A question is timed with the threads that
    FAISS has: give it one.
    """
    wanted = wanted or IndexSettings()
    ranker = exact.ranker
    assert isinstance(ranker, VectorRanker)
    asked = people_of(histories, people, seed, "tune")
    if names is None:
        names = factories(*ranker.items.shape) if exact.n_items >= _WORTH_AN_INDEX else []
    names = [FLAT, *(name for name in names if name != FLAT)]
    trials: list[Trial] = []
    for at, name in enumerate(names):
        limit = _HOPELESS * min((trial.p50_ms for trial in trials if trial.meets), default=np.inf)
        trials += _try_kind(exact, ranker, wanted, name, asked, limit)
        progress(Step("trying indexes", at + 1, len(names)))
    if not trials:  # nobody has a vector
        return Tuned([], wanted, {})
    scan = trials[0]
    enough = [trial for trial in trials[1:] if trial.meets and trial.p50_ms < _FASTER * scan.p50_ms]
    best = min(enough, key=lambda trial: trial.p50_ms, default=scan).settings
    if not best.exact:
        best = _with_shares(exact, ranker, best, asked, seed)
    return Tuned(trials, *_confirm_index(exact, ranker, best, people_of(histories, PEOPLE, 0, "measure")))


def _confirm_index(
    exact: Recommender, ranker: VectorRanker, best: IndexSettings, people: Mapping[str, Users]
) -> tuple[IndexSettings, dict[str, Quality]]:
    """The settings with as much more effort as these people need to find enough, and what they find; else the
    scan."""
    built = make_index(ranker, best)
    for more in [one for one in efforts_of(best.factory, best.k) if one >= best.effort]:
        filtered = tuple((share, max(more, effort)) for share, effort in best.filtered)
        settings = replace_settings(best, effort=more, filtered=filtered)
        index = Approximate(built.items, built.index, settings) if isinstance(built, Approximate) else built
        quality, _ = measure_index(exact, index, people, best.k)
        if all(reaches(settings, one) for one in quality.values()):
            return settings, quality
    flat = replace_settings(best, factory=FLAT, effort=0, fetch=1.0, filtered=())
    return flat, measure_index(exact, Flat(ranker.items), people, best.k)[0]


def make_index(ranker: VectorRanker, settings: IndexSettings) -> Index:
    """The index of these settings over the items of a ranker."""
    return Flat(ranker.items) if settings.exact else Approximate.build(ranker.items, settings)


def _try_kind(
    exact: Recommender,
    ranker: VectorRanker,
    wanted: IndexSettings,
    name: str,
    people: Mapping[str, Users],
    limit_ms: float,
) -> list[Trial]:
    """The trials of one kind of index: with rising effort, if it has any, until it finds enough or takes too
    long."""
    settings = replace_settings(wanted, factory=name)
    start = time.perf_counter()
    index, trials = make_index(ranker, settings), list[Trial]()
    build_s, mib = time.perf_counter() - start, index.nbytes / (1 << 20)
    for fetch in fetches_of(name):
        for effort in efforts_of(name, settings.k):
            tried = replace_settings(settings, effort=effort, fetch=fetch)
            if isinstance(index, Approximate):
                index = Approximate(index.items, index.index, with_all_shares(tried))
            quality, seconds = measure_index(exact, index, people, settings.k)
            if not len(seconds):
                return trials
            p50, p99 = np.percentile(seconds, [50, 99]) * 1e3
            per_second = len(seconds) / float(seconds.sum())
            trials.append(Trial(tried, quality, float(p50), float(p99), per_second, build_s, mib))
            if trials[-1].meets or p50 > limit_ms:
                break
    return trials


def replace_settings(settings: IndexSettings, **changes: object) -> IndexSettings:
    return IndexSettings.model_validate(settings.model_dump() | changes)


def with_all_shares(settings: IndexSettings) -> IndexSettings:
    """The same, with its effort for all but the smallest shares of allowed items."""
    return replace_settings(settings, filtered=((SHARES[-1], settings.effort),))


def fetches_of(name: str) -> Sequence[float]:
    """How many candidates to try for each item answered."""
    return next((fetches for codes, fetches in _FETCH.items() if name.endswith(codes)), (1.0,))


def efforts_of(name: str, k: int, *, fine: bool = False) -> list[int]:
    """What to try, rising by a third and a half in turn; fine: by a seventh to a quarter."""
    quarters = (4, 5, 6, 7) if fine else (4, 6)
    if name.startswith("IVF"):
        lists = int(name.split(",")[0][3:])
        steps = {quarter << power >> 2 for power in range(lists.bit_length()) for quarter in quarters}
        return sorted(step for step in steps if step <= lists)
    if name.startswith("HNSW"):
        return [k * quarter << power >> 2 for power in range(7) for quarter in quarters]
    return [0]


def _with_shares(
    exact: Recommender, ranker: VectorRanker, best: IndexSettings, people: Mapping[str, Users], seed: int
) -> IndexSettings:
    """The settings with the effort that each share of allowed items needs, as long as that beats the exact
    scan."""
    random, filtered, effort = generator(seed, "index shares"), list[tuple[float, int]](), best.effort
    some = {source: users.take(np.arange(min(len(users), _AT_SHARES))) for source, users in people.items()}
    scan, built = Flat(ranker.items), make_index(ranker, best)
    assert isinstance(built, Approximate)
    efforts = efforts_of(best.factory, best.k, fine=True)
    for share in SHARES:
        mask = random.permutation(exact.n_items) <= share * exact.n_items  # one more than the few
        within = replace(exact, available=mask if exact.available is None else mask & exact.available)
        _, exactly = measure_index(within, scan, some, best.k)
        for more in [one for one in efforts if one >= effort]:
            tried = replace_settings(best, effort=more, filtered=((share / 2, more),))
            quality, seconds = measure_index(
                within, Approximate(built.items, built.index, tried), some, best.k
            )
            effort = more
            if all(reaches(best, one) for one in quality.values()):
                break
        else:
            break
        if np.median(seconds) > np.median(exactly):
            break
        filtered.append((share, effort))
    return replace_settings(best, filtered=tuple(filtered))
