"""How long work reports itself, without knowing who watches."""

from collections.abc import Mapping
from typing import NamedTuple, Protocol


class Step(NamedTuple):
    """One finished step of a task; `values` are figures worth keeping as a curve (an objective, say)."""

    task: str
    done: int
    total: int
    values: Mapping[str, float] = {}


class Progress(Protocol):
    """Called after each step; a command line draws a bar, tracking keeps the curves, a test records."""

    def __call__(self, step: Step) -> None: ...


def silent(step: Step) -> None:
    """The watcher that watches nothing."""
