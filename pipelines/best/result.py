"""What a search for the best is asked, and what it ends in."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from recsys.pipelines.best.facts import Facts
from recsys.pipelines.best.ledger import Tried
from recsys.pipelines.best.race import Passed
from recsys.pipelines.run.train import Trained


class Asked(NamedTuple):
    """What is wanted. minutes: of this machine, all in all. max_dim, max_mb, max_ms: of the vectors together:
    their width, their megabytes, and the milliseconds of one exact search; None = no matter. command: what
    was typed."""

    minutes: float = 30.0
    metric: str = "ndcg_at_20"
    max_dim: int | None = None
    max_mb: float | None = None
    max_ms: float | None = None
    anew: bool = False
    command: str = "recsys best"


class Choice(NamedTuple):
    """What was chosen, and by what. relative: of each finalist, by its label, the share of the best figure on
    each part that was judged. runner_up: the next best; gap, error: the mean difference of the two over
    users, and its standard error."""

    winner: Tried
    relative: Mapping[str, Mapping[str, float]]
    runner_up: Tried | None
    gap: float
    error: float


class Best(NamedTuple):
    """A finished search. title: of the validation part that it went by. seconds: of all calls together."""

    title: str
    facts: Facts
    tried: list[Tried]
    passed: list[Passed]
    choice: Choice
    trained: Trained
    config: Path
    page: Path
    seconds: float
