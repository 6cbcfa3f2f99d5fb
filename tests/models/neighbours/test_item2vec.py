"""item2vec: the gradient of a window against a slow one, what is drawn, and groups that are found again."""

import numpy as np
import pytest

from recsys.arrays import F32, F64, Ragged
from recsys.encoders.users import Users
from recsys.errors import ModelError
from recsys.history import Histories
from recsys.models.neighbours.skip_gram import TABLE, learn_sequences, learn_window
from recsys.models.neighbours.window_fit import negatives_of
from recsys.models.registry import make_model
from recsys.testing.learners import scores_of
from recsys.testing.toys import dataset

DIM = 7


def loss_of(inputs: F64, outputs: F64, context: list[int], at: list[int], together: bool) -> float:
    """The negative log-likelihood as the paper writes it."""
    given = [np.mean(inputs[context], axis=0)] if together else [inputs[one] for one in context]
    total = 0.0
    for vector in given:
        total += np.log1p(np.exp(-(vector @ outputs[at[0]])))
        total += sum(np.log1p(np.exp(vector @ outputs[one])) for one in at[1:])
    return float(total)


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_a_window_moves_both_tables_down_the_slow_gradient(seed: int, together: bool) -> None:
    rng = np.random.default_rng(seed)
    inputs, outputs = (rng.normal(0, 0.5, (6, DIM)) for _ in range(2))
    context, at, rate = [0, 2, 5], [3, 1, 4], 1e-4
    moved: list[F32] = [inputs.astype(np.float32), outputs.astype(np.float32)]
    before = [one.copy() for one in moved]
    room = np.empty((3, max(DIM, len(at))), np.float32)
    rows = (np.array([*context, 0, 0], np.int32), 3, np.array(at, np.int32), 3)
    loss = learn_window(*moved, *rows, np.float32(rate), together, room)
    assert loss == pytest.approx(loss_of(inputs, outputs, context, at, together), abs=0.02)
    for which, table in enumerate((inputs, outputs)):
        slow = np.zeros_like(table)
        for place in np.ndindex(*table.shape):
            step = np.zeros_like(table)
            step[place] = 1e-5
            shifted = [[inputs + step, outputs], [inputs - step, outputs]]
            if which:
                shifted = [[inputs, outputs + step], [inputs, outputs - step]]
            up, down = (loss_of(*one, context, at, together) for one in shifted)
            slow[place] = (up - down) / 2e-5
        fast = (before[which] - moved[which]) / rate
        np.testing.assert_allclose(fast, slow, atol=6e-3)  # of float32 steps, and of a table of the sigmoid


def test_negatives_are_drawn_by_the_power_of_their_events() -> None:
    counts = np.array([0, 1, 10, 100])
    for exponent in (0.0, 0.5, 1.0, -0.5):
        share = np.bincount(negatives_of(counts, exponent), minlength=4) / TABLE
        wanted = np.where(counts > 0, np.maximum(counts, 1.0) ** exponent, 0)
        np.testing.assert_allclose(share, wanted / wanted.sum(), atol=1e-5)


@pytest.mark.parametrize(("window", "pairs"), [(0, 5 * 4), (1, 8)])
def test_a_window_counts_its_places(window: int, pairs: int) -> None:
    items = np.arange(5, dtype=np.int32)
    tables = np.zeros((5, DIM), np.float32), np.zeros((5, DIM), np.float32)
    kept, table = np.ones(5, np.float32), negatives_of(np.ones(5, int), 1.0)
    asked = (
        np.array([0, 5]),
        items,
        np.array([0]),
        *tables,
        kept,
        table,
        window,
        2,
        np.float32(0.0),
        False,
        7,
    )
    assert learn_sequences(*asked)[1] == pairs
    nothing = (*asked[:5], np.zeros(5, np.float32), *asked[6:])  # all thinned out
    assert learn_sequences(*nothing)[1] == 0


@pytest.mark.parametrize(
    "settings",
    [{}, {"architecture": "cbow", "epochs": 60}, {"served": "input"}, {"window": 0, "subsample": 0.05}],
)
def test_groups_are_found_again(settings: dict[str, object], certain_seed: int) -> None:
    """People walk within one of four groups of items: what they have not had of theirs is what they are
    answered."""
    rng = np.random.default_rng(certain_seed)
    group = rng.integers(4, size=400)
    item = np.concatenate([rng.choice(10, 6, replace=False) + 10 * one for one in group])
    data = dataset(np.repeat(np.arange(400), 6), item, 400, 40)
    own = {"dim": 16, "epochs": 20, "negative_exponent": 0.75} | settings
    learned = make_model("item2vec", own).fit(data, seed=certain_seed)
    scores = scores_of(learned, Ragged.of([[10 * one, 10 * one + 1] for one in range(4)]), 40)
    for one in range(4):
        scores[one, 10 * one : 10 * one + 2] = -np.inf  # had: nothing says that it comes again
        assert set(np.argsort(-scores[one])[:8]) == set(range(10 * one + 2, 10 * one + 10))


def test_an_item_without_a_neighbour_is_not_known_and_an_unknown_person_is_encoded_by_theirs() -> None:
    data = dataset(np.array([0, 0, 1, 1, 2]), np.array([0, 1, 0, 1, 3]), 3, 5)
    learned = make_model("item2vec", {"dim": 4, "epochs": 3}).fit(data, seed=1)
    assert learned.trained.tolist() == [True, True, False, False, False]
    people = Users(np.array([-1, 0]), Histories(Ragged.of([[0, 1], [0, 1]])))
    one, other = learned.encoder.encode(people).vectors
    np.testing.assert_array_equal(one, other)
    with pytest.raises(ModelError, match="nobody has two events"):
        make_model("item2vec", {}).fit(dataset(np.array([0, 1]), np.array([0, 1]), 2, 2), seed=1)
    with pytest.raises(ModelError, match="nobody has two different items"):
        make_model("item2vec", {}).fit(dataset(np.array([0, 0, 1]), np.array([1, 1, 0]), 2, 2), seed=1)


def test_who_had_one_item_again_and_again_says_nothing_of_it() -> None:
    data = dataset(np.array([0, 0, 1, 1, 2, 2, 3]), np.array([0, 1, 1, 0, 2, 2, 3]), 4, 4)
    learned = make_model("item2vec", {"dim": 4, "epochs": 2}).fit(data, seed=1)
    assert learned.trained.tolist() == [True, True, False, False]
