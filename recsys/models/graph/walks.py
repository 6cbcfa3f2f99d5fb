"""Random walks over an undirected graph, compiled: the biased ones of node2vec, of which DeepWalk's are one
case.

Sources: Perozzi, Al-Rfou, Skiena, "DeepWalk", KDD 2014; Grover, Leskovec, "node2vec: Scalable Feature
Learning for Networks", KDD 2016. Steps are drawn by rejection, so that nothing is kept for pairs of edges,
with the step back as an
outlier of its own where p is small: Yang et al., "KnightKing: A Fast Distributed Graph Random Walk Engine",
SOSP 2019.
"""

from typing import NamedTuple, Self

import numba
import numpy as np
from scipy import sparse

from recsys.arrays import F64, I32, I64
from recsys.matrix.compiled import kernel
from recsys.models.neighbours.skip_gram import draw_bits

_njit = numba.njit(cache=True, nogil=True, error_model="numpy")
_UNIT = 2.0**-32  # of a draw


class Graph(NamedTuple):
    """Undirected: the neighbours of node v are `neighbours[offsets[v]:offsets[v + 1]]`, ascending.

    cumulative: float64 (edges,), the weights of a node's edges added up from its first on; of length 0 where
    all weigh the same.
    """

    offsets: I64
    neighbours: I32
    cumulative: F64

    @classmethod
    def of(cls, edges: sparse.csr_array) -> Self:
        """edges: (n, n), symmetric, weights above 0."""
        edges.sort_indices()
        offsets, weights = edges.indptr.astype(np.int64), edges.data.astype(np.float64)
        if len(weights) and (weights == weights[0]).all():
            return cls(offsets, edges.indices.astype(np.int32), np.empty(0))
        total = np.cumsum(weights)
        before = np.concatenate([[0.0], total])[offsets[:-1]]
        return cls(offsets, edges.indices.astype(np.int32), total - np.repeat(before, np.diff(offsets)))

    def walks(self, starts: I64, length: int, p: float, q: float, seed: int) -> I32:
        """int32 (n, length): a walk from each of these nodes (n,), which must have neighbours.

        From v, come from t, a walk steps to x by the weight of the edge times 1 / p where x is t, 1 where x
        is a neighbour of t, and 1 / q elsewhere. p = q = 1: DeepWalk. The same seed gives the same walks,
        whatever the number of threads.
        """
        walks = np.empty((len(starts), length), np.int32)
        _walk(self.offsets, self.neighbours, self.cumulative, starts, 1 / p, 1 / q, seed, walks)
        return walks


@_njit
def _edge(offsets: I64, cumulative: F64, node: int, state: I64) -> int:
    """The place of an edge of the node, drawn by its weight."""
    first, stop = offsets[node], offsets[node + 1]
    if not len(cumulative):
        return int(first + ((draw_bits(state) * np.uint64(stop - first)) >> np.uint64(32)))
    wanted = float(draw_bits(state)) * _UNIT * cumulative[stop - 1]
    low, high = first, stop - 1
    while low < high:
        middle = (low + high) // 2
        if cumulative[middle] > wanted:
            high = middle
        else:
            low = middle + 1
    return int(low)


@_njit
def _place(offsets: I64, neighbours: I32, node: int, other: int) -> int:
    """Where `other` stands among the neighbours of a node, -1 = it is none."""
    low, high = offsets[node], offsets[node + 1]
    while low < high:
        middle = (low + high) // 2
        if neighbours[middle] < other:
            low = middle + 1
        else:
            high = middle
    return int(low) if low < offsets[node + 1] and neighbours[low] == other else -1


@_njit
def _step(
    offsets: I64, neighbours: I32, cumulative: F64, came: int, node: int, back: float, away: float, state: I64
) -> int:
    """The next node after `came` and `node`. back, away: 1 / p and 1 / q."""
    highest, lowest, beyond, total = max(1.0, away), min(1.0, away, back), 0.0, 0.0
    if back > highest:  # what the step back has beyond the others stands beside them
        first, stop = offsets[node], offsets[node + 1]
        weight, total = 1.0, highest * float(stop - first)
        if len(cumulative):
            at = _place(offsets, neighbours, node, came)
            weight = cumulative[at] - (cumulative[at - 1] if at > first else 0.0)
            total = highest * cumulative[stop - 1]
        beyond = (back - highest) * weight
    while True:
        if beyond > 0 and float(draw_bits(state)) * _UNIT * (beyond + total) < beyond:
            return came
        to = int(neighbours[_edge(offsets, cumulative, node, state)])
        if lowest == highest:
            return to
        bar = float(draw_bits(state)) * _UNIT * highest
        if bar < lowest:
            return to
        if to == came:
            if bar < back:
                return to
        else:
            few, many = (
                (came, to)
                if offsets[came + 1] - offsets[came] < offsets[to + 1] - offsets[to]
                else (to, came)
            )
            if bar < (1.0 if _place(offsets, neighbours, few, many) >= 0 else away):
                return to


@kernel(parallel=True, error_model="numpy")
def _walk(
    offsets: I64,
    neighbours: I32,
    cumulative: F64,
    starts: I64,
    back: float,
    away: float,
    seed: int,
    walks: I32,
) -> None:
    for row in numba.prange(len(starts)):
        mixed = np.uint64(seed) + np.uint64(row + 1) * np.uint64(0x9E3779B97F4A7C15)  # splitmix64
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        state = np.array([np.int64(mixed ^ (mixed >> np.uint64(31))) | 1], np.int64)
        node = starts[row]
        walks[row, 0] = node
        if walks.shape[1] > 1:
            walks[row, 1] = neighbours[_edge(offsets, cumulative, node, state)]
        for place in range(2, walks.shape[1]):
            came, node = walks[row, place - 2], walks[row, place - 1]
            walks[row, place] = _step(offsets, neighbours, cumulative, came, node, back, away, state)
