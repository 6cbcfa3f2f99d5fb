"""Input vectors by which a history gives the vector that a learner found for its user."""

import numpy as np
from scipy import sparse

from recsys.arrays import F32

_STEPS = 30


def fitted_inputs(matrix: sparse.csr_array, users: F32, ridge: float, *, hidden: float = 0.5) -> F32:
    """float32 (n_items, dim) inputs B for a Bag: ridge regression of the users' rows on parts of their
    histories.

    A free row was learned from the very events that shall give it, so whole histories teach inputs that
    merely rebuild it. Each event is therefore hidden with probability `hidden`; 0 = none, for rows that a
    prior holds. On average over all draws, and but for the scale of B, that is to minimise `sum_u |sum_i a_ui
    B_i - y_u|^2 + sum_i (ridge + hidden / (1 - hidden) sum_u a_ui^2) |B_i|^2`, where a_ui is `x_ui /
    sqrt(n_u)` and n_u the sum of the user's weights. It is solved by conjugate gradient on all columns at
    once, and nothing is drawn.

    matrix: float32 (n_users, n_items); users: float32 (n_users, dim).

    Sources: Paterek, "Improving Regularized SVD for Collaborative Filtering" (NSVD), KDD Cup 2007, for users
    as sums of item factors; Steck, "Autoencoders that Don't Overfit towards the Identity", NeurIPS 2020, for
    the hidden events.
    """
    total = np.maximum(matrix.sum(axis=1, dtype=np.float64), 1e-12)
    rows = sparse.diags_array(total**-0.5).astype(np.float32).tocsr() @ matrix
    squares = (matrix.power(2).T @ (1 / total)).astype(np.float32)[:, None]
    return ridge_rows(rows, users, ridge + hidden / (1 - hidden) * squares)


def ridge_rows(rows: sparse.csr_array, targets: F32, ridge: float | F32) -> F32:
    """float32 (n_columns, dim) B that minimises `|rows B - targets|^2 + ridge |B|^2`, by conjugate gradient.

    rows: float32 (n, n_columns); targets: float32 (n, dim). ridge: of all columns, or float32 (n_columns, 1).
    """
    columns = rows.T.tocsr()
    solution = np.zeros((rows.shape[1], targets.shape[1]), np.float32)
    residual = columns @ targets
    direction, size = residual.copy(), (residual**2).sum(axis=0)
    for _ in range(_STEPS):
        product = columns @ (rows @ direction) + ridge * direction
        step = size / np.maximum((direction * product).sum(axis=0), 1e-30)
        solution += step * direction
        residual -= step * product
        fresh = (residual**2).sum(axis=0)
        direction = residual + fresh / np.maximum(size, 1e-30) * direction
        size = fresh
    return solution
