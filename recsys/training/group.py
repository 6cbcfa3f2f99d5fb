"""Several processes that learn one model together, started by torchrun: each takes a part of every batch.

Each holds the whole tables, and after each step the same ones: gradients are gathered in the order of the
processes and added up alike by all of them.
"""

import atexit
from datetime import timedelta
from functools import cache

import torch
import torch.distributed as dist
from torch import Tensor

from recsys.training.loop import processes

_PATIENCE = timedelta(days=1)  # the first process judges between two fits, and the others wait


class Group:
    """rank: number of this process, from 0; size: how many there are. Alone, all that is gathered is one's
    own."""

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size

    def part(self, n: int) -> slice:
        """What this process takes of n."""
        return slice(n * self.rank // self.size, n * (self.rank + 1) // self.size)

    def wait(self) -> None:
        """Returns once all processes have come here."""
        if self.size > 1:
            dist.barrier()

    def all_gather(self, rows: Tensor) -> Tensor:
        """The rows (n, width) of all processes, those of the first first; n may differ. They stay on their
        device."""
        if self.size == 1:
            return rows
        device, rows = rows.device, rows.cpu()
        counts = [torch.zeros(1, dtype=torch.int64) for _ in range(self.size)]
        dist.all_gather(counts, torch.tensor([len(rows)]))
        most = int(max(counts))
        padded = torch.zeros(most, *rows.shape[1:], dtype=rows.dtype)
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in range(self.size)]
        dist.all_gather(parts, padded)
        return torch.cat([part[: int(count)] for part, count in zip(parts, counts, strict=True)]).to(device)

    def all_reduce(self, tensor: Tensor) -> Tensor:
        """The sum over all processes, in their order."""
        return tensor if self.size == 1 else self.all_gather(tensor[None]).sum(0)

    def summed_rows(self, rows: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """The rows that any process touched, int64 (m,) distinct, and the sum of their gradients, (m,
        width)."""
        if self.size == 1:
            return rows, gradient
        touched, place = torch.unique(self.all_gather(rows), return_inverse=True)
        total = gradient.new_zeros(len(touched), gradient.shape[1])
        return touched, total.index_add_(0, place, self.all_gather(gradient))


@cache
def group() -> Group:
    """The group that torchrun started this process in; a group of one without it."""
    size = processes()
    if size == 1:
        return Group(0, 1)
    dist.init_process_group("gloo", timeout=_PATIENCE)
    atexit.register(dist.destroy_process_group)  # or its threads now and then abort a good end
    return Group(dist.get_rank(), size)
