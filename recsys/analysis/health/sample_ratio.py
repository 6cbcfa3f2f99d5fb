"""Whether people came to the arms as they were meant to, asked as often as one likes."""

import numpy as np
from scipy import special

from recsys.arrays import F64

PRIOR = 10_000.0  # how sure the alternative is of the design: large finds small faults


def ratio_p(counts: F64, weights: F64) -> F64:
    """(..., looks): the p-value by each look, valid over all of them: alarm below .001, say.

    counts: (..., looks, arms) people so far, by look. weights: (arms,) as designed, adding up to 1.

    Source: Lindon and Malek, "Anytime-Valid Inference for Multinomial Count Data", NeurIPS 2022.
    """
    alpha = PRIOR * weights
    n = counts.sum(axis=-1)
    evidence = special.gammaln(PRIOR) - special.gammaln(PRIOR + n)
    evidence = evidence + (special.gammaln(alpha + counts) - special.gammaln(alpha) - counts * np.log(weights)).sum(-1)
    return np.minimum.accumulate(np.exp(-np.maximum(evidence, 0.0)), axis=-1)
