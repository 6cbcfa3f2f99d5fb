"""The planted-truth world: data drawn from known probabilities, so that the best ranker is known.

Two domains (films and books) share one taste space whose clusters are the categories, or share it in part, or
not at all. A user's next event is a multinomial logit over the items that exist and that the user has not
had; see `Truth`. The shares of the oracle and of the informed ranker (`recsys.data.planted.truth`) then say
how much of what can be learned a model has learned.
"""

from dataclasses import dataclass

import numpy as np
from pydantic import Field

from recsys.arrays import F32, F64, I32, I64, Array
from recsys.config import Settings
from recsys.data.dataset import Dataset
from recsys.data.interactions import Interactions
from recsys.data.planted.names import CATEGORIES, DOMAINS, item_table, numbered_ids
from recsys.data.planted.schedule import Schedule, draw_domains, draw_schedule, draw_shares
from recsys.errors import DataError
from recsys.history import DAY_S
from recsys.ids import IdMap
from recsys.progress import Progress, Step, silent
from recsys.seeding import generator

START = 1_735_689_600  # 2025-01-01 00:00 UTC
WEEK_S = 7 * DAY_S

_BLOCKS = 20  # reports of progress while drawing
# items from which a world is drawn by clusters; smaller ones, the frozen default too, keep their bytes
_LARGE = 20_000


class WorldSettings(Settings):
    """Size and character of a world. The defaults are frozen: bars are measured on them, other sizes are
    options."""

    users: int = Field(
        20_000, ge=1, description="users; large enough for warm users in thousands after a time split"
    )
    items: int = Field(5_000, ge=2, description="items, half films and half books; fits the demo's minute")
    rank: int = Field(
        8, ge=1, le=64, description="dimensions of taste; below the dim of any model worth training"
    )
    taste: float = Field(
        2.0, ge=0, le=20, description="nats per standard deviation of <user, item>; 0 = all alike"
    )
    drift: float = Field(
        0.0,
        ge=0,
        le=20,
        description="nats per standard deviation of where the last item leads; 0 = order says nothing",
    )
    shared_taste: float | None = Field(
        None,
        ge=0,
        le=1,
        description="correlation of a person's taste in the two domains, of which each event is of one or "
        "the other by their own shares; none = one taste, and one choice over both",
    )
    in_both: float = Field(
        1.0,
        ge=0,
        le=1,
        description="with shared_taste: share of people in both domains; the others are in one",
    )
    popularity_exponent: float = Field(
        0.7, ge=0, le=5, description="weight falls as rank^-exponent, as in real logs"
    )
    events_per_user: float = Field(
        30.0, ge=1, le=1e5, description="mean events; at most half of the first items each"
    )
    seed: int = Field(1, ge=0, description="another seed is another world of the same character")
    days: int = Field(
        365, ge=1, le=36_500, description="length of the log in days; a year shows drift and new items"
    )
    active_days: float = Field(
        120.0, gt=0, le=1e5, description="mean days that a user stays; people come and go"
    )
    categories: int = Field(
        12, ge=1, le=len(CATEGORIES), description="categories in each domain, the same names"
    )
    category_share: float = Field(0.6, ge=0, lt=1, description="share of item variance between categories")
    new_share: float = Field(
        0.15, ge=0, lt=1, description="share of items born after the start, evenly by week"
    )
    new_boost: float = Field(1.0, ge=0, le=10, description="nats that an item gains at birth: new is hot")
    new_days: float = Field(30.0, gt=0, le=1e5, description="days until 1/e of that gain is left")
    wave: float = Field(0.3, ge=0, le=5, description="nats, mean height of each item's slow wave of fashion")
    wave_days: float = Field(
        365.0, gt=0, le=1e5, description="mean days from crest to crest; fashions turn within the log"
    )


