"""People whose taste is known: when they come, come back, click and buy.

They arrive in cohorts, more on some days than on others, come back at a pace of their own whatever they are
shown, look at a place of a list the less probably the farther down it is, click on an item by their taste,
and buy now and then after a click. So the expected clicks of a list are known, and with them the effect of
any change of lists.
"""

from dataclasses import dataclass

import numpy as np

from recsys.arrays import F32, F64, I64
from recsys.history import DAY_S
from recsys.seeding import generator

LOOKS = 0.2  # a place is looked at with the probability 1 / (1 + 0.2 (place - 1))
LEVEL, STRENGTH = -2.5, 1.2  # of a click on what is looked at: logistic(LEVEL + STRENGTH <person, item>)
BUYS, WORTH = 0.04, (3.0, 0.6)  # of a click; log-normal
AWAY_DAYS = 3.0  # mean time until somebody comes back, over all people
PACE = 3.0  # shape of the gamma distribution of people's own paces: the smaller, the more they differ
WEEK = (1.0, 0.9, 0.9, 0.95, 1.1, 1.3, 1.2)  # how many arrive on the days of a week


@dataclass(frozen=True, eq=False)
class People:
    """vectors: float32 (n, rank), their tastes; items: float32 (n_items, rank). pace: (n,), visits a day."""

    vectors: F32
    items: F32
    pace: F64

    def __len__(self) -> int:
        return len(self.vectors)

    def chances(self, person: I64, lists: I64) -> F64:
        """(n, k): how probably each item of a list (n, k) is clicked by its person (n,); an item of -1 never
        is."""
        affinity = np.einsum("nd,nkd->nk", self.vectors[person], self.items[np.maximum(lists, 0)])
        looked = 1 / (1 + LOOKS * np.arange(lists.shape[1]))
        clicked: F64 = looked / (1 + np.exp(-(LEVEL + STRENGTH * affinity.astype(np.float64))))
        return np.where(lists < 0, 0.0, clicked)


def draw_people(vectors: F32, items: F32, seed: int) -> People:
    """The people of a world, with paces."""
    pace = generator(seed, "simulated paces").gamma(PACE, 1 / (PACE * AWAY_DAYS), len(vectors))
    return People(vectors, items, pace)


def draw_visits(people: People, start: int, days: int, stay_days: int, seed: int) -> tuple[I64, I64]:
    """(person, second) of every visit, in the order of time: everybody arrives on one of `days` days after
    `start`, and then comes back by their pace until `stay_days` after the last of these."""
    rng = generator(seed, "simulated visits")
    weight = np.array([WEEK[day % 7] for day in range(days)])
    day = rng.choice(days, len(people), p=weight / weight.sum())
    first = start + day * DAY_S + rng.integers(0, DAY_S, len(people))
    end = start + (days + stay_days) * DAY_S
    again = rng.poisson(people.pace * (end - first) / DAY_S)
    person = np.concatenate([np.arange(len(people)), np.repeat(np.arange(len(people)), again)])
    later = np.repeat(first, again) + (rng.random(int(again.sum())) * np.repeat(end - first, again)).astype(
        np.int64
    )
    second = np.concatenate([first, later])
    order = np.lexsort((person, second))
    return person[order], second[order]


def draw_clicks(chances: F64, rng: np.random.Generator) -> tuple[I64, I64]:
    """(row, place) of each click on lists with these chances (n, k)."""
    row, place = np.nonzero(rng.random(chances.shape) < chances)
    return row, place


def draw_buys(clicks: int, rng: np.random.Generator) -> tuple[I64, F64]:
    """Which of so many clicks are followed by buying, and what each is worth."""
    bought = np.flatnonzero(rng.random(clicks) < BUYS)
    return bought, rng.lognormal(*WORTH, len(bought))
