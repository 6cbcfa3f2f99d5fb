"""The mean of what was learned after several epochs, which is often better than what the last one left."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from recsys.training.checkpoint import State


class Averages:
    """Sums of tensors that a learner changes in place, by their names.

    Source: Izmailov et al., "Averaging Weights Leads to Wider Optima and Better Generalization", UAI 2018.
    """

    def __init__(self, tables: Mapping[str, Tensor]) -> None:
        self._tables = tables
        self._sums = {name: torch.zeros_like(table) for name, table in tables.items()}
        self._count = torch.zeros(1, dtype=torch.int64)

    def add(self) -> None:
        """Takes the tensors as they are into the means."""
        for name, table in self._tables.items():
            self._sums[name] += table
        self._count += 1

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Within, the tensors hold their means, where any were taken; after it they are what they were."""
        count = int(self._count)
        if not count:
            yield
            return
        kept = {name: table.clone() for name, table in self._tables.items()}
        try:
            for name, table in self._tables.items():
                torch.div(self._sums[name], count, out=table)
            yield
        finally:
            for name, table in self._tables.items():
                table.copy_(kept[name])

    def state(self, name: str) -> State:
        """What a checkpoint must hold."""
        return {f"{name}_of_{part}": total for part, total in self._sums.items()} | {
            f"{name}_count": self._count
        }
