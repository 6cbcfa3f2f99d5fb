"""An experiment as its file says: arms, phases, whom it is for, and when.

    control = "control"
    hypothesis = "Towers of twice the width bring more plays a week."
    namespace = "home"                         # experiments of one namespace share its people without overlap
    ends = 2027-01-12T00:00:00Z

    [testers]                                  # see this arm whatever else holds, and are never analysed
    u-17 = "wide"

    [arms.wide]                                # what it serves (recsys/experiments/arms.py); else: champion
    bundle = "20261123T020000000000Z-5e6f7a8b"

    [[phases]]                                 # other weights, people or conditions are another phase
    salt = "wide-towers-1"                     # people are drawn anew by each salt
    starts = 2026-12-01T00:00:00Z
    weights = { control = 0.5, wide = 0.5 }
    slots = [0.0, 0.5]                         # the part of the namespace that is asked
    where = { country = ["de", "at"], app = { at_least = 3 } }
    ramp = [{ at = 2026-12-01T00:00:00Z, share = 0.01 }, { at = 2026-12-03T00:00:00Z, share = 1.0 }]

The file's name is that of the experiment.
"""

import json
from bisect import bisect_right
from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from itertools import pairwise
from math import fsum
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from recsys.config import Settings
from recsys.experiments.arms import Arm
from recsys.experiments.targeting import Condition

_NEAR = 1e-9  # by how much weights may miss 1, which floats do


def _second(value: Any) -> Any:
    """Unix seconds of a date with a zone, as TOML or JSON has it."""
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError(f"a moment needs its zone, as in {value.isoformat()}Z")
        return int(value.timestamp())
    return value


Second = Annotated[int, BeforeValidator(_second)]
Salt = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00]+$")]
Share = Annotated[float, Field(ge=0, le=1)]


class Step(Settings):
    """From a moment on, the share of the people of a phase who are in the experiment."""

    at: Second
    share: Share


class Phase(Settings):
    """A time in which weights, people and conditions stay. The next phase, or the experiment's end, ends
    it."""

    salt: Salt
    starts: Second
    weights: dict[str, Annotated[float, Field(gt=0, le=1)]] = Field(min_length=1)
    slots: tuple[Share, Share] = (0.0, 1.0)
    where: dict[str, Condition] = Field(default_factory=dict)
    ramp: tuple[Step, ...] = ()

    @field_validator("weights")
    @classmethod
    def _weights_add_up(cls, weights: dict[str, float]) -> dict[str, float]:
        if abs(fsum(weights.values()) - 1) > _NEAR:
            raise ValueError(f"weights must add up to 1, and these add up to {fsum(weights.values()):.6g}")
        if faulty := [arm for arm in weights if not arm or "\0" in arm]:
            raise ValueError(f"an arm needs a name, and {faulty[0]!r} is none")
        return weights

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.slots[0] < self.slots[1]:
            raise ValueError(
                f"slots must rise, as in [0.0, 0.5], and are [{self.slots[0]:g}, {self.slots[1]:g}]"
            )
        if self.ramp and self.ramp[0].at < self.starts:
            raise ValueError("the ramp begins before the phase starts; its first step may be at the start")
        for one, other in pairwise(self.ramp):
            if not (one.at < other.at and one.share <= other.share):
                raise ValueError(
                    "a ramp must go up, later steps with larger shares: who is in would be thrown out. "
                    "Take people out by a new phase"
                )
        return self

    def share_at(self, second: int) -> float:
        """The share of its people who are in at a moment: 1 without a ramp, 0 before its first step."""
        if not self.ramp:
            return 1.0
        at = bisect_right([step.at for step in self.ramp], second)
        return self.ramp[at - 1].share if at else 0.0


