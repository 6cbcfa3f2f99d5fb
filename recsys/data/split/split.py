"""Splits the events of a data set into a part to learn from and parts to judge on, by the protocol that is
asked for.

The global time split is the default: it asks everybody for the future from the past alone.
"""

from dataclasses import replace

from recsys.data.dataset import Dataset
from recsys.data.split.audit import refuse_leaks
from recsys.data.split.candidates import drawn_candidates
from recsys.data.split.cuts import SPLITS
from recsys.data.split.holdout import Holdout, Split, SplitSettings
from recsys.errors import DataError


def split(data: Dataset, settings: SplitSettings, *, seed: int) -> Split:
    """The split that the settings ask for, audited: a leak is an error unless `allow_leaks`.

    A protocol that is not by time leaks by its nature, as its title says, and is not judged by time. Raises
    DataError where the data cannot be split so, with the reason.
    """
    kind = settings.kind
    if kind == "auto":
        kind = "global_time" if data.interactions.time is not None else "published"
    if kind.startswith("published") and data.published is None:
        raise DataError(
            f"{data.name} has neither timestamps nor a published split. Name its column of times "
            f"(--time-col), or add a column `split` (train, valid, test); where the order of the rows is "
            f"that of the events, use split.kind=leave_last_out; where there is no order, split.kind=random."
        )
    if kind in ("global_time", "later_half") and data.interactions.time is None:
        raise DataError(
            f"split kind {kind!r} needs timestamps, and {data.name} has none. Use split.kind=published, or "
            "leave_last_out where the order of the rows is that of the events."
        )
    if settings.absolute and kind != "global_time":
        raise DataError(
            f"split.test_from, split.test_days and split.validation_from are of split.kind=global_time; "
            f"this split of {data.name} is {kind!r}. Leave them out, or name its column of times and cut "
            "by time."
        )
    if not settings.learn_validation and kind in ("global_time", "later_half"):
        raise DataError(
            "split.learn_validation=false is of split.kind=published, published_candidates, random and "
            f"leave_last_out; this split of {data.name} is {kind!r}. Leave it out, or name the kind."
        )
    parts = SPLITS[kind](data, settings, seed)
    refuse_leaks(
        parts,
        repeats=settings.repeats,
        learn_validation=settings.learn_validation,
        allow=settings.allow_leaks,
    )
    return _among_drawn(parts, data, settings.candidates, seed) if settings.candidates else parts


def _among_drawn(parts: Split, data: Dataset, count: int, seed: int) -> Split:
    """The same questions, asked among drawn items only."""

    def ask_among(holdout: Holdout) -> Holdout:
        return replace(holdout, among=drawn_candidates(data, holdout.had, holdout.targets, count, seed=seed))

    test = ask_among(parts.test)
    return Split(
        (
            f"{parts.title}; ranked among {_drawn_said(test, count)} and not all: compare within this "
            "protocol only"
        ),
        ask_among(parts.validation),
        test,
    )


def _drawn_said(test: Holdout, count: int) -> str:
    """How many items were drawn for a user, where some have fewer unseen ones than were asked for."""
    assert test.among is not None
    counts = test.among.lengths - test.targets.lengths
    least, most = int(counts.min()), int(counts.max())
    if least == count:
        return f"{count:,} drawn unseen items"
    drawn = f"{most:,}" if least == most else f"{least:,} to {most:,}"
    return f"{drawn} drawn unseen items ({count:,} were asked for, and there are no more)"
