"""Weights by the domain that is asked for: who gets which, and that what is saved says the same."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recsys.arrays import F32, Ragged
from recsys.encoders.encoder import FALLBACK, HISTORY, load_encoder
from recsys.encoders.guarded import Guarded
from recsys.encoders.users import Users
from recsys.errors import DataError, SettingError
from recsys.models.registry import make_model
from recsys.retrieval.embeddings import Embeddings
from recsys.testing.toys import random_log

DATA = random_log(1)
NAMES, CODES = DATA.domains
FILMS, BOOKS = NAMES.index("films"), NAMES.index("books")
OF_FILMS, OF_BOOKS = ([at for at in range(20) if CODES[at] == code][:3] for code in (FILMS, BOOKS))
PARTS = [{"name": "als", "dim": 4, "epochs": 2}, {"name": "als", "dim": 4, "epochs": 2, "domain": "films"}]


def fit(**settings: Any) -> Embeddings:
    learned: Any = make_model("mixture", {"parts": PARTS, "weights": [1, 0]} | settings).fit(DATA, seed=1)
    return learned


def encode(learned: Embeddings, histories: list[list[int]], domain: int | None) -> F32:
    users = Users.unknown(Ragged.of(histories))
    codes = None if domain is None else np.full(len(users), domain, np.int32)
    return learned.encoder.encode(dataclasses.replace(users, domain=codes)).vectors


def test_weights_depend_on_the_domain_and_on_whether_somebody_was_there(tmp_path: Path) -> None:
    learned = fit(by_domain={"films": {"known": [0.5, 2], "new": [3, 0]}})
    plain = fit(weights=[1, 1])
    histories = [OF_FILMS, OF_BOOKS]
    first, second = encode(plain, histories, None)[:, :4], encode(plain, histories, None)[:, 4:]
    for domain in (None, BOOKS, -1):
        vectors = encode(learned, histories, domain)
        np.testing.assert_allclose(vectors, np.hstack([first, 0 * second]), rtol=1e-5)
    films = encode(learned, histories, FILMS)
    np.testing.assert_allclose(films[0], np.concatenate([0.5 * first[0], 2 * second[0]]), rtol=1e-5)
    np.testing.assert_allclose(films[1], np.concatenate([3 * first[1], 0 * second[1]]), rtol=1e-5)
    learned.encoder.save(tmp_path)
    loaded = load_encoder(tmp_path, learned.items)
    assert isinstance(loaded, Guarded)
    assert loaded.space_id == learned.encoder.space_id != plain.encoder.space_id
    np.testing.assert_array_equal(encode(Embeddings(learned.items, loaded), histories, FILMS), films)


def test_all_weights_zero_leaves_the_answer_to_the_fallback() -> None:
    learned = fit(by_domain={"films": {"known": [0, 1], "new": [0, 0]}})
    users = Users.unknown(Ragged.of([OF_FILMS, OF_BOOKS]))
    asked = dataclasses.replace(users, domain=np.full(2, FILMS, np.int32))
    assert learned.encoder.encode(asked).source.tolist() == [HISTORY, FALLBACK]


def test_a_part_of_one_domain_learns_from_its_events_alone() -> None:
    learned = fit(weights=[1, 1])
    assert not learned.items[CODES == BOOKS, 4:].any()
    assert learned.items[CODES == BOOKS, :4].any()


def test_other_parts_than_the_weights_and_unknown_domains_are_refused() -> None:
    with pytest.raises(SettingError, match="each of the 2 parts"):
        fit(by_domain={"films": {"known": [1]}})
    with pytest.raises(DataError, match="no domain 'music'; its domains are"):
        fit(by_domain={"music": {"known": [1, 0]}})
    with pytest.raises(DataError, match="no domain 'music'"):
        fit(parts=[PARTS[0], PARTS[1] | {"domain": "music"}], weights=[1, 1])
