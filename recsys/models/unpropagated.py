"""The way back from the items that a finished model serves to those that it learned."""

import numpy as np
from scipy import sparse

from recsys.arrays import F32
from recsys.data.spectrum import propagated
from recsys.training.loop import Start


def unpropagated(matrix: sparse.csr_array, warm: Start, weight: float) -> tuple[F32, F32]:
    """Users and items to start from, the items as they were before they took up the users at this weight, as far as the
    events are the same; items without a vector stay without."""
    if not weight or not warm.finished:
        return warm.users, warm.items
    known = np.asarray(warm.items.any(axis=1))[:, None]
    return warm.users, np.where(known, warm.items - propagated(matrix, warm.users, weight), np.float32(0))
