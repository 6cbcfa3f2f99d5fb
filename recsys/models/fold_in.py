"""Input vectors by which a history gives the vector that a learner found for its user."""

import numpy as np
from scipy import sparse

from recsys.arrays import F32

_STEPS = 30


def fitted_inputs(matrix: sparse.csr_array, users: F32, ridge: float) -> F32:
    """float32 (n_items, dim) inputs B for a Bag: ridge regression of the users' rows on their histories.

    Minimises `sum_u |sum_i x_ui B_i / sqrt(n_u) - y_u|^2 + ridge |B|^2`, n_u the sum of the user's weights, by
    conjugate gradient on all columns at once. matrix: float32 (n_users, n_items); users: float32 (n_users, dim).

    Source: Paterek, "Improving Regularized SVD for Collaborative Filtering" (NSVD), KDD Cup 2007, for users as sums of
    item factors.
    """
    total = np.maximum(matrix.sum(axis=1, dtype=np.float64), 1e-12)
    return ridge_rows(sparse.diags_array(total**-0.5).astype(np.float32).tocsr() @ matrix, users, ridge)


def ridge_rows(rows: sparse.csr_array, targets: F32, ridge: float) -> F32:
    """float32 (n_columns, dim) B that minimises `|rows B - targets|^2 + ridge |B|^2`, by conjugate gradient.

    rows: float32 (n, n_columns); targets: float32 (n, dim).
    """
    columns = rows.T.tocsr()
    found = np.zeros((rows.shape[1], targets.shape[1]), np.float32)
    residual = columns @ targets
    direction, size = residual.copy(), (residual**2).sum(axis=0)
    for _ in range(_STEPS):
        product = columns @ (rows @ direction) + np.float32(ridge) * direction
        step = size / np.maximum((direction * product).sum(axis=0), 1e-30)
        found += step * direction
        residual -= step * product
        fresh = (residual**2).sum(axis=0)
        direction = residual + fresh / np.maximum(size, 1e-30) * direction
        size = fresh
    return found
