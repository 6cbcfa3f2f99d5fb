"""A click on an item that came after training counts: by its own vector, or as one on the learned item most
like it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from recsys.arrays import F32, Bool, Ragged
from recsys.encoders.bag import Bag
from recsys.encoders.concat import Concat
from recsys.encoders.encoder import Encoder, load_encoder
from recsys.encoders.solve import Solve
from recsys.encoders.stand_ins import StandIns
from recsys.encoders.users import Users
from tests.helpers.towers import colour_checkerboard, fit_towers

LEARNED, ADDED, DIM = 40, 3, 6
RNG = np.random.default_rng(11)
ITEMS = RNG.normal(size=(LEARNED + ADDED, DIM)).astype(np.float32)
ITEMS[7] = 0  # learned by nobody
ITEMS[-1] = 0  # added, and nowhere


def solve() -> Solve:
    gram = ITEMS[:LEARNED].T @ ITEMS[:LEARNED]
    return Solve(ITEMS[:LEARNED], gram, None, regularization=0.1, unobserved_weight=0.2, exponent=1.0)


def bag() -> Bag:
    return Bag(RNG.normal(size=(LEARNED, DIM)).astype(np.float32), None, unit=True, half_life=3.0)


def grown(encoder: Encoder, folder: Path, items: F32) -> Encoder:
    """The encoder as a bundle with these items loads it."""
    folder.mkdir()
    encoder.save(folder)
    return load_encoder(folder, items)


def user_of(*items: int) -> Users:
    return Users.unknown(Ragged.of([list(items)]))


def most_alike(item: int) -> int:
    cosines = [float(ITEMS[item] @ one / max(float(np.linalg.norm(one)), 1e-9)) for one in ITEMS[:LEARNED]]
    return int(np.argmax([-np.inf if at == 7 else cosine for at, cosine in enumerate(cosines)]))


def test_solve_takes_the_vector_of_the_new_item(tmp_path: Path) -> None:
    old, new = solve(), grown(solve(), tmp_path / "new", ITEMS)
    assert new.usable(user_of(2, LEARNED).history).all()
    np.testing.assert_array_equal(new.encode(user_of(2, 5)).vectors, old.encode(user_of(2, 5)).vectors)
    rows, ridge = ITEMS[[2, LEARNED]].astype(np.float64), 0.1 * (2 + 0.2 * LEARNED)  # n is what training knew
    left = 0.2 * old.gram.astype(np.float64) + rows.T @ rows + ridge * np.eye(DIM)
    np.testing.assert_allclose(
        new.encode(user_of(2, LEARNED)).vectors[0], np.linalg.solve(left, rows.sum(0)), rtol=1e-4
    )
    again = grown(new, tmp_path / "again", np.concatenate([ITEMS, ITEMS[:2]]))  # a bundle grows twice
    np.testing.assert_array_equal(
        again.encode(user_of(2, LEARNED)).vectors, new.encode(user_of(2, LEARNED)).vectors
    )


def test_a_bag_takes_the_input_of_the_learned_item_most_alike(tmp_path: Path) -> None:
    made = bag()
    new = grown(made, tmp_path / "new", ITEMS)
    for item in (LEARNED, LEARNED + 1):
        stands = most_alike(item)
        assert new.usable(user_of(2, item).history).all()
        expected = made.encode(user_of(2, stands)).vectors
        np.testing.assert_array_equal(new.encode(user_of(2, item)).vectors, expected)
        parts, of_learned = (
            one.contributions(user, ITEMS)
            for one, user in ((new, user_of(2, item)), (made, user_of(2, stands)))
        )
        np.testing.assert_array_equal(parts, of_learned)
    assert new.usable(user_of(2, LEARNED + 2).history).tolist() == [True, False]  # no vector: like nothing


def test_a_mixture_counts_it_in_every_part(tmp_path: Path) -> None:
    parts = [solve(), bag()]
    both = np.hstack([ITEMS, ITEMS])
    new = grown(Concat(parts, [1.0, 0.5]), tmp_path / "new", both)
    alone = [grown(part, tmp_path / str(at), ITEMS) for at, part in enumerate(parts)]
    expected = [
        weight * part.encode(user_of(2, LEARNED)).vectors
        for part, weight in zip(alone, [1.0, 0.5], strict=True)
    ]
    np.testing.assert_allclose(new.encode(user_of(2, LEARNED)).vectors, np.hstack(expected), rtol=1e-6)


def test_a_tower_takes_the_row_of_the_learned_item_most_alike(tmp_path: Path) -> None:
    learned = fit_towers(colour_checkerboard(), user_ids=False)
    copies = learned.items[[4, 31]]  # each points exactly the way of one learned item
    new = grown(learned.encoder, tmp_path / "new", np.concatenate([learned.items, copies]))
    for item, stands in ((40, 4), (41, 31)):
        users = new.stand_ins.learned_items(user_of(2, item))  # type: ignore[attr-defined]
        counted = users.history.items.values[1]
        cosine = learned.items[counted] @ learned.items[stands]
        assert cosine == pytest.approx(1.0, abs=1e-5)
        np.testing.assert_array_equal(
            new.encode(user_of(2, item)).vectors, new.encode(user_of(2, int(counted))).vectors
        )
    assert new.encode(user_of(40)).known.all()


@pytest.mark.parametrize("choose", [lambda n: np.ones(n, bool), lambda n: np.arange(n) % 2 == 0])
def test_only_what_has_an_input_stands_in(choose: Callable[[int], Bool]) -> None:
    learned = choose(LEARNED)
    items = (
        StandIns(learned, ITEMS)
        .learned_items(user_of(3, LEARNED, 3, LEARNED + 1, LEARNED))
        .history.items.values
    )
    assert items[[0, 2]].tolist() == [3, 3]
    assert items[1] == items[4]
    assert learned[items[[1, 3]]].all()
    assert 7 not in items
    assert not StandIns(learned).usable(user_of(LEARNED).history).any()  # a model in memory was given no item
