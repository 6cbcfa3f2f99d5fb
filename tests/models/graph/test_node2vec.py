"""node2vec: walks against the exact chances of their steps, and groups of a graph that are found again."""

import numpy as np
import pytest
from scipy import sparse

from recsys.arrays import F64, Ragged
from recsys.encoders.users import Users
from recsys.errors import ModelError
from recsys.models.graph.node2vec import edges_of, nodes_of
from recsys.models.graph.walks import Graph
from recsys.models.registry import make_model
from recsys.retrieval.recommender import recommender_of
from recsys.testing.learners import Case, everyone
from recsys.testing.toys import dataset

EDGES = (
    (0, 1, 1.0),
    (0, 2, 2.0),
    (1, 2, 1.0),
    (1, 3, 3.0),
    (2, 3, 0.5),
    (3, 4, 1.0),
    (0, 4, 1.0),
    (4, 5, 2.0),
)


def weights_of(weighted: bool) -> F64:
    weights = np.zeros((6, 6))
    for one, other, weight in EDGES:
        weights[one, other] = weights[other, one] = weight if weighted else 1.0
    return weights


def chances(weights: F64, came: int, at: int, p: float, q: float) -> F64:
    """Those of the next node, as the paper writes them."""
    bias = [1 / p if to == came else 1.0 if weights[came, to] else 1 / q for to in range(len(weights))]
    weight_to = weights[at] * bias
    return weight_to / weight_to.sum()


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("p", "q"), [(1.0, 1.0), (0.25, 4.0), (4.0, 0.25), (0.1, 0.5), (3.0, 2.0)])
def test_walks_step_as_often_as_the_paper_says(p: float, q: float, weighted: bool) -> None:
    weights, steps = weights_of(weighted), np.zeros((6, 6, 6))
    graph = Graph.of(sparse.csr_array(weights))
    walks = graph.walks(np.repeat(np.arange(6), 4000), 12, p, q, seed=3)
    assert (weights[walks[:, :-1], walks[:, 1:]] > 0).all()
    np.add.at(steps, (walks[:, :-2], walks[:, 1:-1], walks[:, 2:]), 1)
    for came, at in zip(*np.nonzero(weights), strict=True):
        wanted, n = chances(weights, came, at, p, q), steps[came, at].sum()
        error = np.abs(steps[came, at] / n - wanted) / np.sqrt(np.maximum(wanted * (1 - wanted), 1e-9) / n)
        assert error.max() < 4.5  # standard errors
    first = np.bincount(walks[walks[:, 0] == 3, 1], minlength=6) / 4000
    np.testing.assert_allclose(first, weights[3] / weights[3].sum(), atol=0.035)


def test_a_seed_gives_its_walks_and_no_others() -> None:
    graph, starts = Graph.of(sparse.csr_array(weights_of(True))), np.repeat(np.arange(6), 50)
    np.testing.assert_array_equal(graph.walks(starts, 9, 0.5, 2.0, 1), graph.walks(starts, 9, 0.5, 2.0, 1))
    assert (graph.walks(starts, 9, 0.5, 2.0, 1) != graph.walks(starts, 9, 0.5, 2.0, 2)).any()
    assert len(np.unique(graph.walks(np.zeros(50, np.int64), 9, 1.0, 1.0, 1), axis=0)) > 40


def test_people_and_items_are_apart_unless_they_share_their_ids() -> None:
    data = dataset(np.array([0, 1, 1, 2]), np.array([1, 0, 0, 2]), 4, 3)
    matrix = data.interactions.matrix()
    assert nodes_of(data, False).tolist() == [3, 4, 5, 6]
    apart = edges_of(matrix, nodes_of(data, False)).toarray()
    np.testing.assert_array_equal(apart, apart.T)
    assert apart[4, 0] == 2  # two events of one pair
    assert not apart[:3, :3].any()
    assert edges_of(matrix, np.array([0, 1, 2, 3])).toarray().tolist() == [
        [0, 2, 0, 0],  # listed in both directions, of which the larger counts
        [2, 0, 0, 0],
        [0, 0, 0, 0],  # none from a node to itself
        [0, 0, 0, 0],
    ]


@pytest.mark.parametrize("settings", [{}, {"served": "input"}, {"user_rows": False}, {"q": 0.5, "p": 2.0}])
def test_groups_are_found_again(settings: dict[str, object], certain_seed: int) -> None:
    rng = np.random.default_rng(certain_seed)
    group = rng.integers(4, size=300)
    item = np.concatenate([rng.choice(10, 5, replace=False) + 10 * one for one in group])
    data = dataset(np.repeat(np.arange(300), 5), item, 300, 40)
    own = {"dim": 16, "epochs": 6} | settings
    engine = recommender_of(
        make_model("node2vec", own).fit(data, seed=certain_seed), np.arange(40), "exclude"
    )
    for users in (everyone(data), Users.unknown(everyone(data).history)):
        assert (engine.recommend(users, 5).ids // 10 == group[:, None]).all()


def friends(certain_seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Four circles of twelve people, most of whose pairs know each other; each friendship is listed once."""
    rng = np.random.default_rng(certain_seed)
    one, other = np.triu_indices(48, 1)
    known = (one // 12 == other // 12) & (rng.random(len(one)) < 0.6)
    return one[known], other[known]


def test_in_a_graph_of_friends_strangers_of_one_circle_are_near(certain_seed: int) -> None:
    one, other = friends(certain_seed)
    data = dataset(one, other, 48, 48)
    shared = Case("node2vec", {"shared_ids": True, "dim": 16, "epochs": 20, "served": "input"})
    data = type(data)(data.name, data.interactions, data.item_ids, data.item_ids, data.items)
    learned = shared.fit(data, certain_seed)
    cosines = learned.items @ learned.items.T
    inside = np.arange(48)[:, None] // 12 == np.arange(48) // 12
    np.fill_diagonal(cosines, np.nan)
    assert np.nanmin(np.where(inside, cosines, np.nan)) > np.nanmax(np.where(inside, np.nan, cosines))
    row = learned.encoder.encode(Users.of_rows(np.array([7]), Ragged.of([[]]))).vectors[0]
    np.testing.assert_allclose(row, learned.items[7])


def test_a_graph_without_an_edge_is_refused() -> None:
    itself = dataset(np.arange(3), np.arange(3), 3, 3)
    itself = type(itself)("loops", itself.interactions, itself.item_ids, itself.item_ids, itself.items)
    with pytest.raises(ModelError, match="no event of loops joins two nodes"):
        make_model("node2vec", {"shared_ids": True}).fit(itself, seed=1)
