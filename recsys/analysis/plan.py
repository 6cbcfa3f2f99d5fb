"""What an analysis asks, fixed before the answer is seen: arms, metrics with their windows, and when it ends.

control = "control"
weights = { control = 0.5, wide = 0.5 }
people = 20000                # with complete windows, all arms together: `recsys ab plan` says how many
ends = 2026-12-29T00:00:00Z

[[metrics]]
name = "plays"
event = "play"
role = "primary"
mde = 0.02

[[metrics]]
name = "skips a list"
event = "skip"
per = "exposures"
role = "guardrail"
better = "lower"
margin = 0.05
"""

from math import fsum
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from recsys.config import Settings, read_toml
from recsys.errors import SettingError
from recsys.experiments.definition import Second
from recsys.history import DAY_S
from recsys.text import did_you_mean

Role = Literal["primary", "guardrail", "exploratory"]
EXPOSURES = "exposures"  # what a ratio may be per, beside events: each list that was shown


class Metric(Settings):
    """One figure per person over a window that is as long for everybody, or a ratio of two."""

    name: str = Field(min_length=1, description="As reports call it.")
    event: str | None = Field(default=None, description="Events of this type; none = of all types.")
    value: Literal["count", "sum", "any"] = Field(
        default="count",
        description="Of a person's events: how many, the sum of the column `value`, or whether there is one.",
    )
    per: str | None = Field(
        default=None,
        description="For a ratio: `exposures`, or the type of event to divide by; none = per person.",
    )
    role: Role = Field(
        default="exploratory",
        description=(
            "What it decides: primary metrics decide, guardrails must not be lost, exploratory ones are "
            "shown."
        ),
    )
    better: Literal["higher", "lower"] = Field(default="higher", description="Which way is good.")
    margin: float = Field(
        default=0.02, gt=0, lt=1, description="Of a guardrail: the share of the control that may be lost."
    )
    mde: float = Field(
        default=0.02, gt=0, description="The smallest effect that matters, as a share of the control."
    )
    cap: float | None = Field(
        default=None, gt=0, description="A person's figure above it counts as this; none = no cap."
    )
    covariate: str | None = Field(
        default=None,
        description="A column of the table of people in place of the same figure before the first exposure.",
    )


class Columns(Settings):
    """Your names of columns, where they are others."""

    unit: str | None = Field(default=None, description="The person; default unit_id, else user_id.")
    time: str | None = Field(
        default=None, description="Of both tables; default timestamp, else time_ms in milliseconds."
    )
    arm: str | None = Field(default=None, description="Default arm, else variation_id.")
    experiment: str | None = Field(default=None, description="Default experiment, else experiment_id.")
    event: str | None = Field(
        default=None, description="The type of an outcome; default event, else event_type."
    )
    value: str | None = Field(default=None, description="What an outcome is worth; default value.")
    differs: str | None = Field(
        default=None,
        description="Whether the arms' lists would have differed (triggered analysis); default differs.",
    )


class Plan(Settings):
    """The plan of an analysis. Whatever is changed once results were seen makes its verdict worth less."""

    control: str = Field(description="The arm that the others are held against.")
    weights: dict[str, Annotated[float, Field(gt=0, lt=1)]] = Field(
        min_length=2, description="Each arm's share of people, as they were assigned."
    )
    metrics: tuple[Metric, ...] = Field(min_length=1, description="What is measured.")
    experiment: str | None = Field(default=None, description="Of a table of several experiments, which one.")
    phase: str | None = Field(
        default=None, description="Of a table of several phases, which one: each draws anew."
    )
    people: int | None = Field(
        default=None,
        ge=1_000,
        description=(
            "People with complete windows at the planned end, all arms together; none = no end by people."
        ),
    )
    ends: Second | None = Field(default=None, description="When it ends, whoever has come by then.")
    window_days: float = Field(
        default=7, gt=0, description="How long a person's events count, from their first exposure."
    )
    past_days: float = Field(
        default=28, ge=0, description="How far back the same figures are read for CUPED; 0 = no CUPED."
    )
    settle_hours: float = Field(
        default=0,
        ge=0,
        description="How late an outcome may arrive: people count once this has passed, later ones do not.",
    )
    min_days: int = Field(
        default=7, ge=1, description="Nothing is decided before people came on so many days."
    )
    alpha: float = Field(
        default=0.05, gt=0, lt=0.5, description="The error over all primary metrics and all looks."
    )
    least_people: int = Field(
        default=100, ge=10, description="In each arm, before anything is said of effects."
    )
    least_active: int = Field(
        default=20, ge=1, description="People in each arm with a figure other than 0, likewise."
    )
    testers: tuple[str, ...] = Field(default=(), description="People who are left out.")
    max_exposures_a_day: float = Field(
        default=500, gt=0, description="Who has more is taken for a bot and left out."
    )
    max_events_a_day: float = Field(default=5_000, gt=0, description="Likewise, of outcomes in the window.")
    segments: tuple[str, ...] = Field(
        default=(), description="Columns of people or exposures to look at by value."
    )
    columns: Columns = Field(default_factory=Columns, description="Your names of columns.")

    @field_validator("weights")
    @classmethod
    def _weights_add_up(cls, weights: dict[str, float]) -> dict[str, float]:
        if abs(fsum(weights.values()) - 1) > 1e-6:
            raise ValueError(f"weights must add up to 1, and these add up to {fsum(weights.values()):.6g}")
        return weights

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.control not in self.weights:
            raise ValueError(
                f"the control {self.control!r} has no weight; {did_you_mean(self.control, self.weights)}"
            )
        names = [metric.name for metric in self.metrics]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two metrics are called {twice[0]!r}")
        if not any(metric.role == "primary" for metric in self.metrics):
            raise ValueError("no metric is primary, and nothing else decides; give one role = 'primary'")
        return self

    @property
    def treated(self) -> list[str]:
        """The arms beside the control."""
        return [arm for arm in self.weights if arm != self.control]

    @property
    def arms(self) -> list[str]:
        """All arms, the control first: their codes."""
        return [self.control, *self.treated]

    @property
    def window_s(self) -> int:
        return round(self.window_days * DAY_S)

    @property
    def past_s(self) -> int:
        return round(self.past_days * DAY_S)

    @property
    def settle_s(self) -> int:
        return round(self.settle_hours * 3_600)

    def metrics_of(self, role: Role) -> list[Metric]:
        return [metric for metric in self.metrics if metric.role == role]


def read_plan(path: Path) -> Plan:
    """The plan of a TOML file. Raises SettingError where it breaks a rule."""
    if not path.is_file():
        raise SettingError(f"there is no plan {path}; it is a TOML file, as docs/ab.md shows.")
    return Plan.build(read_toml(path), where=str(path))
