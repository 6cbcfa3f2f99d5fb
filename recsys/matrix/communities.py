"""Groups among vectors that find themselves: the Leiden algorithm on the graph of nearest neighbours."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import faiss
import numpy as np
from scipy import sparse

from recsys.arrays import F32, I32
from recsys.errors import DataError, SettingError
from recsys.matrix.spectrum import unit

LEAST = 3  # vectors of which groups can be asked for


@dataclass(frozen=True, eq=False)
class Communities:
    """labels: int32 (n,), the community of each vector, the largest being 0; -1 = it has no direction, or no
    neighbour.

    count: how many there are. modularity: how many more of the edges lie inside of them than by chance, 0 to
    1.
    stability: the adjusted Rand index between two runs, averaged over all pairs of runs; 1 = all found the
    same.
    """

    labels: I32
    count: int
    modularity: float
    stability: float


def neighbour_graph(vectors: F32, neighbours: int) -> sparse.csr_array:
    """Symmetric (n, n): an edge where one vector is among the so many nearest of the other by cosine, which
    it weighs.

    Rows of zeros have no edge, nor has an angle of 90 degrees or more. Exact: costs n * n * dim.
    """
    n, rows = len(vectors), np.flatnonzero(vectors.any(axis=1))
    directions = np.ascontiguousarray(unit(vectors[rows]), np.float32)
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(directions)
    cosines, nearest = index.search(directions, min(neighbours + 1, len(rows)))
    one = np.repeat(rows, nearest.shape[1])
    other, weight = rows[nearest.ravel()], cosines.ravel().astype(np.float64)
    joined = (one != other) & (weight > 0)
    directed = sparse.csr_array((weight[joined], (one[joined], other[joined])), shape=(n, n))
    return directed.maximum(directed.T).tocsr()


def find_communities(
    vectors: F32, *, neighbours: int = 15, resolution: float = 1.0, runs: int = 5, seed: int = 1
) -> Communities:
    """The partition of highest modularity of several runs, which differ in the order of the vectors alone.

    vectors: float32 (n, dim). resolution: above 1 more and smaller groups, below 1 fewer. Raises DataError
    where there are fewer than three vectors with a direction or no two point the same way, SettingError
    without scikit-network.
    Source: Traag, Waltman, van Eck, "From Louvain to Leiden", Scientific Reports 2019.
    """
    if (there := int(np.count_nonzero(vectors.any(axis=1)))) < LEAST:
        raise DataError(
            f"communities need {LEAST} vectors or more, and there are {there}. Take a larger bundle."
        )
    edges = neighbour_graph(vectors, neighbours)
    if not edges.nnz:
        raise DataError(
            "no two of the vectors point the same way, so the graph has no edge and there is no community."
        )
    joined = np.flatnonzero(np.diff(edges.indptr))
    partitions = [_partition(edges[joined][:, joined], resolution, seed + run) for run in range(runs)]
    labels: I32 = np.full(len(vectors), -1, np.int32)
    best, modularity = max(partitions, key=lambda one: one[1])
    sizes = np.bincount(best)
    rank = np.empty(len(sizes), np.int32)
    rank[np.argsort(-sizes, kind="stable")] = np.arange(len(sizes))
    labels[joined] = rank[best]
    return Communities(labels, len(sizes), modularity, agreement([one for one, _ in partitions]))


def _partition(edges: sparse.csr_array, resolution: float, seed: int) -> tuple[I32, float]:
    """The labels (n,) of one run, from 0 without a gap, and their modularity."""
    try:
        from sknetwork.clustering import Leiden, get_modularity
    except ModuleNotFoundError as error:
        raise SettingError(
            "communities need the package scikit-network, the extra `communities`: pip install "
            "'.[communities]'."
        ) from error
    graph = sparse.csr_matrix(edges)
    labels = Leiden(resolution=resolution, shuffle_nodes=True, random_state=seed).fit_predict(graph)
    dense: I32 = np.unique(labels, return_inverse=True)[1].astype(np.int32)
    return dense, float(get_modularity(graph, dense))


def agreement(partitions: Sequence[I32]) -> float:
    """The adjusted Rand index of two partitions (n,), averaged over all pairs; 1 where there is one alone.

    Source: Hubert, Arabie, "Comparing Partitions", Journal of Classification 1985.
    """
    from sklearn.metrics import adjusted_rand_score

    pairs = [adjusted_rand_score(one, other) for one, other in combinations(partitions, 2)]
    return float(np.mean(pairs)) if pairs else 1.0
