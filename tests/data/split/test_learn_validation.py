"""Judged without having learned from the validation part: it stands in the histories and nowhere else."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from recsys.data.dataset import TRAIN, VALIDATION, Dataset
from recsys.data.prepare import PrepareSettings, prepare_data
from recsys.data.read.tables import dataset_of
from recsys.data.split.audit import refuse_leaks
from recsys.data.split.holdout import Split, SplitSettings
from recsys.data.split.split import split
from recsys.encoders.encoder import HISTORY, USER_ROW
from recsys.encoders.users import Users
from recsys.errors import DataError
from recsys.evaluation.evaluate import users_of
from recsys.models.registry import make_model
from recsys.retrieval.embeddings import Embeddings
from tests.helpers.splits import random_data, refusal, rows_of

KINDS = [
    {"kind": "leave_last_out"},
    {"kind": "published"},
    {"kind": "published", "clumped": 0.2},
]


def both(data: Dataset, settings: dict[str, object]) -> tuple[Split, Split]:
    """The split whose judged model learns from the validation part, and the one whose model does not."""
    return tuple(
        split(data, SplitSettings(**settings, learn_validation=learns), seed=1) for learns in (True, False)
    )  # type: ignore[arg-type, return-value]


@pytest.mark.parametrize("settings", KINDS, ids=str)
def test_the_model_learns_from_train_alone_and_is_asked_the_same_question(
    settings: dict[str, object],
) -> None:
    data = random_data(4, part=settings["kind"] == "published")
    usual, alone = both(data, settings)
    learned = rows_of(usual.validation.train.interactions)
    assert rows_of(alone.validation.train.interactions) == learned
    assert rows_of(alone.test.train.interactions) == learned
    assert len(learned) < len(rows_of(usual.test.train.interactions))
    for name in (
        "user",
        "history.items.offsets",
        "history.items.values",
        "targets.offsets",
        "targets.values",
    ):
        first, second = usual.test, alone.test
        for part in name.split("."):
            first, second = getattr(first, part), getattr(second, part)
        assert first.tolist() == second.tolist(), name
    in_train = set(alone.test.train.interactions.user.tolist())
    assert alone.test.known.tolist() == [user in in_train for user in alone.test.user.tolist()]
    assert "judged without having learned from the validation part" in alone.title
    assert alone.title.startswith(usual.title)


@pytest.mark.parametrize("settings", KINDS, ids=str)
def test_people_with_a_validation_event_are_fresh_and_nobody_else_is(settings: dict[str, object]) -> None:
    data = random_data(5, part=settings["kind"] == "published")
    usual, alone = both(data, settings)
    for parts in (usual, alone):
        assert not users_of(parts.validation).by_row[~parts.validation.known].any()
        assert users_of(parts.validation).fresh is None
    assert users_of(usual.test).fresh is None
    learned = np.bincount(alone.test.train.interactions.user, minlength=data.n_users)
    whole = np.bincount(usual.test.train.interactions.user, minlength=data.n_users)
    expected = (whole > learned)[alone.test.user]
    assert expected.any()
    assert alone.test.fresh.tolist() == expected.tolist()
    assert users_of(alone.test).fresh.tolist() == expected.tolist()  # type: ignore[union-attr]


def test_a_known_person_is_encoded_from_a_history_that_their_row_has_not_learned() -> None:
    data = random_data(6, part=True)
    assert data.published is not None
    part, second = data.published.part, data.interactions.user % 2 == 1
    part[second & (part == VALIDATION)] = TRAIN  # of every second person the model has learned all
    _, alone = both(data, {"kind": "published"})
    users = users_of(alone.test)
    learned = make_model("als", {"dim": 4, "epochs": 2}).fit(alone.test.train, seed=1)
    assert isinstance(learned, Embeddings)
    encoded = learned.encoder.encode(users)
    fresh = alone.test.fresh
    assert 0 < fresh.sum() < len(fresh)
    assert set(encoded.source[fresh].tolist()) == {HISTORY}
    assert set(encoded.source[~fresh & alone.test.known].tolist()) <= {USER_ROW}
    by_history = learned.encoder.encode(Users.unknown(alone.test.history)).vectors
    np.testing.assert_allclose(encoded.vectors[fresh], by_history[fresh], rtol=1e-5)


def test_what_was_had_and_not_learned_before_the_last_event_is_in_the_history_and_not_in_train() -> None:
    """Per person: liked a, b, then disliked c, liked d (validation), disliked e, liked f (judged), disliked
    g."""
    frame = pd.DataFrame({"user_id": np.repeat(list("xyz"), 7), "item_id": list("abcdefg") * 3})
    frame["timestamp"] = np.tile(np.arange(7), 3)
    frame["weight"] = np.tile([5, 5, 1, 5, 1, 5, 1], 3)
    data, _ = prepare_data(dataset_of(frame), PrepareSettings(min_rating=4, disliked_rating=2))
    _, alone = both(data, {"kind": "leave_last_out"})
    items = [list("abcdefg").index(data.item_ids[item]) for item in alone.test.history.items.row(0)]
    assert items == [0, 1, 2, 3, 4]
    assert sorted({data.item_ids[item] for item in alone.test.train.had.item.tolist()}) == ["a", "b", "c"]
    assert {data.item_ids[item] for item in alone.test.train.disliked.item.tolist()} == {"c"}


def test_a_model_that_learns_from_the_validation_part_all_the_same_is_refused() -> None:
    usual, alone = both(random_data(7, part=True), {"kind": "published"})
    refuse_leaks(alone, learn_validation=False)
    broken = replace(alone, test=usual.test)
    refuse_leaks(broken)
    with pytest.raises(
        DataError, match=r"a target of the validation part that the judged model learns from.*true"
    ):
        refuse_leaks(broken, learn_validation=False)


@pytest.mark.parametrize("kind", ["global_time", "later_half"])
def test_a_split_by_time_has_no_such_thing(kind: str) -> None:
    said = refusal(random_data(0), kind=kind, learn_validation=False)
    assert f"this split of random is {kind!r}" in said
