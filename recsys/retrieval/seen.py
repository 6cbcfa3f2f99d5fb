"""The seen policy: what a user had before, and when it may be answered again. The same in evaluation and
service."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from pydantic import Field, model_validator

from recsys.arrays import I32, I64, Ragged
from recsys.config import Settings
from recsys.encoders.users import Users
from recsys.errors import ModelError, SettingError
from recsys.history import DAY_S

# seconds after an event until it is forgotten
_FOREVER, _NEVER = np.iinfo(np.int64).max, np.iinfo(np.int64).min


class SeenRule(Settings):
    """How long an event keeps its item out of the answers. A plain string stands for `policy`."""

    policy: Literal["exclude", "allow", "cooldown_days"] = Field(
        "exclude",
        description="items had before: exclude = never again; allow = at once; cooldown_days = after so "
        "many days",
    )
    days: float | None = Field(None, gt=0, description="with cooldown_days: days since the event; no default")

    @model_validator(mode="before")
    @classmethod
    def _of_a_word(cls, given: Any) -> Any:
        return {"policy": given} if isinstance(given, str) else given

    @model_validator(mode="after")
    def _has_days(self) -> "SeenRule":
        if (self.policy == "cooldown_days") != (self.days is not None):
            raise ValueError(
                "days goes with policy = 'cooldown_days', and with that alone; set both or neither"
            )
        return self

    @property
    def limit_s(self) -> int:
        """Seconds after an event during which its item is not answered."""
        if self.days is not None:
            return round(self.days * DAY_S)
        return _FOREVER if self.policy == "exclude" else _NEVER


class DomainRule(SeenRule):
    """A rule, and how it depends on the event."""

    events: tuple[str, ...] | dict[str, SeenRule] = Field(
        (),
        description=(
            "a list: the only event types that count, none = all; a table: a rule for each type named"
        ),
    )

    def limits_s(self, names: tuple[str, ...]) -> I64:
        """int64 (len(names) + 1,): the limit by event type; the last, for an event of unknown type, is the
        longest."""
        unknown = [name for name in self.events if name not in names]
        if unknown:
            known = ", ".join(names) or "none"
            raise SettingError(
                f"seen.events names {unknown[0]!r}, which the data do not have; theirs are: {known}."
            )
        limits = [self._limit_s(name) for name in names] or [self.limit_s]
        return np.array([*limits, max(limits)][-len(names) - 1 :], np.int64)

    def _limit_s(self, name: str) -> int:
        if isinstance(self.events, dict):
            return self.events.get(name, self).limit_s
        return self.limit_s if not self.events or name in self.events else _NEVER

    def ever_returns(self, event: str | None) -> bool:
        """Whether an item may be answered again to somebody who had it by an event of this type; None = of
        any type."""
        if event is not None:
            return self._limit_s(event) != _FOREVER
        named = self.events.values() if isinstance(self.events, dict) else ()
        only_some = not isinstance(self.events, dict) and bool(self.events)
        return only_some or any(rule.limit_s != _FOREVER for rule in (self, *named))


class SeenSettings(DomainRule):
    """The seen policy of a run, as `seen = "exclude"` or a table `[seen]` states it."""

    domains: dict[str, DomainRule] = Field(
        {}, description="rules for items of these domains, in place of the general"
    )

    @classmethod
    def of(cls, stated: "str | Mapping[str, Any] | SeenSettings") -> "SeenSettings":
        """From what a manifest or a caller states."""
        if isinstance(stated, SeenSettings):
            return stated
        return cls.build({"policy": stated} if isinstance(stated, str) else stated, where="the seen policy")

    @property
    def stated(self) -> str | dict[str, Any]:
        """What a manifest says: one word where that is all."""
        return self.policy if self.simple else self.model_dump(mode="json", exclude_defaults=True)

    @property
    def simple(self) -> bool:
        """Whether neither times nor event types nor domains matter."""
        return not self.events and not self.domains and self.policy != "cooldown_days"


@dataclass(frozen=True, eq=False)
class SeenPolicy:
    """A seen policy for the items and event types of one data set.

    limits_s: int64 (domains with a rule + 1, event types + 1), seconds. domain: int32 (n_items,), row of each
    item.
    """

    limits_s: I64
    domain: I32

    def forbidden_items(self, users: Users) -> Ragged:
        """Rows of the items that each user may not be answered at `users.now`.

        An event of unknown type counts as the type with the longest limit; one later than now counts. Raises
        ModelError where a limit is in days and the events have no times, or it is not said when the question
        is asked.
        """
        past = users.history
        untyped = past.event is None or self.limits_s.shape[1] == 1
        event = np.full(len(past), -1) if untyped else past.event
        limits = self.limits_s[self.domain[past.items.values], event]
        if not self._by_time:
            return past.items.keep(limits == _FOREVER)
        if past.time is None or users.now is None:
            missing = "the times of the history" if past.time is None else "`now`"
            raise ModelError(
                f"the seen policy counts days and needs {missing}; give them, or set seen to exclude."
            )
        age = users.now[past.items.row_of_value()] - past.time
        return past.items.keep(age < limits)

    @cached_property
    def _by_time(self) -> bool:
        return bool(((self.limits_s != _FOREVER) & (self.limits_s != _NEVER)).any())


def seen_policy(
    stated: str | Mapping[str, Any] | SeenSettings,
    n_items: int,
    event_names: tuple[str, ...] = (),
    domains: Mapping[str, I32] | None = None,
) -> str | SeenPolicy:
    """What a Recommender obeys: "exclude", "allow", or the policy for these event types and items by domain.

    Raises SettingError where it names an event type or a domain that the data do not have.
    """
    settings = SeenSettings.of(stated)
    if settings.simple:
        return settings.policy
    known = domains or {}
    unknown = sorted(set(settings.domains) - set(known))
    if unknown:
        names = ", ".join(sorted(known)) or "none"
        raise SettingError(
            f"seen.domains names {unknown[0]!r}, which the data do not have; theirs are: {names}."
        )
    domain = np.full(n_items, len(settings.domains), np.int32)
    for row, name in enumerate(settings.domains):
        domain[known[name]] = row
    rules = [*settings.domains.values(), settings]
    return SeenPolicy(np.stack([rule.limits_s(event_names) for rule in rules]), domain)
