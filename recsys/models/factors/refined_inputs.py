"""Learns the inputs of histories by the loss that users and items were learned by, the items held as they
are."""

import math

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from recsys.arrays import F32, Ragged
from recsys.training.adam import Adam
from recsys.training.bags import Bags
from recsys.training.epochs import Rows, cosine_rate
from recsys.training.losses import Positives, softmax, through_norm, uniform_sample, with_length

_BATCH, _NEGATIVES, _RATE = 256, 4_096, 0.01
_GIVEN = 0.5  # the share of a history that a user is encoded from, to be asked for all of it


def refined_inputs(
    matrix: sparse.csr_array,
    inputs: F32,
    items: F32,
    user_weights: Tensor,
    temperature: float,
    *,
    epochs: int,
    unit: bool,
    rng: np.random.Generator,
    precision: torch.dtype = torch.float32,
) -> F32:
    """float32 (n_items, dim): inputs of a Bag, such that a drawn half of a history finds the whole by a
    softmax.

    matrix: float32 (n_users, n_items); inputs: where they start; items: float32 (n_items, dim); user_weights:
    float32 (n_users,). unit: whether sums are brought to length 1, so that the scale of the inputs means
    nothing. Relations: `recsys.matrix.ridge.fitted_inputs` is the closed form for a square in place of the
    softmax.
    """
    scale = np.float32(math.sqrt((inputs**2).sum(axis=1).mean())) if unit else np.float32(1)
    table, fixed = Adam(torch.from_numpy(inputs / max(scale, np.float32(1e-12)))), torch.from_numpy(items)
    active = Rows(np.flatnonzero(np.diff(matrix.indptr) > 1))
    steps = math.ceil(len(active) / _BATCH)
    for epoch in range(epochs):
        for step, batch in enumerate(active.batches(_BATCH, rng)):
            chosen = np.sort(batch)
            part = matrix[chosen]
            history = Ragged(part.indptr.astype(np.int64), part.indices)
            given = rng.random(part.nnz) < _GIVEN
            bags, weight = Bags.of(history.keep(given)), part.data[given]
            values = table.table.numpy()[bags.rows]
            users, length = with_length(torch.from_numpy(bags.sums(values, weight)), unit)
            asked = (history.row_of_value(), part.indices.astype(np.int64), part.data)
            gradients = softmax(
                users,
                fixed,
                Positives(*map(torch.from_numpy, asked)),
                user_weights[torch.from_numpy(chosen)],
                temperature,
                precision=precision,
                sample=uniform_sample(len(items), _NEGATIVES, rng),
                bound=1.0 if unit else None,
            )
            by_user = gradients.users if length is None else through_norm(gradients.users, users, length)
            pull, _ = bags.gradients(by_user.numpy(), values, weight)
            rate = cosine_rate(_RATE, epoch + step / steps, epochs)
            table.step(torch.from_numpy(pull), rate, torch.from_numpy(bags.rows))
    learned: F32 = table.table.numpy()
    return learned
