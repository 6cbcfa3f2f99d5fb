"""Products and exponentials of large matrices, in float32 or bf16: the costly pieces of the losses."""

import threading

import numba
import numpy as np
import torch
from torch import Tensor

from recsys.arrays import F32, Array
from recsys.matrix.compiled import kernel

_PIECES = 256
_rooms = threading.local()


def product(left: Tensor, right: Tensor) -> Tensor:
    """`left @ right.T`, in memory that the next call of this thread takes again: fresh pages cost more than
    the product."""
    size = len(left) * len(right)
    room = getattr(_rooms, "room", None)
    if room is None or (room.dtype, room.device) != (left.dtype, left.device) or room.numel() < size:
        _rooms.room = room = left.new_empty(size)
    return torch.mm(left, right.t(), out=room[:size].view(len(left), len(right)))


def exponentials(scores: Tensor, peak: Tensor) -> Tensor:
    """Puts exp(scores - peak) in the place of the scores (n, m), peak: (n,); float32 (n,): their sums.

    In bf16 on a processor in one pass and half the time: with a polynomial of third order, within the
    rounding of bf16.
    """
    if scores.device.type != "cpu" or scores.dtype != torch.bfloat16:
        return row_sums(scores.sub_(peak[:, None]).exp_())
    total = np.empty(len(scores), np.float32)
    _exponentials_bf16(scores.view(torch.uint16).numpy(), peak.float().numpy(), total)
    return torch.from_numpy(total)


@kernel(parallel=True, fastmath={"reassoc", "contract"})
def _exponentials_bf16(scores: Array, peak: F32, total: F32) -> None:
    for row in numba.prange(len(scores)):
        values, added = scores[row], np.float32(0)
        for at in range(len(values)):
            score = np.uint32(np.uint32(values[at]) << np.uint32(16)).view(np.float32)
            power = max((score - peak[row]) * np.float32(1.4426950408889634), np.float32(-126))  # of two
            whole = np.floor(power)
            part = power - whole
            power_of_part = np.float32(0.22764696) + part * np.float32(0.0771744)
            power_of_part = np.float32(1) + part * (np.float32(0.6951786) + part * power_of_part)
            bits = np.int32(
                np.float32(power_of_part).view(np.int32) + np.int32(np.int32(whole) << np.int32(23))
            )
            added += bits.view(np.float32)
            values[at] = np.uint16(np.int32(bits + np.int32(0x8000)) >> np.int32(16))
        total[row] = added


def large_products(wanted: str) -> torch.dtype:
    """The type in which large matrix products are fastest here, where `wanted` is "auto"; else the one it
    names."""
    multiplies = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return torch.bfloat16 if wanted == "bf16" or (wanted == "auto" and multiplies()) else torch.float32


def row_sums(mass: Tensor) -> Tensor:
    """float32 (n,). In bf16, 256 pieces of each row are added up, rounded to bf16, and added in float32:
    within .001, and twenty-five times faster (256 x 40,981) than a sum with another `dtype`."""
    if mass.dtype == torch.float32:
        return mass.sum(1)
    width = mass.shape[1] // _PIECES
    pieces = mass[:, : _PIECES * width].reshape(len(mass), _PIECES, width).sum(2) if width else mass[:, :0]
    return pieces.float().sum(1) + mass[:, _PIECES * width :].float().sum(1)
