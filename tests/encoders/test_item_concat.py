"""New items of a mixture: every part gives them a place, the parts without an item encoder by their
neighbours."""

import dataclasses
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pytest

from recsys.answers.new_items import with_items
from recsys.answers.question import Question
from recsys.answers.respond import respond
from recsys.arrays import F32, I64, Bool
from recsys.bundle.bundle import load
from recsys.bundle.write import publish, write
from recsys.data.dataset import Dataset
from recsys.data.planted.world import World, WorldSettings, make_world
from recsys.encoders.encoder import load_item_encoder
from recsys.encoders.item_concat import ItemConcat
from recsys.encoders.users import Users
from recsys.errors import ModelError
from recsys.models.export import content_of
from recsys.models.registry import make_model
from tests.helpers.towers import BOTH, SMALL, colour_checkerboard

RNG = np.random.default_rng(3)


class Numbers:
    """An item encoder whose vectors are the columns `at` of a list of numbers."""

    encoder_kind: ClassVar[str] = "numbers"
    columns: ClassVar[list[str]] = ["content"]

    def encode(self, features: pa.Table) -> F32:
        return np.stack(features["content"].to_numpy(zero_copy_only=False)).astype(np.float32)


def test_a_part_without_an_item_encoder_gets_the_mean_over_the_nearest_learned_items() -> None:
    numbers, other = RNG.normal(size=(30, 4)).astype(np.float32), RNG.normal(size=(30, 3)).astype(np.float32)
    other[:5] = 0  # items that the other part never learned are nobody's neighbours
    encoder = ItemConcat([None, Numbers()], np.hstack([other, numbers]), [3, 4], neighbours=6)
    content = RNG.normal(size=(7, 4)).astype(np.float32)
    vectors = encoder.encode(pa.table({"content": list(content)}))
    np.testing.assert_array_equal(vectors[:, 3:], content)
    for row, vector in enumerate(content):  # the slow, obvious way
        cosine = [float(vector @ one / np.linalg.norm(vector) / np.linalg.norm(one)) for one in numbers]
        nearest = sorted(range(5, 30), key=lambda item: -cosine[item])[:6]
        np.testing.assert_allclose(vectors[row, :3], other[nearest].mean(axis=0), rtol=1e-5, atol=1e-6)


def test_fewer_learned_items_than_neighbours_are_all_neighbours_and_none_gives_zeros() -> None:
    items = np.hstack([np.zeros((4, 2), np.float32), np.eye(4, dtype=np.float32)])
    content = pa.table({"content": list(np.eye(4, dtype=np.float32)[:1])})
    nothing = ItemConcat([None, Numbers()], items, [2, 4]).encode(content)
    assert nothing.tolist() == [[0, 0, 1, 0, 0, 0]]
    items[1:3, :2] = [[2, 0], [0, 4]]
    assert ItemConcat([None, Numbers()], items, [2, 4]).encode(content)[0, :2].tolist() == [1, 2]


def test_parts_that_do_not_fit_the_items_are_refused() -> None:
    for parts, dims in (([None, None], [2, 4]), ([None, Numbers()], [3, 4]), ([Numbers()], [2, 4])):
        with pytest.raises(ModelError, match="does not fit"):
            ItemConcat(parts, np.ones((4, 6), np.float32), dims)


def mixture(train: Dataset, seed: int, **tower: Any) -> Any:
    parts = [{"name": "als", "dim": 16, "epochs": 8}, {"name": "two_tower", "dim": 16} | tower]
    return make_model("mixture", {"parts": parts, "weights": (1.0, 1.0)}).fit(train, seed=seed)


def test_it_is_kept_in_a_bundle_and_stays_that_of_the_learned_items(tmp_path: Path) -> None:
    data = colour_checkerboard()
    learned = mixture(data, 1, **SMALL | {"dim": 8, "epochs": 2} | BOTH)
    colours = pa.table({"colour": ["even", "odd"]})
    expected = learned.item_encoder.encode(colours)
    bundle = load(write(tmp_path / "one", content_of("mixture", learned, data)))
    assert isinstance(load_item_encoder(bundle.path / "item_encoder", bundle.item_vectors), ItemConcat)
    np.testing.assert_allclose(bundle.item_encoder.encode(colours), expected, rtol=1e-5, atol=1e-6)
    more = with_items(bundle, ["a", "b"], pa.table({"title": ["A", "B"]}), colours).content
    again = load(write(tmp_path / "two", more))
    assert len(again.item_vectors) == data.n_items + 2
    np.testing.assert_allclose(again.item_encoder.encode(colours), expected, rtol=1e-5, atol=1e-6)


def without_new_items(world: World, seed: int) -> tuple[Dataset, I64, list[Any]]:
    """The world's log without a tenth of the items, these, and what each item is like: its true vector with
    noise."""
    rng, data, vectors = np.random.default_rng(seed), world.dataset, world.truth.item_vectors
    new = np.sort(rng.permutation(data.n_items)[: data.n_items // 10])
    content = vectors + rng.normal(0, 0.1 * vectors.std(), vectors.shape).astype(np.float32)
    events = data.interactions.where(~np.isin(data.interactions.item, new))
    described = pa.table({"content": list(content)})
    return dataclasses.replace(data.having(events), item_features=described), new, list(content[new])


def auc(scores: F32, chosen: Bool) -> float:
    """How probably one of the chosen stands above one of the others."""
    rank = scores.argsort().argsort()
    return float((rank[chosen].mean() - (chosen.sum() - 1) / 2) / (~chosen).sum())


@pytest.mark.certain
def test_a_brand_new_item_of_a_mixture_finds_its_people_with_a_reason(
    certain_seed: int, tmp_path: Path
) -> None:
    """In a planted world: who had an item that was taken out of learning is given it before others are."""
    world = make_world(WorldSettings(users=1_500, items=400, seed=certain_seed))
    train, new, content = without_new_items(world, certain_seed)
    said = {"item_features": [{"column": "content", "kind": "vector"}], "user_ids": False, "id_dropout": 0.5}
    learned = mixture(train, certain_seed, epochs=5, similarity="dot", temperature=1.0, **said)
    bundle = load(publish(tmp_path, content_of("mixture", learned, train)))
    ids = [f"new {item}" for item in new]
    wider = with_items(bundle, ids, pa.table({"title": ids}), pa.table({"content": content})).content
    bundle = load(publish(tmp_path, wider))

    events, n_users = world.dataset.interactions, world.dataset.n_users
    users = bundle.encoder.encode(Users.of_rows(np.arange(n_users), bundle.histories)).vectors
    parts, aucs = (slice(0, 32), slice(0, 16), slice(16, 32)), []
    for at, item in enumerate(new):
        had = np.zeros(n_users, bool)
        had[events.user[events.item == item]] = True
        if had.sum() >= 5:
            aucs.append(
                [auc(users[:, part] @ bundle.item_vectors[-len(new) + at, part], had) for part in parts]
            )
    whole, als, tower = np.mean(aucs, axis=0)
    assert whole > 0.8
    assert als > 0.8  # which never saw a feature: by the neighbours alone
    assert whole > tower

    answers = [respond(bundle, Question(bundle.user_ids[user], k=20, reasons=20)) for user in range(60)]
    given = [one for reply in answers for one in reply.items if one.item_id in ids]
    assert given
    assert all(one.reason is not None and one.reason.startswith("because of ") for one in given)
