"""Domains in a sequence model: what is asked for in one of them, by a history of whichever."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from recsys.answers.question import Event, Question
from recsys.answers.respond import respond
from recsys.arrays import Array, Ragged
from recsys.bundle.bundle import load
from recsys.bundle.write import publish
from recsys.data.dataset import Dataset
from recsys.encoders.encoder import HISTORY, load_encoder
from recsys.encoders.users import Users
from recsys.history import Histories
from recsys.models.export import content_of
from recsys.models.registry import make_model
from recsys.models.towers.sequence_domains import SequenceDomains
from recsys.models.towers.sequence_fit import SequenceFit
from recsys.progress import silent
from recsys.retrieval.embeddings import Embeddings
from recsys.testing.toys import dataset
from recsys.training.loop import ALONE
from recsys.training.towers.sequences import first_times

SMALL = {"dim": 16, "epochs": 40, "batch_size": 128, "learning_rate": 0.01, "dropout": 0.0, "widened": 32}
KINDS = 4  # of films, and as many of books: whoever watches films of a kind reads books of that kind


def shop(people: int = 72, length: int = 8, seed: int = 1) -> Dataset:
    """Films 0 to 7, books 8 to 15, two of each kind. Everybody likes one kind, and has films and books in
    turn at random; a third of the people have films alone."""
    rng = np.random.default_rng(seed)
    kind = np.arange(people) % KINDS
    book = (rng.random((people, length)) < 0.5) & (np.arange(people) % 3 > 0)[:, None]
    item = kind[:, None] + KINDS * rng.integers(2, size=(people, length)) + 2 * KINDS * book
    data = dataset(np.repeat(np.arange(people), length), item.ravel(), people, 4 * KINDS)
    domain = ["films"] * (2 * KINDS) + ["books"] * (2 * KINDS)
    table = pa.table({"title": pa.nulls(4 * KINDS, pa.string()), "domain": domain})
    return dataclasses.replace(data, items=table)


def fit(data: Dataset, seed: int = 1, **settings: Any) -> Embeddings:
    learned: Any = make_model("sequence", SMALL | settings).fit(data, seed=seed)
    return learned


def users_of(histories: list[list[int]], domain: int | None) -> Users:
    users = Users.unknown(Ragged.of(histories))
    codes = None if domain is None else np.full(len(users), domain, np.int32)
    return dataclasses.replace(users, domain=codes)


def best(learned: Embeddings, histories: list[list[int]], domain: int) -> Array:
    """The best item of the domain asked for."""
    inside = np.arange(2 * KINDS) + 2 * KINDS * domain
    scores = learned.encoder.encode(users_of(histories, domain)).vectors @ learned.items[inside].T
    return inside[scores.argmax(axis=1)]


@pytest.mark.parametrize(
    "more", [{}, {"within_domain": False}, {"negatives": 12}, {"similarity": "cosine", "temperature": 0.1}]
)
def test_films_alone_say_which_books_and_books_alone_which_films(
    more: dict[str, Any], certain_seed: int
) -> None:
    learned = fit(shop(), certain_seed, **more)
    films = [[kind, kind + KINDS, kind] for kind in range(KINDS)]
    books = [[kind + 2 * KINDS, kind + 3 * KINDS] for kind in range(KINDS)]
    assert (best(learned, films, 1) % KINDS).tolist() == [0, 1, 2, 3]
    assert (best(learned, books, 0) % KINDS).tolist() == [0, 1, 2, 3]
    assert learned.encoder.encode(users_of(films, 1)).source.tolist() == [HISTORY] * KINDS


def test_masked_events_are_found_in_their_domain() -> None:
    learned = fit(shop(), net="masked", epochs=100)
    assert (best(learned, [[kind, kind + KINDS] for kind in range(KINDS)], 1) % KINDS).tolist() == [
        0,
        1,
        2,
        3,
    ]


def test_without_a_domain_the_plain_vector_answers_and_what_is_saved_says_the_same(tmp_path: Path) -> None:
    data = shop()
    learned = fit(data, epochs=20)
    histories = [[0, 4, 0], [9, 13], [2, 10, 6, 14]]
    assert "domain" in learned.encoder.needs
    plain, films, books = (learned.encoder.encode(users_of(histories, code)).vectors for code in (None, 0, 1))
    none = learned.encoder.encode(users_of(histories, -1)).vectors
    np.testing.assert_array_equal(plain, none)
    assert not np.allclose(plain, films, atol=1e-3)
    assert not np.allclose(films, books, atol=1e-3)
    learned.encoder.save(tmp_path)
    loaded = load_encoder(tmp_path, learned.items)
    assert loaded.space_id == learned.encoder.space_id
    np.testing.assert_array_equal(loaded.encode(users_of(histories, 1)).vectors, books)


def test_one_domain_or_none_learns_as_if_there_were_none() -> None:
    data = shop()
    alone = dataclasses.replace(data, items=data.items.drop(["domain"]))
    assert "domain" not in fit(alone, epochs=1).encoder.needs
    one = dataclasses.replace(
        data, items=data.items.drop(["domain"]).append_column("domain", [["shop"] * 4 * KINDS])
    )
    np.testing.assert_array_equal(fit(one, epochs=1).items, fit(alone, epochs=1).items)
    assert "domain" not in fit(data, epochs=1, domains=False).encoder.needs
    many = dataset(np.repeat(np.arange(40), 6), np.arange(240) % 60, 40, 60)
    table = many.items.drop(["domain"]).append_column("domain", [[f"d{item}" for item in range(60)]])
    assert "domain" not in fit(dataclasses.replace(many, items=table), epochs=1).encoder.needs


def test_torch_and_the_encoder_say_the_same_of_whoever_asks_for_a_domain() -> None:
    import torch

    data = shop()
    model: Any = make_model("sequence", SMALL | {"epochs": 5, "precision": "float32"})
    fitted = SequenceFit(model.settings, data, 1)
    learned = fitted.run(silent, ALONE)
    past = data.interactions.histories()
    assert fitted.domains is not None
    with fitted.averages.in_place(), torch.no_grad():
        events = torch.from_numpy(learned.items[past.items.values.reshape(past.rows, -1)])
        domain = fitted.domains.domain[past.items.values.reshape(past.rows, -1)].astype(np.int64)
        vectors = fitted.net.compute(events, {"domains": domain + 1})[:, -1]
        down, up = (
            fitted.net.whole[name].numpy().copy().reshape(2, -1, width)
            for name, width in (("down", 8), ("up", 16))
        )
    for code in (0, 1):
        users = dataclasses.replace(Users.unknown(past), domain=np.full(past.rows, code, np.int32))
        expected = vectors.numpy() + vectors.numpy() @ down[code] @ up[code]
        np.testing.assert_allclose(learned.encoder.encode(users).vectors, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("repeats", [True, False])
def test_a_question_is_of_the_next_event_of_its_domain(repeats: bool, certain_seed: int) -> None:
    rng = np.random.default_rng(certain_seed)
    lengths = rng.integers(1, 12, 40)
    past = Histories(
        Ragged(
            np.concatenate([[0], np.cumsum(lengths)]), rng.integers(9, size=lengths.sum()).astype(np.int32)
        )
    )
    domain = np.array([0, 0, 0, 1, 1, 1, 2, -1, -1], np.int32)
    wanted = np.ones(len(past), bool) if repeats else first_times(past)
    domains = SequenceDomains(past, domain, 3, far=True, wanted=wanted)
    person, ends, items = past.items.row_of_value(), past.items.offsets[1:], past.items.values
    place = np.flatnonzero(np.arange(len(past)) < ends[person] - 1)  # an event follows
    codes, later = domains.draw_questions(place, ends[person[place]] - 1, rng)
    assert set(codes.tolist()) == {-1, 0, 1, 2}
    for at, code, target in zip(place.tolist(), codes.tolist(), later.tolist(), strict=True):
        own, start = past.items.row(person[at]), past.items.offsets[person[at]]
        follow = [
            one
            for one in range(at + 1, ends[person[at]])
            if (code < 0 or domain[items[one]] == code) and (repeats or items[one] not in own[: one - start])
        ]
        assert target == (follow[0] if follow else -1)
    near = SequenceDomains(past, domain, 3, far=False, wanted=wanted)
    codes, later = near.draw_questions(place, place + 1, rng)
    assert (later[codes >= 0] == place[codes >= 0] + 1).all()


def test_the_events_of_a_domain_are_left_out_unless_there_is_no_other() -> None:
    past = Histories(Ragged.of([[0, 3, 1], [0, 1, 2]]))
    domains = SequenceDomains(
        past, np.array([0, 0, 0, 1], np.int32), 2, far=True, wanted=np.ones(len(past), bool)
    )
    at, inside = np.arange(6).reshape(2, 3), np.ones((2, 3), bool)
    masks = {
        tuple(map(tuple, domains.left_out(at, inside, 0.9, np.random.default_rng(seed)).tolist()))
        for seed in range(40)
    }
    assert {one[0] for one in masks} == {(False, False, False), (True, False, True), (False, True, False)}
    assert {one[1] for one in masks} == {(False, False, False)}


def test_a_request_of_films_is_answered_in_books_from_its_history(tmp_path: Path) -> None:
    data = shop()
    bundle = load(publish(tmp_path, content_of("sequence", fit(data), data)))
    clicks = [Event("i1"), Event("i5")]
    answer = respond(bundle, Question(k=2, domain="books", history=clicks))
    assert [int(item.item_id[1:]) % KINDS for item in answer.items] == [1, 1]
    assert {int(item.item_id[1:]) // (2 * KINDS) for item in answer.items} == {1}
    assert answer.source == "history"
