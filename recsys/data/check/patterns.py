"""Patterns over many events that a sound log seldom shows; each function returns its findings, all of them
warnings."""

from datetime import UTC, datetime

import numpy as np

from recsys.arrays import F64, I64, Array, Bool
from recsys.data.check.findings import Finding, whole
from recsys.history import DAY_S

HOUR_S = 3_600

_BOT_HOUR = 1_200  # events of one user in an hour: one every three seconds, the whole hour long
_BOT_EVENTS = 1_000  # and at least so many in all, for the rule against the other users
_BOT_TIMES = 20  # times the 99th percentile of users
_SWAPPED_TIMES, _SWAPPED_SHARE = (
    1.5,
    0.05,
)  # real logs, the right way round: .04 to .56 times as many bursts of items
_SAMPLE_EVENTS = 1_000_000
_LONELY_SHARE = 0.5
_JUMP_TIMES = 5.0  # times more or fewer events than the days around
_JUMP_EVENTS = 100  # a day's neighbours must have so many for its own count to say anything
_JUMP_USUAL = 6.0  # and so many times the usual distance (in logarithms) of a day from those around
_NEIGHBOURS = 7  # days on either side
_NAMES = {
    "user": ("user", "visitor", "customer", "client", "member", "account", "person", "uid"),
    "item": ("item", "product", "article", "movie", "film", "book", "song", "track", "sku", "video"),
}


def find_swapped(
    user: Array,
    item: Array,
    n_users: int,
    n_items: int,
    seconds: Array | None,
    user_name: str,
    item_name: str,
) -> list[Finding]:
    """Whether the column of users looks like one of items, and the other way round.

    By name, and by bursts: a person's events come in sittings, so that the next event of the same user is
    near in time far more often than the next event of the same item would be, its number of events given.
    """
    fix = "Exchange --user-col and --item-col, if this is so."
    if _names_kind(user_name, "item") and _names_kind(item_name, "user"):
        said = f"is read as the users and named like items, {item_name!r} the other way round"
        return [whole("warning", "swapped_columns", user_name, said, fix)]
    if seconds is None or len(user) < 1_000:
        return []
    of_users, of_items = burstiness(user, n_users, seconds), burstiness(item, n_items, seconds)
    if of_items < _SWAPPED_TIMES * max(of_users, _SWAPPED_SHARE):
        return []
    said = (
        f"may hold items and {item_name!r} users: {of_items:.0%} of the events of one {item_name!r} follow "
        f"each other closely, as a person's do, and {of_users:.0%} of those of one {user_name!r}"
    )
    return [whole("warning", "swapped_columns", user_name, said, fix)]


def burstiness(who: Array, n: int, seconds: Array) -> float:
    """Share of gaps between two successive events of one `who` that are below a hundredth of what its rate
    implies.

    An even stream has 1 % of such gaps, whatever its rate (gaps are exponential); one in sittings has many.
    Of a long log only so many are looked at as have about a million events.
    """
    share = min(1.0, _SAMPLE_EVENTS / max(len(who), 1))
    if share < 1:
        chosen = (np.random.default_rng(0).random(n) < share)[who]
        who, seconds = who[chosen], seconds[chosen]
    order = np.lexsort((seconds, who))
    who, seconds = who[order], seconds[order]
    counts = np.bincount(who, minlength=n)
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    enough = counts >= 5
    if not enough.any():
        return 0.0
    span = np.zeros(n)
    last = (starts + counts - 1)[enough]
    span[enough] = seconds[last] - seconds[starts[enough]]
    inside = (who[1:] == who[:-1]) & enough[who[1:]]
    gaps = np.diff(seconds)[inside]
    mean = span[who[1:][inside]] / (counts[who[1:][inside]] - 1)
    return float((gaps < mean / 100).mean()) if len(gaps) else 0.0


def _names_kind(column: str, kind: str) -> bool:
    return any(word in column.lower() for word in _NAMES[kind])


