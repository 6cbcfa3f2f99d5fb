"""The question that a split asks: what is learned from, what is judged on, and what each user had done
before."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from recsys.arrays import I32, Array, Bool, Ragged
from recsys.config import Settings
from recsys.data.dataset import Dataset
from recsys.history import Histories

KINDS = ("global_time", "later_half", "leave_last_out", "published", "published_candidates", "random")
Kind = Literal[
    "auto", "global_time", "later_half", "leave_last_out", "published", "published_candidates", "random"
]


class SplitSettings(Settings):
    """Settings of a split."""

    kind: Kind = Field(
        "auto",
        description="auto | "
        + " | ".join(KINDS)
        + "; auto: by time where there are times, else as published",
    )
    validation: float = Field(
        0.1,
        gt=0,
        lt=1,
        description="global_time: share of events before the test part to tune on; random: of the rest",
    )
    test: float = Field(
        0.1,
        gt=0,
        lt=1,
        description="global_time: share of events, the latest, to judge on; random: share of each user's "
        "items",
    )
    test_from: datetime | None = Field(
        None,
        description="global_time: the moment at which the test part begins, in place of `test`: 2026-01-31, "
        "2026-01-31T12:00:00Z or unix seconds; UTC where no zone is named",
    )
    test_days: float | None = Field(
        None,
        gt=0,
        description="global_time: the test part is the last so many days, or so many from test_from on (what "
        "follows is left out)",
    )
    validation_from: datetime | None = Field(
        None,
        description="global_time: the moment at which the part to tune on begins; none = with test_from or "
        "test_days, `validation` is the share of the events before the test part",
    )
    cut: float = Field(
        0.6, gt=0, lt=1, description="later_half: share of events, the earliest, to learn from"
    )
    clumped: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="published, random: tune on this share of each user's training events, drawn in clumps "
        "like a stretch of time; 0 = on the published part, or on a tenth drawn at random",
    )
    learn_validation: bool = Field(
        True,
        description="published, random, leave_last_out: the model judged on test has learned from the "
        "validation part too; false = from train alone, as in published tables, and validation stands in "
        "the histories only",
    )
    candidates: int = Field(
        0,
        ge=0,
        description="rank targets among so many drawn unseen items of their domain; 0 = among all items",
    )
    allow_leaks: bool = Field(False, description="go on where the audit of the split finds that it leaks")
    repeats: bool = Field(False, description="count targets that the user had before; goes with seen = allow")

    @property
    def absolute(self) -> bool:
        """Whether a moment or a number of days is asked for."""
        return any(one is not None for one in (self.test_from, self.test_days, self.validation_from))

    @field_validator("test_from", "validation_from", mode="after")
    @classmethod
    def _at_utc(cls, moment: Any) -> Any:
        if moment is None:
            return None
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)

    @field_validator("test")
    @classmethod
    def _leaves_something(cls, test: float, info: ValidationInfo) -> float:
        validation = info.data.get("validation", 0.0)
        if test + validation >= 1:
            raise ValueError(
                f"with validation = {validation} nothing is left to learn from; their sum must be below 1"
            )
        return test


@dataclass(frozen=True, eq=False)
class Holdout:
    """One question with its answer: learn from `train`, recommend to users with this history, compare with
    `targets`.

    user: int32 (n,) users in the data set's numbering. history: n rows of all their earlier events, those
    left out of learning too. known: (n,) whether the learner saw the user. targets: rows of distinct items.
    now: unix second at which the question is asked, or None without times. among: rows of the only items to
    rank, or None where all items are ranked.
    """

    train: Dataset
    user: I32
    history: Histories
    known: Array
    targets: Ragged
    now: int | None
    among: Ragged | None = None

    @property
    def had(self) -> Ragged:
        """The items of each history that no target repeats. Where the split asks for events of one type, only
        those of that type."""
        return self.train.judged_items(self.history)

    @property
    def fresh(self) -> Bool:
        """(n,): whose history holds more to learn from than the learner saw of them."""
        fresh: Bool = self.history.counting().lengths > self.train.interactions.user_counts()[self.user]
        return fresh

    @property
    def warm(self) -> Bool:
        """(n,): who brings a history that something can be said from; the others get the fallback from every
        model."""
        return self.history.counting().lengths > 0

    def take(self, rows: Array) -> "Holdout":
        """The same question about some of the users."""
        return replace(
            self,
            user=self.user[rows],
            history=self.history.take(rows),
            known=self.known[rows],
            targets=self.targets.take(rows),
            among=None if self.among is None else self.among.take(rows),
        )


@dataclass(frozen=True, eq=False)
class Split:
    """A holdout to tune on and one to judge on, once. title: says which protocol this is, and what it
    leaks."""

    title: str
    validation: Holdout
    test: Holdout
