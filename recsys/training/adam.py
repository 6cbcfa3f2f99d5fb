"""Adam on rows of a table, so that a step costs the rows that it touches."""

from collections.abc import Mapping

import torch
from torch import Tensor

from recsys.arrays import Array

_MEAN, _SQUARE, _FLOOR = 0.9, 0.999, 1e-12


class Adam:
    """Moves the rows of a table float32 (n, dim) against their gradients, in place.

    A row's running means change only in steps that touch it, and are corrected for the number of those.

    Source: Kingma, Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015; touched rows alone: "lazy Adam".
    """

    def __init__(self, table: Tensor) -> None:
        self.table = table
        self.mean, self.square = torch.zeros_like(table), torch.zeros_like(table)
        self.steps = torch.zeros(len(table), 1)

    def step(self, gradient: Tensor, learning_rate: float, rows: Tensor | None = None) -> None:
        """rows: int64 (m,), distinct, those that `gradient` (m, dim) is for; None = all of them."""
        if rows is None:
            self.steps += 1
            self.mean.mul_(_MEAN).add_(gradient, alpha=1 - _MEAN)
            self.square.mul_(_SQUARE).addcmul_(gradient, gradient, value=1 - _SQUARE)
            self.table.sub_(self._move(self.mean, self.square, self.steps), alpha=learning_rate)
            return
        steps = self.steps[rows] + 1
        mean = self.mean[rows].mul_(_MEAN).add_(gradient, alpha=1 - _MEAN)
        square = self.square[rows].mul_(_SQUARE).addcmul_(gradient, gradient, value=1 - _SQUARE)
        self.steps[rows], self.mean[rows], self.square[rows] = steps, mean, square
        self.table[rows] -= learning_rate * self._move(mean, square, steps)

    def _move(self, mean: Tensor, square: Tensor, steps: Tensor) -> Tensor:
        size = (square / (1 - _SQUARE**steps)).sqrt_().add_(_FLOOR)
        return mean.div(size).div_(1 - _MEAN**steps)

    def state(self, name: str) -> Mapping[str, Array]:
        """The arrays that a checkpoint must hold, shared with the tensors."""
        tensors = {"": self.table, "_mean": self.mean, "_square": self.square, "_steps": self.steps}
        return {name + suffix: tensor.numpy() for suffix, tensor in tensors.items()}
