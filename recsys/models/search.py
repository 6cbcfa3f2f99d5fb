"""How a learner says what of its settings is worth searching, and between which values (`recsys tune`).

It does so in its class attribute `search`. `dim` is left out where more is better and dearer: that choice is
weighed by `recsys dims`. Epochs are found by watching.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Span:
    """A range with both ends, of whole numbers where both ends are; log: drawn by its logarithm."""

    low: float
    high: float
    log: bool = False


@dataclass(frozen=True)
class Choices:
    """Words, numbers or truth values to choose from."""

    values: tuple[Any, ...]


Space = Mapping[str, Span | Choices]

HALF_LIVES = Choices((None, 4.0, 12.0, 40.0))
OF_ORDER = ("half_life", "trend_days")  # settings that mean nothing where events are in no order