class Experiment(Settings):
    """One experiment. `name` is that of its file. arms: what each serves; who is not named serves the
    champion.

    placement: only lists that are shown there; none = all. assigned: `elsewhere` = requests bring their arm,
    and nobody is assigned here. plan: of the analysis, as `recsys.analysis.plan` reads it.
    """

    name: str = Field(min_length=1, max_length=200, pattern=r"^[^\x00/]+$")
    control: str
    phases: tuple[Phase, ...] = Field(min_length=1)
    ends: Second | None = None
    hypothesis: str = ""
    namespace: str | None = Field(default=None, min_length=1, pattern=r"^[^\x00]+$")
    placement: str | None = Field(default=None, min_length=1, max_length=64)
    testers: dict[str, str] = Field(default_factory=dict)
    arms: dict[str, Arm] = Field(default_factory=dict)
    assigned: Literal["here", "elsewhere"] = "here"
    plan: dict[str, Any] = Field(default_factory=dict)
    hash_version: Literal[1] = 1

    @model_validator(mode="after")
    def _phases_follow(self) -> Self:
        self._refuse_arms()
        for number, phase in enumerate(self.phases, start=1):
            if len(phase.weights) < 2 and self.arm(self.control).interleave is None:
                raise ValueError(f"phase {number} has one arm; only one that interleaves may be alone")
            if self.control not in phase.weights:
                raise ValueError(f"phase {number} has no arm {self.control!r}, which is the control")
            if self.namespace is None and phase.slots != (0.0, 1.0):
                raise ValueError(f"phase {number} has slots, which are part of a namespace; name it")
        for one, other in pairwise(self.phases):
            if one.starts >= other.starts:
                raise ValueError("phases must follow each other: each starts later than the one before")
        if len({phase.salt for phase in self.phases}) < len(self.phases):
            raise ValueError(
                "two phases have one salt, which keeps people in their arms with all that happened to them "
                "there. Give each phase its own"
            )
        if self.ends is not None and self.ends <= self.phases[-1].starts:
            raise ValueError("the experiment ends before its last phase starts")
        for unit, arm in self.testers.items():
            if arm not in self.phases[-1].weights:
                raise ValueError(f"tester {unit!r} is given the arm {arm!r}, which the last phase has not")
        return self

    def _refuse_arms(self) -> None:
        """Raises ValueError where arms are named that nobody gets, or that cannot be merged."""
        weighed = {name for phase in self.phases for name in phase.weights}
        merged = {name for arm in self.arms.values() for name in arm.interleave or ()}
        for name, arm in self.arms.items():
            if name not in weighed | merged:
                raise ValueError(f"arm {name!r} has no weight in any phase, and nobody merges its list")
            for part in arm.interleave or ():
                if self.arm(part).interleave is not None or self.arm(part).explore is not None:
                    raise ValueError(
                        f"arm {name!r} merges the list of {part!r}, which itself merges or explores"
                    )

    def arm(self, name: str) -> Arm:
        """What an arm serves."""
        return self.arms.get(name, Arm())

    @property
    def arm_names(self) -> list[str]:
        """Every arm that serves a list, in a phase or merged into another's."""
        weighed = [name for phase in self.phases for name in phase.weights]
        return list(
            dict.fromkeys([*weighed, *(part for arm in self.arms.values() for part in arm.interleave or ())])
        )

    def phase_at(self, second: int) -> int:
        """The number of the phase that runs at a moment, from 0; -1 before the first, and at or after the
        end."""
        if self.ends is not None and second >= self.ends:
            return -1
        return bisect_right([phase.starts for phase in self.phases], second) - 1

    def spans(self) -> list[tuple[int, float]]:
        """(start, end) of each phase in unix seconds; the last ends at infinity where no end is set."""
        ends = [
            *(phase.starts for phase in self.phases[1:]),
            float("inf") if self.ends is None else self.ends,
        ]
        return [(phase.starts, end) for phase, end in zip(self.phases, ends, strict=True)]

    @property
    def digest(self) -> str:
        """Changes with whatever the definition says."""
        return sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()[:16]


class Holdout(Settings):
    """People who are in no experiment that starts while it lasts, so that all of them together can be
    judged."""

    name: str = Field(min_length=1)
    salt: Salt
    share: Annotated[float, Field(gt=0, lt=1)]
    starts: Second
    ends: Second | None = None

    def holds(self, starts: int) -> bool:
        """Whether an experiment whose first phase starts then is kept from these people."""
        return self.starts <= starts and (self.ends is None or starts < self.ends)


class Holdouts(Settings):
    """What `holdouts.toml` beside the experiments says."""

    holdouts: tuple[Holdout, ...] = ()


class Experiments(NamedTuple):
    """All experiments by name, and the holdouts."""

    by_name: Mapping[str, Experiment]
    holdouts: tuple[Holdout, ...] = ()
