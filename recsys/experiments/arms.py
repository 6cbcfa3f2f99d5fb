"""What an arm serves: a bundle, and settings in which it differs from what that bundle would answer by
itself.

[arms.wide]
bundle = "20261123T020000000000Z-5e6f7a8b"     # without it, the champion at the start

[arms.next]
bundle = "@challenger"                         # of the run that has this alias in MLflow at the start

[arms.again]
seen = { policy = "cooldown_days", days = 7 }  # as in a run's settings, in place of the bundle's own

[arms.curious]
explore = { epsilon = 0.1, position = 3 }      # from place 3 on, now and then any of the best 50

[arms.merged]
interleave = ["control", "wide"]               # the lists of two arms by team draft
"""

from collections.abc import Sequence
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from recsys.config import Settings
from recsys.experiments.exploration import (
    EPSILON,
    PLACKETT_LUCE,
    Policy,
    draw_list,
    epsilon_below,
    plackett_luce,
)

CHAMPION = "champion"  # an arm's bundle before the start: the one that is current then


class Explore(Settings):
    """Chance in a list that is whole otherwise: all rules hold for the candidates, which are its best."""

    epsilon: float | None = Field(
        default=None, gt=0, le=1, description="How probably a place is given to any candidate that is left."
    )
    position: int = Field(default=1, ge=1, description="With epsilon: from which place on, 1 = top.")
    temperature: float | None = Field(
        default=None,
        gt=0,
        description="In place of epsilon: each item is drawn with odds exp(score / temperature).",
    )
    candidates: int = Field(default=50, ge=2, le=1_000, description="How many of the best may be drawn.")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.epsilon is None) == (self.temperature is None):
            raise ValueError("explore by epsilon or by temperature; give one of them")
        return self

    def draw(
        self, candidates: Sequence[str], scores: Sequence[float], k: int, request_id: str
    ) -> tuple[list[int], list[float]]:
        """The places among the candidates, best first, of at most k that one request gets, and the
        probability of each given those above it."""
        if self.epsilon is not None:
            policy: Policy = epsilon_below(candidates, self.epsilon, self.position)
            purpose = EPSILON
        else:
            assert self.temperature is not None
            policy, purpose = plackett_luce(candidates, scores, self.temperature), PLACKETT_LUCE
        drawn = draw_list(policy, k, request_id, purpose)
        place = {item: at for at, item in enumerate(candidates)}
        return [place[item] for item in drawn.items], drawn.propensity


class Arm(Settings):
    """What the people of an arm are served. Nothing said: the champion as it is."""

    bundle: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^/\x00]+$")] = Field(
        default=CHAMPION,
        description="The id of a bundle; champion = the one that is current when it starts; @challenger = "
        "that of the run which has this alias in the registry then.",
    )
    seen: str | dict[str, Any] | None = Field(
        default=None, description="A seen policy in place of the bundle's own: a word or a table."
    )
    explore: Explore | None = Field(default=None, description="Chance in its lists; none = the best items.")
    interleave: tuple[str, str] | None = Field(
        default=None,
        description="Two arms whose lists are merged for each request; it has no bundle of its own.",
    )

    @model_validator(mode="after")
    def _merges_or_serves(self) -> Self:
        if self.interleave is None:
            return self
        if self.model_copy(update={"interleave": None}) != Arm.model_construct(
            bundle=CHAMPION, seen=None, explore=None, interleave=None
        ):
            raise ValueError(
                "an arm that interleaves serves the lists of two others; leave out bundle, seen, explore"
            )
        if self.interleave[0] == self.interleave[1]:
            raise ValueError(
                f"interleave names {self.interleave[0]!r} twice; it merges the lists of two arms"
            )
        return self
