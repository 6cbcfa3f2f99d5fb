"""What others do for people of whom only another domain is known: a mapping of vectors, and neighbours
there."""

from collections.abc import Callable

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.linear_model import RidgeCV
from sklearn.preprocessing import normalize

from recsys.arrays import F32, Ragged
from recsys.data.dataset import Dataset
from recsys.encoders.users import Users
from recsys.models.registry import make_model
from recsys.retrieval.embeddings import embeddings_of

ALS = {"dim": 32, "unobserved_weight": 0.1, "regularization": 0.01}
NEIGHBOURS = 100
Scores = Callable[[Users], F32]  # float32 (n, n_items) of people by their histories elsewhere


def mapping(train: Dataset, source: str, target: str) -> Scores:
    """A factorization of each domain, and a linear map from vectors of people in the one to those in the
    other, learned from whoever is in both (ridge, its strength by cross-validation).

    Source: Man et al., "Cross-Domain Recommendation: An Embedding and Mapping Approach", IJCAI 2017 (EMCDR).
    """
    parts, vectors = {}, {}
    for name in (source, target):
        data = train.in_domain(name)
        parts[name] = embeddings_of("als", make_model("als", ALS).fit(data, seed=1))
        vectors[name] = parts[name].encoder.encode(Users.unknown(data.interactions.histories())).vectors
    both = vectors[source].any(axis=1) & vectors[target].any(axis=1)
    learned = RidgeCV(np.logspace(-4, 4, 17)).fit(vectors[source][both], vectors[target][both])

    def scores(users: Users) -> F32:
        mapped = learned.predict(parts[source].encoder.encode(users).vectors)
        values: F32 = (mapped @ parts[target].items.T).astype(np.float32)
        return values

    return scores


def neighbours(train: Dataset, source: str, target: str) -> Scores:
    """What the people had in the target domain whose histories in the source are nearest, by cosine, weighted
    by it."""
    had = {name: _matrix(train.in_domain(name).interactions.histories().items, train.n_items)
           for name in (source, target)}  # fmt: skip
    known = normalize(had[source])

    def scores(users: Users) -> F32:
        alike = (normalize(_matrix(users.history.items, train.n_items)) @ known.T).toarray()
        few = min(NEIGHBOURS, alike.shape[1])
        alike[alike < np.partition(alike, -few, axis=1)[:, [-few]]] = 0
        values: F32 = (alike @ had[target]).astype(np.float32)
        return values

    return scores


def _matrix(items: Ragged, n_items: int) -> csr_matrix:
    matrix = csr_matrix(
        (np.ones(len(items.values)), items.values, items.offsets), shape=(items.rows, n_items)
    )
    matrix.sum_duplicates()
    return matrix.sign()
