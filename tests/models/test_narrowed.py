"""A narrow model that starts from a wide one: the start is the best of its rank, and what cannot be is
refused."""

from typing import Any

import numpy as np
import pytest

from recsys.encoders.users import Users
from recsys.errors import ModelError, SettingError
from recsys.models.narrowed import narrow_rows
from recsys.models.registry import make_model
from recsys.testing.toys import random_log
from recsys.training.loop import Aids

WIDE: dict[str, Any] = {
    "name": "mixture",
    "parts": [{"name": "softmax", "dim": 12, "epochs": 3}, {"name": "als", "dim": 6}],
}
WIDE |= {"weights": [1.0, 1.0]}
STILL = {"name": "softmax", "dim": 5, "epochs": 1, "learning_rate": 1e-9, "propagation": 0.0}


def wide() -> tuple[Any, Any, Any]:
    """Data, a model of 18 dims, and its scores of all users over all items."""
    data = random_log(3)
    settings: dict[str, Any] = {key: value for key, value in WIDE.items() if key != "name"}
    learned: Any = make_model("mixture", settings).fit(data, seed=1)
    users, _ = learned.encoder.encode(Users.of_rows(np.arange(data.n_users), data.interactions.histories()))
    return data, learned, users @ learned.items.T


@pytest.mark.parametrize("dim", [1, 5, 18, 30])
def test_the_start_has_the_scores_of_the_truncated_singular_value_decomposition(dim: int) -> None:
    data, learned, scores = wide()
    left, values, right = np.linalg.svd(scores, full_matrices=False)
    best = left[:, :dim] * values[:dim] @ right[:dim]
    start = narrow_rows(learned, data, dim)
    assert start.users.dtype == start.items.dtype == np.float32
    assert start.users.shape == (data.n_users, min(dim, 18))
    np.testing.assert_allclose(start.users @ start.items.T, best, atol=1e-4 * np.abs(scores).max())


def test_the_narrow_model_begins_there_and_not_at_the_spectrum() -> None:
    data, learned, _ = wide()
    start = narrow_rows(learned, data, 5)
    model = make_model("narrowed", {"wide": WIDE, "narrow": STILL})
    narrow: Any = model.fit(data, seed=1)
    unit = start.items / np.maximum(np.linalg.norm(start.items, axis=1, keepdims=True), 1e-12)
    np.testing.assert_allclose(narrow.items, unit, atol=1e-4)


def test_a_propagated_narrow_model_takes_the_start_as_it_is() -> None:
    """What is taken up comes on top: the wide model's vectors are not those of a finished model of its own
    kind."""
    data, _, _ = wide()
    for name in ("softmax", "two_tower"):
        models = []
        for weight in (0.0, 0.4):
            narrow = STILL | {"name": name, "propagation": weight}
            models.append(make_model("narrowed", {"wide": WIDE, "narrow": narrow}).fit(data, seed=1))
        first, second = (model.items for model in models)  # type: ignore[union-attr]
        apart = second - first
        assert 0.1 < np.linalg.norm(apart) / np.linalg.norm(first) < 2
        alone = make_model("narrowed", {"wide": WIDE, "narrow": STILL | {"name": name}})
        np.testing.assert_array_equal(alone.fit(data, seed=1).items, first)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"narrow": {"name": "als", "dim": 4}},
            ["als does not start from vectors of others", "softmax and two_tower"],
        ),
        ({"narrow": {"dim": 4}}, ["needs the `name` of a model"]),
        ({"wide": {"name": "softmax", "dims": 4}}, ["dims", "dim"]),
    ],
)
def test_what_cannot_be_narrowed_is_refused(settings: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(SettingError) as said:
        make_model("narrowed", settings)
    assert all(word in str(said.value) for word in words)


def test_a_wide_model_without_vectors_is_refused() -> None:
    with pytest.raises(ModelError, match="item_knn learns no vectors"):
        make_model("narrowed", {"wide": {"name": "item_knn"}}).fit(random_log(1), seed=1, aids=Aids())
