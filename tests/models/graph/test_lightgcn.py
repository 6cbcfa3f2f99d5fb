"""LightGCN: its gradients against a slow, dense version in torch, and what its layers and its start are
worth."""

import numpy as np
import pytest
import torch

from recsys.arrays import Array
from recsys.errors import ModelError
from recsys.matrix.spectrum import unit
from recsys.models.factors.bpr import draw_unseen
from recsys.models.graph.lightgcn import LightGCNFit, LightGCNSettings
from recsys.models.registry import make_model
from recsys.testing.toys import dataset, random_log


def slow_tables(fit: LightGCNFit) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The learned rows of people and items in one table, in float64, and the whole normalised adjacency,
    dense."""
    n_users, n_items = fit.matrix.shape
    adjacency = np.zeros((n_users + n_items, n_users + n_items))
    adjacency[:n_users, n_users:] = fit.matrix.toarray()
    adjacency += adjacency.T
    degree = np.maximum(adjacency.sum(axis=1), 1e-12)
    rows = torch.cat([fit.users.table, fit.items.table]).double().requires_grad_()
    return rows, torch.from_numpy(adjacency / np.sqrt(np.outer(degree, degree))), torch.from_numpy(adjacency)


@pytest.mark.parametrize("loss", ["bpr", "softmax"])
@pytest.mark.parametrize("settings", [{"similarity": "dot", "temperature": 1.0}, {"temperature": 0.3}])
def test_its_gradients_are_those_of_a_slow_version(loss: str, settings: dict[str, object]) -> None:
    asked = LightGCNSettings(dim=5, layers=3, loss=loss, regularization=0.05, precision="float32", **settings)
    fit = LightGCNFit(asked, random_log(3), seed=4)
    chosen, n_users = np.arange(0, 40, 3), fit.matrix.shape[0]
    value, by_user, by_item = fit.gradients(chosen, np.random.default_rng(5))

    rows, walk, had = slow_tables(fit)
    layer, total = rows, rows
    for _ in range(asked.layers):
        layer = walk @ layer
        total = total + layer
    mean = total / (asked.layers + 1)
    if asked.similarity == "cosine":
        mean = mean / mean.norm(dim=1, keepdim=True)
    users, items = mean[:n_users], mean[n_users:]
    slow = torch.zeros((), dtype=torch.float64)
    user, item = np.nonzero(had[:n_users, n_users:].numpy())
    of_chosen = np.isin(user, chosen)
    user, item = user[of_chosen], item[of_chosen]
    negatives = draw_unseen(user, fit.pairs, fit.matrix.shape[1], np.random.default_rng(5))
    for who, what, other in zip(user, item, negatives, strict=True):
        weight, scores = had[who, n_users + what], users[who] @ items.T / asked.temperature
        against = torch.log1p(torch.exp(scores[other] - scores[what]))
        slow = slow + weight * (against if loss == "bpr" else torch.logsumexp(scores, 0) - scores[what])
    assert value == pytest.approx(slow.item(), rel=1e-5)
    ridge = (rows[:n_users][chosen] ** 2).sum() + len(chosen) / len(fit.active) * (rows[n_users:] ** 2).sum()
    (slow + asked.regularization / 2 * ridge).backward()
    assert rows.grad is not None
    np.testing.assert_allclose(np.concatenate([by_user, by_item]), rows.grad.numpy(), atol=1e-5)


def test_what_is_drawn_was_not_had() -> None:
    had = np.array([[0, 1], [0, 2], [1, 0]])
    pairs = np.sort(had[:, 0] * 30 + had[:, 1])
    drawn = draw_unseen(np.repeat([0, 1], 1000), pairs, 30, np.random.default_rng(1))
    assert set(drawn[:1000]) == {0, *range(3, 30)}
    assert set(drawn[1000:]) == set(range(1, 30))


def wheel(seed: int) -> tuple[Array, Array]:
    """Person u of 60 has four of the seven items from u to u + 6 on a wheel."""
    rng = np.random.default_rng(seed)
    near = np.array([rng.choice(7, 4, replace=False) for _ in range(60)])
    return np.repeat(np.arange(60), 4), ((np.arange(60)[:, None] + near) % 60).ravel()


@pytest.mark.parametrize("loss", ["bpr", "softmax"])
def test_over_a_sparse_graph_steps_find_what_is_near(loss: str, certain_seed: int) -> None:
    """Of the three items nearby that a person did not have more are among their best ten than by the rows
    alone."""
    user, item = wheel(certain_seed)
    data = dataset(user, item, 60, 60)
    share = {}
    for layers in (0, 3):
        settings = {
            "dim": 16,
            "epochs": 10,
            "batch_size": 16,
            "layers": layers,
            "initial": "random",
            "loss": loss,
        }
        learned = make_model("lightgcn", settings).fit(data, seed=certain_seed)
        scores = learned.encoder.table @ learned.items.T
        scores[user, item] = -np.inf
        best = np.argsort(-scores, axis=1)[:, :10]
        share[layers] = np.mean((best - np.arange(60)[:, None]) % 60 <= 6)
    assert share[3] > share[0] + 0.02


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_items_are_served_by_a_power_of_their_averaged_length(power: float) -> None:
    fit = LightGCNFit(LightGCNSettings(dim=8, layers=2, served_length=power), random_log(2), seed=1)
    averaged = fit.average_steps(fit.users.table.numpy(), fit.items.table.numpy())[1]
    served, there = fit.finish().items, np.bincount(fit.matrix.indices, minlength=len(averaged)) > 0
    lengths = np.linalg.norm(averaged[there], axis=1)
    assert np.ptp(lengths) > 0.1
    np.testing.assert_allclose(np.linalg.norm(served[there], axis=1), lengths**power, rtol=1e-5)
    np.testing.assert_allclose(unit(served[there]), averaged[there] / lengths[:, None], rtol=0, atol=1e-6)
    assert not served[~there].any()


def test_no_events_are_refused() -> None:
    with pytest.raises(ModelError, match="no events"):
        make_model("lightgcn", {}).fit(dataset(np.empty(0, int), np.empty(0, int), 2, 2), seed=1)
