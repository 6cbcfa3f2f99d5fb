"""Learning rates over the steps of a fit."""

import math


def cosine_rate(rate: float, epoch: int, step: int, steps: int, epochs: int) -> float:
    """The learning rate of a step: `rate` at the start, falling along half a cosine to 0 at the end of the last epoch.

    epoch, step: counted from 0, of `epochs` with `steps` each. Source: Loshchilov, Hutter, "SGDR: Stochastic Gradient
    Descent with Warm Restarts", ICLR 2017, without the restarts.
    """
    return rate * (1 + math.cos(math.pi * (epoch + step / steps) / epochs)) / 2
