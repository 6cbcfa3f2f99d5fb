"""One seed for a whole run, split by purpose, so that adding a consumer never moves another one's stream."""

from zlib import crc32

import numpy as np


def generator(seed: int, purpose: str) -> np.random.Generator:
    """The random stream of one consumer.

    The stream depends on `seed` and the text of `purpose` alone: evaluation that draws never disturbs
    training.
    """
    return np.random.default_rng(np.random.SeedSequence([seed, crc32(purpose.encode())]))