def find_bots(user: Array, n_users: int, seconds: Array | None) -> Bool:
    """(n_users,): who acts faster than a person can, or many times as much as nearly everybody else.

    user: of each event; seconds: its time, None = there is none."""
    counts = np.bincount(user, minlength=n_users)
    usual = np.quantile(counts[counts > 0], 0.99)
    robot = (counts >= _BOT_EVENTS) & (counts > _BOT_TIMES * usual)
    if seconds is not None:
        busy = np.flatnonzero(counts >= _BOT_HOUR)
        chosen = np.isin(user, busy) if len(busy) else np.zeros(len(user), bool)
        hours = np.sort(user[chosen].astype(np.int64) * (1 << 40) + seconds[chosen] // HOUR_S)
        starts = np.flatnonzero(np.diff(hours, prepend=-1))
        fast = hours[starts[np.diff(np.append(starts, len(hours))) >= _BOT_HOUR]] >> 40
        robot[fast] = True
    return robot


def bots(user: Array, n_users: int, seconds: Array | None, row: I64, name: str) -> list[Finding]:
    """Who `find_bots` finds, as a warning. row: of each event in its table."""
    robot, counts = find_bots(user, n_users, seconds), np.bincount(user, minlength=n_users)
    if not robot.any():
        return []
    first = int(row[robot[user]].min()) + 1
    share = counts[robot].sum() / len(user)
    said = (
        f"users act faster than a person or {_BOT_TIMES} times as much as 99 % of users ({share:.1%} of "
        "all events)"
    )
    fix = "Robots, test accounts or a default id? Leave these users out: prepare.bots=drop"
    return [Finding("warning", "bot", name, int(robot.sum()), int((counts > 0).sum()), first, said, fix)]


def lonely(who: Array, n: int, name: str, what: str) -> list[Finding]:
    """Whether most users (or items) have a single event."""
    counts = np.bincount(who, minlength=n)
    single, all_ = int((counts == 1).sum()), int((counts > 0).sum())
    if single <= _LONELY_SHARE * all_ or all_ < 10:
        return []
    fix = {
        "users": (
            "They can be served by their one event but not judged; is the id that of a session or a cookie?"
        ),
        "items": "Nothing can be learned of them; is the id that of a variant or an offer?",
    }[what]
    return [
        Finding("warning", f"one_event_{what}", name, single, all_, None, f"{what} have a single event", fix)
    ]


def jumps(seconds: Array, row: I64, name: str) -> list[Finding]:
    """Days with five times more or fewer events than the days around them, empty days included."""
    day = seconds // DAY_S
    first = int(day.min())
    counts = np.bincount(day - first).astype(float)
    if len(counts) < 2 * _NEIGHBOURS + 1 or len(counts) > 10**6:
        return []
    around = _around(counts)
    inner = np.ones(len(counts), bool)
    inner[[0, -1]] = False  # the first and the last day are seldom whole
    times = np.abs(
        np.log((counts + 1) / (around + 1))
    )  # a log that is uneven every day jumps only where it is more so
    usual = (
        float(np.median(times[inner & (around >= _JUMP_EVENTS)]))
        if (inner & (around >= _JUMP_EVENTS)).any()
        else 0
    )
    odd = inner & (around >= _JUMP_EVENTS) & (times > max(np.log(_JUMP_TIMES), _JUMP_USUAL * usual))
    if not odd.any():
        return []
    worst = int(np.flatnonzero(odd)[0])
    held = np.flatnonzero(day - first == worst)
    date = datetime.fromtimestamp((first + worst) * DAY_S, UTC).strftime("%Y-%m-%d")
    said = (
        f"days have {_JUMP_TIMES:g} times more or fewer events than the days around, the first of them "
        f"{date} ({counts[worst]:,.0f} beside {around[worst]:,.0f})"
    )
    fix = (
        "Did the logging break, or was a day loaded twice? Popularity windows and the split by time feel it."
    )
    at = int(row[held].min()) + 1 if len(held) else None
    return [Finding("warning", "jump", name, int(odd.sum()), len(counts), at, said, fix)]


def _around(counts: F64) -> F64:
    """Median of the seven days before and after each day, without itself."""
    padded = np.pad(counts, _NEIGHBOURS, constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * _NEIGHBOURS + 1)
    others = np.delete(windows, _NEIGHBOURS, axis=1)
    return np.asarray(np.nanmedian(others, axis=1))
