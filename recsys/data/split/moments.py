"""The two moments of a split by time: where the part to tune on begins, and the part to judge on."""

from datetime import datetime

import numpy as np

from recsys.arrays import I32, I64, Array, Bool
from recsys.data.split.audit import find_keys
from recsys.data.split.holdout import SplitSettings
from recsys.errors import DataError
from recsys.history import DAY_S
from recsys.text import utc_text


def two_moments(name: str, time: I64, settings: SplitSettings) -> tuple[int, int, int]:
    """The unix seconds at which the validation part begins, the test part, and at which the test part has
    ended.

    time: (n,) unix seconds of the events, ascending at least at the first, the last, and the places of
    `shares`.
    """
    first, last = int(time[0]), int(time[-1])
    at_validation, at_test = (moment_of_share(time, share) for share in shares(settings))
    days_s = None if settings.test_days is None else round(settings.test_days * DAY_S)
    end = last + 1
    if settings.test_from is not None:
        at_test = _second(settings.test_from)
        end = end if days_s is None else at_test + days_s
    elif days_s is not None:
        at_test = end - days_s
    if settings.validation_from is not None:
        at_validation = _second(settings.validation_from)
    elif settings.absolute:
        before = time[: np.searchsorted(time, at_test)]
        at_validation = moment_of_share(before, 1 - settings.validation) if len(before) else at_test
    if first < at_validation < at_test <= last:
        return at_validation, at_test, end
    if settings.absolute:
        raise DataError(
            f"{name} has events from {utc_text(first)} to {utc_text(last)}; tuning from "
            f"{utc_text(at_validation)} and judging from {utc_text(at_test)} leaves a part empty. Choose "
            f"split.validation_from < split.test_from within that time, or fewer split.test_days."
        )
    raise DataError(
        f"{name} is too small or too short in time to cut twice: {len(time):,} events in "
        f"{last - first:,} seconds. Bring more, or choose larger parts (split.test, split.validation)."
    )


def shares(settings: SplitSettings) -> tuple[float, float]:
    """The shares of the events before the validation part and before the test part."""
    return 1 - settings.test - settings.validation, 1 - settings.test


def _second(moment: datetime) -> int:
    return int(np.ceil(moment.timestamp()))


def moment_of_share(time: I64, share: float) -> int:
    """The unix second before which this share of the events lies. time: (n,) ascending."""
    place = (len(time) - 1) * share
    below = int(place)
    return int(np.ceil(np.quantile(time[below : below + 2], place - below)))


def refuse_global_time(name: str, user: I32, item: I32, time: I64) -> None:
    """Raises the DataError of the default split of these events, in any order, much sooner than it is
    made."""
    settings, last = SplitSettings(), len(time) - 1
    places = [int(last * share) for share in shares(settings)]
    needed = sorted({0, last, *places, *(min(place + 1, last) for place in places)})
    at_validation, at_test, _ = two_moments(name, np.partition(time, needed), settings)
    later = time >= at_test
    before = time < at_validation
    for past, future in ((before, ~(before | later)), (~later, later)):
        if not _asks_for_something_new(user, item, past, np.flatnonzero(future)):
            raise DataError(nothing_asked(name, settings.repeats))


def _asks_for_something_new(user: I32, item: I32, past: Bool, future: Array) -> bool:
    """Whether anybody has an item later that they had not before; a few of the later events mostly tell.

    past: (n,) which events are earlier; future: the places of later ones.
    """
    n_items = int(item.max()) + 1
    for some in (future[:100], future[100:]):
        who = np.zeros(int(user.max()) + 1, bool)
        who[user[some]] = True
        own = np.flatnonzero(past & who[user])
        asked, had = (user[at].astype(np.int64) * n_items + item[at] for at in (some, own))
        if not find_keys(np.unique(asked), [had]).all():
            return True
    return False


def nothing_asked(name: str, repeats: bool) -> str:
    """The sentence of a split that has no question."""
    return (
        f"{name}: no user has anything to be asked for{'' if repeats else ' that is new to them'}. "
        "Choose an earlier cut, count repeats, or bring more data."
    )