@dataclass(frozen=True, eq=False)
class Truth:
    """What the world knows and the log does not say.

    The next event of user u at time t is item i with probability proportional to `exp(log_appeal[week(t), i]
    + taste * <user_vectors[u], item_vectors[i]>)` over the items that u has not had. Drawing without
    replacement from a multinomial logit is the Plackett-Luce model (Luce 1959, Plackett 1975). With a drift,
    the event after one of item j has `<leads[j], item_vectors[i]>` added in the exponent: a Markov chain,
    whose steps are not likely the other way round.

    With shares, an event is of a domain by the shares of its user, and the item by the same formula among
    those of the domain. Then vectors have one half for each domain, of which the items of the second use
    both, so that their users' tastes in the two domains have the correlation that was asked for; and
    `log_appeal` has the weeks of each domain one below the other, minus infinity for items of another.

    user_vectors: float32 (n_users, rank), standard normal. item_vectors: float32 (n_items, rank), mean zero
    and mean squared length 1, so that the inner product has variance 1 over pairs. log_appeal: float32
    (weeks, n_items), log of base popularity plus trend in nats, -inf before birth. born: int64 (n_items,)
    unix seconds, the start of a week. category: int32 (n_items,) index into CATEGORIES. domain: int32
    (n_items,) index into DOMAINS. leads: float32 (n_items, rank), where each item leads, with the strength of
    the drift; None = no drift. shares: float64 (n_users, domains), None = one choice over both domains.
    """

    user_vectors: F32
    item_vectors: F32
    log_appeal: F32
    born: I64
    category: I32
    domain: I32
    taste: float
    leads: F32 | None = None
    shares: F64 | None = None

    def week(self, time: I64, domain: Array | int = 0) -> I64:
        """int64 (n,): the row of `log_appeal` that holds at each unix second; the last one also after the
        end.

        domain: of each event, where events are of one. A DataError for times before the start of the world.
        """
        if len(time) and time.min() < START:
            raise DataError(
                f"time {time.min()} lies before the start of the world, {START}; give unix seconds."
            )
        if self.shares is None:
            return np.minimum((time - START) // WEEK_S, len(self.log_appeal) - 1)
        weeks = len(self.log_appeal) // self.shares.shape[1]
        row: I64 = np.minimum((time - START) // WEEK_S, weeks - 1) + weeks * np.asarray(domain, np.int64)
        return row


@dataclass(frozen=True, eq=False)
class World:
    """A data set as any other, and the truth behind it."""

    settings: WorldSettings
    dataset: Dataset
    truth: Truth


def make_world(settings: WorldSettings, progress: Progress = silent) -> World:
    """Draws a world: same settings, same bytes, whatever the number of threads.

    Users never get an item twice, nor before its birth. Events of one user that share a second stand in the
    order of drawing. Memory grows with events and with weeks * items, never with users * items. Time grows
    with users * items below 20,000 items; from there on, where each user is drawn by clusters of items, with
    users * clusters and events; with a drift, with events * items.
    """
    truth, second_category = _truth(settings)
    first = truth.born == START
    by_domain = np.bincount(truth.domain[first], minlength=len(DOMAINS))
    most = int(by_domain.sum() if truth.shares is None else by_domain.min()) // 2
    offsets, seconds = draw_schedule(
        settings.users,
        settings.days,
        active_days=settings.active_days,
        events_per_user=settings.events_per_user,
        most=most,
        seed=settings.seed,
    )
    schedule = Schedule(offsets, START + seconds)
    user = np.repeat(np.arange(settings.users, dtype=np.int32), np.diff(schedule.offsets))
    item = _draw(truth, schedule, user, settings.seed, progress)
    events = Interactions.in_order(
        user, item, n_users=settings.users, n_items=settings.items, time=schedule.time
    )
    counts = np.bincount(truth.domain, minlength=len(DOMAINS)).tolist()
    named = zip(DOMAINS, counts, strict=True)
    item_ids = [item_id for name, count in named for item_id in numbered_ids(f"{name[:-1]}-", count, 4)]
    dataset = Dataset(
        f"world-{settings.users}x{settings.items}-seed{settings.seed}"
        + (f"-drift{settings.drift:g}" if settings.drift else "")
        + (f"-shared{settings.shared_taste:g}" if settings.shared_taste is not None else "")
        + (
            f"-both{settings.in_both:g}" if settings.shared_taste is not None and settings.in_both < 1 else ""
        ),
        events,
        IdMap.of(numbered_ids("u", settings.users, 5)),
        IdMap.of(item_ids),
        item_table(truth.domain, truth.category, second_category, settings.seed),
    )
    return World(settings, dataset, truth)


def _truth(settings: WorldSettings) -> tuple[Truth, I32]:
    """The truth, and for each item the category that it leans to besides its own, -1 for none."""
    n, random = settings.items, generator(settings.seed, "world items")
    domain = (np.arange(n) * len(DOMAINS) // n).astype(np.int32)
    category = random.integers(settings.categories, size=n, dtype=np.int32)
    centres = random.standard_normal((settings.categories, settings.rank))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    noise = random.standard_normal((n, settings.rank)) / np.sqrt(settings.rank)
    vectors = (
        np.sqrt(settings.category_share) * centres[category] + np.sqrt(1 - settings.category_share) * noise
    )
    nearness = vectors @ centres.T  # (n, categories)
    own = nearness[np.arange(n), category]
    nearness[np.arange(n), category] = -np.inf
    second = nearness.argmax(axis=1)
    second = np.where(nearness[np.arange(n), second] > np.maximum(own, 0.0), second, -1).astype(np.int32)
    vectors -= vectors.mean(axis=0)
    vectors /= np.sqrt((vectors**2).sum(axis=1).mean())
    log_appeal, birth_week = _appeal(settings)
    born, shares = START + birth_week * WEEK_S, None
    leads = _leads(settings, vectors) if settings.drift else None
    if settings.shared_taste is not None:
        shares = draw_shares(settings.users, settings.in_both, settings.seed)
        log_appeal = np.concatenate(
            [np.where(domain == at, log_appeal, -np.inf) for at in range(len(DOMAINS))]
        )
        vectors = _halves(vectors, domain, settings.shared_taste)
        leads = None if leads is None else np.hstack([leads, np.zeros_like(leads)])
    rank = vectors.shape[1]
    users = generator(settings.seed, "world users").standard_normal((settings.users, rank), dtype=np.float32)
    items = vectors.astype(np.float32)
    return Truth(users, items, log_appeal, born, category, domain, settings.taste, leads, shares), second


def _halves(vectors: F64, domain: I32, shared: float) -> F64:
    """float64 (n_items, 2 * rank): the vectors of the first domain in the first half, those of the second in
    both."""
    second = domain[:, None] == 1
    ours = np.where(second, shared, 1.0) * vectors
    return np.hstack([ours, np.where(second, np.sqrt(1 - shared**2), 0.0) * vectors])


def _leads(settings: WorldSettings, vectors: F64) -> F32:
    """float32 (n_items, rank): the item vectors turned by one rotation for all, so that what an item leads to
    does not lead back. Their inner products with the item vectors have the drift as standard deviation over
    pairs."""
    drawn = generator(settings.seed, "world drift").standard_normal((settings.rank, settings.rank))
    rotation, _ = np.linalg.qr(drawn)
    leads: F32 = (settings.drift * np.sqrt(settings.rank) * vectors @ rotation).astype(np.float32)
    return leads


def _appeal(settings: WorldSettings) -> tuple[F32, I64]:
    """float32 (weeks, n_items) of log base popularity + trend, -inf before birth; int64 (n_items,) week of
    birth."""
    n, weeks = settings.items, -(-settings.days // 7)
    random = generator(settings.seed, "world popularity")
    base = -settings.popularity_exponent * np.log(random.permutation(n) + 1.0)
    birth = np.zeros(n, np.int64)
    if weeks > 1:
        new = random.permutation(n)[: int(settings.new_share * n)]
        birth[new] = random.integers(1, weeks, size=len(new))
    height = settings.wave * random.uniform(0.0, 2.0, n)
    turns, phase = 7 / (settings.wave_days * random.uniform(0.5, 1.5, n)), random.random(n)
    log_appeal = np.empty((weeks, n), np.float32)
    for week, row in enumerate(log_appeal):
        age_days = 7.0 * (week - birth)
        boost = np.where(
            birth > 0, settings.new_boost * np.exp(-np.maximum(age_days, 0) / settings.new_days), 0.0
        )
        row[:] = np.where(
            age_days >= 0, base + boost + height * np.sin(2 * np.pi * (turns * week + phase)), -np.inf
        )
    return log_appeal, birth


def _draw(truth: Truth, schedule: Schedule, user: I32, seed: int, progress: Progress) -> I32:
    """int32 (nnz,): the item of each event, drawn one after the other from the exact probabilities."""
    n_users, n_items = len(truth.user_vectors), len(truth.item_vectors)
    item = np.empty(len(schedule.time), np.int32)
    domain: Array | int = 0
    if truth.shares is not None:
        domain = draw_domains(truth.shares, user, seed)
    week = truth.week(schedule.time, domain)
    keys = generator(seed, "world events").integers(2**64, size=n_users, dtype=np.uint64)
    large = n_items >= _LARGE and truth.leads is None
    if large:
        from recsys.data.planted.clusters import drawer_by_cluster  # numba: loaded where used

        draw = drawer_by_cluster(truth.log_appeal, truth.item_vectors, generator(seed, "world clusters"))
    else:
        from recsys.data.planted.kernels import drawer_by_item

        draw = drawer_by_item(truth.log_appeal, truth.item_vectors, truth.leads)
    step = max(256, -(-n_users // _BLOCKS))
    for first in range(0, n_users, step):
        last = min(first + step, n_users)
        tastes = np.float32(truth.taste) * truth.user_vectors[first:last]
        draw(schedule.offsets[first : last + 1], week, tastes, keys[first:last], item)
        progress(Step("making the world", last, n_users))
    return item
