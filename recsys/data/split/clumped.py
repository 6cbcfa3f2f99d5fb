"""A stretch of each user's time, imitated where a log has no times."""

import numpy as np

from recsys.arrays import F32, I32, I64, Bool
from recsys.data.interactions import Interactions
from recsys.seeding import generator

_DIM, _CLUSTER = (
    64,
    40,
)  # the most directions in which items are like each other, and how many items are a cluster
_POPULAR = 64  # events of an item by whose numbers two sides of a split are compared
_OF_ITEM, _OF_VISIT, _OF_POPULARITY = (
    1.0,
    4.0,
    0.4,
)  # spreads of log odds; docs/experiments.md has how they were found


def excess_variance(learned: I64, judged: I64) -> float:
    """By how much the number of judged events of an item varies more than a draw would have it: 1 = as drawn
    at random, several = as in a stretch of time. NaN without items of many events.

    learned, judged: (n_items,) events of each item on the two sides of a split.
    """
    popular = learned >= _POPULAR
    total, judged = (learned + judged)[popular], judged[popular]
    if not judged.sum():
        return float("nan")
    share = judged.sum() / total.sum()
    return float(np.mean((judged - share * total) ** 2 / (share * (1 - share) * total)))


def draw_clumps(events: Interactions, share: float, *, seed: int) -> Bool:
    """bool (n,): about this share of the events of each user, drawn in clumps, all events of a pair together;
    each user keeps a pair.

    What a user did within a stretch of time is about few things (a journey, a fashion), and these things are
    met more often by others in that stretch too. A part drawn at random has neither property: it flatters
    whatever memorises. So an event is drawn with log odds that vary by item, by cluster of like items, and by
    user and cluster together, and that grow with the logarithm of the item's events. Items are clustered by
    the leading singular vectors of the log.

    `python -m benchmarks.clumped` shows on a log with times that models come in the order of a true stretch
    of time.
    """
    rng = generator(seed, "clumped")
    pairs, pair_of_event = np.unique(
        events.user.astype(np.int64) * events.n_items + events.item, return_inverse=True
    )
    user, item = pairs // events.n_items, pairs % events.n_items
    cluster = _clusters(events, seed)
    visit, of_pair = np.unique(user * events.n_items + cluster[item], return_inverse=True)
    popularity = np.log(np.maximum(np.bincount(item, minlength=events.n_items), 1))
    of_item = _OF_ITEM * (rng.standard_normal(events.n_items) + rng.standard_normal(events.n_items)[cluster])
    odds = (of_item + _OF_POPULARITY * popularity)[item] + _OF_VISIT * rng.standard_normal(len(visit))[
        of_pair
    ]
    order = np.lexsort((-(odds + rng.gumbel(size=len(pairs))), user))
    counts = np.bincount(user, minlength=events.n_users)
    place = np.empty(len(pairs), np.int64)
    place[order] = np.arange(len(pairs)) - np.repeat(np.cumsum(counts) - counts, counts)
    wanted = np.minimum(np.round(share * counts), counts - 1)
    drawn: Bool = (place < wanted[user])[pair_of_event]
    return drawn


def _clusters(events: Interactions, seed: int) -> I32:
    """int32 (n_items,): items that the same users had share a cluster."""
    from sklearn.cluster import MiniBatchKMeans

    from recsys.matrix.spectrum import decompose, degree_normalised

    count = max(1, events.n_items // _CLUSTER)
    _, _, rows = decompose(degree_normalised(events.matrix()), min(_DIM, count), seed=seed)
    unit: F32 = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.float32(1e-12))
    random_state = int(generator(seed, "clumped clusters").integers(2**31))
    return np.asarray(MiniBatchKMeans(count, n_init=3, random_state=random_state).fit_predict(unit), np.int32)
