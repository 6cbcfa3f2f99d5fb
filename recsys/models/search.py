"""What is worth searching in the settings of each model, and between which values: the space of `recsys tune`.

A model of the user's own says it in a class attribute `search`, of the same form. `dim` is left out where more is
better and dearer: that choice is weighed by `recsys dims`. Epochs are found by watching.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from recsys.models.registry import model_class


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

_HALF_LIFE = Choices((None, 4.0, 12.0, 40.0))

SEARCH: dict[str, Space] = {
    "als": {
        "regularization": Span(3e-4, 0.3, log=True),
        "unobserved_weight": Span(1e-3, 10.0, log=True),
        "half_life": _HALF_LIFE,
    },
    "bpr": {"learning_rate": Span(1e-3, 0.1, log=True), "regularization": Span(1e-4, 0.3, log=True)},
    "ease": {"regularization": Span(10.0, 10_000.0, log=True)},
    "item_knn": {
        "shrinkage": Span(0.1, 100.0, log=True),
        "amplification": Span(0.5, 3.0),
        "user_exponent": Span(0.0, 1.0),
        "half_life": Span(2.0, 200.0, log=True),
    },
    "mixture": {"weights.1": Span(0.0, 1.0)},
    "narrowed": {
        "narrow.temperature": Span(0.02, 0.5, log=True),
        "narrow.learning_rate": Span(3e-3, 0.3, log=True),
        "narrow.propagation": Span(0.0, 1.0),
    },
    "popularity": {"days": Span(1.0, 1_000.0, log=True)},
    "softmax": {
        "temperature": Span(0.02, 0.5, log=True),
        "learning_rate": Span(3e-3, 0.3, log=True),
        "user_exponent": Span(0.0, 1.0),
        "propagation": Span(0.0, 1.0),
        "half_life": _HALF_LIFE,
    },
    "spectral": {
        "dim": Span(16, 512, log=True),
        "exponent": Span(0.2, 0.8),
        "filter": Span(0.0, 2.0),
        "half_life": _HALF_LIFE,
    },
    "two_tower": {
        "temperature": Span(0.02, 0.5, log=True),
        "learning_rate": Span(1e-3, 0.1, log=True),
        "id_dropout": Span(0.0, 0.9),
    },
    "variational": {
        "dim": Span(8, 128, log=True),
        "regularization": Span(0.5, 32.0, log=True),
        "user_exponent": Span(0.0, 0.5),
        "propagation": Span(0.0, 0.2),
        "half_life": _HALF_LIFE,
    },
}


def space_of(name: str) -> Space:
    """The declared space of a registered model, or of a model class of the user's own; empty where none is."""
    declared: Space = getattr(model_class(name), "search", None) or SEARCH.get(name, {})
    return declared
