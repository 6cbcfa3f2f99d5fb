"""The two-tower model: training and service agree, new items have a place, histories hold what came
before."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from recsys.answers.person import person_of, usable_items
from recsys.answers.question import Event, Question
from recsys.answers.respond import respond
from recsys.arrays import Ragged
from recsys.bundle.bundle import load
from recsys.bundle.write import write
from recsys.encoders.encoder import FALLBACK, FEATURES, HISTORY, USER_ROW, load_encoder
from recsys.encoders.users import Users
from recsys.errors import DataError, ModelError, RequestError, SettingError
from recsys.history import Histories
from recsys.models.export import content_of
from recsys.models.registry import make_model
from recsys.models.towers.two_tower import TwoTower, TwoTowerFit, TwoTowerSettings
from recsys.retrieval.vector_ranker import VectorRanker
from recsys.testing.toys import dataset, random_log
from recsys.training.checkpoint import Checkpoint
from recsys.training.loop import Aids
from recsys.training.towers.events import PastOfEvents
from tests.helpers.towers import (
    BOTH,
    COLOUR,
    SMALL,
    colour_checkerboard,
    everyone,
    fit_towers,
    publish_towers,
)


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
@pytest.mark.parametrize("hidden", [0, 12])
def test_what_serves_gives_the_vectors_that_were_learned(
    hidden: int, similarity: str, tmp_path: Path
) -> None:
    """The net by onnxruntime and the sums by numpy against torch, on the inputs of training and after a
    reload."""
    data = colour_checkerboard()
    learner = TwoTowerFit(
        TwoTowerSettings(
            **(SMALL | BOTH | {"hidden": hidden, "history": "before", "similarity": similarity})
        ),
        data,
        1,
    )
    for number in range(3):
        learner.epoch(number)
    at, rng = np.arange(0, len(learner.events.item), 7), np.random.default_rng(0)
    users, items = learner._users(at, rng), learner._items(np.arange(data.n_items), rng)
    for tower, inputs in ((learner.user_tower, users), (learner.item_tower, items)):
        np.testing.assert_allclose(tower.export().vectors(inputs), tower.forward(inputs).numpy(), atol=1e-5)
    learned = learner.finish()
    learned.encoder.save(tmp_path)
    loaded = load_encoder(tmp_path, learned.items)
    for users in (everyone(data), Users.unknown(everyone(data).history)):
        np.testing.assert_array_equal(loaded.encode(users)[0], learned.encoder.encode(users)[0])
    assert loaded.space_id == learned.encoder.space_id
    assert np.abs(learner.user_tower.whole["fading"].numpy()).max() > 0.01


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
@pytest.mark.parametrize("hidden", [0, 6])
def test_a_step_follows_the_gradient_of_all_that_it_uses(hidden: int, similarity: str) -> None:
    """Against the loss at shifted tables: rows, numbers, weights by place, and the layer."""
    learner = TwoTowerFit(
        TwoTowerSettings(
            **(SMALL | BOTH | {"hidden": hidden, "history": "before", "similarity": similarity})
        ),
        colour_checkerboard(),
        1,
    )
    tower, rng = learner.user_tower, np.random.default_rng(0)
    for tensor in tower.whole.values():
        tensor += 0.3 * torch.from_numpy(rng.standard_normal(tensor.shape).astype(np.float32))
    if hidden:  # units that are on and units that are off, all far from where the slope changes
        tower.whole["bias"] += torch.tensor([9.0, -9.0] * (hidden // 2))
    inputs = learner._users(np.arange(50, 70), rng)
    pull = torch.from_numpy(rng.standard_normal((20, 8)).astype(np.float32))
    tower.forward(inputs)
    table = torch.zeros_like(tower.table.table)
    tower._out.backward(pull)
    table[tower._touched] = tower._values.grad
    grads = {"table": table} | {name: tensor.grad for name, tensor in tower.free.items()}
    for name, grad in grads.items():
        tensor = tower.table.table if name == "table" else tower.whole[name]
        way = torch.from_numpy(rng.standard_normal(tensor.shape).astype(np.float32))
        at, ends = tensor.clone(), []
        for step in (2e-3, -2e-3):
            tensor.copy_(at + step * way)
            ends.append(float((tower.forward(inputs).double() * pull).sum()))
        tensor.copy_(at)
        assert (ends[0] - ends[1]) / 4e-3 == pytest.approx(float((grad * way).sum()), rel=0.02, abs=0.02), (
            name
        )


def test_a_new_item_is_found_by_its_features() -> None:
    data = colour_checkerboard(cold=6)
    learned = fit_towers(data, item_features=COLOUR, id_dropout=0.5, user_ids=False)
    assert learned.trained.all()
    vectors, _ = learned.encoder.encode(everyone(data))
    scores = vectors @ learned.items[34:].T
    right = (np.arange(40)[:, None] + np.arange(34, 40)) % 2 == 0
    assert scores[right].min() > scores[~right].max()
    again = learned.item_encoder.encode(pa.table({"colour": ["even", "odd"]}))
    np.testing.assert_allclose(again, learned.items[[34, 35]], atol=1e-6)
    foreign = pa.array(
        ["even", "odd"] * 17 + ["new", "new", None, None, "even", "odd"]
    )  # nobody had "new", or no colour
    apart = fit_towers(
        dataclasses.replace(data, item_features=pa.table({"colour": foreign})), item_features=COLOUR
    )
    assert apart.trained.tolist() == [True] * 34 + [False] * 4 + [True] * 2
    bare = fit_towers(data)
    assert not bare.trained[34:].any()
    assert bare.item_encoder is None


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_what_the_events_of_a_history_add_is_the_whole_score(similarity: str) -> None:
    data = colour_checkerboard()
    learned = fit_towers(data, **BOTH, history="before", similarity=similarity, epochs=3)
    user = Users.of_rows(np.array([3]), data.interactions.histories().take(np.array([3])))
    vectors, _ = learned.encoder.encode(user)
    shares = learned.encoder.contributions(user, learned.items[:7])
    np.testing.assert_allclose(shares.sum(axis=1), learned.items[:7] @ vectors[0], atol=1e-5)
    assert shares.std(axis=1).min() > 1e-4


def test_a_bundle_keeps_the_item_encoder_and_answers_from_features(tmp_path: Path) -> None:
    data = colour_checkerboard()
    learned = fit_towers(data, **BOTH, history="none", id_dropout=0.5)
    bundle = load(write(tmp_path, content_of("two_tower", learned, data)))
    colours = pa.table({"colour": ["odd", None, "pink"]})
    assert bundle.item_encoder is not None
    np.testing.assert_array_equal(bundle.item_encoder.encode(colours), learned.item_encoder.encode(colours))
    for likes, parity in (("even", 0), ("odd", 1)):
        reply = respond(bundle, Question("a stranger", k=5, features={"likes": likes, "age": 20, "shoe": 44}))
        assert (reply.source, reply.why) == (
            "features",
            "User 'a stranger' is not in this bundle: answered from what is known of the person.",
        )
        assert {int(item.item_id[1:]) % 2 for item in reply.items} == {parity}
    assert respond(bundle, Question("a stranger")).source == "fallback"
    for said, unread in (
        ({"lkes": "odd"}, ["lkes"]),
        ({"likes": "purple"}, ["likes"]),
        ({"likes": None}, ["likes"]),
    ):
        reply = respond(bundle, Question("a stranger", features=said))
        assert (reply.source, reply.ignored_features) == ("fallback", unread)
    reply = respond(bundle, Question("a stranger", features={"likes": "odd", "shoe": 44}))
    assert (reply.source, reply.ignored_features) == ("features", ["shoe"])
    with pytest.raises(RequestError, match=r"'age' must hold a number in every row; row 1 holds 'old'"):
        respond(bundle, Question("u1", features={"age": "old"}))
    for unreadable in ([1, "b"], 10**30):
        with pytest.raises(RequestError, match="features cannot be read"):
            respond(bundle, Question("u1", features={"age": unreadable}))


def test_fresh_clicks_of_a_known_user_join_what_is_known_of_him(tmp_path: Path) -> None:
    bundle = publish_towers(tmp_path, random_log(1), history="before")
    before = respond(bundle, Question("u1", k=30))
    after = respond(bundle, Question("u1", [Event("i3"), Event("i4")], k=30))
    assert (before.source, after.source) == ("known", "known")
    assert "and a history of" in after.why
    assert [item.score for item in before.items] != [item.score for item in after.items]


def test_within_a_mixture_a_tower_keeps_the_row_to_which_fresh_clicks_come(tmp_path: Path) -> None:
    """iALS folds the clicks in, in place of its row; towers without history keep theirs; and both give
    reasons."""
    data = colour_checkerboard()
    tower = {"name": "two_tower", **SMALL, **BOTH, "history": "none"}
    settings = {"parts": [{"name": "als", "dim": 4}, tower], "weights": [1.0, 0.5]}
    learned = make_model("mixture", settings).fit(data, seed=1)
    bundle = load(write(tmp_path, content_of("mixture", learned, data)))
    parts = []
    for clicks in ([], [Event("i3"), Event("i5")]):
        question = Question("u2", clicks)
        users, _ = person_of(bundle, question, usable_items(bundle, clicks, []))
        vector = bundle.encoder.encode(users)[0][0]
        parts.append((vector[:4], vector[4:]))
    (row, tower_row), (folded, kept) = parts
    np.testing.assert_array_equal(kept, tower_row)
    assert np.abs(folded - row).max() > 0.01
    assert np.abs(kept).max() > 0.01
    reply = respond(bundle, Question("u2", clicks, k=5))
    assert (reply.source, {item.reason is None for item in reply.items}) == ("known", {False})


def test_where_an_answer_comes_from() -> None:
    data = colour_checkerboard()
    learned = fit_towers(data, **BOTH)
    history = Ragged.of([[0, 2], [], [0], []])
    users = Users.of_rows(np.array([1, 2, -1, -1]), history)
    source = VectorRanker(learned).top(users, 1, forbid=Ragged.empty(4)).source
    assert source.tolist() == [USER_ROW, USER_ROW, HISTORY, FALLBACK]
    said = dataclasses.replace(users, features=pa.table({"likes": ["odd"] * 4}))
    source = VectorRanker(learned).top(said, 1, forbid=Ragged.empty(4)).source
    assert source.tolist() == [USER_ROW, USER_ROW, HISTORY, FEATURES]
    popularity = make_model("popularity", {}).fit(data, seed=1)
    source = VectorRanker(popularity).top(said, 1, forbid=Ragged.empty(4)).source
    assert FEATURES not in source.tolist()


def test_a_described_user_without_events_is_answered_from_his_features(tmp_path: Path) -> None:
    data = colour_checkerboard()
    data = data.having(data.interactions.where(data.interactions.user < 38))
    bundle = publish_towers(tmp_path, data, **BOTH)
    reply = respond(bundle, Question("u39"))
    assert (reply.source, reply.why) == (
        "features",
        "User 'u39' has 0 stored events: answered from what is known of the person.",
    )


def test_a_history_holds_strictly_earlier_events_without_the_item_itself() -> None:
    items = Ragged.of([[5, 6, 5, 7], [8, 9]])
    past = Histories(items, time=np.array([1, 2, 2, 3, 4, 4]), weight=np.arange(6, dtype=np.float32))

    def histories_of(history: str, longest: int = 9, timed: bool = True) -> list[list[int]]:
        given = past if timed else Histories(items, weight=past.weight)
        events = PastOfEvents(given, history, longest)
        assert events.user(np.arange(6)).tolist() == [0, 0, 0, 0, 1, 1]
        histories = events.windows(np.arange(6)).histories(("time", "weight"))
        assert (histories.time is not None) == timed
        return [histories.items.row(row).tolist() for row in range(6)]

    assert histories_of("before") == [[], [5], [], [5, 6, 5], [], []]
    assert histories_of("before", timed=False) == [[], [5], [6], [5, 6, 5], [], [8]]
    assert histories_of("before", longest=1, timed=False) == [[], [5], [6], [5], [], [8]]
    assert histories_of("others") == [[6, 7], [5, 5, 7], [6, 7], [5, 6, 5], [9], [8]]
    assert histories_of("none") == [[]] * 6
    both = PastOfEvents(past, "before", 9).windows(np.array([3, 1])).histories(("time", "weight"))
    assert (both.weight.tolist(), both.time.tolist()) == ([0, 1, 2, 0], [1, 2, 2, 1])


@pytest.mark.parametrize("last", [1, 5, 9])
def test_a_run_that_goes_on_ends_in_the_same_bytes(last: int, tmp_path: Path) -> None:
    settings = SMALL | BOTH | {"epochs": 10, "hidden": 6}
    model, data = make_model("two_tower", settings), colour_checkerboard()
    aids = Aids(checkpoint=Checkpoint(tmp_path, "key"), checkpoint_s=0)

    def dies(step: Any) -> None:
        if step.done == last + 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model.fit(data, seed=1, progress=dies, aids=aids)
    resumed, whole = model.fit(data, seed=1, aids=aids), model.fit(data, seed=1)
    assert resumed.items.tobytes() == whole.items.tobytes()
    assert resumed.encoder.space_id == whole.encoder.space_id


def test_a_rate_out_of_range_diverges_with_a_sentence() -> None:
    with pytest.raises(ModelError, match="Lower learning_rate"):
        fit_towers(colour_checkerboard(), learning_rate=1e38, **BOTH)


def test_what_cannot_be_learned_from_is_refused() -> None:
    for settings, error, said in (
        ({"user_ids": False, "history": "none"}, SettingError, "nobody has a vector"),
        (
            {"item_features": [{"column": "size"}]},
            SettingError,
            "item feature 'size' is no column of the item table",
        ),
        ({"user_features": [{"column": "likes", "kind": "number"}]}, DataError, "'likes' must hold a number"),
    ):
        with pytest.raises(error, match=said):
            TwoTower(TwoTowerSettings(**(SMALL | settings))).fit(colour_checkerboard(), seed=1)


def test_a_popularity_sample_without_its_correction_is_refused() -> None:
    with pytest.raises(SettingError, match="needs log_q = true"):
        make_model("two_tower", {"sampler": "popularity", "log_q": False})


def test_ids_themselves_can_be_read_as_text() -> None:
    """FastText's idea: an id that training did not know has a vector by its parts."""
    data = dataset(np.repeat(np.arange(20), 10), np.tile(np.arange(10), 20), 20, 10)
    learned = fit_towers(data, item_features=[{"column": "item_id", "kind": "text"}])
    vectors = learned.item_encoder.encode(pa.table({"item_id": ["i1", "zzz"]}))
    assert np.abs(vectors[0] - vectors[1]).max() > 0.05
