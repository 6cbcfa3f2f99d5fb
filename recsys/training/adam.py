"""Adam on rows of a table, so that a step costs the rows that it touches."""

from collections.abc import Mapping

import numba
import numpy as np
import torch
from torch import Tensor

from recsys.arrays import F32, I64
from recsys.matrix.compiled import kernel

_MEAN, _SQUARE, _FLOOR = 0.9, 0.999, 1e-12


class Adam:
    """Moves the rows of a table float32 (n, dim) against their gradients, in place.

    A row's running means change only in steps that touch it, and are corrected for the number of those.

    Source: Kingma, Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015; touched rows alone: "lazy
    Adam".
    """

    def __init__(self, table: Tensor) -> None:
        self.table = table
        self.mean, self.square = torch.zeros_like(table), torch.zeros_like(table)
        self.steps = table.new_zeros(len(table), 1)

    def step(self, gradient: Tensor, learning_rate: float, rows: Tensor | None = None) -> None:
        """rows: int64 (m,), distinct, those that `gradient` (m, dim) is for; None = all of them."""
        if rows is None and self.table.device.type == "cpu":
            tables = self.table.numpy(), self.mean.numpy(), self.square.numpy(), self.steps.numpy()
            every = np.arange(len(self.table))
            _move_rows(*tables, gradient.contiguous().numpy(), every, np.float32(learning_rate))
            return
        if rows is None:
            self.steps += 1
            self.mean.mul_(_MEAN).add_(gradient, alpha=1 - _MEAN)
            self.square.mul_(_SQUARE).addcmul_(gradient, gradient, value=1 - _SQUARE)
            self.table.sub_(self._move(self.mean, self.square, self.steps), alpha=learning_rate)
            return
        if self.table.device.type == "cpu":
            tables = self.table.numpy(), self.mean.numpy(), self.square.numpy(), self.steps.numpy()
            _move_rows(*tables, gradient.numpy(), rows.numpy(), np.float32(learning_rate))
            return
        steps = self.steps[rows] + 1
        mean = self.mean[rows].mul_(_MEAN).add_(gradient, alpha=1 - _MEAN)
        square = self.square[rows].mul_(_SQUARE).addcmul_(gradient, gradient, value=1 - _SQUARE)
        self.table.index_add_(0, rows, self._move(mean, square, steps), alpha=-learning_rate)
        for kept, moved in ((self.mean, mean), (self.square, square), (self.steps, steps)):
            kept.index_copy_(0, rows, moved)

    def _move(self, mean: Tensor, square: Tensor, steps: Tensor) -> Tensor:
        size = (square / (1 - _SQUARE**steps)).sqrt_().add_(_FLOOR)
        return mean.div(size).div_(1 - _MEAN**steps)

    def state(self, name: str) -> Mapping[str, Tensor]:
        """What a checkpoint must hold."""
        tensors = {"": self.table, "_mean": self.mean, "_square": self.square, "_steps": self.steps}
        return {name + suffix: tensor for suffix, tensor in tensors.items()}


@kernel(parallel=True, error_model="numpy")
def _move_rows(
    table: F32, mean: F32, square: F32, steps: F32, gradient: F32, rows: I64, rate: np.float32
) -> None:
    """`Adam.step` on some rows in one pass over them: five times faster than gathering them and putting them
    back."""
    for at in numba.prange(len(rows)):
        row = rows[at]
        steps[row, 0] += 1
        of_mean = np.float32(1 / (1 - _MEAN ** steps[row, 0]))
        of_square = np.float32(1 / (1 - _SQUARE ** steps[row, 0]))
        for d in range(table.shape[1]):
            pull = gradient[at, d]
            mean[row, d] += np.float32(1 - _MEAN) * (pull - mean[row, d])
            square[row, d] += np.float32(1 - _SQUARE) * (pull * pull - square[row, d])
            size = np.sqrt(square[row, d] * of_square) + np.float32(_FLOOR)
            table[row, d] -= rate * mean[row, d] * of_mean / size
