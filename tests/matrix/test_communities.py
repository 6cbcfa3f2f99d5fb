"""Communities: the graph against a slow one, groups that were planted, and what no group can be found in."""

import builtins
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from recsys.arrays import F32, I32
from recsys.data.planted.world import WorldSettings, make_world
from recsys.errors import DataError, SettingError
from recsys.matrix.communities import agreement, find_communities, neighbour_graph
from recsys.models.registry import make_model
from recsys.progress import silent


def plant_groups(seed: int, spread: float = 0.4, groups: int = 7) -> tuple[F32, I32]:
    """Vectors around the centres of groups of unequal sizes, and their groups."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(groups), 40 + 5 * np.arange(groups))
    vectors = rng.normal(size=(groups, 16))[group] + spread * rng.normal(size=(len(group), 16))
    order = rng.permutation(len(group))
    return vectors[order].astype(np.float32), group[order].astype(np.int32)


def test_the_graph_joins_the_nearest_by_cosine() -> None:
    vectors, _ = plant_groups(1)
    vectors = vectors[:60]
    vectors[5] = 0
    lengths = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    cosines = (vectors / lengths) @ (vectors / lengths).T
    np.fill_diagonal(cosines, -np.inf)
    wanted = np.zeros((60, 60))
    for one in range(60):
        for other in np.argsort(-cosines[one])[:4] if one != 5 else ():
            wanted[one, other] = wanted[other, one] = max(cosines[one, other], 0)
    np.testing.assert_allclose(neighbour_graph(vectors, 4).toarray(), wanted, atol=1e-5)


def test_planted_groups_are_found_and_the_runs_agree(certain_seed: int) -> None:
    vectors, group = plant_groups(certain_seed)
    vectors[:3] = 0
    communities = find_communities(vectors, seed=certain_seed)
    assert (communities.labels[:3] == -1).all()
    assert adjusted_rand_score(group[3:], communities.labels[3:]) > 0.95
    assert communities.stability > 0.95
    assert communities.modularity > 0.6
    sizes = np.bincount(communities.labels[3:])
    assert (np.diff(sizes) <= 0).all()
    assert communities.count == len(sizes)
    again = find_communities(vectors, seed=certain_seed)
    np.testing.assert_array_equal(communities.labels, again.labels)


@pytest.mark.parametrize("seed", [21, 22])
def test_the_categories_of_a_planted_world_are_found_in_what_was_learned_of_it(seed: int) -> None:
    shape: dict[str, Any] = {"categories": 5, "category_share": 0.95, "new_share": 0.0, "wave": 0.0}
    world = make_world(WorldSettings(users=1500, items=200, rank=6, taste=3.0, seed=seed, **shape), silent)
    learned = make_model("als", {"dim": 8}).fit(world.dataset, seed=1)
    communities = find_communities(learned.items)
    assert adjusted_rand_score(world.truth.category, communities.labels) > 0.8
    assert communities.stability > 0.8


def test_a_resolution_makes_more_or_fewer() -> None:
    vectors, _ = plant_groups(4, spread=1.5)
    counts = [find_communities(vectors, resolution=one, runs=2).count for one in (0.05, 1.0, 5.0)]
    assert counts[0] < counts[1] < counts[2]


def test_noise_is_no_stable_community() -> None:
    noise = np.random.default_rng(1).normal(size=(300, 16)).astype(np.float32)
    assert find_communities(noise).stability < 0.8


def test_agreement_is_that_of_all_pairs() -> None:
    one, other = np.array([0, 0, 1, 1], np.int32), np.array([1, 1, 0, 0], np.int32)
    assert agreement([one]) == 1
    assert agreement([one, other]) == 1
    assert agreement([one, np.array([0, 1, 0, 1], np.int32)]) == pytest.approx(-0.5)


def test_what_has_no_groups_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="communities need 3 vectors or more, and there are 2"):
        find_communities(np.eye(5, dtype=np.float32)[:, :2] + 0)
    with pytest.raises(DataError, match="no two of the vectors point the same way"):
        find_communities(np.eye(5, dtype=np.float32))
    real = builtins.__import__

    def without(name: str, *args: Any, **more: Any) -> Any:
        if name.startswith("sknetwork"):
            raise ModuleNotFoundError(name)
        return real(name, *args, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(SettingError, match=r"extra `communities`"):
        find_communities(plant_groups(1)[0])
