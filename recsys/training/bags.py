"""Weighted sums of table rows, and the gradients of what was summed: the bottom of a tower."""

from typing import Any, NamedTuple

import numba
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from recsys.arrays import F32, I64, Ragged
from recsys.matrix.compiled import kernel

_LOW = (1 << 32) - 1


class Bags(NamedTuple):
    """n sums of nnz rows. rows: int64 (m,), the distinct ones, ascending. place: int64 (nnz,), which of them
    a summand is; entity: int64 (nnz,), which sum it goes into. order, starts: the summands row by row, and
    where each row's begin, int64 (nnz,) and (m + 1,). offsets: int64 (n + 1,), where each sum's begin."""

    rows: I64
    place: I64
    entity: I64
    order: I64
    starts: I64
    offsets: I64

    @classmethod
    def of(cls, summed: Ragged) -> "Bags":
        """summed: for each sum the rows that go into it. Costs what they are, however many rows there may
        be."""
        key = summed.values.astype(np.int64) << 32
        key += np.arange(len(key))
        key.sort()
        order, row = key & _LOW, key >> 32
        first = np.flatnonzero(np.diff(row, prepend=-1))
        starts = np.append(first, len(row))
        place = np.empty(len(row), np.int64)
        place[order] = np.repeat(np.arange(len(first)), np.diff(starts))
        return cls(row[first], place, summed.row_of_value(), order, starts, summed.offsets)

    def sums(self, values: F32, weight: F32) -> F32:
        """float32 (n, width): values (m, width) of the distinct rows, weighted (nnz,) and added up."""
        return _sums(values, self.place, weight, self.offsets)

    def gradients(self, gradient: F32, values: F32, weight: F32) -> tuple[F32, F32]:
        """Given that of the sums (n, width): float32 (m, width) of the values and (nnz,) of the weights."""
        return _gradients(gradient, values, weight, self.entity, self.order, self.starts)


def bag_sums(bags: Bags, values: Tensor, weight: Tensor) -> Tensor:
    """`Bags.sums` of tensors on any device, with their gradients."""
    if values.device.type == "cpu":
        sums: Tensor = _Compiled.apply(values, weight, bags)  # type: ignore[no-untyped-call]
        return sums
    place, offsets = (torch.from_numpy(part).to(values.device) for part in (bags.place, bags.offsets))
    return embedding_bag(
        place, values, offsets, mode="sum", per_sample_weights=weight, include_last_offset=True
    )


class _Compiled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, weight: Tensor, bags: Bags) -> Tensor:
        ctx.bags = bags
        ctx.save_for_backward(values, weight)
        return torch.from_numpy(bags.sums(values.detach().numpy(), weight.detach().numpy()))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        values, weight = (tensor.detach().numpy() for tensor in ctx.saved_tensors)
        of_values, of_weight = ctx.bags.gradients(gradient.contiguous().numpy(), values, weight)
        return torch.from_numpy(of_values), torch.from_numpy(of_weight), None


@kernel(parallel=True, fastmath={"reassoc", "contract"})
def _sums(values: F32, place: I64, weight: F32, offsets: I64) -> F32:
    n, width = len(offsets) - 1, values.shape[1]
    sums = np.zeros((n, width), np.float32)
    for row in numba.prange(n):
        for at in range(offsets[row], offsets[row + 1]):
            for d in range(width):
                sums[row, d] += weight[at] * values[place[at], d]
    return sums


@kernel(parallel=True, fastmath={"reassoc", "contract"})
def _gradients(
    gradient: F32, values: F32, weight: F32, entity: I64, order: I64, starts: I64
) -> tuple[F32, F32]:
    of_values = np.zeros(values.shape, np.float32)
    of_weight = np.empty(len(weight), np.float32)
    for row in numba.prange(len(values)):
        for at in order[starts[row] : starts[row + 1]]:
            pull, product = gradient[entity[at]], np.float32(0)
            for d in range(values.shape[1]):
                of_values[row, d] += weight[at] * pull[d]
                product += pull[d] * values[row, d]
            of_weight[at] = product
    return of_values, of_weight
